"""A split turned into matrices: what every method is given, preprocessed by what the train part alone taught."""

import mmap
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset
from ..hashers import Hasher
from ..preprocess import Preprocess
from .protocols import Split

Matrix = NDArray[np.float32]


class CannotFit(ValueError):
    """A hasher cannot learn from this data with these parameters: the configuration is left out, and it says why."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The parts of a split as float32 matrices, with labels.

    Parameters
    ----------
    train, gallery, queries : (n, d) float32
        `train` and `gallery` are one matrix where the protocol uses the same items for both.
    train_labels, gallery_labels, query_labels : int64 (n,) or bool (n, C)
    seconds : float
        What fitting and applying the preprocessing took.
    fitted : dict
        Hashers that were fitted on the train part, by what they are, each with the seconds that took, or why it cannot
        be; the runner keeps those of the method that is being run.
    """

    train: Matrix
    gallery: Matrix
    queries: Matrix
    train_labels: NDArray[Any]
    gallery_labels: NDArray[Any]
    query_labels: NDArray[Any]
    seconds: float
    fitted: dict[str, tuple[Hasher, float] | CannotFit] = field(default_factory=dict)


def prepare(
    dataset: Dataset,
    split: Split,
    preprocess: Mapping[str, Any] | Preprocess,
    n_jobs: int | None = None,
    leak: bool = False,
) -> Prepared:
    """Fit the preprocessing on the train part of a split, or with a leak on all parts, and apply it to all parts; one
    that is fitted already is only applied."""
    start = time.perf_counter()
    if isinstance(preprocess, Preprocess):
        step = preprocess
    else:
        everything = np.concatenate([split.train, split.gallery, split.queries])
        fitted_on = np.unique(everything) if leak else split.train
        step = Preprocess(**preprocess).fit(dataset.features, rows=fitted_on)

    def matrix(rows: NDArray[np.int64]) -> Matrix:
        return step.transform(dataset.features, n_jobs, rows=rows)

    train = matrix(split.train)
    gallery = train if np.array_equal(split.train, split.gallery) else matrix(split.gallery)
    queries = matrix(split.queries)
    _release(dataset.features)
    return Prepared(
        train=train,
        gallery=gallery,
        queries=queries,
        train_labels=dataset.labels[split.train],
        gallery_labels=dataset.labels[split.gallery],
        query_labels=dataset.labels[split.queries],
        seconds=time.perf_counter() - start,
    )


def _release(features: NDArray[Any]) -> None:
    """Give back the memory of a mapped file's pages; they are read again if they are wanted again."""
    mapped = getattr(features, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
