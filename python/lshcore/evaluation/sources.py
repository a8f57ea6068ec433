"""What to evaluate: the features of one data set, given, made by networks, or several of both side by side."""

import os
import pathlib
from dataclasses import dataclass, replace

from .._progress import Progress, part
from ..data import Dataset, ImageSet, Source, find, load_features
from ..data.arrays import find_store
from ..data.dataset import Matrix
from ..data.images import PIXELS

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Sources:
    """A data set, and where its features come from.

    Parameters
    ----------
    dataset : str
        A name of the catalogue, ``folder:PATH``, or a file of features.
    data_dir : path, optional
        Where to look for the files of a named data set.
    labels : path, optional
        Labels of a file of features.
    backbones : tuple of str
        Networks that make features, or "pixels".
    features : tuple of path
        Files of features of the same images, in their order, or folders that `lshcore extract` made of them.
    weights, image_size, device
        As `lshcore.features.backbone` and `lshcore.features.extract` take them.
    offline : bool
        No weights are downloaded.
    """

    dataset: str
    data_dir: Path | None = None
    labels: Path | None = None
    backbones: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    weights: str | None = None
    image_size: int | None = None
    device: str | None = None
    offline: bool = False


def gather(sources: Sources, progress: Progress | None = None) -> list[Dataset]:
    """Find the data set, make or reuse its features, and return one `Dataset` for each kind of them.

    Raises
    ------
    DatasetNotFound
        If the files are not there; the message says what to put where.
    ValueError
        If options do not go together, or a file does not fit the data set.
    """
    part(progress, 0.0, 1.0)(0.0, f"loading {sources.dataset}")
    found = find(sources.dataset, sources.data_dir, sources.labels)
    if isinstance(found, Dataset):
        if sources.backbones:
            raise ValueError(
                f"dataset {sources.dataset!r} holds features, not images: no backbone can be run on it, "
                f"got {', '.join(sources.backbones)}"
            )
        others = [_beside(path, found, sources.dataset) for path in sources.features]
        return _named_apart([found, *others])
    if found.labels is None:  # before hours of extraction
        raise ValueError(
            f"dataset {sources.dataset!r} has no labels, and nothing can be evaluated without them: put the images of "
            f"each class into a folder of its own (lshcore extract makes features without labels)"
        )
    backbones = sources.backbones or (() if sources.features else (found.backbone,))
    datasets = [_of_images(path, found) for path in sources.features]
    for i, name in enumerate(backbones):
        tell = part(progress, i / len(backbones), (i + 1) / len(backbones))
        datasets.append(found.pixels() if name == PIXELS else _extracted(found, name, sources, tell))
    return _named_apart(datasets)


def gather_by(network: Path, called: str, sources: Sources, progress: Progress | None = None) -> Dataset:
    """The data set with features made by the network saved in a directory, now or before; `called` names them.

    Raises
    ------
    DatasetNotFound, ValueError
        As `gather`.
    """
    found = find(sources.dataset, sources.data_dir, sources.labels)
    if isinstance(found, Dataset):
        raise ValueError(
            f"dataset {sources.dataset!r} holds features, and the model {network} has a network of its own, "
            f"which takes images"
        )
    from ..features import extract
    from ..features.cache import cache_directory
    from ..features.saved import open_backbone

    backbone = open_backbone(network)
    folder = cache_directory() / f"{found.name.replace(os.sep, '-')}-{backbone.name}-{backbone.checksum[:16]}"
    store = extract(found, backbone, folder, device=sources.device, progress=progress)
    return replace(store.to_dataset(found), features_name=called)


def _of_images(path: str, images: ImageSet) -> Dataset:
    """Features in a file, of the images of a data set, in their order."""
    store = find_store(path)
    if store is not None:  # which knows what images were left out
        return replace(store.to_dataset(images), features_name=_name(path))
    features, source = _rows(path, images)
    return images.with_features(features, source=source, name=_name(path))


def _beside(path: str, dataset: Dataset, first: str) -> Dataset:
    """Features in a file, of the items of a data set that was itself found in one, `first`, in their order."""
    store, other = find_store(path), find_store(first)
    features, source = _rows(path, dataset)
    if store is not None and other is not None and not store.has_rows_of(other):
        raise ValueError(f"{path} must hold features of the same images as {first}, got those of others")
    extraction = None if store is None else store.extraction
    return replace(dataset, features=features, source=source, features_name=_name(path), extraction=extraction)


def _rows(path: str, of: Dataset | ImageSet) -> tuple[Matrix, Source]:
    features, source = load_features(path)
    if len(features) != len(of):
        raise ValueError(
            f"{path} must hold one row an image of dataset {of.name!r} ({len(of):,}), got {len(features):,} rows"
        )
    return features, source


def _name(path: str) -> str:
    return pathlib.Path(path).name


def _extracted(images: ImageSet, name: str, sources: Sources, progress: Progress) -> Dataset:
    from ..features import cached

    store = cached(
        images,
        name,
        weights=sources.weights,
        image_size=sources.image_size,
        device=sources.device,
        offline=sources.offline,
        progress=progress,
    )
    dataset: Dataset = store.to_dataset(images)
    return dataset


def _named_apart(datasets: list[Dataset]) -> list[Dataset]:
    names = [each.features_name for each in datasets]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"features must have different names, got {', '.join(sorted(twice))} twice")
    return datasets
