"""Running a backbone: device, threads, precision."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validation import check_choice, resolve_jobs
from ..data.images import Images
from .backbones import Backbone
from .decode import Batches
from .imports import import_torch

# Where bfloat16 was not asked for, it must be worth it; and so must trying it.
_WORTH = 1.2
_TRIED_ON = 16
_TRY_FROM = 1000


def resolve_device(device: str | None, where: str = "extract") -> str:
    """ "cpu" or "cuda"; the GPU if there is one and nothing else was asked for; `where` starts a message.

    Raises
    ------
    ValueError
        If it is unknown, or there is no such device.
    """
    check_choice(device, where, "device", ("cpu", "cuda", None))
    available = import_torch().cuda.is_available()
    if device == "cuda" and not available:
        raise ValueError(f"{where}: device 'cuda' was asked for, and torch finds no GPU that it can use")
    return device or ("cuda" if available else "cpu")


class Network:
    """A backbone on its device, at its precision.

    Parameters
    ----------
    backbone : Backbone
        Its module is moved to the device.
    device : {"cpu", "cuda"}
    bf16 : bool
        Compute in bfloat16 where autocast does.
    """

    def __init__(self, backbone: Backbone, device: str, bf16: bool) -> None:
        torch = import_torch()
        self._torch, self._device, self._bf16 = torch, device, bf16
        self._module = backbone.module.eval().to(device).to(memory_format=torch.channels_last)

    def __call__(self, images: Any) -> NDArray[np.float32]:
        """Features, float32 (b, d), of prepared images (b, ...)."""
        torch = self._torch
        with torch.inference_mode(), torch.autocast(self._device, dtype=torch.bfloat16, enabled=self._bf16):
            features = self._module(images.to(self._device, non_blocking=True))
        matrix: NDArray[np.float32] = features.float().cpu().numpy()
        return matrix


@contextmanager
def threads(limit: int | None = None) -> Iterator[None]:
    """Keep torch within `limit`, else ``LSHCORE_NUM_THREADS``, else the CPUs that this process may use."""
    torch = import_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, limit or resolve_jobs(None)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_precision(
    backbone: Backbone, images: Images, device: str, bf16: bool | None
) -> tuple[bool, dict[str, float]]:
    """Whether to compute in bfloat16, and what that costs, measured on the first images.

    Without a wish, a GPU keeps float32, and a CPU takes bfloat16 where it is over 1.2 times as fast and there are so
    many images that finding out is worth it.

    Returns
    -------
    (bool, figures)
        "bf16_speedup", and "bf16_cosine": the least cosine between features at both precisions.
    """
    if bf16 is False or (bf16 is None and (device != "cpu" or len(images) < _TRY_FROM)):
        return False, {}
    tried, _ = Batches(images, backbone.prepare, _TRIED_ON)[0]
    if tried is None:
        return bool(bf16), {}
    exact, seconds = _timed(Network(backbone, device, False), tried)
    rough, rough_seconds = _timed(Network(backbone, device, True), tried)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(rough, axis=1)
    cosine = float(np.min((exact * rough).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny)))
    figures = {"bf16_cosine": cosine, "bf16_speedup": seconds / rough_seconds}
    return (seconds > _WORTH * rough_seconds if bf16 is None else bf16), figures


def _timed(network: Network, images: Any) -> tuple[NDArray[np.float32], float]:
    """Features, and the least seconds of three runs after one that warms up."""
    features, seconds = network(images), []
    for _ in range(3):
        start = time.perf_counter()
        network(images)
        seconds.append(time.perf_counter() - start)
    return features, min(seconds)
