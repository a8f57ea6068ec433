"""A trained head as plain weights: what encodes without torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lshcore import _core

from ..hashers._blocks import row_blocks

# What follows a layer: nothing, the positive part, or every row scaled to length 1.
AFTER = ("", "relu", "unit")


@dataclass(frozen=True, eq=False)
class Layer:
    """``after(x @ weight.T + bias)``.

    Parameters
    ----------
    weight : float32 (outputs, inputs)
    bias : float32 (outputs,)
    after : {"", "relu", "unit"}
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    after: str = ""

    def __call__(self, x: NDArray[np.float32], n_jobs: int) -> NDArray[np.float32]:
        """Outputs, float32 (n, outputs); the same for any batch and number of threads."""
        y = _core.project(x, self.weight, self.bias, n_jobs)
        if self.after == "relu":
            np.maximum(y, 0, out=y)
        elif self.after == "unit":
            y = _core.normalize_rows(y, n_jobs)
        return y


def forward(layers: Sequence[Layer], x: NDArray[np.float32], n_jobs: int) -> NDArray[np.float32]:
    """Outputs of the last layer, float32 (n, outputs), for rows x (n, inputs); in blocks, so that little is held."""
    widest = max(max(layer.weight.shape) for layer in layers)
    out = np.empty((len(x), len(layers[-1].bias)), np.float32)
    for part in row_blocks(len(x), widest):
        block = x[part]
        for layer in layers:
            block = layer(block, n_jobs)
        out[part] = block
    return out


def check_layers(layers: Sequence[Layer], n_inputs: int, n_outputs: int) -> None:
    """Raise ValueError unless the layers fit each other and lead from `n_inputs` to `n_outputs` columns."""
    width = n_inputs
    for i, layer in enumerate(layers):
        shape = layer.weight.shape
        if layer.weight.ndim != 2 or shape[1] != width or layer.bias.shape != shape[:1] or layer.after not in AFTER:
            raise ValueError(
                f"layer {i} must take {width} columns, with one bias an output, and be followed by one of {AFTER}; "
                f"got weights {shape}, biases {layer.bias.shape} and {layer.after!r}"
            )
        width = shape[0]
    if width != n_outputs:
        raise ValueError(f"the last layer must give {n_outputs} columns, got {width}")
