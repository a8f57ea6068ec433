"""Columns of Parquet files as arrays. pyarrow is imported only here, where a file is opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A ``pyarrow.parquet.ParquetFile``, closed afterwards.

    Raises
    ------
    ImportError
        Without pyarrow.
    ValueError
        If the file cannot be read, now or in the block.
    """
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError(f"reading {path} needs pyarrow, which is not installed: pip install pyarrow") from error
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path} must be a whole Parquet file, got one that cannot be read: {error}") from error


def read_column(path: Path, file: Any, name: str) -> NDArray[Any]:
    """A column of an opened file: (n,) for plain values, (n, d) for lists of d values each.

    Raises
    ------
    ValueError
        If a value is missing, or lists have several lengths.
    """
    column = file.read(columns=[name]).column(name)
    if column.null_count:
        raise ValueError(f"{path}: column {name!r} must have a value in every row, got {column.null_count} nulls")
    parts = []
    for chunk in column.chunks:
        if hasattr(chunk, "flatten") and hasattr(chunk, "values"):  # list, large list or fixed-size list
            parts.append(_matrix(path, name, chunk))
        else:
            parts.append(chunk.to_numpy(zero_copy_only=False))
    if len({part.shape[1:] for part in parts}) > 1:
        raise ValueError(f"{path}: column {name!r} must hold lists of one length, got several")
    return np.concatenate(parts) if parts else np.empty((0,))


def _matrix(path: Path, name: str, chunk: Any) -> NDArray[Any]:
    lengths = chunk.value_lengths().to_numpy(zero_copy_only=False)
    if len(set(lengths.tolist())) > 1:
        raise ValueError(
            f"{path}: column {name!r} must hold lists of one length, "
            f"got lengths from {lengths.min()} to {lengths.max()}"
        )
    flat: NDArray[Any] = chunk.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(chunk), -1)
