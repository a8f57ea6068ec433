"""What an index on disk is made of, and whether all of it is whole."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ._state import read_state
from .index import Index, open_index
from .index.storage import STEM
from .preprocess import Preprocess
from .recipe import FILE as RECIPE_FILE
from .recipe import Recipe

# What the arrays of a segment are part of, by the start of their names.
_PARTS = {
    "codes": "codes",
    "residual": "codes",
    "ids": "ids",
    "vectors": "vectors",
    "halves": "vectors",
    "inverse_norms": "vectors",
}

_PREPROCESS = f"{Preprocess._stem}.json"
_BACKBONE = "backbone"


@dataclass(frozen=True)
class Buckets:
    """Rows in the buckets of all tables that are not empty: their number, and of rows the mean, median and largest."""

    number: int
    mean: float
    median: float
    largest: int


@dataclass(frozen=True)
class Description:
    """What is in a directory.

    Parameters
    ----------
    kind : str
        Class of the index, with its parameters.
    hasher : str or None
    ids : str
        "integers" or "texts".
    rows, removed, segments, generation : int
    memory, disk : dict of str to int
        Bytes by part.
    buckets : Buckets or None
        None where there are no rows.
    recipe : Recipe or None
    """

    kind: str
    hasher: str | None
    ids: str
    rows: int
    removed: int
    segments: int
    generation: int
    memory: dict[str, int]
    disk: dict[str, int]
    buckets: Buckets | None
    recipe: Recipe | None


def describe(path: str | os.PathLike[str]) -> Description:
    """Describe an index on disk.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged.
    """
    folder = Path(path)
    index = open_index(folder)
    segments = [] if index._core is None else index._core.state()[0]
    total = sum(segment.n_rows for segment, _ in segments)
    sizes = np.concatenate([index.bucket_sizes(table) for table in range(index.n_tables)])
    buckets = None
    if len(sizes):
        buckets = Buckets(len(sizes), float(sizes.mean()), float(np.median(sizes)), int(sizes.max()))
    parts = ", ".join([type(index).__name__, *index._describe()])
    return Description(
        parts if index.vectors is None else f"{parts}, vectors {index.vectors}",
        None if index.hasher is None else f"{type(index.hasher).__name__}, {index.n_bits} bits",
        "integers" if index._names is None else "texts",
        len(index),
        total - len(index),
        len(segments),
        0 if index._origin is None else index._origin.generation,
        index.nbytes,
        _on_disk(folder, index),
        buckets,
        Recipe.load(folder),
    )


def _on_disk(folder: Path, index: Index) -> dict[str, int]:
    """Bytes of files, those of segments by what is in them."""
    found = dict.fromkeys(("codes", "vectors", "ids", "tables", "names", "other"), 0)
    for segment, _ in [] if index._core is None else index._core.state()[0]:
        for name, array in segment.arrays().items():
            found[next((part for start, part in _PARTS.items() if name.startswith(start)), "tables")] += array.nbytes
    if index._names is not None:
        found["names"] = sum(array.nbytes for array in index._names.to_arrays(index._numbers).values())
    total = sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False))
    found["other"] = max(0, total - sum(found.values()))
    return found


def verify(path: str | os.PathLike[str], n_jobs: int | None = None) -> Index:
    """Check every checksum, every offset and every id of a directory, and what lies beside the index.

    Returns
    -------
    Index
        What was found whole.

    Raises
    ------
    FileNotFoundError
        If there is no index, or a file of it is missing.
    ValueError
        If anything is damaged; the message names the file.
    """
    folder = Path(path)
    index = open_index(folder, verify="full", n_jobs=n_jobs)
    if index._names is not None:
        try:
            index._names.check(index._numbers)
        except ValueError as error:
            raise ValueError(f"{folder / STEM}.json must name the rows, got one that fails: {error}") from error
    found = Recipe.load(folder)
    if (folder / _PREPROCESS).exists() or found is not None:
        step = Preprocess.load(folder)
        if index.dim is not None and step.n_features_out_ != index.dim:
            raise ValueError(
                f"{folder / _PREPROCESS} must give the {index.dim} columns that the index takes, "
                f"got {step.n_features_out_}"
            )
        if found is not None and found.dim != step.n_features_in_:
            raise ValueError(
                f"{folder / RECIPE_FILE} must give the {step.n_features_in_} columns that {_PREPROCESS} takes, "
                f"got {found.dim}"
            )
    if found is not None and found.own:
        read_state(folder, _BACKBONE, "a backbone")
    return index
