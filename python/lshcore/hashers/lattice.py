"""Hashes that number cells of space: cross-polytopes for the angle, p-stable projections for the Euclidean distance."""

from abc import abstractmethod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lshcore import _core
from lshcore._validation import as_integer, resolve_seed

from .base import Hasher

# A number with more is unlikely to be met twice.
_MAX_HASH_BITS = 16
# A row grows by at most sqrt(2) a round.
_MAX_ROTATIONS = 16
_MAX_WEIGHT = 1e15


class LatticeHasher(Hasher):
    """Hasher whose code is `n_hashes` numbers of cells, of `hash_bits_` bits each.

    Two rows are near where numbers are equal: the Hamming distance of codes means nothing, and there are no margins.
    `LSHIndex` makes keys of whole hashes, and looks next into the cells that the query is nearest to.

    Attributes
    ----------
    hash_bits_ : int
        Bits of a hash.
    """

    n_hashes: int
    hash_bits_: int

    @abstractmethod
    def _hash_bits(self, dim: int, where: str) -> int:
        """Bits of a hash of rows with `dim` columns."""

    @abstractmethod
    def _lattice(self) -> _core.Lattice:
        """What the core makes of the fitted attributes."""

    def _count_bits(self, dim: int, where: str) -> int:
        hash_bits = self._hash_bits(dim, where)
        n_hashes = as_integer(self.n_hashes, where, "n_hashes", low=1)
        if n_hashes * hash_bits > _core.MAX_BITS:
            raise ValueError(
                f"{where}: n_hashes must be at most {_core.MAX_BITS // hash_bits}, for codes have up to "
                f"{_core.MAX_BITS} bits and a hash {hash_bits}, got {n_hashes}"
            )
        return n_hashes * hash_bits

    def _project(self, x: NDArray[np.float32], n_jobs: int) -> NoReturn:
        name = type(self).__name__
        raise ValueError(f"{name}.project: codes of {name} number cells and have no margins; use encode or transform")

    def _encode(self, x: NDArray[np.float32], n_jobs: int) -> NDArray[np.uint64]:
        return self._lattice().encode(x, n_jobs)


class CrossPolytope(LatticeHasher):
    """The vertex of a turned cross-polytope that a row points to: its largest coordinate, and the sign of that.

    For the angle (about the mean, with `centre`). Rows at Euclidean distance t on the unit sphere in d dimensions share
    a vertex with probability ``exp(-t**2 / (4 - t**2) * log(d) + O(log(log(d))))``, the best exponent there is. [1]_

    Parameters
    ----------
    n_hashes : int
        Hashes of a code, of ``log2(dim) + 1`` bits each.
    rotations : int
        Rounds of random signs and a fast Hadamard transform that stand for a random rotation, 1 to 16. They take
        ``rotations * width * log2(width)`` additions a hash, where `width` is the least power of two of at least d.
    dim : int, optional
        Coordinates of the turned row that have vertices: a power of two, for hashes of fewer bits. By default all
        `width`, but 32768 at the most.
    centre : bool
        Turn rows about the mean of the training data rather than about the origin.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Where the signs come from. An int means the same ones on every machine; None means fresh ones.

    Attributes
    ----------
    signs_ : ndarray of int8, (n_hashes, rotations, width)
        1 or -1.
    shift_ : ndarray of float32, (d,)
        Subtracted from every row.
    dim_ : int
        `dim`, resolved.
    hash_bits_ : int
        Bits of a hash: above the number of the coordinate one that is 1 where it is not negative.

    References
    ----------
    .. [1] A. Andoni, P. Indyk, T. Laarhoven, I. Razenshteyn, L. Schmidt, "Practical and optimal LSH for angular
       distance", NIPS 2015.
    """

    signs_: NDArray[np.int8]
    shift_: NDArray[np.float32]
    dim_: int

    def __init__(
        self,
        n_hashes: int = 16,
        rotations: int = 3,
        dim: int | None = None,
        centre: bool = True,
        random_state: Any = 0,
    ) -> None:
        self.n_hashes = n_hashes
        self.rotations = rotations
        self.dim = dim
        self.centre = centre
        self.random_state = random_state

    def _vertex_dim(self, dim: int, where: str) -> int:
        width = _power_of_two(dim)
        if self.dim is None:
            return min(width, 1 << (_MAX_HASH_BITS - 1))
        number = as_integer(self.dim, where, "dim", low=1, high=min(width, 1 << (_MAX_HASH_BITS - 1)))
        if number & (number - 1):
            raise ValueError(f"{where}: dim must be a power of two, got {number}")
        return number

    def _hash_bits(self, dim: int, where: str) -> int:
        return self._vertex_dim(dim, where).bit_length()

    def _fit(self, x: NDArray[np.float32], y: Any, n_bits: int) -> None:
        where = f"{type(self).__name__}.fit"
        rotations = as_integer(self.rotations, where, "rotations", low=1, high=_MAX_ROTATIONS)
        seed = resolve_seed(self.random_state, where)
        dim, width = self._vertex_dim(x.shape[1], where), _power_of_two(x.shape[1])
        n_hashes = n_bits // dim.bit_length()
        # Row by row, so that more hashes keep the first ones.
        positive = _core.gaussian(seed, n_hashes, rotations * width) >= 0
        self.signs_ = np.where(positive, np.int8(1), np.int8(-1)).reshape(n_hashes, rotations, width)
        mean = x.mean(axis=0, dtype=np.float64) if self.centre else np.zeros(x.shape[1])
        self.shift_ = mean.astype(np.float32)
        self.dim_ = dim
        self.hash_bits_ = dim.bit_length()

    def _lattice(self) -> _core.CrossPolytope:
        n_hashes, rotations, _ = self.signs_.shape
        return _core.CrossPolytope(self.signs_.reshape(n_hashes, -1), rotations, self.dim_, self.shift_)


