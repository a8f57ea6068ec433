"""Features of one's own: .npy, .npz and Parquet files with labels, checked on the way in.

| file       | features                                   | labels                          |
|------------|--------------------------------------------|---------------------------------|
| .npy       | the array                                  | another .npy file               |
| .npz       | `features`, `X` or `x`                     | `labels`, `label` or `y`        |
| .npz split | `train_features` and `query_features`      | `train_labels`, `query_labels`  |
| .parquet   | list column `features`, `feature`, `embedding` | column `labels`, `label`, `y` |

Nothing pickled is read.
"""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, DatasetNotFound, Labels, OfficialSplit, Source, sha256_of

FEATURE_NAMES = ("features", "X", "x")
FEATURE_COLUMNS = ("features", "feature", "embedding")
LABEL_NAMES = ("labels", "label", "y")
SPLIT_NAMES = ("train_features", "train_labels", "query_features", "query_labels")

_Parts = tuple[NDArray[Any], NDArray[Any], OfficialSplit | None]


def as_features(values: NDArray[Any], where: str) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Items as rows: uint8 as it is, other real numbers as float32, more than two dimensions flattened.

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
    rows = values.reshape(len(values), -1)
    if rows.dtype == np.uint8:
        return rows
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32, copy=False)
    finite = np.isfinite(rows)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(f"{where}: features must be finite, got {rows[row, column]} at row {row}, column {column}")
    return rows


def as_labels(values: NDArray[Any], where: str) -> tuple[Labels, tuple[str, ...] | None]:
    """Labels as int64 (n,) or bool (n, C), and the names of the classes where the labels were names.

    Raises
    ------
    ValueError
        If they are neither integers, names, nor a matrix of zeros and ones.
    """
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values.flat):
        values = values.astype(str)
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


def load_file(name: str, labels: str | os.PathLike[str] | None = None) -> Dataset:
    """Read features and labels from a file; the table at the top of the module says which names it may use.

    Parameters
    ----------
    name : str
        Path ending in .npy, .npz, .parquet or .pq.
    labels : path, optional
        A .npy file with the labels; needed for .npy, and in the place of those that another file holds.

    Raises
    ------
    DatasetNotFound
        If a file is not there.
    ValueError
        If it does not hold what it should.
    ImportError
        For Parquet without pyarrow.
    """
    path = Path(name)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"dataset file must end in {', '.join(SUFFIXES)}, got {path}")
    paths = [path] if labels is None else [path, Path(labels)]
    for each in paths:
        if not each.is_file():
            raise DatasetNotFound(f"dataset file {each} was not found")
    raw_features, raw_labels, split = reader(path, None if labels is None else Path(labels))
    where = str(path)
    checked_labels, class_names = as_labels(raw_labels, where if labels is None else str(labels))
    return Dataset(
        name=path.stem,
        description=f"features of one's own, {path.name}",
        features=as_features(raw_features, where),
        labels=checked_labels,
        source=Source(where, {each.name: sha256_of(each) for each in paths}),
        protocol="holdout" if split is None else "official",
        official_split=split,
        class_names=class_names,
    )


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        # Mapped, so that the size that the header states is checked against the file before anything is allocated.
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} must be a whole .npy file, got one that cannot be read: {error}") from error
    return array


def _load_npy(path: Path, labels: Path | None) -> _Parts:
    if labels is None:
        raise ValueError(f"{path} holds features only: give their labels with --labels FILE.npy")
    return _read_npy(path), _read_npy(labels), None


def _pick(path: Path, what: str, names: Iterable[str], present: Iterable[str]) -> str:
    found = [name for name in names if name in set(present)]
    if len(found) != 1:
        raise ValueError(
            f"{path} must hold {what} under one of the names {', '.join(names)}, got {', '.join(present) or 'nothing'}"
        )
    return found[0]


def _load_npz(path: Path, labels: Path | None) -> _Parts:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} must be a whole .npz file, got one that is no zip archive or is cut short")
    with np.load(path, allow_pickle=False) as archive:
        return _from_npz(path, archive, labels)


def _member(path: Path, archive: Any, name: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = archive[name]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: array {name!r} must be plain numbers, but cannot be read: {error}") from error
    if array.ndim == 0:
        raise ValueError(f"{path}: array {name!r} must have one entry an item, got a single value")
    return array


def _from_npz(path: Path, archive: Any, labels: Path | None) -> _Parts:
    present = list(archive.files)
    if any(name in present for name in SPLIT_NAMES) and labels is None:
        missing = [name for name in SPLIT_NAMES if name not in present]
        if missing:
            raise ValueError(f"{path} must hold all of {', '.join(SPLIT_NAMES)}, got no {', '.join(missing)}")
        train, train_labels, query, query_labels = (_member(path, archive, name) for name in SPLIT_NAMES)
        for part, its_labels, what in ((train, train_labels, "train"), (query, query_labels, "query")):
            if len(part) != len(its_labels):
                raise ValueError(f"{path}: {what}_labels must have {len(part)} entries, got {len(its_labels)}")
        if train.shape[1:] != query.shape[1:] or train_labels.shape[1:] != query_labels.shape[1:]:
            raise ValueError(f"{path}: train and query arrays must have the same shape but for their first dimension")
        n_train, n = len(train), len(train) + len(query)
        split = (np.arange(n_train, dtype=np.int64), np.arange(n_train, n, dtype=np.int64))
        return np.concatenate([train, query]), np.concatenate([train_labels, query_labels]), split
    features = _member(path, archive, _pick(path, "features", FEATURE_NAMES, present))
    if labels is not None:
        return features, _read_npy(labels), None
    return features, _member(path, archive, _pick(path, "labels", LABEL_NAMES, present)), None


def _load_parquet(path: Path, labels: Path | None) -> _Parts:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError(f"reading {path} needs pyarrow, which is not installed: pip install pyarrow") from error
    try:
        file = parquet.ParquetFile(path)
        present = file.schema_arrow.names
        feature_column = _pick(path, "features", FEATURE_COLUMNS, present)
        if labels is not None:
            table = file.read(columns=[feature_column])
            return _column(path, table, feature_column), _read_npy(labels), None
        label_column = _pick(path, "labels", LABEL_NAMES, present)
        table = file.read(columns=[feature_column, label_column])
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path} must be a whole Parquet file, got one that cannot be read: {error}") from error
    return _column(path, table, feature_column), _column(path, table, label_column), None


def _column(path: Path, table: Any, name: str) -> NDArray[Any]:
    """A column as an array: (n,) for plain values, (n, d) for lists of d values each."""
    column = table.column(name)
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


_READERS: dict[str, Callable[[Path, Path | None], _Parts]] = {
    ".npy": _load_npy,
    ".npz": _load_npz,
    ".parquet": _load_parquet,
    ".pq": _load_parquet,
}
SUFFIXES = tuple(_READERS)
