"""Ids that are texts: a side table between them and the numbers that the core knows."""

import threading
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lshcore._validation import to_numpy

BYTES, OFFSETS = "names.bytes", "names.offsets"

# A path of a file is any bytes, which Python keeps as lone surrogates; this codec gives every text back as it was.
_CODEC = ("utf-8", "surrogatepass")


class Names:
    """Texts numbered from 0 in the order in which they came; while a table lives, no number changes its text.

    Those that a file holds stay bytes until they are asked for.

    Parameters
    ----------
    content : ndarray of uint8
        Texts one after the other; an empty one stands for a number that nothing has.
    offsets : ndarray of uint64, (n + 1,)
        Where each begins, and the last ends.
    """

    def __init__(self, content: NDArray[np.uint8] | None = None, offsets: NDArray[np.uint64] | None = None) -> None:
        self._content = b"" if content is None else content.tobytes()
        self._offsets = np.zeros(1, np.uint64) if offsets is None else offsets
        self._tail: list[str] = []  # what came since
        self._known: dict[str, int] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._offsets) - 1 + len(self._tail)

    def copy(self) -> Self:
        """One that grows for itself."""
        other = type(self)()
        with self._lock:
            other._content, other._offsets, other._tail = self._content, self._offsets, list(self._tail)
        return other

    def add(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The numbers of names, which are taken in where they are new."""
        known = self._numbers()
        with self._lock:
            for name in names:
                if name not in known:
                    known[name] = len(self)
                    self._tail.append(name)
        return np.fromiter((known[name] for name in names), np.int64, len(names))

    def shrink(self, length: int) -> None:
        """Forget all but the first; those that a file held stay."""
        known = self._numbers()
        with self._lock:
            while len(self) > length:
                del known[self._tail.pop()]

    def find(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The numbers of names, int64; -1 of one that is unknown."""
        known = self._numbers()
        return np.fromiter((known.get(name, -1) for name in names), np.int64, len(names))

    def names(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """The names of numbers, an array of objects of the same shape; None for -1.

        Raises
        ------
        ValueError
            If a number has no name, which a damaged file can cause alone.
        """
        flat = [None if number < 0 else self._text(number) for number in numbers.ravel().tolist()]
        out = np.empty(len(flat), object)
        out[:] = flat
        return out.reshape(numbers.shape)

    def _text(self, number: int) -> str:
        kept = len(self._offsets) - 1
        if number >= kept + len(self._tail):
            raise ValueError(f"the index must have a name for each row, got none for row {number}: it is damaged")
        if number >= kept:
            return self._tail[number - kept]
        start, stop = self._offsets[number : number + 2].tolist()
        if start == stop:
            raise ValueError(f"the index must have a name for each row, got none for row {number}: it is damaged")
        return self._decode(start, stop)

    def _decode(self, start: int, stop: int) -> str:
        try:
            return self._content[start:stop].decode(*_CODEC)
        except UnicodeDecodeError as error:
            raise ValueError(f"the index must have names that are texts, got {error.reason}: it is damaged") from error

    def _numbers(self) -> dict[str, int]:
        if self._known is None:
            with self._lock:
                if self._known is None:
                    self._known = self._numbered()
        return self._known

    def _numbered(self) -> dict[str, int]:
        ends = self._offsets.tolist()
        known: dict[str, int] = {}
        empty = 0
        for number in range(len(ends) - 1):
            if ends[number] == ends[number + 1]:
                empty += 1
            else:
                known[self._decode(ends[number], ends[number + 1])] = number
        if len(known) + empty != len(ends) - 1:
            raise ValueError("the index must have names that differ, got one twice: it is damaged")
        known.update((name, number) for number, name in enumerate(self._tail, len(ends) - 1))
        return known

    def to_arrays(self, used: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The names of these numbers as arrays, and nothing for the others."""
        texts = [b""] * len(self)
        for number, name in zip(used.tolist(), self.names(used).tolist(), strict=True):
            texts[number] = name.encode(*_CODEC)
        offsets = np.zeros(len(texts) + 1, np.uint64)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        return {BYTES: np.frombuffer(b"".join(texts), np.uint8), OFFSETS: offsets}

    @classmethod
    def from_arrays(cls, content: NDArray[np.uint8], offsets: NDArray[np.uint64]) -> Self:
        """What `to_arrays` was made of.

        Raises
        ------
        ValueError
            If the arrays do not fit each other.
        """
        if content.dtype != np.uint8 or content.ndim != 1 or offsets.dtype != np.uint64 or offsets.ndim != 1:
            raise ValueError("names must be bytes with offsets")
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(content) or (offsets[1:] < offsets[:-1]).any():
            raise ValueError("offsets of names must rise from 0 to the number of their bytes")
        return cls(content, offsets)

    def check(self, numbers: NDArray[np.int64]) -> None:
        """Raise ValueError unless every one of these numbers has a name, and all names differ."""
        self._numbers()
        self.names(numbers)


def as_texts(ids: ArrayLike, where: str, name: str = "ids") -> list[str] | None:
    """Ids as texts, or None where they are anything else; no ids at all are an empty list.

    Raises
    ------
    TypeError
        If some are texts and some are not.
    ValueError
        If texts are not 1-d, or one is empty.
    """
    if isinstance(ids, str):
        found: list[Any] = [ids]
    elif isinstance(ids, Sequence):
        found = list(ids)
    else:
        array = to_numpy(ids, where, name)
        if array.size > 0 and array.dtype.kind not in "OUT":
            return None
        if array.ndim > 1:
            raise ValueError(f"{where}: {name} must be 1-d, got shape {array.shape}")
        found = array.reshape(-1).tolist()
    texts = [isinstance(one, str) for one in found]
    if not any(texts):
        return None if found else []
    if not all(texts):
        other = found[texts.index(False)]
        raise TypeError(f"{where}: {name} must be all texts or all integers, got texts and {other!r}")
    if "" in found:
        raise ValueError(f"{where}: {name} must not be empty texts, got one at {found.index('')}")
    return [str(one) for one in found]
