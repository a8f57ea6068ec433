"""Hashers whose margins are linear in similarities to anchors: rows of the training data."""

import numpy as np
from numpy.typing import NDArray

from lshcore import _core, _saving
from lshcore._validation import resolve_jobs

from ._blocks import row_blocks
from .base import Hasher

# Rows whose distances to the anchors set the width of the Gaussian.
_WIDTH_ROWS = 1000


class AnchorHasher(Hasher):
    """Hasher whose margins are ``phi(x - mean_) @ weights_.T + bias_``; a subclass only says where those come from.

    phi is ``exp(-gamma_ * |x - a|^2)`` for each anchor a, or x itself where there are none.

    Attributes
    ----------
    mean_ : ndarray of float32, (d,)
        Subtracted from every row first.
    anchors_ : ndarray of float32, (m, d), or None
        Training rows less the mean.
    gamma_ : float
        One over the squared width of the Gaussian; without anchors it means nothing.
    weights_ : ndarray of float32, (n_bits, m), or (n_bits, d) without anchors
    bias_ : ndarray of float32, (n_bits,)
    """

    mean_: NDArray[np.float32]
    anchors_: NDArray[np.float32] | None
    gamma_: float
    weights_: NDArray[np.float32]
    bias_: NDArray[np.float32]

    def _check_state(self) -> None:
        super()._check_state()
        width = self.n_features_in_ if self.anchors_ is None else len(self.anchors_)
        _saving.check_shape(self.mean_, (self.n_features_in_,), "mean_")
        _saving.check_shape(self.weights_, (self.n_bits_, width), "weights_")
        _saving.check_shape(self.bias_, (self.n_bits_,), "bias_")
        if self.anchors_ is not None:
            _saving.check_shape(self.anchors_, (width, self.n_features_in_), "anchors_")

    def _set_margins(
        self,
        mean: NDArray[np.float32],
        anchors: NDArray[np.float32] | None,
        gamma: float,
        weights: NDArray[np.float64],
        bias: NDArray[np.float64],
    ) -> None:
        self.mean_, self.anchors_, self.gamma_ = mean, anchors, gamma
        self.weights_ = np.ascontiguousarray(weights, dtype=np.float32)
        self.bias_ = np.ascontiguousarray(bias, dtype=np.float32)

    def _project(self, x: NDArray[np.float32], n_jobs: int) -> NDArray[np.float32]:
        margins = np.empty((len(x), len(self.weights_)), np.float32)
        for part in row_blocks(len(x), max(self.weights_.shape[1], x.shape[1])):
            lifted = x[part] - self.mean_
            if self.anchors_ is not None:
                lifted = gaussian_similarities(lifted, self.anchors_, self.gamma_, n_jobs)
            margins[part] = _core.project(lifted, self.weights_, self.bias_, n_jobs)
        return margins


def squared_distances(x: NDArray[np.float32], anchors: NDArray[np.float32], n_jobs: int) -> NDArray[np.float64]:
    """``|x - a|^2``, (n, m), for centred rows (distances among rows far from the origin would lose digits).

    Every sum is taken in an order of its own, so that a row has the same distances in any batch.
    """
    half_norms = 0.5 * _squared_norms(anchors)
    products = _core.project(x, anchors, -half_norms.astype(np.float32), n_jobs)
    distances: NDArray[np.float64] = _squared_norms(x)[:, np.newaxis] - 2 * products.astype(np.float64)
    return np.maximum(distances, 0, out=distances)


def gaussian_similarities(
    x: NDArray[np.float32], anchors: NDArray[np.float32], gamma: float, n_jobs: int
) -> NDArray[np.float32]:
    """``exp(-gamma |x - a|^2)``, float32 (n, m); taken in double, so that libraries' last digits round away."""
    similarities = np.empty((len(x), len(anchors)), np.float32)
    for part in row_blocks(len(x), max(anchors.shape)):
        distances = squared_distances(x[part], anchors, n_jobs)
        distances *= -gamma
        similarities[part] = np.exp(distances, out=distances)
    return similarities


def draw_anchors(
    x: NDArray[np.float32], n_anchors: int, gamma: float | None, scale: float, seed: int
) -> tuple[NDArray[np.float32], float]:
    """Up to `n_anchors` of the centred rows x, and gamma: by default `scale` over the mean squared distance to them."""
    chosen = np.random.default_rng(seed).permutation(len(x))[:n_anchors]
    anchors = x[chosen]
    if gamma is not None:
        return anchors, float(gamma)
    some = np.ascontiguousarray(x[:: -(-len(x) // _WIDTH_ROWS)])
    spread = squared_distances(some, anchors, resolve_jobs(None)).mean()
    return anchors, float(scale / spread) if spread > 0 else 1.0


def _squared_norms(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared lengths of rows, summed column after column."""
    total = np.zeros(len(x))
    for column in x.T:
        total += np.square(column, dtype=np.float64)
    return total
