"""scikit-learn's own handwritten digits: no file needed, no network, 1,797 items."""

import hashlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from .dataset import Dataset, Source

if TYPE_CHECKING:
    from .catalogue import Entry


def locate(entry: "Entry", data_dir: Any = None) -> str:
    """The package that holds it."""
    return f"scikit-learn {version('scikit-learn')}"


def load(entry: "Entry", data_dir: Any = None) -> Dataset:
    """Load the digits; pixels are whole numbers from 0 to 16."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    features = np.ascontiguousarray(bunch.data.astype(np.uint8))
    labels = bunch.target.astype(np.int64)
    digest = hashlib.sha256(features.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    return Dataset(
        name=entry.name,
        description=entry.title,
        features=features,
        labels=labels,
        source=Source(locate(entry), {"load_digits": digest}),
        protocol=entry.protocol,
        class_names=tuple(str(name) for name in bunch.target_names),
    )
