"""Retrieval metrics, one definition and one name each.

========================== ============================================================================================
name                       definition, of a query with R relevant items in the gallery
========================== ============================================================================================
``map``                    sum of P(t) rel_t over the whole list, over R
``map@K``                  the same over the first K, over min(K, R)
``map_retrieved``, ``@K``  the same over the whole list, or the first K, over the relevant items in it
``p@k``, ``p@k_returned``  relevant among the first k, over k; over min(k, length of the list)
``recall``                 relevant in the list, over R
``coverage``               share of queries with at least one candidate
``candidates_*``           length of the list: mean, median, 95th percentile, and mean as a share of the gallery
``p@r<=2``                 relevant over retrieved within Hamming distance 2, an empty ball counting 0; with
                           ``empty@r<=2``, the share of empty balls, and ``size@r<=2``, their mean size
``pr_curve``               mean precision and recall among the first ``rank`` items
``radius_curve``           mean precision and recall within a Hamming ``radius``
========================== ============================================================================================

P(t) is the number of relevant items among the first t, over t. A query with nothing relevant (R = 0), or with an empty
list, counts 0 in every mean. Items at the same distance are in no order: a metric is its exact expectation over random
orders of them (``ties="expected"``), unless one asks for gallery order (``ties="stable"``).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core, _device
from ._device import Codes
from ._validation import as_integer, as_labels, as_numeric, check_choice, resolve_jobs
from .index.container import Index

TIES = ("expected", "stable")
Progress = Callable[[int, int], None]

# Queries of an index between two calls of `progress`, and the ranks of a curve; neither changes a metric.
_BATCH = 512
_CURVE_POINTS = 60


def hamming_ranking(
    q_codes: Codes,
    codes: Codes,
    q_labels: ArrayLike,
    labels: ArrayLike,
    k: int | Iterable[int] = (10, 50),
    ties: str = "expected",
    n_jobs: int | None = None,
    progress: Progress | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Metrics of the whole gallery ranked by Hamming distance.

    Parameters
    ----------
    q_codes, codes : BinaryCodes or DeviceCodes
        m queries and n gallery items.
    q_labels, labels : array_like
        Their labels: integers (m,) and (n,), relevant where equal, or bools (m, C) and (n, C), relevant where one is
        shared.
    k : int or iterable of int
        Ranks of ``p@k``, ``map@k`` and ``map_retrieved@k``.
    ties : {"expected", "stable"}
        Order of items at the same distance.
    n_jobs : int, optional
        Threads; the metrics are the same for any number.
    progress : callable, optional
        Called with the queries done and their total, now and then and at the end.
    device : {"cpu", "cuda"}, optional
        Where distances are counted; None is the GPU where an argument is there, otherwise the CPU. The metrics are the
        same. The GPU keeps no order among ties: it takes ``ties="expected"``.

    Returns
    -------
    dict
        Metrics by name, as the head of this module lists them.

    Raises
    ------
    TypeError, ValueError
        If codes or labels are of the wrong type, width or length, there is no query or no gallery item, k is not
        positive, or there is no such device or it does not take those ties.
    """
    where = "metrics.hamming_ranking"
    queries, gallery, gpu = _device.pair(q_codes, codes, device, where, ("q_codes", "codes"))
    run = _Run(where, len(queries), len(gallery), k, ties, queries.n_bits)
    run.take_labels(q_labels, labels)
    jobs = resolve_jobs(n_jobs)
    if gpu and ties == "stable":
        raise ValueError(f"{where}: the GPU takes ties='expected', got 'stable'; use device='cpu'")
    rank = _core.cuda_rank_hamming if gpu else _core.rank_hamming
    rank(
        run.accumulator,
        _device.lend(queries.words),
        _device.lend(gallery.words),
        gallery.n_bits,
        run.query_labels(slice(None)),
        run.labels,
        jobs,
        None if progress is None else lambda done: progress(done, len(queries)),
    )
    return run.report()


