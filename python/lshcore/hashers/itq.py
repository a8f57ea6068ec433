"""Iterative quantisation: rotate a projection so that its signs lose the least."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lshcore import _core
from lshcore._validation import as_integer, resolve_jobs, resolve_seed

from ._blocks import check_positive, gram, indicators, row_blocks, signs
from .base import LinearHasher
from .pca import principal_axes, random_rotation, turn

# Entries of a block of projections, 2 MB in float64: what is computed from a block finds it in the cache.
_BLOCK_ENTRIES = 1 << 18

# Strips of rows that threads share out.
_STRIPS = 16


class ITQ(LinearHasher):
    """Signs of the first principal components after the rotation that brings them nearest to their signs. [1]_

    Alternates between codes ``B = sign(V R)`` of the components V and the rotation R that minimises
    ``|B - V R|^2`` (a Procrustes problem), from a random rotation on.

    Memory beside X: n_bits float32 a training row. Time: ``n * d ** 2`` once, and ``n * n_bits ** 2`` an iteration.

    Parameters
    ----------
    n_bits : int
        Bits of a code: at most the number of columns, and of training rows.
    n_iterations : int
        Rotations learned, each from the one before.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Where the first rotation comes from.

    Attributes
    ----------
    weights_ : ndarray of float32, (n_bits, d)
        Orthonormal directions that span the first principal axes.
    bias_ : ndarray of float32, (n_bits,)
        ``-weights_ @ mean``.
    rotation_ : ndarray of float64, (n_bits, n_bits)
        Orthogonal R of ``weights_ = R.T @ axes``.
    errors_ : ndarray of float64, (n_iterations,)
        ``|B - V R|^2`` over the training rows, a row on average, before each iteration; it never rises.

    References
    ----------
    .. [1] Y. Gong, S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011.
    """

    rotation_: NDArray[np.float64]
    errors_: NDArray[np.float64]

    def __init__(self, n_bits: int = 64, n_iterations: int = 50, random_state: Any = 0) -> None:
        self.n_bits = n_bits
        self.n_iterations = n_iterations
        self.random_state = random_state

    def _make_weights(
        self, x: NDArray[np.float32], y: Any, n_bits: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        where = f"{type(self).__name__}.fit"
        n_iterations = as_integer(self.n_iterations, where, "n_iterations", low=1)
        start = random_rotation(resolve_seed(self.random_state, where), n_bits)
        axes, offset = self._make_projection(x, y, n_bits, where)
        projected = _core.project(x, axes, offset, resolve_jobs(None))
        self.rotation_, self.errors_ = learn_rotation(projected, start, n_iterations)
        return turn(self.rotation_, axes), turn(self.rotation_, offset)

    def _make_projection(
        self, x: NDArray[np.float32], y: Any, n_bits: int, where: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Directions (n_bits, d) and offset (n_bits,) of what is then rotated."""
        return principal_axes(x, n_bits, where)


