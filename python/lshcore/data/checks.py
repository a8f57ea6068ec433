"""What features and labels of a file must be, and the names under which they are looked for."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Labels, Matrix, OfficialSplit

FEATURES = ("features", "X", "x")
FEATURE_COLUMNS = ("features", "feature", "embedding")
LABELS = ("labels", "label", "y")

KEPT_DTYPES = (np.dtype(np.uint8), np.dtype(np.float16), np.dtype(np.float32))
BLOCK_VALUES = 1 << 22

Parts = tuple[NDArray[Any], NDArray[Any] | None, OfficialSplit | None]


@dataclass(frozen=True)
class Names:
    """What the arrays of a kind of file may be called.

    Parameters
    ----------
    features, labels : tuple of str
        Of the whole.
    split : tuple of str
        Features and labels of the train part, then of the queries; empty where such files have no parts.
    """

    features: tuple[str, ...]
    labels: tuple[str, ...]
    split: tuple[str, ...] = ()


def as_features(values: NDArray[Any], where: str) -> Matrix:
    """Items as rows: uint8, float16 and float32 as they are, where they are; other real numbers as float32.

    More than two dimensions are flattened. A memory-mapped file stays one: it is looked through in blocks.

    Raises
    ------
    ValueError
        If there are fewer than two dimensions, the values are no real numbers, or one of them is NaN, infinite,
        or too large for float32.
    """
    if values.ndim < 2:
        raise ValueError(f"{where}: features must be (n, d), got shape {values.shape}")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{where}: features must be real numbers, got dtype {values.dtype}")
    rows: Any = values.reshape(len(values), int(np.prod(values.shape[1:])))
    if rows.dtype not in KEPT_DTYPES:
        with np.errstate(over="ignore"):
            rows = rows.astype(np.float32)
    if rows.dtype != np.uint8:
        _check_finite(rows, where)
    kept: Matrix = rows
    return kept


def _check_finite(rows: NDArray[Any], where: str) -> None:
    step = max(1, BLOCK_VALUES // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        finite = np.isfinite(block)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise ValueError(
                f"{where}: features must be finite, got {block[row, column]} at row {start + row}, column {column}"
            )


def as_labels(values: NDArray[Any], where: str) -> tuple[Labels, tuple[str, ...] | None]:
    """Labels as int64 (n,) or bool (n, C), C over 1, and the names of the classes where the labels were names.

    Raises
    ------
    ValueError
        If they are neither integers, names, nor a matrix of zeros and ones.
    """
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values.flat):
        values = values.astype(str)
    if values.ndim == 2 and values.shape[1] == 1:  # a column
        values = values[:, 0]
    if values.ndim == 1 and values.dtype.kind == "U":
        names, labels = np.unique(values, return_inverse=True)
        return labels.astype(np.int64), tuple(str(name) for name in names)
    if values.ndim == 1 and values.dtype.kind in "iub":
        return values.astype(np.int64), None
    if values.ndim == 2 and values.dtype.kind in "iub" and np.isin(values, (0, 1)).all():
        return values.astype(np.bool_), None
    raise ValueError(
        f"{where}: labels must be integers or names, one an item, or a matrix (n, C) of zeros and ones, "
        f"got dtype {values.dtype} and shape {values.shape}"
    )


def pick(path: Path, what: str, names: Iterable[str], present: Iterable[str]) -> str:
    """The one of `names` that is present.

    Raises
    ------
    ValueError
        If there is none, or more than one.
    """
    found = [name for name in names if name in set(present)]
    if len(found) != 1:
        raise ValueError(
            f"{path} must hold {what} under one of the names {', '.join(names)}, got {', '.join(present) or 'nothing'}"
        )
    return found[0]


def read_parts(
    path: Path, names: Names, present: Sequence[str], read: Callable[[str], NDArray[Any]], labels: bool
) -> Parts:
    """Features, labels where they are wanted, and the split where the file has parts, by what its arrays are called.

    Parameters
    ----------
    path : Path
    names : Names
    present : sequence of str
        The arrays of the file.
    read : function
        ``read(name)`` returns one of them.
    labels : bool
        Whether labels are wanted; if not, they need not be there.

    Raises
    ------
    ValueError
        If an array is not there, or arrays do not go together.
    """
    if not any(name in present for name in names.split):
        features = read(pick(path, "features", names.features, present))
        return features, read(pick(path, "labels", names.labels, present)) if labels else None, None
    wanted = names.split if labels else names.split[::2]
    missing = [name for name in wanted if name not in present]
    if missing:
        raise ValueError(f"{path} must hold all of {', '.join(wanted)}, got no {', '.join(missing)}")
    arrays = [read(name) for name in wanted]
    train, query = arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]
    for part, what in ((train, names.split[1]), (query, names.split[3])):
        if len(part[0]) != len(part[-1]):
            raise ValueError(f"{path}: {what} must have {len(part[0])} entries, got {len(part[-1])}")
    if any(a.shape[1:] != b.shape[1:] for a, b in zip(train, query, strict=True)):
        raise ValueError(f"{path}: train and query arrays must have the same shape but for their first dimension")
    joined = [np.concatenate(pair) for pair in zip(train, query, strict=True)]
    return joined[0], joined[1] if labels else None, split_at(train[0], query[0])


def split_at(train: NDArray[Any], query: NDArray[Any]) -> OfficialSplit:
    """The split of a train part that the queries follow."""
    n_train, n = len(train), len(train) + len(query)
    return np.arange(n_train, dtype=np.int64), np.arange(n_train, n, dtype=np.int64)