def evaluate(
    index: Index,
    Q: ArrayLike,
    q_labels: ArrayLike,
    labels: ArrayLike,
    k: int | Iterable[int] = (10, 50),
    ties: str = "expected",
    n_jobs: int | None = None,
    progress: Progress | None = None,
    *,
    probes: int | None = None,
    radius: int | None = None,
    rank: str | None = None,
    shortlist: int | None = None,
    filter: ArrayLike | None = None,
    batch_size: int = _BATCH,
) -> dict[str, Any]:
    """Metrics of the candidate lists of an index, ranked whole.

    Parameters
    ----------
    index : Index
        Index of n rows.
    Q : array_like, (m, d)
        Queries, none of which is in the index.
    q_labels, labels : array_like
        Labels of the queries and of the rows of the index, these in the order of ``index.ids``; as in
        `hamming_ranking`.
    k, ties, n_jobs, progress
        As in `hamming_ranking`.
    probes, radius, rank, shortlist, filter
        As in ``index.search``. With a shortlist, that is the list. A filter shortens the lists, and nothing else: R
        stays the relevant rows of the whole index.
    batch_size : int
        Queries between two calls of `progress`.

    Returns
    -------
    dict
        Metrics by name; those by Hamming radius only where the rank is "hamming".

    Raises
    ------
    TypeError, ValueError
        If the queries or labels do not fit the index, there is no query or no row, or an option is out of range.
    """
    where = "metrics.evaluate"
    if not isinstance(index, Index):
        raise TypeError(f"{where}: index must be an lshcore index, got {type(index).__name__}")
    jobs = resolve_jobs(n_jobs)
    queries = index._prepare(
        Q, where, jobs, probes=probes, radius=radius, rank=rank, shortlist=shortlist, filter=filter
    )
    run = _Run(where, queries.n, len(index), k, ties, index.n_bits if queries.rank == "hamming" else 0)
    run.take_labels(q_labels, labels)
    for rows in run.batches(progress, batch_size):
        index._evaluate(run.accumulator, queries.batch(rows), run.query_labels(rows), run.labels, jobs)
    return run.report()


def ranked_list(
    relevance: ArrayLike,
    distances: ArrayLike | None = None,
    n_relevant: int | None = None,
    k: int | Iterable[int] = (10, 50),
    ties: str = "expected",
) -> dict[str, Any]:
    """Metrics of one list.

    Parameters
    ----------
    relevance : array_like of bool, (n,)
        Whether each item is relevant.
    distances : array_like, (n,), optional
        Distance of each item, in any order; items at the same distance are tied. By default the list is in its final
        order.
    n_relevant : int, optional
        R, relevant items in the gallery; by default those in the list.
    k, ties
        As in `hamming_ranking`.

    Returns
    -------
    dict
        Metrics by name, without ``candidates_share``.

    Raises
    ------
    TypeError, ValueError
        If relevance is not 0 or 1, lengths differ, a distance is NaN, or there are more relevant items in the list than
        `n_relevant`.
    """
    where = "metrics.ranked_list"
    relevant = _as_relevance(relevance, where)
    found = int(relevant.sum())
    total = found if n_relevant is None else as_integer(n_relevant, where, "n_relevant", low=0)
    if total < found:
        raise ValueError(f"{where}: n_relevant must be at least the {found} relevant items of the list, got {total}")
    ks = _as_ks(k, where)
    stable = check_choice(ties, where, "ties", TIES) == "stable"
    if distances is None:
        places = np.arange(len(relevant))
    else:
        order, places = _as_places(distances, len(relevant), where)
        relevant = relevant[order]
    curve_ranks = _curve_ranks(len(relevant))
    accumulator = _core.RankingAccumulator(ks, curve_ranks, 0, stable or distances is None)
    accumulator.add_list(places.astype(np.float32), np.ascontiguousarray(relevant), total)
    return _report(accumulator.result(), ks, curve_ranks)


class _Run:
    """One evaluation: its checked options, labels and accumulator."""

    def __init__(self, where: str, n_queries: int, n_rows: int, k: int | Iterable[int], ties: str, n_bits: int) -> None:
        if n_queries == 0 or n_rows == 0:
            raise ValueError(f"{where}: needs at least one query and one gallery item, got {n_queries} and {n_rows}")
        self.where = where
        self.n_queries = n_queries
        self.n_rows = n_rows
        self.ks = _as_ks(k, where)
        self.curve_ranks = _curve_ranks(n_rows)
        stable = check_choice(ties, where, "ties", TIES) == "stable"
        self.accumulator = _core.RankingAccumulator(self.ks, self.curve_ranks, n_bits, stable)

    def take_labels(self, q_labels: ArrayLike, labels: ArrayLike) -> None:
        asked = as_labels(q_labels, self.where, self.n_queries, name="q_labels")
        stored = as_labels(labels, self.where, self.n_rows)
        if asked.shape[1:] != stored.shape[1:]:
            raise ValueError(
                f"{self.where}: q_labels and labels must both be 1-d or have the same number of classes, "
                f"got shapes {asked.shape} and {stored.shape}"
            )
        self._asked = asked
        self.labels = _core_labels(stored)

    def query_labels(self, rows: slice) -> _core.Labels:
        return _core_labels(self._asked[rows])

    def batches(self, progress: Progress | None, batch_size: int) -> Iterator[slice]:
        size = as_integer(batch_size, self.where, "batch_size", low=1)
        for start in range(0, self.n_queries, size):
            stop = min(start + size, self.n_queries)
            yield slice(start, stop)
            if progress is not None:
                progress(stop, self.n_queries)

    def report(self) -> dict[str, Any]:
        return _report(self.accumulator.result(), self.ks, self.curve_ranks, self.n_rows)


