"""Image files under a folder: found, put into one order, and kept in little memory."""

import hashlib
import os
import stat
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")


class Listing(Sequence[str]):
    """Paths as one block of bytes, so that a million of them cost no million objects, here or in a worker process.

    Parameters
    ----------
    files : iterable of (str, int)
        Relative path and size of each file.

    Attributes
    ----------
    digest : str
        SHA-256 over paths and sizes, in order: what tells one state of a folder from another without reading it.
    """

    def __init__(self, files: Iterable[tuple[str, int]]) -> None:
        names, ends, digest = bytearray(), array("q", [0]), hashlib.sha256()
        for path, size in files:
            name = os.fsencode(path)
            names += name
            ends.append(len(names))
            digest.update(b"%d %s\n" % (size, name))
        self._names, self._ends, self.digest = bytes(names), ends, digest.hexdigest()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        j = range(len(self))[i]
        return os.fsdecode(self._names[self._ends[j] : self._ends[j + 1]])


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, but for hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if _is_folder(entry) and not entry.name.startswith("."))


def image_files(root: Path, under: str = "", deep: bool = True) -> Iterator[tuple[str, int]]:
    """Image files under ``root / under``, in order of their paths: each one's path from `root`, and its size.

    Links are followed, hidden files are not looked at. A link that leads nowhere counts as an image of -1 bytes, so
    that opening it says so.

    Parameters
    ----------
    root : Path
    under : str
    deep : bool, default True
        Whether folders in the folder are looked into.
    """
    yield from _walk(os.fspath(root), under, deep, ())


def _walk(root: str, under: str, deep: bool, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, int]]:
    folder = os.path.join(root, under)
    state = os.stat(folder)
    here = (state.st_dev, state.st_ino)
    if here in above:  # a link to a folder that contains it
        return
    with os.scandir(folder) as entries:
        inside = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in inside:
        path = f"{under}/{entry.name}" if under else entry.name
        if _is_folder(entry):
            if deep:
                yield from _walk(root, path, deep, (*above, here))
        elif entry.name.lower().endswith(SUFFIXES):
            found = _state(entry)
            if found is None or stat.S_ISREG(found.st_mode):
                yield path, -1 if found is None else found.st_size


def _is_folder(entry: os.DirEntry[str]) -> bool:
    state = _state(entry) if entry.is_symlink() else None
    return entry.is_dir(follow_symlinks=False) or (state is not None and stat.S_ISDIR(state.st_mode))


def _state(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What the system says about a file, or None of a link to nothing, to itself, or into what is closed to us."""
    try:
        return entry.stat()
    except OSError:
        return None
