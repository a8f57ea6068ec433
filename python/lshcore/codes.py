"""`BinaryCodes`: the type of every set of binary codes, packed into 64-bit words."""

from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from ._validation import as_integer, as_matrix, as_numeric, check_choice

if TYPE_CHECKING:
    from .codes_cuda import DeviceCodes


class BinaryCodes:
    """n codes of `n_bits` bits each.

    Bit j of a code sits in word ``j // 64`` at position ``j % 64``; the bits that pad the last word are zero. The codes
    do not change: `words` is a read-only view.

    Parameters
    ----------
    words : ndarray of uint64, (n, ceil(n_bits / 64))
        Packed codes; not copied where they are C-contiguous already.
    n_bits : int
        Bits of a code, from 1 to 4096.

    Raises
    ------
    TypeError
        If `words` is not an array of uint64.
    ValueError
        If the shape does not fit `n_bits`, `n_bits` is out of range, or a padding bit is set.

    See Also
    --------
    BinaryCodes.from_bools, BinaryCodes.from_signs, BinaryCodes.from_packed
    """

    __slots__ = ("_n_bits", "_words")
    __hash__ = None  # type: ignore[assignment]  # compared by value

    _n_bits: int
    _words: NDArray[np.uint64]

    def __init__(self, words: NDArray[np.uint64], n_bits: int) -> None:
        where = "BinaryCodes"
        bits = _check_bits(n_bits, where)
        array = as_numeric(words, where, "words")
        if array.dtype.newbyteorder("=") != np.uint64:
            raise TypeError(f"{where}: words must be uint64, got dtype {array.dtype}")
        width = -(-bits // 64)
        if array.ndim != 2 or array.shape[1] != width:
            raise ValueError(f"{where}: words of {bits}-bit codes must have shape (n, {width}), got {array.shape}")
        packed = np.require(array, dtype=np.uint64, requirements=["C", "A"])
        _core.check_padding(packed, bits)
        self._store(packed, bits)

    def _store(self, words: NDArray[np.uint64], n_bits: int) -> None:
        view = words.view()
        view.flags.writeable = False
        self._words = view
        self._n_bits = n_bits

    @classmethod
    def _trusted(cls, words: NDArray[np.uint64], n_bits: int) -> Self:
        """From words that the core made: nothing to check."""
        codes = cls.__new__(cls)
        codes._store(words, n_bits)
        return codes

    @classmethod
    def from_bools(cls, bits: ArrayLike) -> Self:
        """Pack a bool (or 0/1 integer) array (n, n_bits)."""
        where = "BinaryCodes.from_bools"
        array = _as_bits(bits, where, "bits")
        if array.dtype.kind == "f" or (array.dtype != np.bool_ and ((array != 0) & (array != 1)).any()):
            raise (TypeError if array.dtype.kind == "f" else ValueError)(
                f"{where}: bits must be bools or integers that are 0 or 1, got {array.dtype} values; "
                "for signs use from_signs"
            )
        packed = _core.pack_bools(np.require(array, dtype=np.bool_, requirements=["C", "A"]))
        return cls._trusted(packed, array.shape[1])

    @classmethod
    def from_signs(cls, signs: ArrayLike) -> Self:
        """Pack signed numbers (n, n_bits), +1/-1 or margins: a bit is 1 where the value is at least 0."""
        where = "BinaryCodes.from_signs"
        array = _as_bits(signs, where, "signs")
        if array.dtype.kind in "bu":
            raise TypeError(
                f"{where}: signs must be signed numbers, got dtype {array.dtype}; for zeros and ones use from_bools"
            )
        as_matrix(array, where, name="signs")  # finite
        # Compared in its own dtype: a tiny negative double would become -0.0, which is at least 0, as a float32.
        return cls._trusted(_core.pack_bools(np.ascontiguousarray(array >= 0)), array.shape[1])

    @classmethod
    def from_packed(cls, packed: ArrayLike, n_bits: int) -> Self:
        """Codes from bytes, uint8 (n, ceil(n_bits / 8)), with bit j in byte ``j // 8`` at position ``j % 8``.

        This is ``numpy.packbits(bits, axis=1, bitorder="little")``. The padding bits of the last byte must be zero.
        """
        where = "BinaryCodes.from_packed"
        bits = _check_bits(n_bits, where)
        array = as_numeric(packed, where, "packed")
        if array.dtype != np.uint8:
            raise TypeError(f"{where}: packed must be uint8, got dtype {array.dtype}")
        width = -(-bits // 8)
        if array.ndim != 2 or array.shape[1] != width:
            raise ValueError(f"{where}: packed {bits}-bit codes must have shape (n, {width}), got {array.shape}")
        padded = np.zeros((len(array), -(-bits // 64) * 8), dtype=np.uint8)
        padded[:, :width] = array
        return cls(padded.view("<u8").astype(np.uint64, copy=False), bits)

    @property
    def n_bits(self) -> int:
        """Bits of a code."""
        return self._n_bits

    @property
    def words(self) -> NDArray[np.uint64]:
        """Packed codes, uint64 (n, ceil(n_bits / 64)), read-only."""
        return self._words

    @property
    def nbytes(self) -> int:
        """Bytes of the packed words."""
        return self._words.nbytes

    def to_bools(self) -> NDArray[np.bool_]:
        """Bits as bool (n, n_bits)."""
        return _core.unpack_bools(self._words, self._n_bits)

    def to_signs(self) -> NDArray[np.int8]:
        """Bits as int8 (n, n_bits): 1 becomes +1, 0 becomes -1."""
        signs = self.to_bools().astype(np.int8)
        signs *= 2
        signs -= 1
        return signs

    def to_packed(self) -> NDArray[np.uint8]:
        """Bits as bytes, uint8 (n, ceil(n_bits / 8)); the inverse of `from_packed`."""
        octets = self._words.astype("<u8", copy=False).view(np.uint8)
        return octets[:, : -(-self._n_bits // 8)].copy()

    def to(self, device: str) -> "BinaryCodes | DeviceCodes":
        """The codes on "cpu", which are these, or a copy on "cuda", the current GPU of torch.

        Raises
        ------
        ValueError
            If the device is unknown, or lshcore can use none.
        MemoryError
            If the GPU has too little memory.
        """
        if check_choice(device, "BinaryCodes.to", "device", ("cpu", "cuda")) == "cpu":
            return self
        from ._device import check_gpu, upload  # knows of codes itself

        check_gpu("BinaryCodes.to")
        return upload(self)

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, rows: Any) -> Self:
        """Codes of some rows: a slice, an integer (one row), integers, or a bool mask over the rows."""
        if isinstance(rows, tuple):
            raise TypeError("BinaryCodes: rows must be an integer, a slice or a 1-d array, got a tuple")
        if not isinstance(rows, slice):
            index = np.asarray(rows)
            if index.size == 0 and index.dtype.kind == "f":  # an empty list
                index = index.astype(np.intp)
            if index.dtype.kind not in "iub":
                raise TypeError(f"BinaryCodes: rows must be integers or bools, got dtype {index.dtype}")
            if index.ndim > 1 or (index.ndim == 0 and index.dtype.kind == "b"):
                raise ValueError(f"BinaryCodes: rows must be 1-d, got shape {index.shape}")
            rows = index[np.newaxis] if index.ndim == 0 else index
        return self._trusted(np.ascontiguousarray(self._words[rows]), self._n_bits)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BinaryCodes):
            return NotImplemented
        return self._n_bits == other._n_bits and np.array_equal(self._words, other._words)

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("BinaryCodes is not an array: use .words, .to_bools(), .to_signs() or .to_packed()")

    def __repr__(self) -> str:
        return f"BinaryCodes({len(self):,} x {self._n_bits} bits, {self.nbytes / 1e6:.1f} MB)"


def as_codes(codes: object, where: str, name: str, n_bits: int | None = None) -> BinaryCodes:
    """`codes` if it is a BinaryCodes of the right width, or an error that says what it is."""
    if not isinstance(codes, BinaryCodes):
        raise TypeError(f"{where}: {name} must be BinaryCodes (as a hasher's encode gives), got {type(codes).__name__}")
    if n_bits is not None and codes.n_bits != n_bits:
        raise ValueError(f"{where}: {name} must have {n_bits} bits, got {codes.n_bits}")
    return codes


def _check_bits(n_bits: Any, where: str) -> int:
    return as_integer(n_bits, where, "n_bits", low=1, high=_core.MAX_BITS)


def _as_bits(values: ArrayLike, where: str, name: str) -> NDArray[Any]:
    array = as_numeric(values, where, name)
    if array.ndim != 2:
        raise ValueError(f"{where}: {name} must be 2-d, (n, n_bits), got shape {array.shape}")
    _check_bits(array.shape[1], where)
    return array
