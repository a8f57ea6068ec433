"""scikit-learn's own handwritten digits: no file needed, no network, 1,797 items."""

import hashlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from .dataset import Source
from .images import ArrayImages, ImageSet

if TYPE_CHECKING:
    from .entries import Entry


def locate(entry: "Entry", data_dir: Any = None) -> str:
    """The package that holds it."""
    return f"scikit-learn {version('scikit-learn')}"


def load(entry: "Entry", data_dir: Any = None) -> ImageSet:
    """Load the digits; pixels are whole numbers from 0 to 16."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.ascontiguousarray(bunch.images.astype(np.uint8))
    labels = bunch.target.astype(np.int64)
    digest = hashlib.sha256(pixels.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    return ImageSet(
        name=entry.name,
        description=entry.title,
        images=ArrayImages(pixels),
        labels=labels,
        source=Source(locate(entry), {"load_digits": digest}),
        protocol=entry.protocol,
        class_names=tuple(str(name) for name in bunch.target_names),
        backbone=entry.backbone,
    )
