"""Runs configurations: preprocess, fit, build, search with a clock, and then the metrics without one."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._progress import Progress
from .._validation import resolve_jobs
from ..data import Dataset
from ..index import FlatIndex
from ..preprocess import Preprocess
from .builders import Built, Metrics
from .configurations import Configuration
from .methods import BASELINE, METHODS, label
from .prepare import CannotFit, Prepared, prepare
from .protocols import PROTOCOLS, Split

STAGES = ("encode", "probe", "union", "rerank", "total")

# A baseline that would take longer than this is run on a sample of the queries.
EXHAUSTIVE_LIMIT_SECONDS = 60.0
EXHAUSTIVE_SAMPLE = 1000
_WARM_UP = 256  # several tiles, so that every thread has one; fewer would overstate the estimate


@dataclass(frozen=True, eq=False)
class Result:
    """What one configuration gave.

    Parameters
    ----------
    configuration : Configuration
    n_queries : int
    sampled : bool
        Whether that is a seeded sample of the queries rather than all.
    metrics : dict
        By the names of PROTOCOL.md; `pr_curve` and `radius_curve` are mappings of lists.
    times_ms : mapping of stage to {"mean", "p50", "p95"}
        Milliseconds a query.
    batch_seconds : float
        Wall time of the search of all queries at once.
    speed_up : float
        Mean total time of the exhaustive search over that of this one; below 1 is slower than looking at everything.
    seconds : mapping
        "preprocess" (shared by configurations with the same preprocessing), "train" and "build".
    settings : mapping
        What the method was made with, besides the parameters of the configuration.
    vectors : {"float32", "float16", None}
        How the index keeps vectors.
    nbytes : mapping
        Bytes of the index, by component.
    n_items : int
        Items in the gallery.
    buckets : mapping, optional
        How full the buckets of the first table are, as `occupancy` says; None where everything is one bucket.
    """

    configuration: Configuration
    n_queries: int
    sampled: bool
    metrics: Metrics
    times_ms: Mapping[str, Mapping[str, float]]
    batch_seconds: float
    speed_up: float
    seconds: Mapping[str, float]
    settings: Mapping[str, Any]
    vectors: str | None
    nbytes: Mapping[str, int]
    n_items: int
    buckets: Mapping[str, Any] | None = None

    @property
    def label(self) -> str:
        """The parameters as a short text."""
        return label(self.configuration)

    @property
    def queries_per_second(self) -> float:
        """Queries a second in one batch."""
        return self.n_queries / self.batch_seconds

    @property
    def bytes_per_item(self) -> float:
        """Bytes of the index over items in it."""
        return sum(self.nbytes.values()) / self.n_items


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The results of one kind of features; several of the same images stand side by side in a report."""

    dataset: Dataset
    split: Split
    results: Sequence[Result]


