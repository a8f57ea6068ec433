"""`DeviceCodes`: binary codes in the memory of a GPU."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from . import _core
from ._validation import as_integer, check_choice
from .codes import BinaryCodes


class DeviceCodes:
    """n codes of `n_bits` bits each, packed as those of `BinaryCodes` are, on a GPU.

    ``BinaryCodes.to("cuda")`` makes them, and a hasher's `encode` where it is given a tensor on the GPU.

    Parameters
    ----------
    words : torch.Tensor of int64, (n, ceil(n_bits / 64))
        Packed codes, on a GPU and C-contiguous. Not copied, and not to be written to.
    n_bits : int
        Bits of a code, from 1 to 4096.

    Raises
    ------
    TypeError
        If `words` is not a tensor of int64.
    ValueError
        If it is not on a GPU or not contiguous, the shape does not fit `n_bits`, `n_bits` is out of range, or a
        padding bit is set.
    """

    __slots__ = ("_n_bits", "_words")
    __hash__ = None  # type: ignore[assignment]  # compared by value

    _n_bits: int
    _words: Any

    def __init__(self, words: Any, n_bits: int) -> None:
        import torch

        bits = as_integer(n_bits, "DeviceCodes", "n_bits", low=1, high=_core.MAX_BITS)
        if not isinstance(words, torch.Tensor) or words.dtype != torch.int64:
            kind = words.dtype if isinstance(words, torch.Tensor) else type(words).__name__
            raise TypeError(f"DeviceCodes: words must be a torch tensor of int64, got {kind}")
        width = -(-bits // 64)
        if words.ndim != 2 or words.shape[1] != width:
            raise ValueError(
                f"DeviceCodes: words of {bits}-bit codes must have shape (n, {width}), got {tuple(words.shape)}"
            )
        if not words.is_cuda or not words.is_contiguous():
            raise ValueError(
                f"DeviceCodes: words must be C-contiguous and on a GPU, got strides {words.stride()} on {words.device}"
            )
        if bits % 64 and bool((words[:, -1] >> bits % 64 != 0).any()):
            raise ValueError(f"DeviceCodes: codes of {bits} bits must have no bit set beyond the last")
        self._words = words
        self._n_bits = bits

    @classmethod
    def _trusted(cls, words: Any, n_bits: int) -> Self:
        """From words that the core made: nothing to check."""
        codes = cls.__new__(cls)
        codes._words = words
        codes._n_bits = n_bits
        return codes

    @property
    def n_bits(self) -> int:
        """Bits of a code."""
        return self._n_bits

    @property
    def words(self) -> Any:
        """Packed codes, a torch tensor of int64 (n, ceil(n_bits / 64))."""
        return self._words

    @property
    def nbytes(self) -> int:
        """Bytes of the packed words."""
        return 8 * int(self._words.numel())

    def cpu(self) -> BinaryCodes:
        """The codes in host memory."""
        return BinaryCodes._trusted(self._words.cpu().numpy().view(np.uint64), self._n_bits)

    def to(self, device: str) -> BinaryCodes | DeviceCodes:
        """The codes on "cpu" or "cuda": these themselves where they are there."""
        return self.cpu() if check_choice(device, "DeviceCodes.to", "device", ("cpu", "cuda")) == "cpu" else self

    def __len__(self) -> int:
        return len(self._words)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BinaryCodes | DeviceCodes):
            return NotImplemented
        return self.cpu() == other.to("cpu")

    def __repr__(self) -> str:
        return f"DeviceCodes({len(self):,} x {self._n_bits} bits, {self.nbytes / 1e6:.1f} MB, {self._words.device})"
