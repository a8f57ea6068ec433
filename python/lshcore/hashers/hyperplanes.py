"""Random hyperplanes: the classical locality-sensitive hash for the angle."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lshcore import _core
from lshcore._validation import resolve_seed

from .base import LinearHasher

# Rows made orthogonal to all earlier ones at a time: a megabyte at 2048 columns, which a cache holds.
_PANEL_ROWS = 64


class RandomHyperplanes(LinearHasher):
    """Signs of projections on random directions.

    Two rows at angle theta (about the mean, with `centre`) agree in each bit with probability ``1 - theta / pi``,
    so that Hamming distance estimates the angle. [1]_ Orthogonal planes keep that probability and, for angles up to a
    right one, give estimates of smaller variance ("super-bits"). [2]_

    Parameters
    ----------
    n_bits : int
        Bits of a code, from 1 to 4096.
    centre : bool
        Let the planes pass through the mean of the training data rather than through the origin.
    orthogonal : bool
        Make planes orthogonal within groups of d, the number of columns. Takes time in proportion to
        ``n_bits * d * min(n_bits, d)``: under a second at 4096 bits and 512 columns.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Where the planes come from. An int means the same planes on every machine; None means fresh ones.

    Attributes
    ----------
    weights_ : ndarray of float32, (n_bits, d)
        Normals of the planes, of length 1.
    bias_ : ndarray of float32, (n_bits,)
        ``-weights_ @ mean``, or zeros without `centre`.

    References
    ----------
    .. [1] M. S. Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002.
    .. [2] J. Ji, J. Li, S. Yan, B. Zhang, Q. Tian, "Super-bit locality-sensitive hashing", NIPS 2012.
    """

    def __init__(self, n_bits: int = 64, centre: bool = True, orthogonal: bool = False, random_state: Any = 0) -> None:
        self.n_bits = n_bits
        self.centre = centre
        self.orthogonal = orthogonal
        self.random_state = random_state

    def _make_weights(
        self, x: NDArray[np.float32], y: Any, n_bits: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        seed = resolve_seed(self.random_state, f"{type(self).__name__}.fit")
        weights = _core.normalize_rows(_core.gaussian(seed, n_bits, x.shape[1]))
        if self.orthogonal:
            groups = [weights[start : start + x.shape[1]] for start in range(0, n_bits, x.shape[1])]
            weights = np.concatenate([orthonormal_rows(group).astype(np.float32) for group in groups])
        if not self.centre:
            return weights, np.zeros(n_bits, dtype=np.float32)
        return weights, _negated_products(weights, x.mean(axis=0, dtype=np.float64)).astype(np.float32)


def orthonormal_rows(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows (k, d), k <= d, made orthonormal from the first on, in double; the first i depend on no later one.

    Modified Gram-Schmidt in which every sum is taken in order: a BLAS would make other planes on each machine.
    """
    done = np.empty((0, rows.shape[1]))
    for start in range(0, len(rows), _PANEL_ROWS):
        panel = rows[start : start + _PANEL_ROWS].T.astype(np.float64)  # (d, rows): sums run down the slow axis
        for unit in done:
            _remove(unit, panel)
        for i in range(panel.shape[1]):
            panel[:, i] /= np.sqrt(np.cumsum(panel[:, i] ** 2)[-1])
            _remove(panel[:, i].copy(), panel[:, i + 1 :])
        done = np.concatenate([done, panel.T])
    return done


def _remove(unit: NDArray[np.float64], columns: NDArray[np.float64]) -> None:
    """Subtract from each column its projection on a unit vector."""
    products = unit[:, np.newaxis] * columns
    along = np.add.reduce(products, axis=0)
    columns -= np.multiply(unit[:, np.newaxis], along, out=products)


def _negated_products(weights: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """``-weights @ mean``, column after column: a BLAS would add in an order of its own on each machine."""
    total = np.zeros(len(weights))
    for column, value in zip(weights.T, mean, strict=True):
        total -= column * value
    return total
