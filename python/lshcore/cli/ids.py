"""Ids on the command line: words, or lines of a file, as the kind of id that an index has."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..index import Index


def read_ids(path: Path) -> list[str]:
    """The lines of a file, but for empty ones."""
    return [line for line in os.fsdecode(path.read_bytes()).split("\n") if line]


def typed(words: list[str], index: "Index") -> list[Any]:
    """Ids as the index has them.

    Raises
    ------
    ValueError
        If it has integers, and one is none.
    """
    if index.ids.dtype == object:
        return list(words)
    for word in words:
        if not word.removeprefix("-").isdecimal():
            raise ValueError(f"ids of this index are integers, got {word!r}")
    return [int(word) for word in words]