class PStable(LatticeHasher):
    """Cells of equal width along random Gaussian directions (E2LSH): ``floor((a @ x + b) / width)``.

    For the Euclidean distance. Rows at distance c share a cell with probability
    ``1 - 2 Phi(-r) - 2 / (sqrt(2 pi) r) * (1 - exp(-r**2 / 2))``, r = width / c. [1]_

    Parameters
    ----------
    n_hashes : int
        Hashes of a code, of `cell_bits` bits each.
    width : float, optional
        Width of a cell, in the units of the data: some four times the distance at which rows count as near is
        customary. By default the root mean square distance of two rows of the training data, which are then in one cell
        with probability 0.37.
    cell_bits : int
        Bits that number a cell, from 2 to 16. There are ``2**cell_bits`` cells along each direction, around the mean of
        the training data (or the origin), and the outermost two take all that lies beyond.
    centre : bool
        Number cells from the mean of the training data rather than from the origin.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Where the directions come from. An int means the same ones on every machine; None means fresh ones.

    Attributes
    ----------
    weights_ : ndarray of float32, (n_hashes, d)
        Directions, over the width: standard Gaussian numbers divided by `width_`.
    bias_ : ndarray of float32, (n_hashes,)
        Uniform in a cell, less where the mean is.
    width_ : float
        `width`, resolved.
    hash_bits_ : int
        `cell_bits` as it was when `fit` was called.

    References
    ----------
    .. [1] M. Datar, N. Immorlica, P. Indyk, V. Mirrokni, "Locality-sensitive hashing scheme based on p-stable
       distributions", SoCG 2004.
    """

    weights_: NDArray[np.float32]
    bias_: NDArray[np.float32]
    width_: float

    def __init__(
        self,
        n_hashes: int = 32,
        width: float | None = None,
        cell_bits: int = 8,
        centre: bool = True,
        random_state: Any = 0,
    ) -> None:
        self.n_hashes = n_hashes
        self.width = width
        self.cell_bits = cell_bits
        self.centre = centre
        self.random_state = random_state

    def _hash_bits(self, dim: int, where: str) -> int:
        return as_integer(self.cell_bits, where, "cell_bits", low=2, high=_MAX_HASH_BITS)

    def _fit(self, x: NDArray[np.float32], y: Any, n_bits: int) -> None:
        where = f"{type(self).__name__}.fit"
        hash_bits = self._hash_bits(x.shape[1], where)
        width = self._resolve_width(x, where)
        seed = resolve_seed(self.random_state, where)
        n_hashes = n_bits // hash_bits
        weights = _core.gaussian(seed, n_hashes, x.shape[1]).astype(np.float64) / width
        if not np.abs(weights).max() <= _MAX_WEIGHT:
            raise ValueError(f"{where}: width must not be so small that directions over it pass 1e15, got {width:g}")
        offset = np.random.default_rng(seed).random(n_hashes)
        mean = x.mean(axis=0, dtype=np.float64) if self.centre else np.zeros(x.shape[1])
        self.weights_ = np.ascontiguousarray(weights, dtype=np.float32)
        # Summed in order: a BLAS would add in an order of its own on each machine.
        self.bias_ = (offset - np.cumsum(self.weights_ * mean, axis=1)[:, -1]).astype(np.float32)
        self.width_ = width
        self.hash_bits_ = hash_bits

    def _resolve_width(self, x: NDArray[np.float32], where: str) -> float:
        if self.width is None:
            # Two rows are the root of twice the total variance apart; all rows alike can have any width.
            total = float(np.cumsum(x.var(axis=0, dtype=np.float64))[-1])
            return float(np.sqrt(2 * total)) or 1.0
        if isinstance(self.width, bool) or not isinstance(self.width, int | float | np.integer | np.floating):
            raise TypeError(f"{where}: width must be a number, got {self.width!r}")
        if not 0 < self.width < float("inf"):
            raise ValueError(f"{where}: width must be positive and finite, got {self.width}")
        return float(self.width)

    def _lattice(self) -> _core.PStable:
        return _core.PStable(self.weights_, self.bias_, self.hash_bits_)


def _power_of_two(n: int) -> int:
    """The least that is not below n."""
    return 1 << (n - 1).bit_length()
