"""Data sets as Hugging Face keeps them: folders of Parquet shards, ``train-00000-of-00002.parquet`` and so on.

The shards lie in the folder itself, or in one folder in it. Images are read a row group at a time, when they are asked
for; labels are read without them.
"""

import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .checks import FEATURE_COLUMNS, as_features, pick, split_at
from .columns import opened, read_column
from .dataset import Dataset, OfficialSplit, Source, sha256_of
from .images import PIXELS, ArrayImages, Images, ImageSet
from .parquet_images import ParquetImages

if TYPE_CHECKING:
    from .entries import Entry

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label", "labels")  # the first that is there: the finest

_SHARD = re.compile(r"(train|val|valid|validation|test)-(\d{5})-of-(\d{5})(-\w+)?\.parquet")
_SPLITS = {"val": "validation", "valid": "validation"}


def shards(folder: Path) -> dict[str, list[Path]]:
    """Parquet files of each split, "train", "validation" and "test", in order; all of them under "" where the names
    of the files say no split.

    Raises
    ------
    ValueError
        If shards are missing, or lie in several folders.
    """
    files = sorted(path for pattern in ("*.parquet", "*/*.parquet") for path in folder.glob(pattern))
    named = [(path, match) for path in files if (match := _SHARD.fullmatch(path.name))]
    if not named:
        return {"": files}
    places = sorted({str(path.parent) for path, _ in named})
    if len(places) > 1:
        raise ValueError(f"{folder} must hold shards in one folder, got {', '.join(places)}")
    found: dict[str, list[Path]] = {}
    stated: dict[str, set[str]] = {}
    for path, match in named:
        split = _SPLITS.get(match[1], match[1])
        found.setdefault(split, []).append(path)
        stated.setdefault(split, set()).add(match[3])
    for split, paths in found.items():
        if stated[split] != {f"{len(paths):05}"}:
            raise ValueError(
                f"{paths[0].parent} must hold all shards of its {split} part, {' or '.join(sorted(stated[split]))}, "
                f"got {len(paths)}: get the others"
            )
    return found


def _parts(folder: Path) -> tuple[list[Path], list[Path]]:
    """Train files and query files: those of the validation part, else of the test part. One list can be empty."""
    found = shards(folder)
    if "" in found:
        return found[""], []
    return found.get("train", []), found.get("validation") or found.get("test", [])


def _first(path: Path, what: str, names: Sequence[str], present: Sequence[str]) -> str:
    name = next((name for name in names if name in present), None)
    if name is None:
        raise ValueError(
            f"{path} must hold {what} in one of the columns {', '.join(names)}, got {', '.join(present) or 'none'}"
        )
    return name


def _class_names(schema: Any, column: str) -> tuple[str, ...] | None:
    """Names of the classes, where Hugging Face has put them into the file."""
    try:
        info = json.loads(schema.metadata[b"huggingface"])
        return tuple(map(str, info["info"]["features"][column]["names"]))
    except (KeyError, TypeError, ValueError):
        return None