def run(
    dataset: Dataset,
    split: Split,
    configurations: Sequence[Configuration],
    *,
    k: Sequence[int] = (10, 50),
    seed: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    left_out: Callable[[str], None] | None = None,
) -> list[Result]:
    """Evaluate configurations on one split.

    Parameters
    ----------
    dataset : Dataset
    split : Split
    configurations : sequence of Configuration
        As `methods.configure` makes them: for each preprocessing, the exhaustive search first. A model with one of its
        own is compared with the first exhaustive search of all.
    k : list lengths of the metrics; the search is for the longest
    seed : int
        Of hyperplanes, of k-means, and of the sample of queries where one is needed.
    n_jobs : int, optional
        Threads; None for `LSHCORE_NUM_THREADS`, else all CPUs of this process.
    progress : callable, optional
        ``progress(share, text)``, `share` from 0 to 1.
    left_out : callable, optional
        Told of each configuration whose hasher cannot learn from this data, such as one with more bits than features;
        and once of the optional methods that need a package which is not installed.

    Returns
    -------
    list of Result, in the order of the configurations

    Raises
    ------
    ValueError
        If the exhaustive search is not first among those with the same preprocessing, or a model takes rows of another
        number of columns.
    ImportError
        If a package is missing that a configuration needs which is not optional.
    """
    jobs = resolve_jobs(n_jobs)
    groups = [
        (preparation, list(group))
        for preparation, group in groupby(configurations, key=lambda each: (_preprocess(each), each.leak))
    ]
    lengths = tuple(dict.fromkeys((*k, *PROTOCOLS[split.name].lengths)))
    for i, ((preprocess, _), group) in enumerate(groups):
        if group[0].method != BASELINE and (i == 0 or not isinstance(preprocess, Preprocess)):
            raise ValueError(f"run: the first configuration must be {BASELINE!r}, got {group[0].method!r}")
    results: list[Result] = []
    missing: dict[str, list[str]] = {}
    steps = _steps(configurations, split, progress)
    remaining = iter(steps)
    done = 0
    for (preprocess, leak), group in groups:
        steps[done].at(0.0, "preprocessing")
        done += len(group)
        prepared = prepare(dataset, split, preprocess, jobs, leak)
        for model in {each.model for each in group if each.model is not None and each.model.preprocess is None}:
            model.check_columns(prepared.train.shape[1])
        baseline = results[0] if isinstance(preprocess, Preprocess) else None
        method = ""
        for configuration in group:
            step = next(remaining)
            if configuration.method != method:
                prepared.fitted.clear()
                method = configuration.method
            try:
                result = _run_one(configuration, prepared, baseline, max(k), lengths, seed, jobs, step)
            except CannotFit as error:
                if left_out is not None:
                    left_out(f"{step.name} is left out: {error}")
                continue
            except ImportError as error:
                if not configuration.optional:
                    raise
                methods = missing.setdefault(str(error), [])
                methods += [method] * (method not in methods)
                continue
            baseline = baseline or result
            results.append(result)
    if left_out is not None:
        for why, methods in missing.items():
            left_out(f"{', '.join(methods)} {'is' if len(methods) == 1 else 'are'} left out: {why}")
    return results


def _preprocess(configuration: Configuration) -> Mapping[str, Any] | Preprocess:
    """How the matrices are made for a configuration: a model may bring its own way."""
    own = None if configuration.model is None else configuration.model.preprocess
    return configuration.preprocess if own is None else own


@dataclass(frozen=True)
class _Step:
    """Turns the phases of one configuration into a share of the whole."""

    progress: Progress | None
    start: float
    width: float
    name: str

    def at(self, share: float, phase: str) -> None:
        """Report that `share` of this configuration is done, and what comes now."""
        if self.progress is not None:
            self.progress(self.start + share * self.width, f"{self.name}: {phase}")


def _steps(configurations: Sequence[Configuration], split: Split, progress: Progress | None) -> list[_Step]:
    """A step for each configuration, as wide as its cost."""
    steps = []
    sizes = len(split.queries), len(split.gallery)
    costs = [METHODS[each.method].cost(each.parameters, *sizes) for each in configurations]
    start = 0.0
    for configuration, cost in zip(configurations, costs, strict=True):
        name = f"{configuration.method} {label(configuration)}"
        steps.append(_Step(progress, start, cost / sum(costs), name))
        start += cost / sum(costs)
    return steps


