"""Writing files that survive a crash: every write, sync and rename of a feature store goes through here."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ANOTHER = "choose another folder (lshcore extract --out, or LSHCORE_CACHE_DIR)"
_ADVICE = {
    errno.ENOSPC: f"the disk is full; make room and run the same command again to go on, or {_ANOTHER}",
    errno.EDQUOT: f"the quota is used up; make room and run the same command again to go on, or {_ANOTHER}",
    errno.EFBIG: f"files may not grow that large here (ulimit -f, or the file system); {_ANOTHER}",
    errno.EROFS: f"the file system is read-only; {_ANOTHER}",
    errno.EACCES: f"features cannot be written into this folder; mend its permissions, or {_ANOTHER}",
    errno.EPERM: f"features cannot be written into this folder; mend its permissions, or {_ANOTHER}",
    errno.EEXIST: f"there is a file where a folder is needed; {_ANOTHER}",
    errno.ENOTDIR: f"there is a file where a folder is needed; {_ANOTHER}",
}


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Give an OSError inside one sentence that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        raise OSError(error.errno, _ADVICE[error.errno], str(folder)) from error


def write_at(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of `content` at an offset of an open file."""
    view = memoryview(content)
    while len(view):
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def sync(descriptor: int) -> None:
    """Return when the content of an open file is on the disk."""
    os.fsync(descriptor)


def allocate(descriptor: int, size: int) -> None:
    """Make an open file `size` bytes long, its blocks taken, so that a full disk shows now and not after hours."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    os.truncate(descriptor, size)


def replace(path: Path, content: bytes) -> None:
    """Put a whole file in place of `path`: after a crash there is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        write_at(descriptor, content, 0)
        sync(descriptor)
    finally:
        os.close(descriptor)
    rename(temporary, path)


def rename(old: Path, new: Path) -> None:
    """Give a file another name in its folder, for good."""
    os.replace(old, new)
    sync_folder(new.parent)


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
