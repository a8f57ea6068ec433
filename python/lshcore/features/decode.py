"""Images as a network takes them: 8-bit RGB, whatever was stored, or the reason why not.

Whatever lies under a transparent pixel is not shown to anybody, so transparent images are put on white. The orientation
that cameras note in EXIF is not applied: the published networks were trained without. Greys of 16 bits are scaled to 8.
JPEGs are decoded at full size: decoding at a fraction (Pillow's draft mode) is faster, and gives other features.
"""

import errno
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.images import Images
from .imports import import_torch
from .store import Skipped

if TYPE_CHECKING:
    from PIL.Image import Image

# The network's share of a side is fixed, so that an image of 1 x 50,000 pixels would be blown up to gigabytes.
_MAX_ASPECT = 100
_MAX_REASON = 200
# What is wrong with this process, not with an image.
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

# Prepared images as one tensor (None if there is none), and those that were skipped.
Batch = tuple[Any | None, list[Skipped]]


@dataclass(frozen=True)
class Unreadable(Skipped):
    """An image that the system could not read at all, such as a file that has gone."""


def rgb(image: "Image") -> "Image":
    """Decode an image to mode RGB.

    Raises
    ------
    ValueError
        If its numbers have no known range, or its sides are too unequal.
    OSError and others
        What Pillow raises where the file is broken.
    """
    from PIL import Image as PIL

    width, height = image.size
    if max(width, height) > _MAX_ASPECT * min(width, height):
        raise ValueError(f"sides of {width} x {height} pixels are too unequal")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"integers from {values.min()} to {values.max()} are neither of 8 nor of 16 bits")
        image = PIL.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return PIL.alpha_composite(PIL.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def stack(tensors: list[Any]) -> Any:
    """One tensor of several; images with their channels last, which a CPU convolves up to three times as fast."""
    torch = import_torch()
    batch = torch.stack(tensors)
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


@dataclass(frozen=True)
class Batches:
    """Batch b of a set of images, as a `Batch`.

    Of plain parts, so that worker processes can have it.

    Parameters
    ----------
    images : Images
    prepare : callable
        PIL image in mode RGB -> CPU tensor.
    size : int
        Images a batch.
    start : int
        The first image of the first batch.
    """

    images: Images
    prepare: Callable[["Image"], Any]
    size: int
    start: int = 0

    def __len__(self) -> int:
        return -(-(len(self.images) - self.start) // self.size)

    def __getitem__(self, b: int) -> Batch:
        first = self.start + b * self.size
        tensors, skipped = [], []
        for i in range(first, min(first + self.size, len(self.images))):
            tensor = prepared(self.images, self.prepare, i)
            if isinstance(tensor, Skipped):
                skipped.append(tensor)
            else:
                tensors.append(tensor)
        return (stack(tensors) if tensors else None), skipped


def prepared(images: Images, prepare: Callable[["Image"], Any], i: int) -> Any:
    """What `prepare` makes of image i, or `Skipped`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd EXIF blocks, palettes, and sizes near the limit
        try:
            with images[i] as image:
                decoded = rgb(image)
        except Exception as error:  # Pillow's decoders raise whatever their broken input leads them to
            number = error.errno if isinstance(error, OSError) else None
            if number in _OURS:
                raise
            kind = Skipped if number is None else Unreadable
            return kind(i, images.name(i), _reason(error))
    try:
        return prepare(decoded)
    except Exception as error:
        raise RuntimeError(f"the transform failed on image {images.name(i)!r}: {error}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    if type(error).__name__ == "UnidentifiedImageError":  # whose text names objects by address
        return "not an image of any known format"
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}..."
