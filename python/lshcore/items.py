"""The items of a source, labelled or not: what they are called, and the vectors that they are indexed by."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._progress import Progress, part
from .data import Dataset, ImageSet, find, load_features
from .data.arrays import find_store
from .data.catalogue import FOLDER, check_name, is_file_name
from .data.dataset import Matrix
from .data.images import PIXELS, ArrayImages, FileImages
from .recipe import Recipe

if TYPE_CHECKING:
    from .features import Backbone, FeatureStore


@dataclass(frozen=True)
class Wanted:
    """Where items come from, and what makes vectors of images.

    Parameters
    ----------
    source : str
        A name of the catalogue, ``folder:PATH``, or a file of features.
    data_dir, labels : path, optional
        As `lshcore.data.find` takes them.
    backbone : str or Backbone, optional
        Its name, "pixels", or the network itself; what the data set says by default.
    weights, image_size, device, offline
        As `lshcore.features.cached` takes them.
    """

    source: str
    data_dir: Path | None = None
    labels: Path | None = None
    backbone: "str | Backbone | None" = None
    weights: str | None = None
    image_size: int | None = None
    device: str | None = None
    offline: bool = False


@dataclass(frozen=True, eq=False)
class Items:
    """Items with their vectors.

    Parameters
    ----------
    recipe : Recipe
        What the vectors were made by.
    vectors : (n, d) uint8, float16 or float32
    ids : list of str, or int64 (n,)
        Names of files, or numbers of rows.
    labels : ndarray or None
    skipped : int
        Images that could not be decoded.
    """

    recipe: Recipe
    vectors: Matrix
    ids: list[str] | NDArray[np.int64]
    labels: NDArray[Any] | None
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.vectors)


def read(
    wanted: Wanted,
    with_labels: bool = False,
    keep: Callable[[str], bool] | None = None,
    progress: Progress | None = None,
) -> Items:
    """Read features, or make them of images, or find those that were made before.

    Parameters
    ----------
    wanted : Wanted
    with_labels : bool
        Fail where there are none.
    keep : callable, optional
        Takes the name of a file in a folder, and says whether it is wanted.
    progress : callable, optional

    Raises
    ------
    DatasetNotFound
        If the files are not there.
    ValueError
        If options do not go together, or nothing is left.
    """
    check_name(wanted.source)
    tell = part(progress, 0.0, 1.0)
    tell(0.0, f"loading {wanted.source}")
    features = is_file_name(wanted.source)
    if features and wanted.labels is None and not with_labels:
        vectors, _ = load_features(wanted.source)
        _check_given(wanted)
        return Items(_given(wanted.source, vectors), vectors, _ids_of(wanted.source, len(vectors)), None)
    found = find(wanted.source, wanted.data_dir, wanted.labels)
    if isinstance(found, Dataset):
        _check_given(wanted)
        ids = _ids_of(wanted.source, len(found)) if features else np.arange(len(found))
        return Items(_given(wanted.source, found.features), found.features, ids, found.labels)
    if with_labels and found.labels is None:
        raise ValueError(f"dataset {wanted.source!r} has no labels, and the method learns from labels")
    if keep is not None and isinstance(found.images, FileImages):
        found = _some(found, [i for i, path in enumerate(found.images.paths) if keep(path)])
    try:
        items = _of_images(found, wanted, tell)
    except ValueError:
        if keep is None or any(_opens(found, i) for i in range(len(found))):
            raise
        # What is new in the folder is broken, and has been so when the rest was added.
        nothing = Recipe(found.name, None, 1)
        return Items(nothing, np.empty((0, 1), np.float32), np.arange(0), None, len(found))
    if isinstance(found.images, FileImages) and wanted.source.startswith(FOLDER):
        paths = found.images.paths
        return replace(items, ids=[paths[int(i)] for i in items.ids])
    return items


def _of_images(images: ImageSet, wanted: Wanted, progress: Progress) -> Items:
    if wanted.backbone == PIXELS or (wanted.backbone is None and images.backbone == PIXELS):
        if not isinstance(images.images, ArrayImages):
            raise ValueError(f"dataset {wanted.source!r} holds image files of any size: pixels need images of one size")
        pixels = images.images.pixels
        recipe = Recipe(images.name, PIXELS, int(np.prod(pixels.shape[1:])), shape=tuple(pixels.shape[1:]))
        return Items(recipe, pixels.reshape(len(pixels), -1), np.arange(len(pixels)), images.labels)
    if len(images) == 0:
        recipe = Recipe(images.name, str(wanted.backbone), 1)
        return Items(recipe, np.empty((0, 1), np.float32), np.arange(0), None)
    store = _extracted(images, wanted, progress)
    rows = np.arange(len(images)) if store.rows is None else store.rows
    own = wanted.backbone is not None and not isinstance(wanted.backbone, str)
    weights = None if own else _weights(wanted.weights, store.extraction.weights)
    labels = None if images.labels is None else images.labels[rows]
    recipe = _by_network(images.name, store, weights, own)
    return Items(recipe, store.features, rows, labels, store.extraction.skipped)


def _by_network(name: str, store: "FeatureStore", weights: str | None, own: bool = False) -> Recipe:
    return Recipe(
        name,
        store.extraction.backbone,
        int(store.features.shape[1]),
        weights,
        store.extraction.checksum,
        store.configuration["image_size"],
        bool(store.configuration["bf16"]),
        own=own,
    )


def _extracted(images: ImageSet, wanted: Wanted, progress: Progress) -> "FeatureStore":
    from .features import cached, extract

    if wanted.backbone is None or isinstance(wanted.backbone, str):
        return cached(
            images,
            wanted.backbone or images.backbone,
            weights=wanted.weights,
            image_size=wanted.image_size,
            device=wanted.device,
            offline=wanted.offline,
            progress=progress,
        )
    from .features.cache import cache_directory
    from .features.fingerprint import fingerprint

    network = wanted.backbone
    name = f"{images.name.replace(os.sep, '-')}-{network.name}-{network.checksum[:16]}-{fingerprint(images)[:8]}"
    return extract(images, network, cache_directory() / name, device=wanted.device, progress=progress)


def _weights(given: str | None, found: str) -> str | None:
    """What has to be asked for to get the same weights again."""
    from .features.backbones import RANDOM
    from .features.weights import is_published_name

    if given is None:
        return found if found == RANDOM or is_published_name(found) else None
    return given if given == RANDOM or is_published_name(given) else os.path.abspath(given)


def _check_given(wanted: Wanted) -> None:
    if wanted.backbone is not None:
        raise ValueError(f"dataset {wanted.source!r} holds features, not images: no network can be run on it")


def _given(source: str, vectors: Matrix) -> Recipe:
    """Of features in a file; those that `lshcore extract` made say by what."""
    store = find_store(source) if is_file_name(source) else None
    if store is not None:
        return _by_network(str(store.configuration["dataset"]), store, _weights(None, store.extraction.weights))
    return Recipe(Path(source).name, None, int(vectors.shape[1]))


def _ids_of(source: str, n: int) -> list[str] | NDArray[np.int64]:
    """Names of the images, where `lshcore extract` made features of a folder; else numbers of rows."""
    store = find_store(source)
    if store is None:
        return np.arange(n)
    from .features.store import NAMES

    try:
        names = (store.path / NAMES).read_text("utf-8", "surrogateescape").split("\n")[:-1]
    except FileNotFoundError:
        return np.arange(n)
    rows = all(name.isdigit() for name in names)
    return names if len(names) == n == len(set(names)) and not rows else np.arange(n)


def _opens(images: ImageSet, i: int) -> bool:
    from .features.decode import prepared
    from .features.store import Skipped

    return not isinstance(prepared(images.images, lambda image: image, i), Skipped)


def _some(images: ImageSet, chosen: list[int]) -> ImageSet:
    files = images.images
    if not isinstance(files, FileImages):
        raise TypeError(f"dataset {images.name!r} must hold files")
    paths = [files.paths[i] for i in chosen]
    return replace(
        images,
        images=FileImages(files.root, paths),
        labels=None if images.labels is None else images.labels[chosen],
        official_split=None,
        official_gallery=None,
    )
