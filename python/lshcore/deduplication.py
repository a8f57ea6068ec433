"""Near-duplicates of a source: its items become codes, and those within a Hamming radius of each other are found."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import items
from ._progress import Progress, part
from ._validation import as_integer
from .duplicates import groups, range_join
from .hamming import distances
from .hashers import Hasher, RandomHyperplanes
from .items import Items, Wanted
from .preprocess import Preprocess

_BITS = 64


@dataclass(frozen=True, eq=False)
class Report:
    """What was found.

    Parameters
    ----------
    n_items, n_others : int
        Items that were compared; others are those of `against`, 0 without.
    n_pairs : int
    n_groups, n_grouped : int
        Groups, and items in them; 0 with `against`.
    skipped : int
        Images that could not be decoded.
    lines : list of dict
        ``{"group", "items": [{"id", "distance"}]}`` each, the distance being that to the first; with `against`
        ``{"id", "against", "distance"}``.
    """

    n_items: int
    n_others: int
    n_pairs: int
    n_groups: int
    n_grouped: int
    skipped: int
    lines: list[dict[str, Any]]


def find_duplicates(
    source: Wanted,
    radius: int,
    against: str | None = None,
    hasher: Hasher | None = None,
    preprocess: Preprocess | None = None,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Find items whose codes differ in few bits.

    Parameters
    ----------
    source : Wanted
    radius : int
        Bits in which codes may differ.
    against : str, optional
        Another source: pairs of an item and one of those, rather than groups.
    hasher : Hasher, optional
        Fitted on the source unless it is fitted; random hyperplanes by default.
    preprocess : Preprocess, optional
        Fitted on the source unless it is fitted; centring and scaling to length 1 by default.
    n_jobs : int, optional
    progress : callable, optional

    Raises
    ------
    DatasetNotFound, TypeError, ValueError
        If a source is not there, both have other columns, or the hasher cannot be fitted.
    """
    as_integer(radius, "find_duplicates", "radius", low=0)
    hasher = RandomHyperplanes(_BITS) if hasher is None else hasher
    learns = not hasattr(hasher, "n_features_in_")
    found = items.read(source, learns and hasher._needs_labels, progress=part(progress, 0.0, 0.4))
    others = None
    if against is not None:
        second = replace(source, source=against, labels=None)
        others = items.read(second, progress=part(progress, 0.4, 0.7))
        if others.vectors.shape[1] != found.vectors.shape[1]:
            raise ValueError(
                f"{against} must have features of {found.vectors.shape[1]} columns, as {source.source}, "
                f"got {others.vectors.shape[1]}"
            )
    part(progress, 0.7, 0.8)(0.0, "hashing")
    step = Preprocess() if preprocess is None else preprocess
    if not hasattr(step, "n_features_in_"):
        step.fit(found.vectors)
    x = step.transform(found.vectors, n_jobs)
    if learns:
        hasher.fit(x, found.labels)
    codes = hasher.encode(x, n_jobs)
    theirs = None if others is None else hasher.encode(step.transform(others.vectors, n_jobs), n_jobs)
    tell = part(progress, 0.8, 1.0)
    if others is not None and theirs is not None:
        # Pairs come by the rows that are asked about, which are to be those of the source.
        pairs = range_join(theirs, radius, against=codes, n_jobs=n_jobs, progress=tell)
        lines = list(_pairs(found, others, pairs.rows, pairs.distances))
        return Report(len(found), len(others), len(pairs), 0, 0, found.skipped + others.skipped, lines)
    pairs = range_join(codes, radius, n_jobs=n_jobs, progress=tell)
    grouped = groups(pairs, len(found))
    lines = []
    for number, rows in enumerate(grouped):
        apart = distances(codes[rows[:1]], codes[rows])[0]
        members = [{"id": _id(found, row), "distance": int(far)} for row, far in zip(rows, apart, strict=True)]
        lines.append({"group": number, "items": members})
    return Report(len(found), 0, len(pairs), len(grouped), sum(map(len, grouped)), found.skipped, lines)


def _pairs(found: Items, others: Items, rows: NDArray[np.int64], apart: NDArray[np.uint16]) -> Iterator[dict[str, Any]]:
    for (mine, other), distance in zip(rows.tolist(), apart.tolist(), strict=True):
        yield {"id": _id(found, mine), "against": _id(others, other), "distance": distance}


def _id(found: Items, row: int) -> str | int:
    id = found.ids[row]
    return id if isinstance(id, str) else int(id)
