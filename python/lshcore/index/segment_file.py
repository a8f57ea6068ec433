"""A segment on disk: one safetensors file that is written once, checksummed in blocks, and mapped.

The arrays lie largest entries first, so that each is aligned; the header is padded to 64 bytes.
"""

import hashlib
import json
import math
import mmap
import os
import re
import reprlib
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lshcore import _core
from lshcore._files import open_regular, remove, write_parts

BLOCK_BYTES = 1 << 20
NAME = re.compile(r"segment-[0-9a-f]{16}\.safetensors", re.ASCII)
TEMPORARY = re.compile(r"\.segment\.\d+", re.ASCII)

# A header names three arrays a table, in some 300 bytes.
_MAX_HEADER_BYTES = 1 << 22
_ALIGNMENT = 64
_DTYPES = {"U64": "<u8", "I64": "<i8", "U32": "<u4", "F32": "<f4", "F16": "<f2", "U16": "<u2", "U8": "|u1"}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}

_DAMAGED = "it is damaged: restore it from a copy"


@dataclass(frozen=True)
class SegmentFile:
    """What a manifest says of a segment.

    Parameters
    ----------
    name : str
        Of the file, by its content.
    n_bytes : int
    n_rows : int
    first_id : int
        Of the rows, where their ids follow one another; else -1.
    """

    name: str
    n_bytes: int
    n_rows: int
    first_id: int


def write_segment(folder: Path, segment: _core.Segment, n_jobs: int) -> tuple[SegmentFile, NDArray[np.uint32]]:
    """Write a segment, and return what the manifest keeps of it, with the checksum of every block.

    Raises
    ------
    ValueError
        If it was opened lazily, and is damaged: that must not get new checksums.
    OSError
        If it cannot be written; nothing is left behind.
    """
    segment.verify(n_jobs)
    arrays = dict(sorted(segment.arrays().items(), key=lambda item: (-item[1].itemsize, item[0])))
    header = _header(arrays)
    if len(header) > _MAX_HEADER_BYTES:
        raise ValueError(f"an index with so many tables cannot be saved: they take {len(header):,} bytes of header")
    n_bytes = len(header) + sum(array.nbytes for array in arrays.values())
    temporary = folder / f".segment.{os.getpid()}"
    try:
        write_parts(temporary, _parts(header, arrays))
        content = _content(temporary, n_bytes, mapped=True)
        crcs = _core.block_crcs(content, BLOCK_BYTES, n_jobs)
        # One checksum alone is no name: two small segments may have the same.
        digest = hashlib.sha256(header + crcs.tobytes())
        digest.update(content[: 8 * BLOCK_BYTES].data)
        name = f"segment-{digest.hexdigest()[:16]}.safetensors"
        os.replace(temporary, folder / name)
    finally:
        remove(temporary)
    return SegmentFile(name, n_bytes, segment.n_rows, segment.first_id), crcs


def is_there(folder: Path, file: SegmentFile) -> bool:
    """Whether a segment's file, written before, still is what it was, as far as its size tells."""
    try:
        status = os.lstat(folder / file.name)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == file.n_bytes


def _header(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    said: dict[str, Any] = {}
    at = 0
    for name, array in arrays.items():
        said[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(said, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _parts(header: bytes, arrays: Mapping[str, NDArray[Any]]) -> Iterator[Any]:
    yield header
    for array in arrays.values():
        yield np.ascontiguousarray(array).data.cast("B") if array.size else b""


def open_segment(
    folder: Path, file: SegmentFile, crcs: NDArray[np.uint32], core: _core.Index, mapped: bool
) -> _core.Segment:
    """A segment over the mapped file, or over its content in memory.

    Only the header is read, and verified; the rest is when it is first used.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If it is damaged.
    """
    path = folder / file.name
    content = _content(path, file.n_bytes, mapped)
    blocks = _core.Blocks(content, crcs, BLOCK_BYTES, str(path))
    return _core.Segment.from_arrays(core, read_header(path, content, crcs), file.n_rows, file.first_id, blocks)


def _content(path: Path, n_bytes: int, mapped: bool) -> NDArray[np.uint8]:
    try:
        handle = open_regular(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} must be there, as the index names it, got no such file") from None
    with open(handle, "rb") as file:
        size = os.fstat(handle).st_size
        if size != n_bytes or size == 0:
            raise ValueError(f"{path} must have {n_bytes:,} bytes, got {size:,}; {_DAMAGED}")
        if mapped:
            return np.frombuffer(mmap.mmap(handle, n_bytes, access=mmap.ACCESS_READ), np.uint8)
        content = np.frombuffer(file.read(n_bytes), np.uint8)
    if len(content) != n_bytes:
        raise ValueError(f"{path} must have {n_bytes:,} bytes, got {len(content):,}; {_DAMAGED}")
    return content


def read_header(path: Path, content: NDArray[np.uint8], crcs: NDArray[np.uint32]) -> dict[str, NDArray[Any]]:
    """The arrays of a segment's file, by name, as views of its content; the header's blocks are verified first."""
    if len(crcs) != -(-len(content) // BLOCK_BYTES):
        raise ValueError(f"{path} must have a checksum a block, got {len(crcs)} for {len(content):,} bytes; {_DAMAGED}")
    if len(content) < 8:
        raise ValueError(f"{path} must hold a header, got {len(content)} bytes; {_DAMAGED}")
    length = int.from_bytes(content[:8].tobytes(), "little")
    if length > min(_MAX_HEADER_BYTES, len(content) - 8):
        raise ValueError(f"{path} must have a header within it, got one of {length:,} bytes; {_DAMAGED}")
    for block in range((8 + length - 1) // BLOCK_BYTES + 1):
        if _core.crc32c(content[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]) != crcs[block]:
            raise ValueError(
                f"{path} must have the checksums that the index gives, got others in its header; {_DAMAGED}"
            )
    body = content[8 + length :]
    try:
        said = json.loads(content[8 : 8 + length].tobytes())
        arrays = {}
        end = 0
        for name, entry in said.items():
            dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"]
            start, stop = entry["data_offsets"]
            # At most two axes: the product of thousands of them would take a minute.
            sizes = [*shape[:2], start, stop] if type(shape) is list and len(shape) <= 2 else [None]
            if not all(type(size) is int and 0 <= size <= len(body) for size in sizes):
                raise ValueError(f"{reprlib.repr(name)} has no size")
            if start != end or stop - start != math.prod(shape) * dtype.itemsize or stop > len(body):
                raise ValueError(f"{reprlib.repr(name)} does not fit where it is said to be")
            arrays[name] = np.frombuffer(body[start:stop].data, dtype).reshape(shape)
            end = stop
        if end != len(body):
            raise ValueError(f"{len(body) - end} bytes belong to no array")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(
            f"{path} must have a header that lshcore wrote, got {reprlib.repr(error)}; {_DAMAGED}"
        ) from error
    return arrays
