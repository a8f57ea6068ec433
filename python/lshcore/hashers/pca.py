"""Hashing by principal components, as they are or turned at random."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lshcore import _core
from lshcore._validation import resolve_seed
from lshcore.preprocess import Preprocess

from .base import LinearHasher
from .hyperplanes import orthonormal_rows


class PCAHashing(LinearHasher):
    """Signs of the first principal components.

    Bits are uncorrelated, but the later ones carry little variance and so mostly noise: codes get worse beyond some
    length. [1]_

    Parameters
    ----------
    n_bits : int
        Bits of a code: at most the number of columns, and of training rows.

    Attributes
    ----------
    weights_ : ndarray of float32, (n_bits, d)
        Orthonormal principal axes, in order of variance; the entry of largest magnitude of each is positive.
    bias_ : ndarray of float32, (n_bits,)
        ``-weights_ @ mean``.

    References
    ----------
    .. [1] J. Wang, S. Kumar, S.-F. Chang, "Semi-supervised hashing for scalable image retrieval", CVPR 2010.
    """

    def __init__(self, n_bits: int = 64) -> None:
        self.n_bits = n_bits

    def _make_weights(
        self, x: NDArray[np.float32], y: Any, n_bits: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return principal_axes(x, n_bits, f"{type(self).__name__}.fit")


class PCARandomRotation(LinearHasher):
    """Signs of the first principal components after a random rotation, which spreads their variance over all bits.

    The start of `ITQ`, and its usual baseline. [1]_ [2]_

    Parameters
    ----------
    n_bits : int
        Bits of a code: at most the number of columns, and of training rows.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Where the rotation comes from.

    Attributes
    ----------
    weights_ : ndarray of float32, (n_bits, d)
        Orthonormal directions that span the first principal axes.
    bias_ : ndarray of float32, (n_bits,)
        ``-weights_ @ mean``.
    rotation_ : ndarray of float64, (n_bits, n_bits)
        Orthogonal R of ``weights_ = R.T @ axes``.

    References
    ----------
    .. [1] H. Jégou, M. Douze, C. Schmid, P. Pérez, "Aggregating local descriptors into a compact image
       representation", CVPR 2010.
    .. [2] Y. Gong, S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011.
    """

    rotation_: NDArray[np.float64]

    def __init__(self, n_bits: int = 64, random_state: Any = 0) -> None:
        self.n_bits = n_bits
        self.random_state = random_state

    def _make_weights(
        self, x: NDArray[np.float32], y: Any, n_bits: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        where = f"{type(self).__name__}.fit"
        seed = resolve_seed(self.random_state, where)
        axes, offset = principal_axes(x, n_bits, where)
        self.rotation_ = random_rotation(seed, n_bits)
        return turn(self.rotation_, axes), turn(self.rotation_, offset)


def principal_axes(x: NDArray[np.float32], n_axes: int, where: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Orthonormal axes (n_axes, d) and offset (n_axes,): the components of a row are ``axes @ row + offset``."""
    if len(x) < 2:
        raise ValueError(f"{where}: X must have at least 2 rows that differ, got n_samples = {len(x)}")
    if n_axes > min(x.shape):
        kind = "columns" if x.shape[1] <= x.shape[0] else "rows"
        raise ValueError(f"{where}: n_bits must be at most {min(x.shape)}, the {kind} of X, got {n_axes}")
    try:
        pca = Preprocess(centre=False, pca=n_axes, l2=False).fit(x)
    except ValueError as error:
        raise ValueError(str(error).replace("Preprocess.fit", where)) from None
    assert pca.components_ is not None
    assert pca.offset_ is not None
    return pca.components_, pca.offset_


def random_rotation(seed: int, size: int) -> NDArray[np.float64]:
    """Orthogonal matrix (size, size), the same on every machine."""
    return orthonormal_rows(_core.gaussian(seed, size, size))


def turn(rotation: NDArray[np.float64], rows: NDArray[Any]) -> NDArray[np.float32]:
    """``rotation.T @ rows``, multiplied in double."""
    return (rotation.T @ rows.astype(np.float64)).astype(np.float32)
