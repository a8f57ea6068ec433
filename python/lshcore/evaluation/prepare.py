"""A split turned into matrices: what every method is given, preprocessed by what the train part alone taught."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset
from ..preprocess import Preprocess
from .protocols import Split

Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Prepared:
    """The parts of a split as float32 matrices, with labels.

    Parameters
    ----------
    train, gallery, queries : (n, d) float32
        `train` and `gallery` are one matrix where the protocol uses the same items for both.
    gallery_labels, query_labels : int64 (n,) or bool (n, C)
    seconds : float
        What fitting and applying the preprocessing took.
    """

    train: Matrix
    gallery: Matrix
    queries: Matrix
    gallery_labels: NDArray[Any]
    query_labels: NDArray[Any]
    seconds: float


def prepare(dataset: Dataset, split: Split, preprocess: Mapping[str, Any], n_jobs: int | None = None) -> Prepared:
    """Fit the preprocessing on the train part of a split and apply it to all parts."""
    start = time.perf_counter()
    raw = dataset.features[split.train]
    step = Preprocess(**preprocess).fit(raw)
    train = step.transform(raw, n_jobs=n_jobs)
    same = np.array_equal(split.train, split.gallery)
    gallery = train if same else step.transform(dataset.features[split.gallery], n_jobs=n_jobs)
    queries = step.transform(dataset.features[split.queries], n_jobs=n_jobs)
    return Prepared(
        train=train,
        gallery=gallery,
        queries=queries,
        gallery_labels=dataset.labels[split.gallery],
        query_labels=dataset.labels[split.queries],
        seconds=time.perf_counter() - start,
    )
