"""The small network of deep supervised hashing, up to its last layer before the bits. It needs no torchvision."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import weights as weights_files
from .backbones import DSH_CNN, RANDOM, Backbone, seeded
from .imports import import_torch

if TYPE_CHECKING:
    from PIL.Image import Image

_SIZE = 32
_FILTERS = (32, 32, 64)
_OUTPUTS = 500
_MEAN, _STD = 0.5, 0.25


@dataclass(frozen=True)
class Prepare:
    """PIL image in mode RGB -> float32 (3, size, size), whatever its sides were.

    Parameters
    ----------
    size : int
    """

    size: int

    def __call__(self, image: "Image") -> Any:
        if image.size != (self.size, self.size):
            from PIL.Image import Resampling

            image = image.resize((self.size, self.size), Resampling.BILINEAR)
        pixels = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
        return import_torch().from_numpy(np.ascontiguousarray((pixels - _MEAN) / _STD))


def dsh_cnn(weights: str | Path | None = None, image_size: int | None = None) -> Backbone:
    """The network that `backbone` calls "dsh-cnn", with 500 features. [1]_

    Three convolutions of 5 x 5 (32, 32 and 64 filters), each with ReLU and followed by pooling over 3 x 3 with stride 2
    (the largest, then twice the mean), and a fully connected layer of 500 with ReLU.

    Parameters
    ----------
    weights : str or path, optional
        A file, or "random" (Glorot's; always the same ones), which None is too.
    image_size : int, optional
        Side of what the network sees; 32 if not given.

    Raises
    ------
    ImportError, ValueError, FileNotFoundError
        As `backbone`.

    References
    ----------
    .. [1] H. Liu, R. Wang, S. Shan, X. Chen, "Deep supervised hashing for fast image retrieval", CVPR 2016.
    """
    if weights_files.is_published_name(weights):
        raise ValueError(
            f"weights of {DSH_CNN} must be a file or {RANDOM!r} (none are published), got {str(weights)!r}"
        )
    size = _SIZE if image_size is None else image_size
    with seeded():
        module = _module(size)
    if weights is not None and weights != RANDOM:
        weights_files.load(module, weights)
    return Backbone.of(
        module,
        Prepare(size),
        name=DSH_CNN,
        weights=RANDOM if weights is None else Path(weights).name,
        transform=f"resize {size} x {size} (bilinear), mean {_MEAN:g}, std {_STD:g}",
        image_size=image_size,
    )


def _module(size: int) -> Any:
    nn = import_torch().nn
    layers: list[Any] = []
    channels, side = 3, size
    for filters, pool in zip(_FILTERS, (nn.MaxPool2d, nn.AvgPool2d, nn.AvgPool2d), strict=True):
        layers += [nn.Conv2d(channels, filters, 5, padding=2), nn.ReLU(), pool(3, stride=2, ceil_mode=True)]
        channels, side = filters, max(side // 2, 1)  # Caffe's pooling, where the last window may be cut off
    layers += [nn.Flatten(), nn.Linear(channels * side * side, _OUTPUTS), nn.ReLU()]
    module = nn.Sequential(*layers)
    for layer in module:
        if hasattr(layer, "weight"):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return module
