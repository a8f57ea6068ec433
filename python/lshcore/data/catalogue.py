"""The data sets known by name: one table, and `load`, which also takes a file of one's own."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ..registry import load_target
from .arrays import SUFFIXES, load_file
from .dataset import Dataset
from .images import ImageSet


@dataclass(frozen=True)
class Entry:
    """One data set of the catalogue.

    Parameters
    ----------
    name, title : str
        `title` is what it is, in one line.
    loader, locator : str
        "module:function". ``loader(entry, data_dir)`` returns an `ImageSet`, or a `Dataset` of given features;
        ``locator(entry, data_dir)`` returns where it was found, or None, without reading it.
    items : int
    size : str
        What the files take on disk.
    protocol : str
        Default protocol.
    obtain : str
        How to get it, to be read after "put ... there, or".
    folders : tuple of str
        Where its files lie under a data directory; "." is the directory itself.
    system : tuple of str
        Folders looked into where no data directory was named.
    class_names : tuple of str
    """

    name: str
    title: str
    loader: str
    locator: str
    items: int
    size: str
    protocol: str
    obtain: str
    folders: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()


_ENTRIES = (
    Entry(
        name="digits",
        title="handwritten digits, 8 x 8 pixels, 10 classes (part of scikit-learn)",
        loader="lshcore.data.digits:load",
        locator="lshcore.data.digits:locate",
        items=1797,
        size="70 kB",
        protocol="holdout",
        obtain="it comes with scikit-learn",
    ),
    Entry(
        name="mnist",
        title="handwritten digits, 28 x 28 pixels, 10 classes",
        loader="lshcore.data.idx:load",
        locator="lshcore.data.idx:locate",
        items=70_000,
        size="12 MB",
        protocol="official",
        obtain="let torchvision fetch it there: `torchvision.datasets.MNIST(DIR, download=True)`",
        folders=("MNIST/raw", "."),
        class_names=tuple("0123456789"),
    ),
    Entry(
        name="fashion-mnist",
        title="articles of clothing, 28 x 28 pixels, 10 classes",
        loader="lshcore.data.idx:load",
        locator="lshcore.data.idx:locate",
        items=70_000,
        size="31 MB",
        protocol="official",
        obtain="on Debian and Ubuntu `apt install dataset-fashion-mnist`, which is found by itself",
        folders=("FashionMNIST/raw", "."),
        system=("/usr/share/datasets/fashion-mnist",),
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
)

CATALOGUE: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def is_file_name(name: str) -> bool:
    """Whether `name` means a file of one's own rather than an entry of the catalogue."""
    return name not in CATALOGUE and (Path(name).suffix.lower() in SUFFIXES or os.sep in name or Path(name).is_file())


def check_name(name: str) -> None:
    """Raise ValueError, naming what is known, unless `name` is in the catalogue or means a file."""
    if name not in CATALOGUE and not is_file_name(name):
        raise ValueError(
            f"dataset must be one of {', '.join(CATALOGUE)}, or a file ending in {', '.join(SUFFIXES)}; got {name!r}"
        )


def locate(name: str, data_dir: str | os.PathLike[str] | None = None) -> str | None:
    """Where the named data set was found, or None. Nothing is read."""
    entry = CATALOGUE[name]
    found: str | None = load_target(entry.locator)(entry, data_dir)
    return found


def load_images(name: str, data_dir: str | os.PathLike[str] | None = None) -> ImageSet:
    """The images of a data set, not opened yet.

    Parameters
    ----------
    name : str
        A name of the catalogue.
    data_dir : path, optional
        As for `load`.

    Raises
    ------
    DatasetNotFound
        If the files are not there; the message says what to put where.
    ValueError
        If the name is unknown, or means features rather than images.
    """
    check_name(name)
    found = None if is_file_name(name) else _load(name, data_dir)
    if not isinstance(found, ImageSet):
        raise ValueError(f"dataset {name!r} holds features, not images: nothing can be extracted from it")
    return found


def _load(name: str, data_dir: str | os.PathLike[str] | None) -> Dataset | ImageSet:
    entry = CATALOGUE[name]
    found: Dataset | ImageSet = load_target(entry.loader)(entry, data_dir)
    return found


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load a data set: given features, or the pixels of images of one size.

    Parameters
    ----------
    name : str
        A name of the catalogue ("digits", "mnist", "fashion-mnist"), or a .npy, .npz or .parquet file.
    data_dir : path, optional
        Where to look for the files of a named data set, and nowhere else. Without it: the directory that
        ``LSHCORE_DATA_DIR`` names, then the folders that system packages use.
    labels : path, optional
        A .npy file with the labels, where `name` is a file; needed for .npy.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetNotFound
        If the files are not there; the message says what to put where.
    ValueError
        If the name is unknown, or a file does not hold what it should.
    """
    check_name(name)
    if is_file_name(name):
        return load_file(name, labels)
    if labels is not None:
        raise ValueError(f"data.load: labels can be given only with a file of features, got dataset {name!r}")
    found = _load(name, data_dir)
    return found.pixels() if isinstance(found, ImageSet) else found
