"""Spectral hashing: signs of sinusoids along principal components."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lshcore import _core
from lshcore._validation import resolve_jobs

from ._blocks import row_blocks
from .base import Hasher
from .pca import principal_axes


class SpectralHashing(Hasher):
    """Signs of the smoothest sinusoids over the box that holds the principal components of the training rows.

    If rows were spread evenly over that box, these would be the eigenfunctions of the graph Laplacian with the least
    eigenvalues, so that similar rows would get similar codes. [1]_ Long axes of the box have many sinusoids among
    them, short ones none.

    Parameters
    ----------
    n_bits : int
        Bits of a code; there may be more than columns.

    Attributes
    ----------
    axes_ : ndarray of float32, (p, d)
        Orthonormal principal axes, p = min(n_bits, d, n).
    offset_ : ndarray of float32, (p,)
        The components of a row are ``axes_ @ row + offset_``.
    low_, extent_ : ndarray of float64, (p,)
        Least component of the training rows along each axis, and the greatest less the least.
    axis_of_bit_, modes_ : ndarray of int64, (n_bits,)
        Margin j is ``cos(pi * modes_[j] * (v - low) / extent)`` for the component v along axis ``axis_of_bit_[j]``; in
        order of eigenvalue, which is that of ``modes / extent``.

    References
    ----------
    .. [1] Y. Weiss, A. Torralba, R. Fergus, "Spectral hashing", NIPS 2008.
    """

    axes_: NDArray[np.float32]
    offset_: NDArray[np.float32]
    low_: NDArray[np.float64]
    extent_: NDArray[np.float64]
    axis_of_bit_: NDArray[np.int64]
    modes_: NDArray[np.int64]

    def __init__(self, n_bits: int = 64) -> None:
        self.n_bits = n_bits

    def _fit(self, x: NDArray[np.float32], y: Any, n_bits: int) -> None:
        axes, offset = principal_axes(x, min(n_bits, *x.shape), f"{type(self).__name__}.fit")
        components = _core.project(x, axes, offset, resolve_jobs(None))
        low = components.min(axis=0).astype(np.float64)
        extent = components.max(axis=0) - low
        self.axis_of_bit_, self.modes_ = smoothest_modes(extent, n_bits)
        self.axes_, self.offset_, self.low_, self.extent_ = axes, offset, low, extent

    def _project(self, x: NDArray[np.float32], n_jobs: int) -> NDArray[np.float32]:
        margins = np.empty((len(x), len(self.modes_)), np.float32)
        scale = self.modes_ / self.extent_[self.axis_of_bit_]
        for part in row_blocks(len(x), len(self.modes_)):
            components = _core.project(x[part], self.axes_, self.offset_, n_jobs) - self.low_
            margins[part] = cosines_of_pi_times(components[:, self.axis_of_bit_] * scale)
        return margins


def smoothest_modes(extent: NDArray[np.float64], n_modes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Axis and number of half periods, both (n_modes,), of the sinusoids of least frequency; axes without extent none.

    Along an axis there are ``ceil((n_modes + 1) * extent / max(extent)) - 1`` of them to choose from, as in the
    authors' code: that is n_modes along the longest, and never leaves out one of the first n_modes.
    """
    candidates = np.ceil((n_modes + 1) * extent / extent.max()).astype(np.int64) - 1
    axis = np.repeat(np.arange(len(extent)), np.maximum(candidates, 0))
    mode = np.concatenate([np.arange(1, count + 1) for count in candidates])
    first = np.argsort(mode / extent[axis], kind="stable")[:n_modes]
    return axis[first], mode[first]


def cosines_of_pi_times(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """``cos(pi * t)``, of the same sign on every machine, which a library's cosine near a root is not.

    What comes before the sine rounds alike everywhere, and a sine keeps the sign of what is small.
    """
    from_root: NDArray[np.float64] = np.abs(np.remainder(t, 2) - 1) - 0.5
    return np.sin(np.pi * from_root)
