"""MATLAB files of features and labels, such as the GIST descriptors of CIFAR-10 that hashing papers share."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import FEATURES, LABELS, Names, Parts, read_parts

NAMES = Names(FEATURES, (*LABELS, "X_class"), ("traindata", "traingnd", "testdata", "testgnd"))

_LABEL_NAMES = (*NAMES.labels, *NAMES.split[1::2])


def load_mat(path: Path, labels: bool) -> Parts:
    """Read a .mat file of a version before 7.3.

    Parameters
    ----------
    path : Path
    labels : bool
        Whether labels are wanted; if not, they need not be there.

    Raises
    ------
    ValueError
        If it cannot be read, or does not hold features and labels under the names it may use.
    """
    from scipy.io import loadmat, whosmat

    def read(name: str) -> NDArray[Any]:
        values = _read(path, loadmat, variable_names=[name])[name]
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
            raise ValueError(f"{path}: array {name!r} must be plain numbers, got a sparse, text or other array")
        return _labels(values) if name in _LABEL_NAMES else values

    return read_parts(path, NAMES, [name for name, _, _ in _read(path, whosmat)], read, labels)


def _read(path: Path, reader: Any, **options: Any) -> Any:
    try:
        return reader(str(path), appendmat=False, **options)
    except NotImplementedError as error:
        raise ValueError(
            f"{path} must be a .mat file of a version before 7.3, got one that is HDF5: "
            f"save it in MATLAB with save(FILE, '-v7')"
        ) from error
    except Exception as error:  # SciPy has no one error for files that are broken
        raise ValueError(f"{path} must be a whole .mat file, got one that cannot be read: {error}") from error


def _labels(values: NDArray[Any]) -> NDArray[Any]:
    """A row or a column of numbers as (n,), and whole numbers as integers: MATLAB has every number as a double."""
    if 1 in values.shape:
        values = values.reshape(-1)
    whole = values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.rint(values)).all()
    return values.astype(np.int64) if whole else values
