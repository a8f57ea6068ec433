"""IDX files, the format of MNIST and of the data sets that stand in for it.

A file is two zero bytes, a type (8: unsigned byte), the number of dimensions, each size as a big-endian 32-bit number,
then the values. Every size is checked against the length of the file before anything is allocated.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from .dataset import Source, sha256_of
from .images import ArrayImages, ImageSet

if TYPE_CHECKING:
    from .entries import Entry

TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
QUERY = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FILES = TRAIN + QUERY

_UNSIGNED_BYTE = 8
_DEFLATE_LIMIT = 1032  # deflate cannot shrink data further than this, so a longer claim is a lie


def read_idx(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped where its name ends in ``.gz``.

    Parameters
    ----------
    path : path

    Returns
    -------
    array of uint8, of the shape the file states

    Raises
    ------
    ValueError
        If it is no such file, or shorter or longer than it states.
    FileNotFoundError
        If it is not there.
    """
    path = Path(path)
    on_disk = path.stat().st_size
    compressed = path.suffix == ".gz"
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as file:
            return _read(cast(IO[bytes], file), path, on_disk * _DEFLATE_LIMIT if compressed else on_disk)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"read_idx: {path} must be a whole gzip file, got a broken one ({error})") from error


def _read(file: IO[bytes], path: Path, longest: int) -> NDArray[np.uint8]:
    magic = file.read(4)
    if len(magic) != 4 or magic[:2] != b"\0\0" or magic[2] != _UNSIGNED_BYTE or not 1 <= magic[3] <= 4:
        raise ValueError(
            f"read_idx: {path} must begin with the IDX magic of unsigned bytes (00 00 08 and 1 to 4 dimensions), "
            f"got {magic.hex(' ') or 'an empty file'}"
        )
    header = file.read(4 * magic[3])
    if len(header) != 4 * magic[3]:
        raise ValueError(f"read_idx: {path} must state {magic[3]} sizes, got a file that ends inside its header")
    shape = struct.unpack(f">{magic[3]}I", header)
    expected = math.prod(shape)
    stated = " x ".join(str(size) for size in shape)
    if expected > longest:
        raise ValueError(f"read_idx: {path} states {stated} values, got a file too short to hold them")
    values = file.read(expected)
    if len(values) != expected or file.read(1):
        got = f"{len(values)} values" if len(values) != expected else "bytes after the last of them"
        raise ValueError(f"read_idx: {path} states {stated} values, got {got}")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def _file(folder: Path, name: str) -> Path | None:
    """The raw file, else the gzipped one."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _part(folder: Path, names: tuple[str, str]) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[Path]]:
    paths = [path for name in names if (path := _file(folder, name))]
    images, labels = (read_idx(path) for path in paths)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"{paths[0]} and {paths[1]} must hold n images of two dimensions and n labels, "
            f"got shapes {images.shape} and {labels.shape}"
        )
    return images, labels.astype(np.int64), paths


def load(entry: "Entry", folder: Path) -> ImageSet:
    """Load a data set of four IDX files: the train part, then the queries (``t10k``)."""
    train, train_labels, train_paths = _part(folder, TRAIN)
    query, query_labels, query_paths = _part(folder, QUERY)
    if train.shape[1:] != query.shape[1:]:
        raise ValueError(
            f"{folder}: train and t10k images must be of the same size, got {train.shape[1:]} and {query.shape[1:]}"
        )
    n_train, n = len(train), len(train) + len(query)
    return ImageSet(
        name=entry.name,
        description=entry.title,
        images=ArrayImages(np.concatenate([train, query])),
        labels=np.concatenate([train_labels, query_labels]),
        source=Source(str(folder), {path.name: sha256_of(path) for path in train_paths + query_paths}),
        protocol=entry.protocol,
        official_split=(np.arange(n_train, dtype=np.int64), np.arange(n_train, n, dtype=np.int64)),
        class_names=entry.class_names,
        backbone=entry.backbone,
    )
