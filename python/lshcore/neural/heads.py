"""Heads from features to margins, the two layers that make bits of them, and what a trained head weighs."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .layers import Layer


class Head(nn.Module):  # type: ignore[misc]
    """Rows shifted and scaled, hidden layers with ReLU, and one linear layer.

    Parameters
    ----------
    dim, n_outputs : int
    hidden : sequence of int
        Widths of the hidden layers; none by default.
    normalise : bool
        Batch normalisation after the last layer.
    unit : bool
        Outputs scaled to length 1.
    """

    def __init__(
        self, dim: int, n_outputs: int, hidden: Sequence[int] = (), *, normalise: bool = False, unit: bool = False
    ) -> None:
        super().__init__()
        widths = [dim, *hidden, n_outputs]
        self.register_buffer("shift", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.normalise = nn.BatchNorm1d(n_outputs) if normalise else None
        self.unit = unit

    def adapt(self, x: NDArray[np.float32]) -> None:
        """Learn from training rows x (n, dim) the shift and the scale after which entries have mean 0 and variance 1
        overall; one scale for all columns, so that columns which hardly vary stay small."""
        mean = x.mean(axis=0, dtype=np.float64)
        variance = sum(np.square(x[i : i + 4096] - mean).sum() for i in range(0, len(x), 4096)) / x.size
        self.shift.copy_(torch.from_numpy(mean))
        self.scale.fill_(1 / np.sqrt(variance) if variance > 0 else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Margins (n, n_outputs) of rows (n, dim)."""
        for i, layer in enumerate(self.linear):
            weight, bias = layer.weight, layer.bias
            if i == 0:  # shift and scale the weights, which are fewer than the rows
                weight = weight * self.scale
                bias = bias - weight @ self.shift
            x = nn.functional.linear(x if i == 0 else nn.functional.relu(x), weight, bias)
        x = x.float()
        if self.normalise is not None:
            x = self.normalise(x)
        return nn.functional.normalize(x) if self.unit else x

    def export(self) -> list[Layer]:
        """The head as it is in evaluation: shift, scale and batch normalisation are folded into the weights."""
        pairs = [(_double(layer.weight), _double(layer.bias)) for layer in self.linear]
        weight, bias = pairs[0]
        scale = float(self.scale)
        pairs[0] = weight * scale, bias - weight @ _double(self.shift) * scale
        if self.normalise is not None:
            norm = self.normalise
            weight, bias = pairs[-1]
            factor = _double(norm.weight) / np.sqrt(_double(norm.running_var) + norm.eps)
            pairs[-1] = weight * factor[:, None], (bias - _double(norm.running_mean)) * factor + _double(norm.bias)
        after = ["relu"] * (len(pairs) - 1) + ["unit" if self.unit else ""]
        return [Layer(_single(w), _single(b), then) for (w, b), then in zip(pairs, after, strict=True)]


def _double(tensor: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return array


def _single(array: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, np.float32)


class _Sign(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(context: Any, u: Tensor) -> Tensor:
        return torch.where(u >= 0, 1.0, -1.0).to(u.dtype)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient


class _HalfHalf(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(context: Any, u: Tensor, gamma: float) -> Tensor:
        order = u.argsort(dim=0, descending=True, stable=True)
        codes = torch.full_like(u, -1.0).scatter_(0, order[: len(u) // 2], 1.0)
        context.save_for_backward(u, codes)
        context.gamma = gamma
        return codes

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        u, codes = context.saved_tensors
        return gradient + context.gamma * (u - codes) / u.numel(), None


def sign(u: Tensor) -> Tensor:
    """Signs of u, sgn(0) = 1; gradients pass as if nothing had happened (the straight-through estimator)."""
    return _Sign.apply(u)


def half_half(u: Tensor, gamma: float) -> Tensor:
    """Codes (n, K) in which every bit is +1 in the n // 2 rows with the largest margins u (n, K), -1 in the others.

    Backwards the gradient passes through, and is joined by ``gamma * (u - codes) / (n K)``, which draws the margins to
    their codes.

    References
    ----------
    Y. Li, J. van Gemert, "Deep unsupervised image hashing by maximizing bit entropy", AAAI 2021.
    """
    return _HalfHalf.apply(u, gamma)
