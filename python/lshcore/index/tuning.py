"""How many clusters to look into and how many rows to rank, so that a share of the true neighbours is found."""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from lshcore._validation import as_integer, as_share, check_choice

if TYPE_CHECKING:
    from .kmeans import KMeansIndex

# Of the index's own rows, each searched for among the others.
N_QUERIES = 500

# What a row of the shortlist costs, in rows whose residuals are looked at.
_SHORTLISTED = 40


@dataclass(frozen=True, slots=True)
class Tuned:
    """What `KMeansIndex.tune` chose, and what it measured.

    Attributes
    ----------
    probes, shortlist : int
        What searches take by default.
    target_recall, recall : float
        Asked for, and measured: the share of the k nearest that was found.
    k : int
    rank : str
    n_queries : int
        Rows of the index that were searched for among the others.
    candidates : float
        Rows in the clusters looked into, a query.
    """

    probes: int
    shortlist: int
    target_recall: float
    recall: float
    k: int
    rank: str
    n_queries: int
    candidates: float

    def checked(self, index: "KMeansIndex") -> Self:
        """This, if it is for such an index: what a file says is not believed."""
        most = {"probes": index.n_clusters, "shortlist": 2**32, "k": 2**32, "n_queries": N_QUERIES}
        for name, high in most.items():
            as_integer(getattr(self, name), "tuned", name, low=1, high=high)
        as_share(self.target_recall, "tuned", "target_recall")
        check_choice(self.rank, "tuned", "rank", ("cosine", "l2", "ip"))
        if not (0 <= self.recall <= 1 and 0 <= self.candidates < math.inf):
            raise ValueError(f"tuned: recall and candidates must be in range, got {self.recall}, {self.candidates}")
        return self

    def __str__(self) -> str:
        return (
            f"probes {self.probes}, shortlist {self.shortlist}: recall@{self.k} {self.recall:.3f} of {self.rank} on "
            f"{self.n_queries} rows, {self.candidates:,.0f} candidates"
        )


def tune(index: "KMeansIndex", target_recall: float, k: int, rank: str, seed: int, jobs: int) -> Tuned:
    """The cheapest setting that finds the share on rows of the index."""
    core = index._core
    assert core is not None
    ids = core.ids
    k = min(k, len(ids) - 1)
    rng = np.random.default_rng(seed)
    own = ids[np.sort(rng.choice(len(ids), min(N_QUERIES, len(ids)), replace=False))]
    queries = core.vectors_of(own)
    nearest = _others(index, queries, own, k, rank, jobs, index.n_clusters, None)
    # By distance, so that equals of the k-th count.
    reach = nearest[0][:, -1:] + 1e-6 * np.abs(nearest[0][:, -1:])
    measured: dict[tuple[int, int], tuple[float, float]] = {}

    def measure(probes: int, shortlist: int) -> tuple[float, float]:
        """Recall, and candidates a query."""
        if (probes, shortlist) not in measured:
            distances, candidates = _others(index, queries, own, k, rank, jobs, probes, shortlist)
            measured[probes, shortlist] = float((distances <= reach).mean()), candidates
        return measured[probes, shortlist]

    def enough(probes: int, shortlist: int) -> bool:
        return measure(probes, shortlist)[0] >= target_recall

    longest = min(len(ids), 64 * (k + 1))
    if not enough(index.n_clusters, longest):
        longest = len(ids)
    fewest = _least(1, index.n_clusters, lambda probes: enough(probes, longest))
    settings = []
    for probes in sorted({fewest, min(index.n_clusters, fewest + (fewest + 3) // 4)}):  # more may save rows to rank
        shortlist = _least(k, longest, partial(enough, probes))
        recall, candidates = measure(probes, shortlist)
        settings.append((candidates + _SHORTLISTED * shortlist, probes, shortlist, recall, candidates))
    _, probes, shortlist, recall, candidates = min(settings)
    return Tuned(probes, shortlist, target_recall, recall, k, rank, len(own), candidates)


def _least(low: int, high: int, enough: Callable[[int], bool]) -> int:
    """The least of some numbers from low to high, each a quarter more than the last, that is enough; else high."""
    steps = [low]
    while steps[-1] < high:
        steps.append(min(high, steps[-1] + max(1, steps[-1] // 4)))
    return steps[min(bisect_left(steps, True, key=enough), len(steps) - 1)]


def _others(
    index: "KMeansIndex",
    queries: NDArray[np.float32],
    own: NDArray[np.int64],
    k: int,
    rank: str,
    jobs: int,
    probes: int,
    shortlist: int | None,
) -> tuple[NDArray[np.float32], float]:
    """Distances (m, k) of the nearest rows but each query itself, and candidates a query."""
    prepared = index._prepare(queries, "KMeansIndex.tune", jobs, rank=rank, probes=probes)
    prepared.shortlist = 0 if shortlist is None else shortlist + 1  # with a place for the row itself
    found = index._nearest(prepared, k + 1, jobs)
    others = found.ids != own[:, np.newaxis]
    others[others.all(axis=1), -1] = False  # not found, or behind equals: one too many
    return found.distances[others].reshape(len(queries), k), float(found.n_candidates.mean())
