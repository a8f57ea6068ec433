"""Files that appear whole or not at all; every operation on them is a function of `os`, so that tests can fail it."""

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Linux writes no more at once.
_MOST = 1 << 30


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all, in place of any old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_parts(temporary, [content])
        os.replace(temporary, path)
    finally:
        remove(temporary)


def write_parts(path: Path, parts: Iterable[Any]) -> None:
    """Write parts, bytes or views of memory, one after the other into a file that no power cut loses any more.

    The file is a new one: what stood there before, a link or a pipe among it, is removed and never written through.
    """
    handle = _new(path)
    try:
        for part in parts:
            left = memoryview(part).cast("B")
            while left:
                left = left[os.write(handle, left[:_MOST]) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _new(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileExistsError:  # of one who was killed, and had our number
        os.unlink(path)
        return os.open(path, flags, 0o666)


def remove(path: Path) -> None:
    """Remove a file that may be there; if it cannot be, leave it."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def open_regular(path: Path) -> int:
    """A descriptor of a regular file to read; nothing else is opened or waited for.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is something else: a symbolic link, a directory, a pipe.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise FileNotFoundError(str(error)) from error
    except FileNotFoundError:
        raise
    except OSError as error:
        found = _kind(path)
        if found is not None:
            raise ValueError(f"{path} must be a file, got {found}; put the file itself there") from error
        raise
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        found = "a directory" if stat.S_ISDIR(status.st_mode) else "something else"
        raise ValueError(f"{path} must be a file, got {found}; put the file itself there")
    return handle


def _kind(path: Path) -> str | None:
    """What stands there instead of a regular file; None where that is one, or cannot be seen."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return None
    if stat.S_ISREG(mode):
        return None
    return "a symbolic link" if stat.S_ISLNK(mode) else "something else"


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, so that a power cut cannot lose them."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Let no power cut undo what was made, replaced or removed in a folder until now."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
