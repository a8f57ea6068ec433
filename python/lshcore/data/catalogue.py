"""Data sets by name: found, loaded and fetched. A name is one of the table, ``folder:PATH``, or a file of features."""

import os
from pathlib import Path

from ..registry import load_target
from .arrays import SUFFIXES, load_file
from .dataset import Dataset
from .download import fetch as fetch_entry
from .entries import CATALOGUE, Entry, Layout
from .folder import load_folder
from .images import ImageSet
from .places import DataDir

__all__ = [
    "CATALOGUE",
    "FOLDER",
    "Entry",
    "Layout",
    "check_name",
    "fetch",
    "find",
    "is_file_name",
    "load",
    "load_images",
    "locate",
]

FOLDER = "folder:"


def is_file_name(name: str) -> bool:
    """Whether `name` means features of one's own rather than an entry of the catalogue or a folder of images."""
    path = Path(name)
    if name in CATALOGUE or name.startswith(FOLDER):
        return False
    return path.suffix.lower() in SUFFIXES or os.sep in name or path.exists()


def check_name(name: str) -> None:
    """Raise ValueError, naming what is known, unless `name` is in the catalogue, or means a folder or a file."""
    if name not in CATALOGUE and not name.startswith(FOLDER) and not is_file_name(name):
        raise ValueError(
            f"dataset must be one of {', '.join(CATALOGUE)}, {FOLDER}PATH, or a file ending in {', '.join(SUFFIXES)}; "
            f"got {name!r}"
        )


def locate(name: str, data_dir: DataDir = None) -> str | None:
    """Where the named data set was found, or None. Nothing is read."""
    entry = CATALOGUE[name]
    found: str | None = load_target(entry.locator)(entry, data_dir)
    return found


def fetch(name: str, data_dir: DataDir = None, offline: bool = False) -> str | None:
    """Download a data set of the catalogue, unless it is there.

    Parameters
    ----------
    name : str
    data_dir : path, optional
        Where to; without it, the directory that ``LSHCORE_DATA_DIR`` names.
    offline : bool, default False
        Never touch the network; ``HF_HUB_OFFLINE`` and ``HF_DATASETS_OFFLINE`` say the same.

    Returns
    -------
    str or None
        The folder that now holds it; None where nobody offers it for download.

    Raises
    ------
    DatasetNotFound
        If it is not there and could not be downloaded; the message says what to put where.
    OSError
        If the directory cannot be written, or the disk is full.
    """
    check_name(name)
    return fetch_entry(CATALOGUE[name], data_dir, offline) if name in CATALOGUE else None


def find(name: str, data_dir: DataDir = None, labels: str | os.PathLike[str] | None = None) -> Dataset | ImageSet:
    """Load a data set as what it is: given features, or images that are not opened yet.

    Parameters
    ----------
    name, data_dir, labels
        As for `load`.

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
    if name.startswith(FOLDER):
        return load_folder(Path(name.removeprefix(FOLDER)).expanduser())  # no shell does it behind a colon
    entry = CATALOGUE[name]
    found: Dataset | ImageSet = load_target(entry.loader)(entry, data_dir)
    return found


def load_images(name: str, data_dir: DataDir = None) -> ImageSet:
    """The images of a data set, not opened yet.

    Parameters
    ----------
    name : str
        A name of the catalogue, or "folder:PATH".
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
    found = None if is_file_name(name) else find(name, data_dir)
    if not isinstance(found, ImageSet):
        raise ValueError(f"dataset {name!r} holds features, not images: nothing can be extracted from it")
    return found


def load(name: str, data_dir: DataDir = None, labels: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a data set: given features, or the pixels of images of one size.

    Parameters
    ----------
    name : str
        A name of the catalogue, such as "digits" or "cifar10", or a file or folder of features.
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
        If the name is unknown, a file does not hold what it should, or the images are of any size.
    """
    found = find(name, data_dir, labels)
    return found.pixels() if isinstance(found, ImageSet) else found
