"""Indexes that are copied, or sent to another process."""

import copy
from typing import TYPE_CHECKING, Any, TypeVar

from . import storage

if TYPE_CHECKING:
    from .container import Index
    from .rows import Rows

SomeIndex = TypeVar("SomeIndex", bound="Rows")


def duplicate(index: SomeIndex) -> SomeIndex:
    """An index of the same rows that changes for itself; the segments, which never change, are shared."""
    other = type(index)._bare()
    with index._changing:
        own = ("_changing", "_core", "_names")
        vars(other).update((name, value) for name, value in vars(index).items() if name not in own)
        other.hasher = copy.copy(index.hasher)
        other._names = None if index._names is None else index._names.copy()
        other._core = None
        if index._core is not None:
            core = index._make_core(index._make_partitioner(), index.dim or 1)
            core.restore(*index._core.state())
            other._core = core
    return other


def reduce(index: "Rows") -> tuple[Any, ...]:
    """What pickle keeps of an index: where it is saved, and which generation.

    Raises
    ------
    ValueError
        If it was never saved, or has changed since.
    """
    with index._changing:
        origin = index._origin
        saved = origin is not None and origin.generation > 0
        if origin is None or not saved or index._changed:
            what = "has changed since it was saved" if saved else "was never saved"
            raise ValueError(
                f"{type(index).__name__}: a pickle keeps only where an index is saved, and this one {what}; "
                "call save(path) first"
            )
        (commit,) = origin.commits[origin.folder]
        return reopen, (str(origin.folder), commit)


def reopen(path: str, commit: str) -> "Index":
    """The index that was pickled.

    Raises
    ------
    FileNotFoundError
        If it is not there any more.
    ValueError
        If another generation has been saved there since, or it is damaged.
    """
    index = storage.open_index(path)
    origin = index._origin
    if origin is None or commit not in origin.commits[origin.folder]:
        found = None if origin is None else origin.generation
        raise ValueError(f"{path} must hold the index that was pickled, got another, at generation {found}")
    return index