def _report(result: dict[str, Any], ks: list[int], curve_ranks: list[int], n_rows: int | None = None) -> dict[str, Any]:
    """The accumulator's result, flat and in plain Python numbers."""
    metrics: dict[str, Any] = {
        "n_queries": int(result["n_queries"]),
        "queries_without_relevant": int(result["n_relevant_zero"]),
        "map": float(result["map"]),
        "map_retrieved": float(result["map_retrieved"]),
    }
    for place, rank in enumerate(ks):
        metrics[f"map@{rank}"] = float(result["map@k"][place])
        metrics[f"map_retrieved@{rank}"] = float(result["map_retrieved@k"][place])
        metrics[f"p@{rank}"] = float(result["p@k"][place])
        metrics[f"p@{rank}_returned"] = float(result["p@k_returned"][place])
    candidates = np.asarray(result["candidates"])
    metrics |= {
        "recall": float(result["recall"]),
        "coverage": float(result["coverage"]),
        "candidates_mean": float(candidates.mean()),
        "candidates_median": float(np.median(candidates)),
        "candidates_p95": float(np.percentile(candidates, 95)),
    }
    if n_rows is not None:
        metrics["candidates_share"] = metrics["candidates_mean"] / n_rows
    metrics["pr_curve"] = {
        "rank": list(curve_ranks),
        "precision": _floats(result["curve_precision"]),
        "recall": _floats(result["curve_recall"]),
    }
    if "radius_precision" in result:
        metrics |= {name: float(result[name]) for name in ("p@r<=2", "empty@r<=2", "size@r<=2")}
        metrics["radius_curve"] = {
            "radius": list(range(len(result["radius_precision"]))),
            "precision": _floats(result["radius_precision"]),
            "recall": _floats(result["radius_recall"]),
        }
    return metrics


def _floats(values: ArrayLike) -> list[float]:
    return [float(value) for value in np.asarray(values)]


def _core_labels(labels: NDArray[Any]) -> _core.Labels:
    contiguous = np.ascontiguousarray(labels)
    return _core.Labels.single(contiguous) if labels.ndim == 1 else _core.Labels.multi(contiguous)


def _curve_ranks(n_rows: int) -> list[int]:
    """Every rank up to 10, then evenly on a logarithmic scale up to the whole gallery."""
    if n_rows == 0:
        return []
    tail = np.geomspace(1, n_rows, _CURVE_POINTS).round().astype(np.int64)
    return [int(rank) for rank in np.union1d(np.arange(1, min(n_rows, 10) + 1), tail)]


def _as_ks(k: int | Iterable[int], where: str) -> list[int]:
    """Ranks to cut at, each once, ascending."""
    given = list(k) if isinstance(k, Iterable) and not isinstance(k, str) else [k]
    return sorted({as_integer(rank, where, "k", low=1) for rank in given})


def _as_relevance(relevance: ArrayLike, where: str) -> NDArray[np.bool_]:
    array = as_numeric(relevance, where, "relevance")
    if array.ndim != 1:
        raise ValueError(f"{where}: relevance must be 1-d, got shape {array.shape}")
    if ((array != 0) & (array != 1)).any():
        raise ValueError(f"{where}: relevance must hold only 0 and 1, got values up to {array.max()}")
    return array.astype(np.bool_)


def _as_places(distances: ArrayLike, n: int, where: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The order by distance, then place in the list; and, in that order, which of the different distances it is.

    The core takes float32, which would tie distances that differ by less than it can hold; their places it holds.
    """
    array = as_numeric(distances, where, "distances")
    if array.shape != (n,):
        raise ValueError(f"{where}: distances must have shape ({n},), as relevance has, got {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"{where}: distances must not be NaN, got one at place {int(np.isnan(array).argmax())}")
    places = np.unique(array, return_inverse=True)[1].reshape(n)
    order = np.argsort(places, kind="stable")
    return order, places[order]
