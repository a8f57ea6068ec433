"""Data sets of images: what a loader hands over before there are features.

An image is opened only when it is asked for, and every collection can be sent to worker processes.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, Extraction, Labels, OfficialSplit, Source

if TYPE_CHECKING:
    from PIL.Image import Image

    from .dataset import Matrix

PIXELS = "pixels"
DEFAULT_BACKBONE = "resnet18"


def pillow() -> Any:
    """The module `PIL.Image`.

    Raises
    ------
    ImportError
        If it is missing.
    """
    try:
        return importlib.import_module("PIL.Image")
    except ModuleNotFoundError as error:
        raise ImportError(
            'images need Pillow, which is not installed; install it with: pip install "lshcore[vision]"', name="PIL"
        ) from error


class Images(Protocol):
    """A collection of images that are opened one by one."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> "Image":
        """Open image i as it is stored; whatever is wrong with it is raised here or when it is decoded."""
        ...

    def name(self, i: int) -> str:
        """What image i is called, for messages and stores: a relative path, or the number of a row."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images of one size in memory: uint8 (n, height, width), or (n, height, width, 3)."""

    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> "Image":
        image: Image = pillow().fromarray(self.pixels[i])
        return image

    def name(self, i: int) -> str:
        return str(i)


@dataclass(frozen=True, eq=False)
class FileImages:
    """Image files: `paths` are relative to `root`."""

    root: Path
    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> "Image":
        image: Image = pillow().open(self.root / self.paths[i])
        return image

    def name(self, i: int) -> str:
        return self.paths[i]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels, from which features are made.

    Parameters
    ----------
    name, description : str
    images : Images
    labels : (n,) int64 or (n, C) bool, or None
        None where nothing says what the images show: such a set can be extracted and searched, not evaluated.
    source : Source
    protocol : str
        The protocol this data set is evaluated under unless told otherwise.
    official_split : (train, query) pair of int64 index arrays, optional
    official_gallery : int64 index array, optional
        What is searched, where it is not the train part.
    class_names : tuple of str, optional
    backbone : str
        What makes features of it unless told otherwise; "pixels" only for images of one size in memory.

    Raises
    ------
    ValueError
        If there is not one label an image.
    """

    name: str
    description: str
    images: Images
    labels: Labels | None
    source: Source
    protocol: str = "holdout"
    official_split: OfficialSplit | None = None
    class_names: tuple[str, ...] | None = None
    backbone: str = DEFAULT_BACKBONE
    official_gallery: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != len(self.images):
            raise ValueError(
                f"ImageSet {self.name!r}: labels must have one entry an image ({len(self.images)}), "
                f"got {len(self.labels)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self) -> Dataset:
        """The pixels as features, where the images are of one size in memory.

        Raises
        ------
        ValueError
            If they are files, or there are no labels.
        """
        if not isinstance(self.images, ArrayImages):
            raise ValueError(
                f"dataset {self.name!r} holds image files of any size: features are made by a network "
                f"(--backbone {self.backbone}), {PIXELS!r} is for arrays of images of one size"
            )
        pixels = self.images.pixels
        return self.with_features(pixels.reshape(len(pixels), -1), name=PIXELS)

    def with_features(
        self,
        features: "Matrix",
        extraction: Extraction | None = None,
        rows: NDArray[np.int64] | None = None,
        source: Source | None = None,
        name: str | None = None,
    ) -> Dataset:
        """A `Dataset` of features made from these images.

        Parameters
        ----------
        features : (m, d)
            One row for each of `rows`.
        extraction : Extraction, optional
            How they were made.
        rows : int64 (m,), optional
            The images, ascending, that gave features; all of them where not given. The split leaves out the others.
        source : Source, optional
            Where the features are; where the images are if not given.
        name : str, optional
            What tables call the features; the backbone if not given.

        Raises
        ------
        ValueError
            If the images have no labels.
        """
        if self.labels is None:
            raise ValueError(
                f"dataset {self.name!r} has no labels, and nothing can be evaluated without them: "
                f"put the images of each class into a folder of its own"
            )
        split, gallery = self.official_split, self.official_gallery
        if rows is not None:
            place = np.full(len(self), -1, np.int64)
            place[rows] = np.arange(len(rows))
            if split is not None:
                train, query = (place[part][place[part] >= 0] for part in split)
                split = train, query
            if gallery is not None:
                gallery = place[gallery][place[gallery] >= 0]
        return Dataset(
            name=self.name,
            description=self.description,
            features=features,
            labels=self.labels if rows is None else self.labels[rows],
            source=source or self.source,
            protocol=self.protocol,
            official_split=split,
            official_gallery=gallery,
            class_names=self.class_names,
            extraction=extraction,
            features_name=name or ("given" if extraction is None else extraction.backbone),
        )
