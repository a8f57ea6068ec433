"""`FeatureStore`: a folder with the features of a set of images, read by memory map, and how they were made.

::

    features.npy   (m, d) float16 or float32, one row for each image that could be decoded; once all of them are there
    labels.npy     labels of the rows, where the images have any
    query.npy      int64, the rows that query, where the images come as a train part and queries
    names.txt      names of the rows, one a line
    rows.npy       int64 (m,), the image of each row; only where images were skipped
    skipped.jsonl  {"index", "name", "reason"} of each image that could not be decoded
    meta.json      what was extracted with what (the configuration, versions), and the figures of the extraction
    progress.json  how far it is, while it runs

The folder stands by itself: ``lshcore eval --dataset DIR`` takes it, and ``--features DIR`` beside the images.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset, Extraction, Source
from ..data.images import ImageSet
from .fingerprint import fingerprint

if TYPE_CHECKING:
    from .writer import StoreWriter

FORMAT = "lshcore.features"
VERSION = 1

FEATURES, LABELS, QUERY, NAMES, ROWS = "features.npy", "labels.npy", "query.npy", "names.txt", "rows.npy"
SKIPPED, META, PROGRESS = "skipped.jsonl", "meta.json", "progress.json"

# What a person may read of it, but what makes no features different: the checksum says which weights they are.
_DESCRIPTIVE = ("weights",)


@dataclass(frozen=True)
class Skipped:
    """An image that has no row.

    Parameters
    ----------
    index : int
        Its place among the images.
    name : str
    reason : str
        Why it could not be decoded, in one line.
    """

    index: int
    name: str
    reason: str

    def line(self) -> bytes:
        """As a line of ``skipped.jsonl``."""
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """Features on disk, whole; `open` gives one.

    Parameters
    ----------
    path : Path
    features : (m, d) float16 or float32
        A read-only memory map.
    configuration : mapping
        Which images, which network, and whatever else makes features what they are.
    extraction : Extraction
    figures : mapping
        "images", "skipped", "seconds", "images_per_second", "network_share" (of the wall time, inside the network),
        and, where bfloat16 was tried, "bf16_cosine" (least, to float32) and "bf16_speedup".
    checksums : mapping of str to str
        SHA-256 of the .npy files, by file name.
    class_names : tuple of str or None
        ``class_names[label]``, where the images had them.
    """

    path: Path
    features: NDArray[np.float16] | NDArray[np.float32]
    configuration: Mapping[str, Any]
    extraction: Extraction
    figures: Mapping[str, Any]
    checksums: Mapping[str, str]
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a finished store; nothing but a few kilobytes is read.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If it is unfinished or damaged.
        """
        folder = Path(path)
        meta = read_meta(folder)
        if meta is None:
            raise FileNotFoundError(f"there are no features in {folder}: lshcore extract makes them")
        if not meta["finished"]:
            images = meta["configuration"]["images"]
            raise ValueError(
                f"the features in {folder} are unfinished ({read_progress(folder)['images']:,} of {images:,} images): "
                f"run the same extraction again to go on"
            )
        shape = (meta["figures"]["images"] - meta["figures"]["skipped"], meta["configuration"]["dim"])
        dtype = meta["configuration"]["dtype"]
        try:
            features = np.load(folder / FEATURES, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(damaged(folder, f"{FEATURES} cannot be read ({error})")) from error
        if features.shape != shape or features.dtype != dtype:
            found = f"{FEATURES} is {features.shape} {features.dtype} where {shape} {dtype} was written"
            raise ValueError(damaged(folder, found))
        return cls(
            path=folder,
            features=features,
            configuration=meta["configuration"],
            extraction=Extraction(**meta["extraction"]),
            figures=meta["figures"],
            checksums=meta["checksums"],
            class_names=tuple(meta["class_names"]) if meta.get("class_names") else None,
        )

    @classmethod
    def find(cls, path: str | os.PathLike[str]) -> Self | None:
        """The store in a folder; None where there is none, whatever else lies there.

        Raises
        ------
        ValueError
            If it is unfinished or damaged.
        """
        try:
            meta = json.loads((Path(path) / META).read_bytes())
        except (OSError, ValueError):
            return None
        return cls.open(path) if isinstance(meta, dict) and meta.get("format") == FORMAT else None

    @classmethod
    def create_or_resume(cls, path: str | os.PathLike[str], configuration: Mapping[str, Any]) -> "StoreWriter":
        """Begin a store, or go on with one that has the same configuration.

        Raises
        ------
        ValueError
            If the folder holds features of another configuration, or anything else.
        RuntimeError
            If another process is writing it.
        OSError
            If it cannot be written, or the disk has too little room.
        """
        from .writer import StoreWriter

        return StoreWriter(Path(path), configuration)

    @property
    def rows(self) -> NDArray[np.int64] | None:
        """The image of each row, ascending; None where every image has one."""
        if not self.extraction.skipped:
            return None
        rows: NDArray[np.int64] = np.load(self.path / ROWS, allow_pickle=False)
        return rows

    @property
    def skipped(self) -> list[Skipped]:
        """The images that could not be decoded."""
        return read_skipped(self.path)

    def to_dataset(self, image_set: ImageSet) -> Dataset:
        """The features with the labels of their images, as every evaluation takes them; nothing is copied.

        Raises
        ------
        ValueError
            If these are features of other images, or the images have no labels.
        """
        if (
            len(image_set) != self.configuration["images"]
            or fingerprint(image_set) != self.configuration["fingerprint"]
        ):
            raise ValueError(
                f"the features in {self.path} are of other images ({self.configuration['dataset']!r}, "
                f"{self.configuration['images']:,} images) than {image_set.name!r} ({len(image_set):,} images)"
            )
        return image_set.with_features(self.features, self.extraction, rows=self.rows, source=self.source)

    def has_rows_of(self, other: "FeatureStore") -> bool:
        """Whether each row is of the same image as that row of another store."""
        mine, theirs = ([each.index for each in store.skipped] for store in (self, other))
        return self.configuration["fingerprint"] == other.configuration["fingerprint"] and mine == theirs

    @property
    def source(self) -> Source:
        """Where the features are, with their checksum, for which nothing is read."""
        return Source(where=str(self.path), files={FEATURES: self.checksums[FEATURES]})


def read_meta(folder: Path) -> dict[str, Any] | None:
    """``meta.json``, or None where there is none.

    Raises
    ------
    ValueError
        If it is damaged or of another version.
    """
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_bytes())
        version = meta["version"] if meta["format"] == FORMAT else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(damaged(folder, f"{META} cannot be read")) from error
    if version != VERSION:
        raise ValueError(f"the features in {folder} have format version {version}, and this lshcore reads {VERSION}")
    return meta


