"""lshcore in the form that ann-benchmarks gives an algorithm: https://github.com/erikbern/ann-benchmarks

Put this folder there as `ann_benchmarks/algorithms/lshcore`; `bench/frontier.py` runs it without the harness.
"""

import ctypes
import gc
import os

import numpy as np

from lshcore import KMeansIndex, LSHIndex
from lshcore.hashers import RandomHyperplanes

try:
    from ..base.module import BaseANN
except ImportError:  # outside the harness

    class BaseANN:
        def done(self) -> None:
            pass

        def get_additional(self) -> dict:
            return {}


RANKS = {"angular": "cosine", "euclidean": "l2"}


class LSHCore(BaseANN):
    """Buckets of k-means with residual codes, or of locality-sensitive hashing, rows ranked by the true distance.

    Parameters
    ----------
    metric : {"angular", "euclidean"}
    kind : {"kmeans", "lsh"}
    options : dict
        "kmeans": `clusters`; 0: as many as the rows call for.
        "lsh": `tables` and `key_bits`.
    """

    def __init__(self, metric: str, kind: str, options: dict[str, int]) -> None:
        makers = {"kmeans": self._kmeans, "lsh": self._lsh}
        if metric not in RANKS or kind not in makers:
            raise ValueError(
                f"LSHCore: metric must be one of {', '.join(RANKS)} and kind one of {', '.join(makers)}, "
                f"got {metric!r} and {kind!r}"
            )
        self._metric, self._kind, self._options, self._make = metric, kind, dict(options), makers[kind]
        self._search: dict[str, int | None] = {"probes": None, "shortlist": None}
        self.index = None

    def _kmeans(self, X: np.ndarray, clusters: int = 0) -> KMeansIndex:
        return KMeansIndex(clusters or None, codes="residual", vectors="float32", rank=RANKS[self._metric])

    def _lsh(self, X: np.ndarray, tables: int, key_bits: int) -> LSHIndex:
        centre = self._metric == "euclidean"  # distances do not know an origin, angles do
        hasher = RandomHyperplanes(tables * key_bits, centre=centre, orthogonal=True).fit(X)
        return LSHIndex(hasher, tables, key_bits, vectors="float32")

    def fit(self, X: np.ndarray) -> None:
        self.index = self._make(X, **self._options).add(X)

    def set_query_arguments(self, probes: int, shortlist: int = 0) -> None:
        """Buckets to look into ("lsh": at least one a table), and the rows to rank, 0 for all that are found."""
        self._search = {"probes": probes, "shortlist": shortlist or None}

    def query(self, v: np.ndarray, n: int) -> np.ndarray:
        ids = self.index.search(v, n, rank=RANKS[self._metric], n_jobs=1, **self._search).ids[0]
        return ids[ids >= 0]

    def batch_query(self, X: np.ndarray, n: int) -> None:
        self._found = self.index.search(X, n, rank=RANKS[self._metric], **self._search).ids

    def get_batch_results(self) -> list[np.ndarray]:
        return [ids[ids >= 0] for ids in self._found]

    def get_memory_usage(self) -> float:
        """Kilobytes of the process; the harness takes what `fit` adds. Freed memory is given back first."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024

    def __str__(self) -> str:
        settings = {**self._options, **{name: value for name, value in self._search.items() if value is not None}}
        return f"LSHCore({self._kind}, {', '.join(f'{name}={value}' for name, value in settings.items())})"
