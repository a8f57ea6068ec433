"""Where the files of a data set are looked for, and what is said when they are not there."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..registry import load_target
from .dataset import Dataset, DatasetNotFound
from .images import ImageSet

if TYPE_CHECKING:
    from .entries import Entry, Layout

DATA_DIR_VARIABLE = "LSHCORE_DATA_DIR"

DataDir = str | os.PathLike[str] | None


def root(data_dir: DataDir) -> Path | None:
    """The data directory: the one that was named, else the one that ``LSHCORE_DATA_DIR`` names."""
    named = data_dir if data_dir is not None else os.environ.get(DATA_DIR_VARIABLE)
    return Path(named) if named else None


def _places(entry: "Entry", data_dir: DataDir) -> list[tuple["Layout", Path]]:
    """Every layout and folder to look in, in order. A directory that was named is the only one."""
    top = root(data_dir)
    under = [] if top is None else [(layout, top / folder) for layout in entry.layouts for folder in layout.folders]
    system = [(layout, Path(folder)) for layout in entry.layouts for folder in layout.system]
    return under if data_dir is not None else under + system


def missing(layout: "Layout", folder: Path) -> list[str]:
    """What `folder` lacks of a layout: the first alternative of each pattern that nothing matches."""
    return [
        patterns.partition("|")[0]
        for patterns in layout.needs
        if not any(next(folder.glob(pattern), None) for pattern in patterns.split("|"))
    ]


def find(entry: "Entry", data_dir: DataDir) -> tuple["Layout", Path] | None:
    """The first folder that holds all that one of the layouts needs, or None."""
    return next((place for place in _places(entry, data_dir) if not missing(*place)), None)


def locate(entry: "Entry", data_dir: DataDir = None) -> str | None:
    """The folder that holds the data set, or None. Nothing is read."""
    found = find(entry, data_dir)
    return None if found is None else str(found[1])


def not_found(entry: "Entry", data_dir: DataDir) -> DatasetNotFound:
    """The error of a data set that is not there: where it was looked for, and what to put where."""
    places = _places(entry, data_dir)
    looked = ", ".join(dict.fromkeys(str(folder) for _, folder in places))
    looked = looked or f"no folder, as neither --data-dir nor {DATA_DIR_VARIABLE} is set"
    for layout, folder in places:
        lacks = missing(layout, folder)
        if len(lacks) < len(layout.needs):
            looked += f"; {folder} lacks {', '.join(lacks)}"
    put = ", or ".join(f"{layout.holds} into DIR/{layout.folders[0]}" for layout in entry.layouts)
    offered = any(layout.download for layout in entry.layouts)
    command = f", or `lshcore datasets --download {entry.name} --data-dir DIR`" if offered else ""
    return DatasetNotFound(
        f"dataset {entry.name!r} was not found (looked in {looked}): put {put} ({entry.size}), "
        f"and give --data-dir DIR (or set {DATA_DIR_VARIABLE}), or {entry.obtain}{command}"
    )


def load(entry: "Entry", data_dir: DataDir = None) -> Dataset | ImageSet:
    """Load a data set from the first place that holds it.

    Raises
    ------
    DatasetNotFound
        If there is none.
    """
    found = find(entry, data_dir)
    if found is None:
        raise not_found(entry, data_dir)
    layout, folder = found
    loaded: Dataset | ImageSet = load_target(layout.loader)(entry, folder)
    return loaded