def _run_one(
    configuration: Configuration,
    prepared: Prepared,
    baseline: Result | None,
    n_hits: int,
    k: Sequence[int],
    seed: int,
    jobs: int,
    step: _Step,
) -> Result:
    method = METHODS[configuration.method]
    built_at = 0.0 if configuration.model is not None else method.building
    step.at(0.0, "building")
    built = method.build(configuration, prepared, seed, jobs, lambda share, text: step.at(built_at * share, text))
    step.at(built_at, "searching")
    warm_up = _timed(built, prepared.queries[:_WARM_UP], n_hits, jobs)[1]
    rows = None if baseline is not None else _sample(prepared, warm_up, seed)
    queries = prepared.queries if rows is None else prepared.queries[rows]
    query_labels = prepared.query_labels if rows is None else prepared.query_labels[rows]
    found, batch_seconds = _timed(built, queries, n_hits, jobs)
    measured_at = (3 + 4 * built_at) / 7
    step.at(measured_at, "measuring")
    metrics = built.measure(
        queries,
        query_labels,
        prepared.gallery_labels,
        k=tuple(k),
        n_jobs=jobs,
        progress=lambda done, total: step.at(measured_at + (1 - measured_at) * done / total, "measuring"),
    )
    if configuration.leak and metrics["coverage"] > 0:
        metrics |= {name: metrics[name] / metrics["coverage"] for name in (f"p@{length}" for length in k)}
    _check_same_lists(configuration, found.n_candidates, built.search.get("shortlist"), metrics)
    times_ms = {stage: _spread(found.timings[stage]) for stage in STAGES}
    total = times_ms["total"]["mean"]
    return Result(
        configuration=configuration,
        n_queries=len(queries),
        sampled=rows is not None,
        metrics=metrics,
        times_ms=times_ms,
        batch_seconds=batch_seconds,
        speed_up=1.0 if baseline is None else baseline.times_ms["total"]["mean"] / total,
        seconds={"preprocess": prepared.seconds, "train": built.train_seconds, "build": built.build_seconds},
        settings=built.settings,
        vectors=built.index.vectors,
        nbytes=dict(built.index.nbytes),
        n_items=len(built.index),
        buckets=None if isinstance(built.index, FlatIndex) else occupancy(built.index.bucket_sizes(0)),
    )


def occupancy(sizes: ArrayLike) -> dict[str, Any]:
    """How full the buckets of a table are.

    Parameters
    ----------
    sizes : array_like of int, (buckets,)
        Rows in each bucket that is not empty.

    Returns
    -------
    dict
        "count" of buckets, "mean" and "largest" size in rows, "share_of_largest" among all rows, and "histogram":
        "sizes" 1, 2, 4, ... and how many "buckets" have that size or more, but less than twice as many.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    largest = int(sizes.max())
    powers = 2 ** np.arange(largest.bit_length())
    # frexp: the exponent of a power of two and of what lies above it, without a rounded logarithm.
    places = np.frexp(sizes)[1] - 1
    return {
        "count": len(sizes),
        "mean": float(sizes.mean()),
        "largest": largest,
        "share_of_largest": largest / int(sizes.sum()),
        "histogram": {
            "sizes": powers.tolist(),
            "buckets": np.bincount(places, minlength=len(powers)).tolist(),
        },
    }


def _timed(built: Built, queries: Any, k: int, jobs: int) -> tuple[Any, float]:
    start = time.perf_counter()
    found = built.index.search(queries, k=k, n_jobs=jobs, **built.search)
    return found, time.perf_counter() - start


def _sample(prepared: Prepared, warm_up_seconds: float, seed: int) -> Any:
    """Rows of a seeded sample of the queries, or None where all of them are quick enough."""
    n = len(prepared.queries)
    estimate = warm_up_seconds * n / min(n, _WARM_UP)
    if estimate <= EXHAUSTIVE_LIMIT_SECONDS or n <= EXHAUSTIVE_SAMPLE:
        return None
    return np.sort(np.random.RandomState(seed).permutation(n)[:EXHAUSTIVE_SAMPLE])


def _spread(seconds: Any) -> dict[str, float]:
    milliseconds = 1e3 * np.asarray(seconds, dtype=np.float64)
    p50, p95 = np.percentile(milliseconds, (50, 95))
    return {"mean": float(milliseconds.mean()), "p50": float(p50), "p95": float(p95)}


def _check_same_lists(configuration: Configuration, n_candidates: Any, shortlist: int | None, metrics: Metrics) -> None:
    """The search that was timed and the one that was measured must have seen the same lists."""
    timed = float(np.mean(n_candidates if shortlist is None else np.minimum(n_candidates, shortlist)))
    if not np.isclose(timed, metrics["candidates_mean"]):
        raise RuntimeError(
            f"{configuration.method}: the timed search and the metrics must see the same candidates, "
            f"got {timed} and {metrics['candidates_mean']} a query"
        )
