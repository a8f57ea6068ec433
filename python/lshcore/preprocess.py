"""What is done to features before they are hashed: centre, standardise, PCA, L2, in this order."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from ._estimator import Estimator
from ._validation import as_integer, as_matrix, check_fitted, resolve_jobs

_BLOCK_ROWS = 4096


class Preprocess(Estimator):
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

    def __init__(
        self, centre: bool = True, standardise: bool = False, pca: float | None = None, l2: bool = True
    ) -> None:
        self.centre = centre
        self.standardise = standardise
        self.pca = pca
        self.l2 = l2

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn means, scales and components from X (n, d); `y` is ignored.

        Raises
        ------
        TypeError, ValueError
            If X is not a finite matrix with at least one row (two with `pca`), or `pca` does not fit its shape.
        """
        where = "Preprocess.fit"
        x = as_matrix(X, where, min_rows=1 if self.pca is None else 2, n_jobs=resolve_jobs(None))
        components = None if self.pca is None else _check_components(self.pca, x.shape, where)
        mean = _column_means(x) if self.centre else None
        scale = _column_scales(x) if self.standardise else None
        axes = offset = ratio = None
        if components is not None:
            axes, offset, ratio = _principal_axes(_shift_and_scale(x, mean, scale), components, where)
        self.mean_ = mean
        self.scale_ = scale
        self.components_ = axes
        self.offset_ = offset
        self.explained_variance_ratio_ = ratio
        self.n_features_in_ = x.shape[1]
        self.n_features_out_ = x.shape[1] if axes is None else len(axes)
        return self

    def transform(self, X: ArrayLike, n_jobs: int | None = None) -> NDArray[np.float32]:
        """Apply to X (n, d), giving a new float32 array (n, n_features_out_).

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If X is not a finite matrix of `n_features_in_` columns.
        """
        where = "Preprocess.transform"
        check_fitted(self, "n_features_in_", where)
        jobs = resolve_jobs(n_jobs)
        given = as_matrix(X, where, dim=self.n_features_in_, n_jobs=jobs)
        x = _shift_and_scale(given, self.mean_, self.scale_)
        if self.components_ is not None and self.offset_ is not None:
            x = _core.project(x, self.components_, self.offset_, jobs)
        if self.l2:
            x = _core.normalize_rows(x, jobs)
        return x.copy() if x is given else x

    def fit_transform(self, X: ArrayLike, y: object = None) -> NDArray[np.float32]:
        """``fit(X).transform(X)``."""
        return self.fit(X, y).transform(X)


def _shift_and_scale(
    x: NDArray[np.float32], mean: NDArray[np.float32] | None, scale: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """(x - mean) / scale, in a new array where either is given."""
    if mean is not None:
        shifted = x - mean
        if scale is not None:
            shifted /= scale
        return shifted
    return x if scale is None else x / scale


def _column_means(x: NDArray[np.float32]) -> NDArray[np.float32]:
    means: NDArray[np.float64] = x.mean(axis=0, dtype=np.float64)
    return means.astype(np.float32)


def _column_scales(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standard deviation of each column, in blocks of rows so that no double copy of x is made; 1 where constant."""
    mean = x.mean(axis=0, dtype=np.float64)
    squares = np.zeros(x.shape[1])
    for start in range(0, len(x), _BLOCK_ROWS):
        squares += ((x[start : start + _BLOCK_ROWS] - mean) ** 2).sum(axis=0)
    scale = np.sqrt(squares / len(x)).astype(np.float32)
    scale[(x.min(axis=0) == x.max(axis=0)) | (scale == 0)] = 1
    return scale


def _check_components(pca: object, shape: tuple[int, ...], where: str) -> int | float:
    if isinstance(pca, float | np.floating):
        if not 0 < pca < 1:
            raise ValueError(f"{where}: pca as a share of the variance must be between 0 and 1, got {pca}")
        return float(pca)
    return as_integer(pca, where, f"pca for X of shape {shape}", low=1, high=min(shape))


def _principal_axes(
    x: NDArray[np.float32], n_components: int | float, where: str
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Axes (p, d), the offset (p,) that centres the projection, and the share of variance of each axis."""
    from sklearn.decomposition import PCA

    if (x.min(axis=0) == x.max(axis=0)).all():
        raise ValueError(f"{where}: pca needs rows that differ, got {len(x)} equal ones")
    # Centred here first: the solver subtracts the mean from the Gram matrix, which cancels badly far from the origin.
    mean = _column_means(x)
    solver = PCA(n_components=n_components, svd_solver="covariance_eigh").fit(x - mean)
    axes = np.ascontiguousarray(solver.components_, dtype=np.float32)
    offset = -(axes.astype(np.float64) @ (mean.astype(np.float64) + solver.mean_))
    return axes, offset.astype(np.float32), solver.explained_variance_ratio_.astype(np.float64)
