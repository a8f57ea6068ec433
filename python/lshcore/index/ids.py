"""Ids of the rows of an index: integers, which are what the core knows, or texts beside them."""

import contextlib
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lshcore import _core

from .names import Names, as_texts


class Ids:
    """What an index calls its rows. The first rows added settle whether by integers or by texts."""

    def __init__(self) -> None:
        self._core: _core.Index | None = None
        self._names: Names | None = None  # of ids that are texts

    @property
    def ids(self) -> NDArray[Any]:
        """Id of every row, int64 or texts (n,), in the order in which they were added (or last updated)."""
        return self._named(self._numbers)

    @property
    def _numbers(self) -> NDArray[np.int64]:
        """What the core calls every row."""
        return np.empty(0, dtype=np.int64) if self._core is None else self._core.ids

    def _named(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Ids as they were given to `add`."""
        return numbers if self._names is None else self._names.names(numbers)

    def _numbered(self, ids: ArrayLike, where: str, name: str = "ids") -> ArrayLike:
        """Ids as the core has them; what they must be besides is left to others.

        Raises
        ------
        TypeError
            If they are integers where the index has texts, or the other way round.
        ValueError
            If the index has not got one of these texts.
        """
        texts = as_texts(ids, where, name)
        self._check_kind(texts, where, name)
        if not texts:
            return ids if texts is None else np.empty(0, np.int64)
        numbers = np.full(len(texts), -1) if self._names is None else self._names.find(texts)
        if (numbers < 0).any():
            unknown = texts[int(numbers.argmin())]
            raise ValueError(f"{where}: {name} must be in the index, got {unknown!r}, which is not")
        return numbers

    def _check_kind(self, texts: list[str] | None, where: str, name: str = "ids") -> None:
        """Raise TypeError unless the index was begun with ids of this kind; `texts` are None for integers."""
        if texts is None and self._names is not None:
            raise TypeError(f"{where}: {name} must be texts, as those that the index was begun with, got others")
        if texts and self._names is None and self._core is not None and self._core.state()[1] > 0:
            raise TypeError(
                f"{where}: {name} must be integers, as those that the index was begun with, got {texts[0]!r}"
            )

    def _texts(self, ids: ArrayLike | None, n: int, where: str) -> list[str] | None:
        """Ids of n new rows, if they are texts."""
        if ids is None:
            if self._names is not None and n > 0:
                raise ValueError(f"{where}: ids must be given, as the index was begun with texts, got none")
            return None
        texts = as_texts(ids, where)
        self._check_kind(texts, where)
        return texts

    @contextlib.contextmanager
    def _naming(self, texts: list[str], n: int, where: str) -> Iterator[NDArray[np.int64]]:
        """Numbers for n new rows, which are added within; names come first, so that who finds a row finds its name.

        Raises
        ------
        ValueError
            If there are not as many texts, or they are not new. As when adding fails, names stay as they were.
        """
        if len(texts) != n:
            raise ValueError(f"{where}: ids must have shape ({n},), one for each row, got ({len(texts)},)")
        before = self._names
        names = Names() if before is None else before
        length = len(names)
        try:
            numbers = names.add(texts)
            self._check_new(numbers, texts, where)
            self._names = names
            yield numbers
        except BaseException:
            self._names = before
            names.shrink(length)
            raise

    def _check_new(self, numbers: NDArray[np.int64], texts: list[str], where: str) -> None:
        order = numbers.argsort(kind="stable")
        twice = np.flatnonzero(np.diff(numbers[order]) == 0)
        if len(twice):
            raise ValueError(f"{where}: ids must differ, got {texts[order[twice[0]]]!r} twice")
        if self._core is not None and (held := self._core.contains(numbers)).any():
            raise ValueError(f"{where}: ids must be new, got {texts[held.argmax()]!r}, which the index holds already")

    def __contains__(self, id: object) -> bool:
        if self._core is None or isinstance(id, bool | np.bool_):
            return False
        if self._names is not None:
            numbers = self._names.find([id] if isinstance(id, str) else [])
            return bool(len(numbers) and numbers[0] >= 0 and self._core.contains(numbers)[0])
        try:
            return bool(self._core.contains(np.array([operator.index(id)], dtype=np.int64))[0])  # type: ignore[arg-type]
        except (TypeError, OverflowError):
            return False