def read_progress(folder: Path) -> dict[str, Any]:
    """``progress.json``, or a beginning where there is none."""
    try:
        progress: dict[str, Any] = json.loads((folder / PROGRESS).read_bytes())
    except FileNotFoundError:
        return {"images": 0, "rows": 0, "skipped": 0, "skipped_bytes": 0, "seconds": 0.0, "network_seconds": 0.0}
    except ValueError as error:
        raise ValueError(damaged(folder, f"{PROGRESS} cannot be read")) from error
    return progress


def read_skipped(folder: Path) -> list[Skipped]:
    """``skipped.jsonl``, as far as it counts: a line that was being written when the process was killed does not."""
    counted = read_progress(folder)["skipped_bytes"]
    lines = (folder / SKIPPED).read_bytes()[:counted].splitlines() if counted else []
    return [Skipped(**json.loads(line)) for line in lines]


def check_configuration(folder: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the first difference, unless a folder holds features of the wanted configuration."""
    for name, value in wanted.items():
        if name not in _DESCRIPTIVE and stored.get(name) != value:
            before = stored.get(name)
            if name == "checksum":
                name, before, value = "weights", f"{stored['weights']} ({before})", f"{wanted['weights']} ({value})"
            what = f"another configuration ({name} was {before}, now {value})"
            if name == "fingerprint":
                what = f"other images or labels ({wanted['dataset']!r} is not what it was then)"
            raise ValueError(f"{folder} holds features of {what}: choose another folder, or remove it")


def damaged(folder: Path, what: str) -> str:
    """Message for a store that cannot be used."""
    return f"the features in {folder} are damaged: {what}; remove the folder and extract again"
