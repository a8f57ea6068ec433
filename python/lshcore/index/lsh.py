"""Multi-table locality-sensitive hashing."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lshcore import _core
from lshcore._validation import as_integer, as_numeric, check_choice, resolve_seed
from lshcore.hashers.base import Hasher
from lshcore.hashers.lattice import LatticeHasher

from .container import Index

KEYS = ("blocks", "sample")

# Each probe costs some hundred bytes a thread; more than this is a mistake.
_MAX_PROBES = 1 << 24


class LSHIndex(Index):
    """Rows filed in L tables, each under J of the bits of their code; candidates are the rows that share a bucket.

    More tables find more, more bits a key cost less. [1]_ A search may look into more keys than the query's own:
    with `probes`, those that differ from it in the bits with the least sum of squared margins, over all tables
    together [2]_ [3]_; with `radius`, all within a Hamming distance.

    With a `CrossPolytope` or a `PStable` a key is made of whole hashes, and further probes change those to the cells
    that the query is nearest to. Their codes have no distance: keep the vectors.

    Parameters
    ----------
    hasher : Hasher
        Fitted hasher. The index keeps a copy: fitting the hasher again does not touch it.
    n_tables : int
        L.
    key_bits : int
        J, from 1 to 256; a multiple of the hasher's `hash_bits_`, where it has those.
    keys : {"blocks", "sample"} or array_like of int, (L, J), optional
        Bits of the key of each table. "blocks": table t takes bits t*J to t*J + J - 1. "sample": each table its own J
        bits, drawn uniformly. An array says them itself, and L and J with them. By default "blocks" where the code has
        at least L*J bits, else "sample".
    vectors : {None, "float32", "float16"}
        Keep the vectors, for ranks "cosine" and "l2". "float16" rounds them to half the size: values up to 65504, and
        distances are those to the rounded vectors.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Where "sample" comes from.

    Attributes
    ----------
    positions : ndarray of int32, (L, J)
        Bits of the key of each table.

    Raises
    ------
    TypeError, ValueError
        If the hasher is not a fitted one, or the keys do not fit its codes.

    References
    ----------
    .. [1] A. Gionis, P. Indyk, R. Motwani, "Similarity search in high dimensions via hashing", VLDB 1999.
    .. [2] Q. Lv, W. Josephson, Z. Wang, M. Charikar, K. Li, "Multi-probe LSH: efficient indexing for high-dimensional
       similarity search", VLDB 2007.
    .. [3] A. Andoni, P. Indyk, T. Laarhoven, I. Razenshteyn, L. Schmidt, "Practical and optimal LSH for angular
       distance", NIPS 2015.
    """

    _keys_from = "codes"

    def __init__(
        self,
        hasher: Hasher,
        n_tables: int = 8,
        key_bits: int = 12,
        keys: str | ArrayLike | None = None,
        vectors: str | None = None,
        random_state: Any = 0,
    ) -> None:
        if hasher is None:
            raise TypeError("LSHIndex: hasher must be a lshcore.hashers.Hasher, got None")
        super().__init__(hasher, vectors)
        unit = 1
        if isinstance(self.hasher, LatticeHasher):
            unit, self._keys_from = self.hasher.hash_bits_, "lattice"
        self.positions = key_positions(self.n_bits, n_tables, key_bits, keys, random_state, unit)
        self.positions.flags.writeable = False
        self._core = self._make_core(self._make_partitioner(), hasher.n_features_in_)

    def _make_partitioner(self) -> _core.BitKeys | _core.LatticeKeys:
        if isinstance(self.hasher, LatticeHasher):
            return _core.LatticeKeys(self.positions, self.hasher._lattice())
        return _core.BitKeys(self.positions, self.n_bits)

    def _saved_arrays(self) -> dict[str, NDArray[Any]]:
        return {**super()._saved_arrays(), "positions": self.positions}

    @classmethod
    def _empty_from_saved(cls, arguments: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], hasher: Any) -> Self:
        return cls(hasher, keys=arrays["positions"], vectors=arguments["vectors"])

    @property
    def key_bits(self) -> int:
        """Bits of a key, J."""
        return int(self.positions.shape[1])

    def _describe(self) -> list[str]:
        return [f"{self.n_tables} tables x {self.key_bits} bits"]

    def _resolve_probes(self, probes: int | None, where: str) -> int:
        if probes is None:
            return self.n_tables
        number = as_integer(probes, where, "probes", high=_MAX_PROBES)
        if number < self.n_tables:
            raise ValueError(f"{where}: probes must be at least {self.n_tables}, one for each table, got {number}")
        return number

    def _resolve_radius(self, radius: int | None, where: str) -> int:
        if radius is not None and isinstance(self.hasher, LatticeHasher):
            raise ValueError(
                f"{where}: radius must be None, for keys of {type(self.hasher).__name__} number cells and have no "
                f"distance, got {radius!r}"
            )
        return -1 if radius is None else min(as_integer(radius, where, "radius", low=0), self.key_bits)


def key_positions(
    n_bits: int, n_tables: Any, key_bits: Any, keys: str | ArrayLike | None, random_state: Any, unit: int = 1
) -> NDArray[np.int32]:
    """Bits (L, J) that make the key of each table; the rules are those of `LSHIndex`. Hashes are of `unit` bits."""
    where = "LSHIndex"
    if keys is not None and not isinstance(keys, str):
        return _given_positions(n_bits, keys, where, unit)
    tables = as_integer(n_tables, where, "n_tables", low=1)
    bits = as_integer(key_bits, where, "key_bits", low=1, high=_core.MAX_KEY_BITS)
    if bits > n_bits:
        raise ValueError(f"{where}: key_bits must be at most the {n_bits} bits of the hasher's codes, got {bits}")
    if bits % unit:
        raise ValueError(f"{where}: key_bits must be a multiple of {unit}, the bits of a hash, got {bits}")
    if keys is None:
        keys = "blocks" if n_bits >= tables * bits else "sample"
    if check_choice(keys, where, "keys", KEYS) == "sample":
        hashes = _sample_positions(n_bits // unit, tables, bits // unit, resolve_seed(random_state, where))
        within = np.arange(unit, dtype=np.int32)
        positions: NDArray[np.int32] = (unit * hashes[:, :, np.newaxis] + within).reshape(tables, bits).astype(np.int32)
        return positions
    if n_bits < tables * bits:
        advice = f"n_bits={tables * bits}" if unit == 1 else f"n_hashes={tables * bits // unit}"
        raise ValueError(
            f'{where}: keys="blocks" needs codes of at least n_tables * key_bits = {tables * bits} bits, got {n_bits}; '
            f'take a hasher with {advice}, fewer tables, or keys="sample"'
        )
    return np.arange(tables * bits, dtype=np.int32).reshape(tables, bits)


def _sample_positions(n_bits: int, n_tables: int, key_bits: int, seed: int) -> NDArray[np.int32]:
    # The first J of a random order, by sorting uniform numbers: that stream outlives the one behind `choice`.
    order = np.random.default_rng(seed).random((n_tables, n_bits)).argsort(axis=1, kind="stable")
    return np.sort(order[:, :key_bits], axis=1).astype(np.int32)


def _given_positions(n_bits: int, keys: ArrayLike, where: str, unit: int) -> NDArray[np.int32]:
    array = as_numeric(keys, where, "keys")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{where}: keys must be integers, got dtype {array.dtype}")
    if array.ndim != 2 or array.size == 0 or array.shape[1] > _core.MAX_KEY_BITS:
        raise ValueError(
            f"{where}: keys must have shape (tables, bits) with 1 to {_core.MAX_KEY_BITS} bits, got {array.shape}"
        )
    if array.min() < 0 or array.max() >= n_bits:
        raise ValueError(
            f"{where}: keys must be between 0 and {n_bits - 1}, got values from {array.min()} to {array.max()}"
        )
    positions = array.astype(np.int32)
    ordered = np.sort(positions, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    if twice.any():
        raise ValueError(f"{where}: keys must name each bit once a table, got a bit twice in table {twice.argmax()}")
    cut = positions.shape[1] % unit or (np.diff(positions.reshape(-1, unit), axis=1) != 1).any()
    if cut or (positions[:, ::unit] % unit).any():
        raise ValueError(
            f"{where}: keys must be made of whole hashes, {unit} bits in a row from a multiple of {unit} on, got one "
            "cut in two"
        )
    return positions