def _footer_digest(path: Path) -> str:
    """SHA-256 of a file's size and its footer, which states where every block is and what values it has."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(-8, io.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, io.SEEK_END)
        return hashlib.sha256(b"%d " % size + file.read(length)).hexdigest()


def _labels(folder: Path, parts: Sequence[Sequence[NDArray[Any]]]) -> tuple[NDArray[np.int64], OfficialSplit | None]:
    """Labels of the train part and of the queries, one after the other, and the split; None where one part is empty."""
    train, query = (np.concatenate([np.empty(0, np.int64), *part]) for part in parts)
    labels = np.concatenate([train, query])
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or labels.min(initial=0) < 0:
        raise ValueError(
            f"{folder} must hold a label of 0 or more in every row, "
            f"got {labels.min() if labels.dtype.kind in 'iu' else labels.dtype}"
        )
    return labels.astype(np.int64), split_at(train, query) if len(train) and len(query) else None


def load_images(entry: "Entry", folder: Path) -> ImageSet:
    """Load images and labels: the train part, then the queries, which are the validation part, else the test part.

    Raises
    ------
    ValueError
        If shards are missing or broken, or a row has no label.
    ImportError
        Without pyarrow.
    """
    train, query = _parts(folder)
    if not train or not query:
        raise ValueError(f"{folder} must hold shards of a train part and of a validation or test part")
    labels: list[list[NDArray[Any]]] = [[], []]
    groups: list[tuple[int, int, int]] = []
    n, class_names = 0, None
    for i, path in enumerate(train + query):
        with opened(path) as file:
            image_column = _first(path, "images", IMAGE_COLUMNS, file.schema_arrow.names)
            label_column = _first(path, "labels", LABEL_COLUMNS, file.schema_arrow.names)
            class_names = class_names or _class_names(file.schema_arrow, label_column)
            labels[i >= len(train)].append(read_column(path, file, label_column))
            for group in range(file.num_row_groups):
                groups.append((n, i, group))
                n += file.metadata.row_group(group).num_rows
    every_label, split = _labels(folder, labels)
    files = [path.relative_to(folder).as_posix() for path in train + query]
    images: Images = ParquetImages(folder, files, image_column, np.array(groups, np.int64).reshape(-1, 3), n)
    digest = _footer_digest
    if entry.backbone == PIXELS:
        images, digest = _decoded(images), sha256_of
    return ImageSet(
        name=entry.name,
        description=entry.title,
        images=images,
        labels=every_label,
        source=Source(str(folder), {name: digest(folder / name) for name in files}),
        protocol=entry.protocol,
        official_split=split,
        class_names=class_names,
        backbone=entry.backbone,
    )


def _decoded(images: Images) -> ArrayImages:
    """All images as one array; they must be of one size."""
    first = np.asarray(images[0].convert("RGB"))
    pixels = np.empty((len(images), *first.shape), np.uint8)
    for i in range(len(images)):
        image = np.asarray(images[i].convert("RGB"))
        if image.shape != first.shape:
            raise ValueError(
                f"{images.name(i)}: images must be of the size of the first, {first.shape[:2]}, got {image.shape[:2]}"
            )
        pixels[i] = image
    return ArrayImages(pixels)


def load_features(entry: "Entry", folder: Path) -> Dataset:
    """Load features and labels that others have made; images beside them are not read.

    The split is that of the file names; where they say none, there is none, and the protocol is "holdout".

    Raises
    ------
    ValueError
        If shards are missing or broken, or do not hold features and labels.
    ImportError
        Without pyarrow.
    """
    train, query = _parts(folder)
    features: list[list[NDArray[Any]]] = [[], []]
    labels: list[list[NDArray[Any]]] = [[], []]
    class_names = None
    for i, path in enumerate(train + query):
        with opened(path) as file:
            present = file.schema_arrow.names
            label_column = _first(path, "labels", LABEL_COLUMNS, present)
            class_names = class_names or _class_names(file.schema_arrow, label_column)
            feature_column = pick(path, "features", FEATURE_COLUMNS, present)
            features[i >= len(train)].append(read_column(path, file, feature_column))
            labels[i >= len(train)].append(read_column(path, file, label_column))
    every = features[0] + features[1]
    if len({x.shape[1:] for x in every}) != 1:
        raise ValueError(f"{folder} must hold features of one length, got {len({x.shape[1:] for x in every})} lengths")
    every_label, split = _labels(folder, labels)
    files = [path.relative_to(folder).as_posix() for path in train + query]
    return Dataset(
        name=entry.name,
        description=entry.title,
        features=as_features(np.concatenate(every), str(folder)),
        labels=every_label,
        source=Source(str(folder), {name: sha256_of(folder / name) for name in files}),
        protocol="holdout" if split is None else entry.protocol,
        official_split=split,
        class_names=class_names,
    )