class ITQCCA(ITQ):
    """ITQ on the directions that correlate most with the labels, rather than on principal components. [1]_

    The directions are those of regularised canonical correlation analysis between X and the labels as columns of 0
    and 1, each scaled by its correlation. There are at most as many as there are labels (one less where each row has
    one label); the rotation spreads them over any number of bits.

    Memory beside X: n_bits float32 a training row. Time: ``n * d ** 2`` once, and ``n * n_bits ** 2`` an iteration.

    Parameters
    ----------
    n_bits : int
        Bits of a code.
    n_iterations : int
        Rotations learned, each from the one before.
    regularisation : float
        Added to the variances of the columns of X and of the labels.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Where the first rotation comes from.

    Attributes
    ----------
    weights_ : ndarray of float32, (n_bits, d)
    bias_ : ndarray of float32, (n_bits,)
        ``-weights_ @ mean``.
    correlations_ : ndarray of float64, (min(n_bits, d, C),)
        Canonical correlations, the largest first.
    rotation_ : ndarray of float64, (n_bits, n_bits)
        Orthogonal.
    errors_ : ndarray of float64, (n_iterations,)
        Quantisation error a row before each iteration, as in `ITQ`.

    References
    ----------
    .. [1] Y. Gong, S. Lazebnik, A. Gordo, F. Perronnin, "Iterative quantization: a Procrustean approach to learning
       binary codes for large-scale image retrieval", TPAMI 35(12), 2013.
    """

    correlations_: NDArray[np.float64]
    _needs_labels = True

    def __init__(
        self, n_bits: int = 64, n_iterations: int = 100, regularisation: float = 1e-4, random_state: Any = 0
    ) -> None:
        super().__init__(n_bits, n_iterations, random_state)
        self.regularisation = regularisation

    def _make_projection(
        self, x: NDArray[np.float32], y: NDArray[Any], n_bits: int, where: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        check_positive(self.regularisation, where, "regularisation")
        if (y == y[0]).all():
            raise ValueError(f"{where}: y must hold rows of different labels, got one class")
        mean, found, self.correlations_ = canonical_directions(x, y, n_bits, self.regularisation)
        directions = np.zeros((n_bits, x.shape[1]))
        directions[: len(found)] = found * self.correlations_[:, np.newaxis]
        return directions.astype(np.float32), -(directions @ mean).astype(np.float32)


def learn_rotation(
    v: NDArray[np.float32], rotation: NDArray[np.float64], n_iterations: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ITQ of projections v (n, k) from a first rotation (k, k): the last rotation, and the error before each step.

    Threads share out strips of rows, which do not depend on their number. BLAS gets one thread meanwhile: its own, on
    products as small as these, took five times as long.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    size = len(rotation)
    strips = [part for part in np.array_split(v, _STRIPS) if len(part) > 0]
    squares = sum(_sum_of_squares(strip) for strip in strips)
    errors = np.empty(n_iterations)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(resolve_jobs(None)) as pool:
        for step in range(n_iterations):
            sums = list(pool.map(partial(_products_with_codes, rotation=rotation), strips))
            errors[step] = size + (squares - 2 * sum(aligned for _, aligned in sums)) / len(v)
            left, _, right = np.linalg.svd(sum(products for products, _ in sums))
            rotation = right.T @ left.T
    return rotation, errors


def _sum_of_squares(v: NDArray[np.float32]) -> float:
    return sum(float(np.square(v[part], dtype=np.float64).sum()) for part in row_blocks(len(v), v.shape[1]))


def _products_with_codes(v: NDArray[np.float32], rotation: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """``B.T @ V`` for codes B = sign(V R), and the trace of ``B.T @ V @ R``, which is the sum of ``|V R|``."""
    products = np.zeros_like(rotation)
    aligned = 0.0
    for part in row_blocks(len(v), len(rotation), _BLOCK_ENTRIES):
        block = v[part].astype(np.float64)
        rotated = block @ rotation
        aligned += float(np.abs(rotated).sum())
        products += signs(rotated).T @ block
    return products, aligned


def canonical_directions(
    x: NDArray[np.float32], y: NDArray[Any], n_directions: int, regularisation: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean (d,), directions (k, d) and correlations (k,) of x with its labels, k <= min(n_directions, d, labels).

    With covariances C and r the regularisation, direction w and correlation c solve
    ``Cxy (Cyy + r I)^-1 Cyx w = c^2 (Cxx + r I) w`` with ``w.T (Cxx + r I) w = 1``.
    """
    from scipy.linalg import cholesky, solve_triangular

    n, dim = x.shape
    targets = indicators(y)
    blocks = list(row_blocks(n, dim))
    mean = sum((x[part].sum(axis=0, dtype=np.float64) for part in blocks), start=np.zeros(dim)) / n
    xx = gram((x[part] - mean for part in blocks), dim) / n
    xy = sum((targets[part].T @ (x[part] - mean) for part in blocks), start=np.zeros((targets.shape[1], dim))).T / n
    frequencies = np.asarray(targets.mean(axis=0)).ravel()
    yy = (targets.T @ targets).toarray() / n - np.outer(frequencies, frequencies)
    # With Cxx + r I = L L^T and Cyy + r I = M M^T, the correlations are the singular values of L^-1 Cxy M^-T.
    root_x = cholesky(xx + regularisation * np.eye(dim), lower=True)
    root_y = cholesky(yy + regularisation * np.eye(len(yy)), lower=True)
    whitened = solve_triangular(root_y, solve_triangular(root_x, xy, lower=True).T, lower=True).T
    left, correlations, _ = np.linalg.svd(whitened, full_matrices=False)
    directions = solve_triangular(root_x, left[:, :n_directions], lower=True, trans="T").T
    return mean, directions, correlations[:n_directions]
