"""What is done to features before they are hashed: centre, standardise, PCA, L2, in this order.

Rows are read a block at a time: features far larger than memory are fitted and transformed where they lie on disk.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core, _saving
from ._validation import as_integer, as_matrix, as_numeric, check_fitted, check_half, resolve_jobs

# Entries of a block of rows, 16 MB in float32. What is fitted is summed block by block: another size, other last bits.
_BLOCK_ENTRIES = 1 << 22

# The covariance of this many columns is half a gigabyte, and takes minutes to decompose.
_MAX_PCA_COLUMNS = 8192


class Preprocess(_saving.Saved):
    """Centring, standardisation, PCA and L2 normalisation, each on or off.

    Fit it on the training part alone. What it does to a row does not depend on the other rows of the batch.

    Parameters
    ----------
    centre : bool
        Subtract the mean of each column.
    standardise : bool
        Divide each column by its standard deviation (constant columns by 1).
    pca : int, float or None
        Project on principal components: an int is their number, a float between 0 and 1 the share of the variance that
        they must explain. The projection itself is centred even with ``centre=False``.
    l2 : bool
        Scale each row to length 1; a row of zeros stays.

    Attributes
    ----------
    mean_ : ndarray of float32, (d,), or None
        Column means, with `centre`.
    scale_ : ndarray of float32, (d,), or None
        Column standard deviations, with `standardise`.
    components_ : ndarray of float32, (p, d), or None
        Orthonormal principal axes, with `pca`.
    offset_ : ndarray of float32, (p,), or None
        Added after the projection on `components_`.
    explained_variance_ratio_ : ndarray of float64, (p,), or None
        Share of the variance that each component explains, with `pca`.
    n_features_in_, n_features_out_ : int
        Columns taken and given.
    """

    _stem = "preprocess"
    mean_: NDArray[np.float32] | None
    scale_: NDArray[np.float32] | None
    components_: NDArray[np.float32] | None
    offset_: NDArray[np.float32] | None
    explained_variance_ratio_: NDArray[np.float64] | None
    n_features_out_: int

    def __init__(
        self, centre: bool = True, standardise: bool = False, pca: float | None = None, l2: bool = True
    ) -> None:
        self.centre = centre
        self.standardise = standardise
        self.pca = pca
        self.l2 = l2

    def fit(self, X: ArrayLike, y: object = None, *, rows: ArrayLike | None = None) -> Self:
        """Learn means, scales and components.

        Parameters
        ----------
        X : array_like, (n, d)
            Read in blocks, once to check it and for the means, once more for the scales and for the components each;
            a memory-mapped array stays on disk.
        y : ignored
        rows : array_like of int, (m,), optional
            Which rows to learn from, in any order; all of them by default. The others are never read.

        Raises
        ------
        TypeError, ValueError
            If X is not a finite matrix with at least one row (two with `pca`), `pca` does not fit its shape, or `rows`
            are not rows of it.
        """
        where = "Preprocess.fit"
        x = _Rows(X, rows, where)
        least = 1 if self.pca is None else 2
        if len(x) < least:
            raise ValueError(f"{where}: X must have at least {least} row{'s' * (least > 1)}, got {len(x)}")
        components = None if self.pca is None else _check_components(self.pca, (len(x), x.dim), where)
        mean, constant = _means(x, resolve_jobs(None))
        if components is not None and constant.all():
            raise ValueError(f"{where}: pca needs rows that differ, got {len(x)} equal ones")
        shift = mean.astype(np.float32) if self.centre else None
        scale = _scales(x, mean, constant) if self.standardise else None
        axes = offset = ratio = None
        if components is not None:
            axes, ratio = _principal_axes(x, mean, scale, components)
            offset = -(axes.astype(np.float64) @ _shift_and_scale(mean, shift, scale)).astype(np.float32)
        self.mean_ = shift
        self.scale_ = scale
        self.components_ = axes
        self.offset_ = offset
        self.explained_variance_ratio_ = ratio
        self.n_features_in_ = x.dim
        self.n_features_out_ = x.dim if axes is None else len(axes)
        return self

    def transform(
        self,
        X: ArrayLike,
        n_jobs: int | None = None,
        *,
        rows: ArrayLike | None = None,
        out: NDArray[np.float16] | NDArray[np.float32] | None = None,
    ) -> NDArray[Any]:
        """Apply to X.

        Parameters
        ----------
        X : array_like, (n, d)
            Read in blocks.
        n_jobs : int, optional
            Threads; the result is the same for any number.
        rows : array_like of int, (m,), optional
            Which rows of X, in the order wanted; all of them by default. The others are never read.
        out : ndarray of float16 or float32, (m, n_features_out_), optional
            Where to write, such as a memory-mapped array; it must not overlap X.

        Returns
        -------
        ndarray of float32, (m, n_features_out_), or `out`

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If X is not a finite matrix of `n_features_in_` columns, `rows` are not rows of it, `out` has another shape
            or type, or float16 cannot hold a result.
        """
        where = "Preprocess.transform"
        check_fitted(self, "n_features_in_", where)
        jobs = resolve_jobs(n_jobs)
        x = _Rows(X, rows, where, self.n_features_in_)
        shape = len(x), self.n_features_out_
        out = np.empty(shape, np.float32) if out is None else _check_out(out, shape, where)
        for part in x.parts():
            block = _shift_and_scale(x.read(part, jobs), self.mean_, self.scale_)
            if self.components_ is not None and self.offset_ is not None:
                block = _core.project(block, self.components_, self.offset_, jobs)
            if self.l2:
                block = _core.normalize_rows(block, jobs)
            elif out.dtype == np.float16:
                with x.named(part):
                    check_half(block, where, "the result")
            out[part] = block
        return out

    def fit_transform(self, X: ArrayLike, y: object = None) -> NDArray[np.float32]:
        """``fit(X).transform(X)``."""
        return self.fit(X, y).transform(X)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """What was saved in a directory. Raises what `lshcore.hashers.load` raises."""
        loaded: Self = _saving.load(path, cls._stem)
        return loaded

    def _check_state(self) -> None:
        super()._check_state()
        d, p = self.n_features_in_, self.n_features_out_
        shapes = {"mean_": (d,), "scale_": (d,), "components_": (p, d), "offset_": (p,)}
        for name, shape in shapes.items():
            if getattr(self, name) is not None:
                _saving.check_shape(getattr(self, name), shape, name)
        if (self.components_ is None) != (self.offset_ is None) or (self.components_ is None and p != d):
            raise ValueError(f"components_ and offset_ must turn {d} columns into {p}, got none for one or both")


class _Rows:
    """Chosen rows of a matrix that stays as it came until a block of them is read."""

    def __init__(self, X: ArrayLike, rows: ArrayLike | None, where: str, dim: int | None = None) -> None:
        self.array = as_numeric(X, where, "X")
        # No row is cast for this; an array refused for its shape is handed over whole, for the message.
        good = self.array.ndim == 2 and self.array.shape[1] > 0
        as_matrix(self.array[:0] if good else self.array, where, dim)
        self.chosen = None if rows is None else _check_rows(rows, where, len(self.array))
        self.where = where
        self.dim: int = self.array.shape[1]

    def __len__(self) -> int:
        return len(self.array if self.chosen is None else self.chosen)

    def parts(self) -> Iterator[slice]:
        """Slices of at most a block, of equal size but for the last."""
        size = max(1, _BLOCK_ENTRIES // self.dim)
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))

    def read(self, part: slice, n_jobs: int | None = None) -> NDArray[np.float32]:
        """A block as C-contiguous float32, never to be written to; with `n_jobs`, checked to be finite."""
        found = self.array[part if self.chosen is None else self.chosen[part]]
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes Inf, which the check names
            block: NDArray[np.float32] = np.require(found, np.float32, ["C", "A"])
        if n_jobs is not None:
            with self.named(part):
                _core.check_finite(block, f"{self.where}: X", n_jobs)
        return block

    @contextmanager
    def named(self, part: slice) -> Iterator[None]:
        """Let an error about row i of a block name the row of X that it is."""

        def name(match: re.Match[str]) -> str:
            row = part.start + int(match[1])
            return f"at row {row if self.chosen is None else self.chosen[row]},"

        try:
            yield
        except ValueError as error:
            raise ValueError(re.sub(r"at row (\d+),", name, str(error))) from None


def _check_rows(rows: ArrayLike, where: str, n: int) -> NDArray[np.int64]:
    chosen = as_numeric(rows, where, "rows")
    if chosen.ndim != 1 or (chosen.dtype.kind not in "iu" and chosen.size > 0):
        raise TypeError(f"{where}: rows must be integers (m,), got dtype {chosen.dtype} and shape {chosen.shape}")
    for row in (chosen.min(), chosen.max()) if chosen.size > 0 else ():
        if not 0 <= row < n:
            raise ValueError(f"{where}: rows must be from 0 to {n - 1}, the rows of X, got {row}")
    return chosen.astype(np.int64, copy=False)


def _check_out(out: Any, shape: tuple[int, int], where: str) -> NDArray[Any]:
    if not isinstance(out, np.ndarray) or out.dtype not in (np.float16, np.float32) or not out.flags.writeable:
        came = f"dtype {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        came += ", read-only" if isinstance(out, np.ndarray) and not out.flags.writeable else ""
        raise TypeError(f"{where}: out must be a writeable array of float16 or float32, got {came}")
    if out.shape != shape:
        raise ValueError(f"{where}: out must have shape {shape}, got {out.shape}")
    return out


def _shift_and_scale(x: NDArray[Any], mean: NDArray[np.float32] | None, scale: NDArray[np.float32] | None) -> Any:
    """(x - mean) / scale, in a new array of the dtype of x where either is given."""
    if mean is not None:
        shifted = x - mean
        if scale is not None:
            shifted /= scale
        return shifted
    return x if scale is None else x / scale


def _means(x: _Rows, n_jobs: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Mean of each column, and whether all of it is one value; every row is checked to be finite."""
    total = np.zeros(x.dim)
    first = x.read(slice(0, 1))[0].copy()
    constant = np.ones(x.dim, np.bool_)
    for part in x.parts():
        block = x.read(part, n_jobs)
        total += block.sum(axis=0, dtype=np.float64)
        still = np.flatnonzero(constant)
        if len(still) > 0:
            constant[still] = (block[:, still] == first[still]).all(axis=0)
    return total / len(x), constant


