"""Random hyperplanes: the classical locality-sensitive hash for the angle."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lshcore import _core
from lshcore._validation import resolve_seed

from .base import LinearHasher


class RandomHyperplanes(LinearHasher):
    """Signs of projections on random directions.

    Two rows at angle theta (about the mean, with `centre`) agree in each bit with probability ``1 - theta / pi``,
    so that Hamming distance estimates the angle. [1]_

    Parameters
    ----------
    n_bits : int
        Bits of a code, from 1 to 4096.
    centre : bool
        Let the planes pass through the mean of the training data rather than through the origin.
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
    """

    def __init__(self, n_bits: int = 64, centre: bool = True, random_state: Any = 0) -> None:
        self.n_bits = n_bits
        self.centre = centre
        self.random_state = random_state

    def _make_weights(
        self, x: NDArray[np.float32], y: Any, n_bits: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        seed = resolve_seed(self.random_state, f"{type(self).__name__}.fit")
        weights = _core.normalize_rows(_core.gaussian(seed, n_bits, x.shape[1]))
        if not self.centre:
            return weights, np.zeros(n_bits, dtype=np.float32)
        return weights, _negated_products(weights, x.mean(axis=0, dtype=np.float64)).astype(np.float32)


def _negated_products(weights: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """``-weights @ mean``, column after column: a BLAS would add in an order of its own on each machine."""
    total = np.zeros(len(weights))
    for column, value in zip(weights.T, mean, strict=True):
        total -= column * value
    return total
