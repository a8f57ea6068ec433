"""Where arrays are: in host memory, or on the GPU as torch tensors. torch is used only where a tensor came in."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from ._validation import as_matrix, check_choice
from .codes import BinaryCodes, as_codes
from .codes_cuda import DeviceCodes

DEVICES = ("cpu", "cuda", None)

Codes = BinaryCodes | DeviceCodes

# What the core writes, and the tensors that hold it: torch computes with hardly any unsigned words.
_TENSORS = {"float32": "float32", "uint16": "uint16", "uint64": "int64", "int64": "int64"}

# float32 values beyond this are refused by `as_matrix`.
_MAX_MAGNITUDE = 1e15


def check_gpu(where: str) -> None:
    """Raise ValueError, which says why, where the core cannot use a GPU."""
    if _core.cuda_available():
        return
    reason, cause = "there is no GPU that it can use", None
    try:
        _core.cuda_device()
    except RuntimeError as error:
        cause = error  # such as a fork
        if "no CUDA kernels" in str(error):
            reason = str(error)
    raise ValueError(f"{where}: device 'cuda' was asked for, and {reason}") from cause


def is_tensor(value: object) -> bool:
    """Whether it is a torch tensor on a GPU."""
    torch = sys.modules.get("torch")  # without torch loaded, nothing can be one
    return torch is not None and isinstance(value, torch.Tensor) and bool(value.is_cuda)


def runs_on_gpu(device: str | None, where: str, *values: object) -> bool:
    """Whether a call with these arguments, tensors or codes, runs on the GPU.

    Parameters
    ----------
    device : {"cpu", "cuda"} or None
        None is the GPU where an argument is there already and the core can use it, otherwise the CPU.
    where : str
        What a message starts with.
    *values
        What may be on the GPU.

    Raises
    ------
    ValueError
        If the device is unknown or there is none, or an argument is on another GPU than torch's current one.
    """
    check_choice(device, where, "device", DEVICES)
    if device == "cuda":
        check_gpu(where)
    tensors: list[Any] = [value.words if isinstance(value, DeviceCodes) else value for value in values]
    tensors = [tensor for tensor in tensors if is_tensor(tensor)]
    gpu = device == "cuda" or (device is None and bool(tensors) and _core.cuda_available())
    for tensor in tensors if gpu else ():
        current = sys.modules["torch"].cuda.current_device()
        if tensor.device.index != current:
            raise ValueError(f"{where}: tensors must be on cuda:{current}, the current GPU, got {tensor.device}")
    return gpu


def lend(array: Any) -> Any:
    """What the core takes: a NumPy array as it is; a tensor as a DLPack capsule, which the core's stream waits for."""
    return array.__dlpack__(stream=_core.cuda_stream()) if is_tensor(array) else array


def empty(shape: tuple[int, ...], dtype: str, *beside: object) -> Any:
    """What the core is to fill: a tensor on the GPU where one of the arguments is, otherwise a NumPy array.

    Raises
    ------
    MemoryError
        Where there is not enough memory, of either kind.
    """
    tensor: Any = next(filter(is_tensor, beside), None)
    if tensor is None:
        return np.empty(shape, dtype)
    with _memory_of_gpu() as torch:
        return torch.empty(shape, dtype=getattr(torch, _TENSORS[dtype]), device=tensor.device)


def upload(codes: BinaryCodes) -> DeviceCodes:
    """Codes in the memory of torch's current GPU. MemoryError where it is too little."""
    importlib.import_module("torch")
    with _memory_of_gpu() as torch:
        return DeviceCodes._trusted(torch.tensor(codes.words.view(np.int64), device="cuda"), codes.n_bits)


@contextmanager
def _memory_of_gpu() -> Iterator[Any]:
    """torch, which came with a tensor; what it lacks is memory as any other."""
    torch = sys.modules["torch"]
    try:
        yield torch
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error


def rows_for_gpu(X: ArrayLike, where: str, dim: int, n_jobs: int) -> Any:
    """Float32 (n, dim), C-contiguous and finite: a tensor where X is one on the GPU, otherwise NumPy.

    Raises
    ------
    TypeError, ValueError
        What `as_matrix` raises: where something about a tensor is unusual, its copy on the CPU goes there.
    """
    if not is_tensor(X):
        return as_matrix(X, where, dim=dim, n_jobs=n_jobs)
    tensor: Any = X
    with _memory_of_gpu() as torch:
        usual = tensor.layout is torch.strided and tensor.dtype in (torch.float16, torch.float32, torch.float64)
        if usual and tensor.ndim == 2 and tensor.shape[1] == dim:
            rows = tensor.detach().to(torch.float32).contiguous()
            if len(rows) == 0:
                return rows
            low, high = (float(value) for value in torch.aminmax(rows))  # NaN where there is one
            if low >= -_MAX_MAGNITUDE and high <= _MAX_MAGNITUDE:
                return rows
        return torch.tensor(as_matrix(X, where, dim=dim, n_jobs=n_jobs), device=tensor.device)


def encoded(words: Any, n_bits: int) -> Any:
    """Codes that the core made, where they are."""
    return (DeviceCodes if is_tensor(words) else BinaryCodes)._trusted(words, n_bits)


def pair(
    first: object, second: object, device: str | None, where: str, names: tuple[str, str]
) -> tuple[Codes, Codes, bool]:
    """Codes of the same width, and whether they go to the GPU; on the CPU where they do not.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another type, the widths differ, or there is no such device.
    """
    left = first if isinstance(first, DeviceCodes) else as_codes(first, where, names[0])
    if isinstance(second, DeviceCodes) and second.n_bits != left.n_bits:
        raise ValueError(f"{where}: {names[1]} must have {left.n_bits} bits, got {second.n_bits}")
    right = second if isinstance(second, DeviceCodes) else as_codes(second, where, names[1], n_bits=left.n_bits)
    if runs_on_gpu(device, where, left, right):
        return left, right, True
    return left.to("cpu"), right.to("cpu"), False
