"""What a loader hands over: a `Dataset`, where it came from, and the one error for data that is not there."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64] | NDArray[np.bool_]
Matrix = NDArray[np.uint8] | NDArray[np.float16] | NDArray[np.float32]
OfficialSplit = tuple[NDArray[np.int64], NDArray[np.int64]]


class DatasetNotFound(FileNotFoundError):
    """The files of a data set are not where they were looked for; the message says what to put where."""


@dataclass(frozen=True)
class Source:
    """Where features were found.

    Parameters
    ----------
    where : str
        Folder, file, or package.
    files : mapping of str to str
        SHA-256 of every file that was read, by file name.
    """

    where: str
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def checksum(self) -> str:
        """One SHA-256 for all files: that of the only file, else of the `sha256sum` listing in order of names."""
        if len(self.files) == 1:
            return next(iter(self.files.values()))
        listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(listing.encode()).hexdigest()


@dataclass(frozen=True)
class Extraction:
    """How features were made from images.

    Parameters
    ----------
    backbone : str
        The network, such as "resnet18", or "timm:NAME".
    weights : str
        Which weights it has: the name of a published set, a file, or "random".
    checksum : str
        SHA-256 of the weights.
    transform : str
        What is done to an image before the network sees it.
    milliseconds : float
        Wall time an image, all of them on average.
    skipped : int
        Images that could not be decoded.
    """

    backbone: str
    weights: str
    checksum: str
    transform: str
    milliseconds: float
    skipped: int = 0


@dataclass(frozen=True, eq=False)
class Dataset:
    """Features with labels, as every evaluation takes them.

    Parameters
    ----------
    name, description : str
    features : (n, d) uint8, float16 or float32
        Pixels stay uint8, and a memory-mapped array stays on disk, until they are preprocessed.
    labels : (n,) int64 or (n, C) bool
        One label an item, or a column for each of C labels.
    source : Source
    protocol : str
        The protocol this data set is evaluated under unless told otherwise.
    official_split : (train, query) pair of int64 index arrays, optional
    official_gallery : int64 index array, optional
        What is searched, where it is not the train part.
    class_names : tuple of str, optional
        ``class_names[label]``, where the names are known.
    extraction : Extraction, optional
        How the features were made, where a network made them.
    features_name : str
        What tables call these features beside others of the same images.

    Raises
    ------
    ValueError
        If features are not a matrix or labels have another length.
    """

    name: str
    description: str
    features: Matrix
    labels: Labels
    source: Source
    protocol: str = "holdout"
    official_split: OfficialSplit | None = None
    class_names: tuple[str, ...] | None = None
    extraction: Extraction | None = None
    features_name: str = "given"
    official_gallery: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.features.ndim != 2:
            raise ValueError(f"Dataset {self.name!r}: features must be (n, d), got shape {self.features.shape}")
        if len(self.labels) != len(self.features):
            raise ValueError(
                f"Dataset {self.name!r}: labels must have one entry an item ({len(self.features)}), "
                f"got {len(self.labels)}"
            )

    def __len__(self) -> int:
        return len(self.features)

    @property
    def dim(self) -> int:
        """Number of features an item."""
        return int(self.features.shape[1])

    @property
    def multi_label(self) -> bool:
        """Whether an item can have several labels."""
        return self.labels.ndim == 2

    @property
    def n_classes(self) -> int:
        """Number of different labels."""
        return int(self.labels.shape[1]) if self.multi_label else len(np.unique(self.labels))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