def _scales(x: _Rows, mean: NDArray[np.float64], constant: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Standard deviation of each column; 1 where constant."""
    squares = np.zeros(x.dim)
    for part in x.parts():
        centred = x.read(part) - mean
        squares += np.einsum("ij,ij->j", centred, centred)
    scale = np.sqrt(squares / len(x)).astype(np.float32)
    scale[constant | (scale == 0)] = 1
    return scale


def _check_components(pca: object, shape: tuple[int, int], where: str) -> int | float:
    if shape[1] > _MAX_PCA_COLUMNS:
        raise ValueError(f"{where}: pca needs at most {_MAX_PCA_COLUMNS} columns, got {shape[1]}")
    if isinstance(pca, float | np.floating):
        if not 0 < pca < 1:
            raise ValueError(f"{where}: pca as a share of the variance must be between 0 and 1, got {pca}")
        return float(pca)
    return as_integer(pca, where, f"pca for X of shape {shape}", low=1, high=min(shape))


def _principal_axes(
    x: _Rows, mean: NDArray[np.float64], scale: NDArray[np.float32] | None, n_components: int | float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Axes (p, d) and the share of the variance of each, from the covariance in double, summed in place.

    The sign of an axis is that of scikit-learn: its entry of largest magnitude is positive.
    """
    from scipy.linalg import eigh
    from scipy.linalg.blas import dsyrk

    gram = np.zeros((x.dim, x.dim), order="F")
    for part in x.parts():
        centred = x.read(part) - mean
        if scale is not None:
            centred /= scale
        gram = dsyrk(1.0, centred.T, beta=1.0, c=gram, overwrite_c=True)
    variances, axes = eigh(gram, lower=False, overwrite_a=True, check_finite=False, driver="evd")
    variances, axes = np.maximum(variances[::-1], 0), axes.T[::-1]
    ratio = variances / variances.sum()
    if isinstance(n_components, float):
        n_components = int(np.searchsorted(np.cumsum(ratio), n_components, side="right")) + 1
        n_components = min(n_components, len(x), x.dim)
    axes = axes[:n_components]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, np.newaxis], axis=1)
    axes = np.ascontiguousarray(axes * np.sign(largest), dtype=np.float32)
    return axes, ratio[:n_components]
