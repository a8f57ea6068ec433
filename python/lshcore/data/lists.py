"""Data sets that learning to hash is measured on: list files beside the images.

``train.txt``, ``test.txt`` (the queries) and ``database.txt`` (the gallery) have one line an image: its path, then a
0 or 1 for each label. The repositories that published the lists wrote paths of their own machines, so what stands
before the part that exists here is left out.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .dataset import DatasetNotFound, Source, sha256_of
from .images import FileImages, ImageSet
from .listing import Listing

if TYPE_CHECKING:
    from .entries import Entry

TRAIN, QUERY, GALLERY = "train.txt", "test.txt", "database.txt"

_WNID = re.compile(r"(?:^|/)(n\d{8})[/_]")
_TRIED = 100  # lines of a list from which the rule for its paths is taken


def read_list(path: Path, n_labels: int) -> tuple[list[str], NDArray[np.bool_]]:
    """Read a list file.

    Parameters
    ----------
    path : Path
    n_labels : int
        How many flags follow each path.

    Returns
    -------
    paths : list of str
    flags : (n, n_labels) bool

    Raises
    ------
    ValueError
        If a line does not have a path and that many flags, or there are no lines.
    """
    paths, flags = [], bytearray()
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            name, *values = line.split()
            if len(values) != n_labels or any(value not in ("0", "1") for value in values):
                raise ValueError(
                    f"{path}, line {number}: must be a path and {n_labels} flags of 0 or 1, got {line.strip()[:60]!r}"
                )
            paths.append(name)
            flags += "".join(values).encode()
    if not paths:
        raise ValueError(f"{path} must list at least one image, got none")
    return paths, (np.frombuffer(flags, np.uint8) == ord("1")).reshape(-1, n_labels)


def _without(path: str, parts: int) -> str:
    """A path without its first parts, but for its last one."""
    all_parts = PurePosixPath(path).parts
    return str(PurePosixPath(*all_parts[min(parts, len(all_parts) - 1) :]))


def leading_parts(root: Path, paths: Sequence[str]) -> int:
    """How many leading parts the paths of a list must lose to lead from `root` to a file; 0 where nothing helps.

    The first path of a hundred that leads to a file decides.
    """
    for path in paths[:_TRIED]:
        for parts in range(len(PurePosixPath(path).parts)):
            if (root / _without(path, parts)).is_file():
                return parts
    return 0


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None


def _resolve(entry: "Entry", root: Path, paths: Sequence[str]) -> Listing:
    sizes = [_size(os.path.join(root, path)) for path in paths]
    gone = [path for path, size in zip(paths, sizes, strict=True) if size is None]
    if gone:
        raise DatasetNotFound(
            f"dataset {entry.name!r}: {len(gone):,} of the {len(paths):,} listed images are not in {root}, "
            f"first {gone[0]}: put (or link) them there, or {entry.obtain}"
        )
    return Listing((path, size or 0) for path, size in zip(paths, sizes, strict=True))


def load_multi_label(entry: "Entry", folder: Path) -> ImageSet:
    """Load lists of images that can have several labels: bool (n, C).

    An image that several lists name is one item. The gallery is what ``database.txt`` lists, with the train part in it
    or not, as the lists have it.

    Raises
    ------
    DatasetNotFound
        If listed images are not there.
    ValueError
        If a list is broken.
    """
    rows: dict[str, int] = {}
    flags: list[NDArray[np.bool_]] = []
    parts: dict[str, NDArray[np.int64]] = {}
    for name in (TRAIN, QUERY, GALLERY):
        listed, values = read_list(folder / name, entry.n_classes)
        drop = leading_parts(folder, listed)
        paths = [_without(path, drop) for path in listed]
        for path, value in zip(paths, values, strict=True):
            row = rows.setdefault(path, len(rows))
            if row == len(flags):
                flags.append(value)
            elif not np.array_equal(flags[row], value):
                raise ValueError(f"{folder / name} must give {path} the labels that another list gives it, got others")
        parts[name] = np.unique(np.array([rows[path] for path in paths], np.int64))
    listing = _resolve(entry, folder, list(rows))
    return ImageSet(
        name=entry.name,
        description=entry.title,
        images=FileImages(folder, listing),
        labels=np.array(flags),
        source=Source(str(folder), {**{name: sha256_of(folder / name) for name in parts}, "listing": listing.digest}),
        protocol=entry.protocol,
        official_split=(parts[TRAIN], parts[QUERY]),
        official_gallery=parts[GALLERY],
        backbone=entry.backbone,
    )


def load_one_hot(entry: "Entry", folder: Path) -> ImageSet:
    """Load lists in which every image has exactly one label: int64 (n,); classes are called as the paths call them.

    Raises
    ------
    DatasetNotFound, ValueError
        As `load_multi_label`, and if an image has no label or several.
    """
    images = load_multi_label(entry, folder)
    flags = np.asarray(images.labels)
    wrong = np.flatnonzero(flags.sum(axis=1) != 1)
    if len(wrong):
        raise ValueError(
            f"{folder}: every image must have one label, "
            f"got {int(flags[wrong[0]].sum())} at {images.images.name(int(wrong[0]))}"
        )
    labels = flags.argmax(axis=1).astype(np.int64)
    return replace(images, labels=labels, class_names=_wnids(images, labels, entry.n_classes))


def _wnids(images: ImageSet, labels: NDArray[np.int64], n_classes: int) -> tuple[str, ...] | None:
    """The wnid of every label, as the paths have it; None where they do not, or disagree."""
    names: dict[int, str] = {}
    for i, label in enumerate(labels.tolist()):
        match = _WNID.search(images.images.name(i))
        if match and names.setdefault(label, match[1]) != match[1]:
            return None
    return tuple(names[label] for label in range(n_classes)) if len(set(names.values())) == n_classes else None
