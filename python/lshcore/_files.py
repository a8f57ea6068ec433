"""Files that appear whole or not at all."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all, in place of any old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_parts(temporary, [content])
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_parts(path: Path, parts: Iterable[Any]) -> None:
    """Write parts, bytes or views of memory, one after the other into a file that no power cut loses any more."""
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


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
