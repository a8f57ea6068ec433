"""CIFAR-10 and CIFAR-100 as their authors publish them, and torchvision keeps them: batches pickled by Python 2.

They are the only pickles that lshcore reads: each must have the official checksum, and even then nothing can be built
from it but dictionaries, lists, strings, numbers and NumPy arrays.
"""

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Source
from .images import ArrayImages, ImageSet

if TYPE_CHECKING:
    from .entries import Entry

SIDE = 32


@dataclass(frozen=True)
class Batches:
    """The files of one data set, with their official MD5, and the keys of what is read from them."""

    train: Mapping[str, str]
    query: Mapping[str, str]
    meta: Mapping[str, str]
    labels: str
    names: str

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, *self.query, *self.meta)


BATCHES = {
    "cifar10": Batches(
        train={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        query={"test_batch": "40351d587109b95175f43aff81a1287e"},
        meta={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
        labels="labels",
        names="label_names",
    ),
    "cifar100": Batches(
        train={"train": "16019d7e3df5f24257cddd939b257f8d"},
        query={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        meta={"meta": "7973b15100ade9c7d40fb424638fde48"},
        labels="fine_labels",
        names="fine_label_names",
    ),
}


def _dtype(name: str, align: int, copy: int) -> np.dtype[Any]:
    return np.dtype(name)  # without the two flags, which NumPy 2.4 no longer takes as the numbers of the pickle


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def read_batch(path: Path, md5: str) -> tuple[dict[str, Any], str]:
    """Read one official file.

    Parameters
    ----------
    path : Path
    md5 : str
        What the file must have, in hex.

    Returns
    -------
    content : dict
    sha256 : str

    Raises
    ------
    ValueError
        If the checksum is another one, or the file asks for more than NumPy arrays.
    """
    raw = path.read_bytes()
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(
            f"{path} must be the official file, MD5 {md5}, got MD5 {found}: remove it and get it again, "
            f"as nothing else that is pickled is read"
        )
    try:
        content = _Unpickler(io.BytesIO(raw), encoding="latin1").load()
    except Exception as error:  # a pickle can fail in any way
        raise ValueError(f"{path} must be a pickle of plain values and arrays, got one that is not: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a dictionary, got {type(content).__name__}")
    return content, hashlib.sha256(raw).hexdigest()


def _value(path: Path, content: dict[str, Any], key: str) -> Any:
    if key not in content:
        raise ValueError(f"{path} must hold {key!r}, got {', '.join(map(str, content)) or 'nothing'}")
    return content[key]


def _images(path: Path, content: dict[str, Any], key: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (n, 32, 32, 3) of planes stored one after the other, and labels (n,)."""
    planes, labels = np.asarray(_value(path, content, "data")), np.asarray(_value(path, content, key), np.int64)
    if planes.dtype != np.uint8 or planes.ndim != 2 or planes.shape != (len(labels), 3 * SIDE * SIDE):
        raise ValueError(
            f"{path} must hold uint8 images of {3 * SIDE * SIDE} values and a label for each, "
            f"got {planes.dtype} of shape {planes.shape} and {len(labels)} labels"
        )
    return np.ascontiguousarray(planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)), labels


def load(entry: "Entry", folder: Path) -> ImageSet:
    """Load the train batches, then the queries (the test batch)."""
    batches = BATCHES[entry.name]
    images, labels, digests = [], [], {}
    for name, md5 in {**batches.train, **batches.query}.items():
        content, digests[name] = read_batch(folder / name, md5)
        pixels, classes = _images(folder / name, content, batches.labels)
        images.append(pixels)
        labels.append(classes)
    ((name, md5),) = batches.meta.items()
    content, digests[name] = read_batch(folder / name, md5)
    n_train = sum(map(len, labels[: len(batches.train)]))
    n = sum(map(len, labels))
    return ImageSet(
        name=entry.name,
        description=entry.title,
        images=ArrayImages(np.concatenate(images)),
        labels=np.concatenate(labels),
        source=Source(str(folder), digests),
        protocol=entry.protocol,
        official_split=(np.arange(n_train, dtype=np.int64), np.arange(n_train, n, dtype=np.int64)),
        class_names=tuple(map(str, _value(folder / name, content, batches.names))),
        backbone=entry.backbone,
    )
