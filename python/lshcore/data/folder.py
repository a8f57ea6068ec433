"""Folders of image files: ImageNet as torchvision keeps it, and any folder of one's own.

| in the folder                                          | becomes                                        |
|--------------------------------------------------------|------------------------------------------------|
| ``train/CLASS/...`` and ``val/CLASS/...`` or ``test/`` | train part and queries, one label a class      |
| ``CLASS/...``                                          | one label a class                              |
| images                                                 | no labels: to extract and search, not evaluate |
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .dataset import DatasetNotFound, OfficialSplit, Source
from .images import FileImages, ImageSet
from .listing import SUFFIXES, Listing, image_files, subfolders

if TYPE_CHECKING:
    from .entries import Entry

QUERY_FOLDERS = ("val", "test")
SYNSETS = "LOC_synset_mapping.txt"

_Scanned = tuple[Listing, NDArray[np.int64], NDArray[np.int64]]


def _classes(root: Path, part: str = "") -> list[str]:
    """Folders that hold images, sorted."""
    names = subfolders(root / part) if (root / part).is_dir() else []
    return [name for name in names if next(image_files(root, f"{part}/{name}" if part else name), None)]


def _scan(root: Path, parts: Sequence[str], classes: Sequence[Sequence[str]]) -> _Scanned:
    """Files of the classes of every part, one part after the other; labels, and the number of files of each part.

    A label is the place of a class among those of the first part.
    """
    place = {name: label for label, name in enumerate(classes[0])}
    labels: list[int] = []
    counts: list[int] = []

    def files() -> Iterator[tuple[str, int]]:
        for part, names in zip(parts, classes, strict=True):
            for name in names:
                labels.append(place[name])
                counts.append(0)
                for file in image_files(root, f"{part}/{name}" if part else name):
                    counts[-1] += 1
                    yield file

    listing = Listing(files())
    lengths = [len(names) for names in classes]
    per_part = [sum(counts[sum(lengths[:i]) : sum(lengths[: i + 1])]) for i in range(len(parts))]
    return listing, np.repeat(np.array(labels, np.int64), counts), np.array(per_part, np.int64)


def _check_classes(root: Path, query: str, classes: Sequence[Sequence[str]], all_of_them: bool) -> None:
    """Queries must show classes that train has, and where `all_of_them`, each of those."""
    train, queries = map(set, classes)
    for names, has, lacks in ((queries - train, query, "train"), (train - queries, "train", query)):
        if names and (all_of_them or has == query):
            raise ValueError(
                f"{root / lacks} must have images of the same classes as {root / has}, "
                f"but lacks {len(names)}, first {min(names)!r}"
            )


def _split(counts: NDArray[np.int64]) -> OfficialSplit:
    n_train, n = int(counts[0]), int(counts.sum())
    return np.arange(n_train, dtype=np.int64), np.arange(n_train, n, dtype=np.int64)


def synset_names(path: Path, wnids: Sequence[str]) -> tuple[str, ...]:
    """Readable class names from a file of lines ``WNID NAMES``; the wnid where it has none, or there is no file."""
    lines = path.read_text("utf-8", "replace").splitlines() if path.is_file() else []
    names = {wnid: text.strip() for wnid, _, text in (line.partition(" ") for line in lines)}
    return tuple(names.get(wnid) or wnid for wnid in wnids)


def imagenet(entry: "Entry", folder: Path) -> ImageSet:
    """ImageNet as torchvision keeps it: a class is a wnid, its label the place of the wnid in their order.

    Raises
    ------
    ValueError
        If train and val do not have the same classes.
    """
    parts = ("train", "val")
    classes = [_classes(folder, part) for part in parts]
    _check_classes(folder, "val", classes, all_of_them=True)
    listing, labels, counts = _scan(folder, parts, classes)
    return ImageSet(
        name=entry.name,
        description=entry.title,
        images=FileImages(folder, listing),
        labels=labels,
        source=Source(str(folder), {"listing": listing.digest}),
        protocol=entry.protocol,
        official_split=_split(counts),
        class_names=synset_names(folder / SYNSETS, classes[0]),
        backbone=entry.backbone,
    )


def load_folder(path: Path) -> ImageSet:
    """Images of one's own; the table at the top of the module says how they may lie.

    Raises
    ------
    DatasetNotFound
        If the folder is not there.
    ValueError
        If it holds no images, images both directly and in folders, or queries of classes that train lacks.
    """
    if not path.is_dir():
        raise DatasetNotFound(f"dataset folder {path} was not found")
    train = _classes(path, "train")
    query = next((part for part in QUERY_FOLDERS if train and _classes(path, part)), None)
    if query is None:
        return _one_part(path)
    classes = [train, _classes(path, query)]
    _check_classes(path, query, classes, all_of_them=False)
    listing, labels, counts = _scan(path, ("train", query), classes)
    return _own(path, listing, labels, train, _split(counts))


def _one_part(path: Path) -> ImageSet:
    classes = _classes(path)
    flat = Listing(image_files(path, deep=False))
    if classes and len(flat):
        raise ValueError(
            f"{path} must hold its images either all directly or all in folders, one a class, "
            f"got {len(flat)} directly, first {flat[0]!r}, beside {len(classes)} folders, first {classes[0]!r}"
        )
    if classes:
        listing, labels, _ = _scan(path, ("",), [classes])
        return _own(path, listing, labels, classes, None)
    if not len(flat):
        raise ValueError(f"{path} must hold images ({', '.join(SUFFIXES)}), got none")
    return _own(path, flat, None, None, None)


def _own(
    path: Path,
    listing: Listing,
    labels: NDArray[np.int64] | None,
    classes: Sequence[str] | None,
    split: OfficialSplit | None,
) -> ImageSet:
    return ImageSet(
        name=path.resolve().name,
        description=f"images of one's own, {path}",
        images=FileImages(path, listing),
        labels=labels,
        source=Source(str(path), {"listing": listing.digest}),
        protocol="holdout" if split is None else "official",
        official_split=split,
        class_names=None if classes is None else tuple(classes),
    )
