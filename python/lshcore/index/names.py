"""Ids that are texts: a side table between them and the numbers that the core knows."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class Names:
    """Texts numbered from 0 in the order in which they came; a number is never given twice."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = list(names)
        self._numbers = {name: number for number, name in enumerate(self._names)}

    def __len__(self) -> int:
        return len(self._names)

    def add(self, names: Sequence[str]) -> tuple["Names", NDArray[np.int64]]:
        """A table with these names too, and the numbers of them; this one stays as it is for those who read it."""
        grown = type(self)(())
        grown._names = self._names + [name for name in names if name not in self._numbers]
        grown._numbers = {**self._numbers, **{name: i for i, name in enumerate(grown._names[len(self) :], len(self))}}
        return grown, grown.numbers(names, "")

    def numbers(self, names: Iterable[str], where: str) -> NDArray[np.int64]:
        """The numbers of names, int64.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        names = list(names)
        for name in names:
            if name not in self._numbers:
                raise ValueError(f"{where}: ids must be in the index, got {name!r}, which is not")
        return np.array([self._numbers[name] for name in names], np.int64)

    def names(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """The names of numbers, an array of objects of the same shape; None for -1."""
        flat = [None if number < 0 else self._names[number] for number in numbers.ravel().tolist()]
        out = np.empty(len(flat), object)
        out[:] = flat
        return out.reshape(numbers.shape)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The texts as UTF-8 one after the other, and where each begins and the last ends."""
        texts = [name.encode("utf-8", "surrogateescape") for name in self._names]
        offsets = np.zeros(len(texts) + 1, np.uint64)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        return {"names.bytes": np.frombuffer(b"".join(texts), np.uint8), "names.offsets": offsets}

    @classmethod
    def from_arrays(cls, content: NDArray[np.uint8], offsets: NDArray[np.uint64]) -> Self:
        """What `to_arrays` was made of.

        Raises
        ------
        ValueError
            If the arrays do not fit each other.
        """
        ends = offsets.tolist()
        if content.dtype != np.uint8 or offsets.dtype != np.uint64 or offsets.ndim != 1 or not ends or ends[0] != 0:
            raise ValueError("names must be bytes with offsets from 0 on")
        if ends[-1] != len(content) or any(a > b for a, b in pairwise(ends)):
            raise ValueError("offsets of names must rise to the number of their bytes")
        text = content.tobytes()
        names = [text[a:b].decode("utf-8", "surrogateescape") for a, b in pairwise(ends)]
        made = cls(names)
        if len(made._numbers) != len(names):
            raise ValueError("names must differ")
        return made
