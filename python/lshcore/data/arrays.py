"""Features of one's own: .npy, .npz, .mat and Parquet files with labels, checked on the way in.

| file       | features                                       | labels                         |
|------------|------------------------------------------------|--------------------------------|
| .npy       | the array                                      | another .npy file              |
| .npz       | `features`, `X` or `x`                         | `labels`, `label` or `y`       |
| .npz split | `train_features` and `query_features`          | `train_labels`, `query_labels` |
| .mat       | `features`, `X` or `x`                         | `labels`, `label`, `y`, or `X_class` |
| .mat split | `traindata` and `testdata`                     | `traingnd`, `testgnd`          |
| .parquet   | list column `features`, `feature`, `embedding` | column `labels`, `label`, `y`  |
| a folder   | `features.npy`                                 | `labels.npy`                   |

A folder can also hold `query.npy`, which says which items query, as bool (n,) or as row numbers: the others are then
the train part. What `lshcore extract` made is such a folder. What an .npy file holds stays on disk until it is used.
Nothing pickled is read.
"""

import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .checks import FEATURE_COLUMNS, FEATURES, LABELS, Names, Parts, as_features, as_labels, read_parts
from .columns import opened, read_column
from .dataset import Dataset, DatasetNotFound, Matrix, OfficialSplit, Source, sha256_of
from .mat import load_mat

if TYPE_CHECKING:
    from ..features.store import FeatureStore

_NPZ = Names(FEATURES, LABELS, ("train_features", "train_labels", "query_features", "query_labels"))
_PARQUET = Names(FEATURE_COLUMNS, LABELS)
FOLDER_FILES = ("features.npy", "labels.npy", "query.npy")


def load_file(name: str, labels: str | os.PathLike[str] | None = None) -> Dataset:
    """Read features and labels from a file; the table at the top of the module says which names it may use.

    Parameters
    ----------
    name : str
        Path ending in .npy, .npz, .mat, .parquet or .pq, or of a folder of .npy files.
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
    store = find_store(path)
    if labels is not None and not Path(labels).is_file():
        raise DatasetNotFound(f"dataset file {labels} was not found")
    raw_features, raw_labels, split, files = _read(path, labels is None)
    if labels is not None:
        raw_labels, files = _read_npy(Path(labels)), [*files, Path(labels)]
    if raw_labels is None:
        raise ValueError(f"{path} holds features only: give their labels with --labels FILE.npy")
    checked_labels, class_names = as_labels(raw_labels, name if labels is None else str(labels))
    if store is not None:
        return Dataset(
            name=store.configuration["dataset"],
            description=f"features that lshcore extracted, {path.name}",
            features=store.features,
            labels=checked_labels,
            source=store.source,
            protocol="holdout" if split is None else "official",
            official_split=split,
            class_names=class_names if labels is not None else store.class_names,
            extraction=store.extraction,
            features_name=store.extraction.backbone,
        )
    return Dataset(
        name=path.resolve().name if path.is_dir() else path.stem,
        description=f"features of one's own, {path.name}",
        features=as_features(raw_features, str(path)),
        labels=checked_labels,
        source=Source(str(path), {each.name: sha256_of(each) for each in files}),
        protocol="holdout" if split is None else "official",
        official_split=split,
        class_names=class_names,
        features_name=path.name,
    )


def load_features(name: str) -> tuple[Matrix, Source]:
    """Read features alone from a file that `load_file` takes; a train part comes before the queries.

    Raises
    ------
    DatasetNotFound, ValueError, ImportError
        As `load_file`.
    """
    path = Path(name)
    store = find_store(path)
    if store is not None:
        return store.features, store.source
    values, _, _, files = _read(path, False)
    return as_features(values, str(path)), Source(str(path), {each.name: sha256_of(each) for each in files})


def find_store(path: str | os.PathLike[str]) -> "FeatureStore | None":
    """What `lshcore extract` made, where `path` is the folder of that.

    Raises
    ------
    ValueError
        If it is unfinished or damaged.
    """
    from ..features.store import FeatureStore

    return FeatureStore.find(path)


def _read(path: Path, labels: bool) -> tuple[NDArray[Any], NDArray[Any] | None, OfficialSplit | None, list[Path]]:
    """Features, labels where the file has them and they are asked for, the split, and the files that were read."""
    if path.is_dir():
        return _load_folder(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"dataset file must end in {', '.join(SUFFIXES)}, got {path}")
    if not path.is_file():
        raise DatasetNotFound(f"dataset file {path} was not found")
    return *reader(path, labels), [path]


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        # Mapped, so that the size that the header states is checked against the file before anything is allocated.
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} must be a whole .npy file, got one that cannot be read: {error}") from error
    return array


def _load_npy(path: Path, labels: bool) -> Parts:
    return _read_npy(path), None, None


def _load_folder(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None, OfficialSplit | None, list[Path]]:
    features, labels, query = (path / name for name in FOLDER_FILES)
    if not features.is_file():
        raise DatasetNotFound(
            f"dataset folder {path} must hold {features.name} and {labels.name}, got no {features.name}; "
            f"a folder of images is given as folder:{path}"
        )
    values = _read_npy(features)
    its_labels = _read_npy(labels) if labels.is_file() else None
    split = _read_query(query, len(values)) if query.is_file() else None
    return values, its_labels, split, [each for each in (features, labels, query) if each.is_file()]


def _read_query(path: Path, n: int) -> OfficialSplit:
    """Train and query rows, from bool (n,) or from the numbers of the query rows."""
    values = _read_npy(path)
    if values.shape == (n,) and values.dtype == np.bool_:
        mask = np.array(values)
    elif values.ndim == 1 and values.dtype.kind in "iu" and ((values >= 0) & (values < n)).all():
        mask = np.zeros(n, np.bool_)
        mask[values] = True
    else:
        raise ValueError(
            f"{path} must be bool ({n},), or row numbers from 0 to {n - 1}, "
            f"got dtype {values.dtype} and shape {values.shape}"
        )
    return np.flatnonzero(~mask).astype(np.int64), np.flatnonzero(mask).astype(np.int64)


def _load_npz(path: Path, labels: bool) -> Parts:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} must be a whole .npz file, got one that is no zip archive or is cut short")
    with np.load(path, allow_pickle=False) as archive:
        return read_parts(path, _NPZ, list(archive.files), lambda name: _member(path, archive, name), labels)


def _member(path: Path, archive: Any, name: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = archive[name]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: array {name!r} must be plain numbers, but cannot be read: {error}") from error
    if array.ndim == 0:
        raise ValueError(f"{path}: array {name!r} must have one entry an item, got a single value")
    return array


def _load_parquet(path: Path, labels: bool) -> Parts:
    with opened(path) as file:

        def read(name: str) -> NDArray[Any]:
            return read_column(path, file, name)

        return read_parts(path, _PARQUET, file.schema_arrow.names, read, labels)


_READERS: dict[str, Callable[[Path, bool], Parts]] = {
    ".npy": _load_npy,
    ".npz": _load_npz,
    ".mat": load_mat,
    ".parquet": _load_parquet,
    ".pq": _load_parquet,
}
SUFFIXES = tuple(_READERS)
