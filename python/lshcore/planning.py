"""Planning: from a sample of the data's own similarities to bits, tables and probes for a recall target, at least cost.

What a plan expects comes from the collision formulas (`lshcore.collisions`); `Plan.measure` then builds the index and
finds out.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._progress import Progress, part
from ._validation import as_integer, as_matrix, check_choice, check_fitted, resolve_jobs, resolve_seed
from .collisions import any_table, probed_keys, same_key, same_sampled_key
from .hamming import distances as hamming_distances
from .hashers import Hasher, RandomHyperplanes
from .hashers.lattice import LatticeHasher
from .index import FlatIndex, KMeansIndex, LSHIndex
from .index.container import Index
from .preprocess import Preprocess

RANKS = ("cosine", "l2")

# What is tried: key bits from 4 up to a few more than would give each row a bucket of its own.
_TABLES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_PROBES_A_TABLE = (1, 2, 4, 8, 16, 32, 64)
_LOOKS = 40
_QUERIES = 300
_OTHERS = 20_000
_ANGLES = 256  # bins of the angles between rows that have nothing to do with each other

# Rough costs in nanoseconds on one thread; only their proportions choose. Scattered rows cost more than a scan.
_SCAN = 0.02  # a dimension of an exhaustive scan
_PRODUCT = 0.04  # a dimension of a projection
_PROBE = 60.0
_POSTING = 1.0
_CANDIDATE = 40.0
_CANDIDATE_DIMENSION = 0.12


@dataclass(frozen=True)
class Expectation:
    """What an index gives, expected or measured.

    Parameters
    ----------
    recall : float
        Mean share of a query's k nearest rows that are candidates.
    candidates : float
        Rows a query.
    bytes_per_item : float
    seconds : float
        A query, on one thread; an estimate where it is expected.
    """

    recall: float
    candidates: float
    bytes_per_item: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Plan:
    """Bits, tables and probes, and what to expect of them.

    Parameters
    ----------
    target : float
        The recall that was asked for.
    n_items, dim, k : int
    n_tables, key_bits, n_bits, probes : int
        `probes` over all tables.
    keys : {"blocks", "sample"}
    expected : Expectation
    exhaustive_seconds : float
        Estimate of looking at every row instead.
    warnings : tuple of str
    """

    target: float
    n_items: int
    dim: int
    k: int
    n_tables: int
    key_bits: int
    n_bits: int
    probes: int
    keys: str
    expected: Expectation
    exhaustive_seconds: float
    rank: str
    warnings: tuple[str, ...]
    _sample: "_Sample" = field(repr=False)
    _hasher: Hasher | None = field(repr=False)

    def make_index(self, X: ArrayLike | None = None, n_jobs: int | None = None) -> LSHIndex:
        """The index as planned, holding the rows X, by default those that were planned on."""
        gallery = self._sample.gallery if X is None else as_matrix(X, "Plan.make_index", dim=self.dim)
        hasher = self._hasher or RandomHyperplanes(self.n_bits, random_state=self._sample.seed).fit(gallery)
        index = LSHIndex(hasher, self.n_tables, self.key_bits, self.keys, "float32", self._sample.seed)
        index.add(gallery, n_jobs=n_jobs)
        return index

    def measure(self, n_jobs: int | None = None) -> tuple[Expectation, Expectation]:
        """Build the index and search it for the sampled queries: what it gives, and what looking at every row does."""
        jobs = resolve_jobs(n_jobs)
        index = self.make_index(n_jobs=jobs)
        sample = self._sample
        exhaustive = (
            FlatIndex().add(sample.gallery, n_jobs=jobs).search(sample.queries, k=self.k, rank=self.rank, n_jobs=jobs)
        )
        return (
            _measured(index, sample, self.k, jobs, probes=self.probes, rank=self.rank),
            Expectation(1.0, float(len(index)), 4.0 * self.dim, float(exhaustive.timings["total"].mean())),
        )

    def measure_clusters(self, n_jobs: int | None = None) -> tuple[KMeansIndex, Expectation]:
        """A `KMeansIndex` with residual codes, tuned for the same recall, and what it gives the sampled queries."""
        jobs = resolve_jobs(n_jobs)
        sample = self._sample
        index = KMeansIndex(codes="residual", rank=self.rank, random_state=sample.seed)
        index.add(sample.gallery, n_jobs=jobs).tune(self.target, self.k, n_jobs=jobs)
        return index, _measured(index, sample, self.k, jobs)


def _measured(index: Index, sample: "_Sample", k: int, jobs: int, **options: Any) -> Expectation:
    found = index.search(sample.queries, k=k, n_jobs=jobs, **options)
    hits = [np.isin(true, mine).sum() for true, mine in zip(sample.nearest, found.ids, strict=True)]
    return Expectation(
        recall=float(np.sum(hits) / sample.nearest.size),
        candidates=float(found.n_candidates.mean()),
        bytes_per_item=sum(index.nbytes.values()) / len(index),
        seconds=float(found.timings["total"].mean()),
    )


@dataclass(frozen=True, eq=False)
class _Sample:
    """Queries that are not in the gallery, their true neighbours, and both kinds of similarity."""

    gallery: NDArray[np.float32]
    queries: NDArray[np.float32]
    nearest: NDArray[np.int64]  # (m, k) rows
    others: NDArray[np.int64]  # rows that stand for all
    seed: int


def plan(
    X: ArrayLike,
    recall: float = 0.9,
    k: int = 10,
    *,
    queries: ArrayLike | None = None,
    hasher: Hasher | None = None,
    rank: str = "cosine",
    max_tables: int = 32,
    random_state: Any = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Choose key bits, tables and probes of an `LSHIndex` for a recall target at least estimated time a query.

    Parameters
    ----------
    X : array_like, (n, d)
        The rows to be searched.
    recall : float
        Share of a query's k nearest rows that are to be candidates, between 0 and 1.
    k : int
    queries : array_like, (m, d), optional
        Queries such as will come; by default rows that are left out of the gallery.
    hasher : Hasher, optional
        A fitted hasher whose codes the keys are sampled from; by default random hyperplanes, as many as are needed.
    rank : {"cosine", "l2"}
        What "nearest" means.
    max_tables : int
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Of the sample and of the hyperplanes.
    n_jobs : int, optional
    progress : callable, optional
        ``progress(share, text)``.

    Returns
    -------
    Plan
        The cheapest that is expected to reach the target; if none is, the one with the highest recall, which says so.

    Raises
    ------
    TypeError, ValueError
        If X has too few rows, or an argument is out of range.
    """
    where = "plan"
    jobs = resolve_jobs(n_jobs)
    x = as_matrix(X, where, min_rows=20, n_jobs=jobs)
    if hasher is not None:
        if not isinstance(hasher, Hasher):
            raise TypeError(f"{where}: hasher must be a fitted Hasher or None, got {type(hasher).__name__}")
        check_fitted(hasher, "n_features_in_", where)
        if hasher.n_features_in_ != x.shape[1]:
            raise ValueError(f"{where}: X must have the hasher's {hasher.n_features_in_} columns, got {x.shape[1]}")
    if isinstance(hasher, LatticeHasher):
        raise TypeError(f"{where}: hasher must be one whose bits are signs, got {type(hasher).__name__}")
    if isinstance(recall, bool) or not isinstance(recall, Real):
        raise TypeError(f"{where}: recall must be a number, got {recall!r}")
    if not 0 < float(recall) < 1:
        raise ValueError(f"{where}: recall must be between 0 and 1, got {recall}")
    length = as_integer(k, where, "k", low=1, high=len(x) // 2)
    check_choice(rank, where, "rank", RANKS)
    most = as_integer(max_tables, where, "max_tables", low=1, high=_TABLES[-1])
    seed = resolve_seed(random_state, where)
    tell = part(progress, 0.0, 1.0)
    tell(0.0, "finding true neighbours")
    sample = _draw(x, queries, length, rank, seed, jobs)
    tell(0.5, "weighing bits, tables and probes")
    model = _Angles(sample) if hasher is None else _Distances(sample, hasher, jobs)
    n, d = sample.gallery.shape
    options = []
    for key_bits in model.key_bits(n):
        for probes, near, far in model.one_table(key_bits):
            for tables in (t for t in _TABLES if t <= most and t * key_bits <= 4096):
                chance = _Chance(float(any_table(near, tables).mean()), any_table(far, tables), tables * far)
                bits = tables * key_bits if hasher is None else hasher.n_bits_
                options.append(
                    (_seconds(chance, model.weights, n, d, bits, tables * probes), tables, key_bits, probes, chance)
                )
                if chance.recall >= recall:
                    break  # more tables only cost more
    # Cheapest first, and each looked at again with the order in which all tables' keys are really probed, until one
    # reaches the target; while none does, the one with the most recall.
    options.sort(key=lambda option: option[:4])
    likely = [option for option in options if option[4].recall >= recall] or sorted(options, key=lambda o: -o[4].recall)
    best = None
    for i, (_, tables, key_bits, probes, chance) in enumerate(likely[:_LOOKS]):
        tell(0.6 + 0.4 * i / _LOOKS, "weighing bits, tables and probes")
        chance = model.all_tables(tables, key_bits, probes, chance)
        bits = tables * key_bits if hasher is None else hasher.n_bits_
        seconds = _seconds(chance, model.weights, n, d, bits, tables * probes)
        if best is None or chance.recall > best[1].recall:
            best = (tables, key_bits, probes), chance, seconds
        if chance.recall >= recall:
            break
    assert best is not None  # there is always one table of four bits
    (tables, key_bits, probes), chance, seconds = best
    expected, candidates = chance.recall, n * float(chance.union @ model.weights)
    n_bits = tables * key_bits if hasher is None else hasher.n_bits_
    keys = "blocks" if n_bits >= tables * key_bits else "sample"
    scan = n * d * _SCAN * 1e-9
    bucket = n * float(model.same(key_bits) @ model.weights)
    return Plan(
        target=recall,
        n_items=n,
        dim=d,
        k=length,
        n_tables=tables,
        key_bits=key_bits,
        n_bits=n_bits,
        probes=tables * probes,
        keys=keys,
        expected=Expectation(expected, candidates, _bytes(n, d, n_bits, tables, key_bits, bucket), seconds),
        exhaustive_seconds=scan,
        rank=rank,
        warnings=tuple(_warnings(recall, expected, bucket, n, seconds, scan, model.constant_bits)),
        _sample=sample,
        _hasher=hasher,
    )


@dataclass(frozen=True, eq=False)
class _Chance:
    """Of one configuration: the mean chance of a neighbour, and for the other rows by class of similarity the chance of
    being a candidate and the expected number of tables that give it."""

    recall: float
    union: NDArray[np.float64]
    visits: NDArray[np.float64]


def _seconds(chance: _Chance, weights: NDArray[np.float64], n: int, d: int, n_bits: int, probes: int) -> float:
    """Estimated time of a query."""
    nanoseconds = (
        n_bits * d * _PRODUCT
        + probes * _PROBE
        + n * float(chance.visits @ weights) * _POSTING
        + n * float(chance.union @ weights) * (_CANDIDATE + d * _CANDIDATE_DIMENSION)
    )
    return nanoseconds * 1e-9


def _bytes(n: int, d: int, n_bits: int, n_tables: int, key_bits: int, bucket: float) -> float:
    """An item: its vector with its norm, its code, and in each table its row number and its share of the directory."""
    directory = 4 * 2**key_bits / n if 2**key_bits <= n else 12 / (1 + bucket)
    return 4.0 * (d + 1) + 8.0 * math.ceil(n_bits / 64) + n_tables * (4 + directory)


def _warnings(
    target: float, expected: float, bucket: float, n: int, seconds: float, scan: float, constant: int
) -> Iterable[str]:
    if expected < target:
        yield f"no plan within the limits is expected to reach recall {target:g}; this one has the highest"
    if bucket < 1:
        yield f"a bucket is expected to hold {bucket:.2g} rows, less than one: fewer bits a key would do"
    if bucket > 0.05 * n:
        yield f"a bucket is expected to hold {100 * bucket / n:.0f} % of the rows: more bits a key would be faster"
    if constant:
        yield f"{constant} bits of the hasher are the same in every row: they tell nothing apart"
    if scan < seconds:
        yield (
            f"looking at all {n:,} rows is expected to be faster ({1e3 * scan:.3g} ms a query) than this "
            f"({1e3 * seconds:.3g} ms)"
        )


def _draw(x: NDArray[np.float32], queries: ArrayLike | None, k: int, rank: str, seed: int, jobs: int) -> _Sample:
    random = np.random.RandomState(seed)
    if queries is None:
        order = random.permutation(len(x))
        m = min(_QUERIES, len(x) // 10)
        asked, gallery = x[order[:m]], x[np.sort(order[m:])]
    else:
        given = as_matrix(queries, "plan", dim=x.shape[1], min_rows=1, name="queries", n_jobs=jobs)
        asked, gallery = given[np.sort(random.permutation(len(given))[:_QUERIES])], x
    nearest = FlatIndex().add(gallery, n_jobs=jobs).search(asked, k=k, rank=rank, n_jobs=jobs).ids
    others = np.sort(random.permutation(len(gallery))[:_OTHERS])
    return _Sample(gallery, asked, nearest, others, seed)


class _Angles:
    """Random hyperplanes: what collides is decided by the angle around the mean."""

    constant_bits = 0

    def __init__(self, sample: _Sample) -> None:
        centre = Preprocess().fit(sample.gallery)
        queries = centre.transform(sample.queries)
        near = centre.transform(sample.gallery[sample.nearest.ravel()]).reshape(*sample.nearest.shape, -1)
        angles = _angle(np.einsum("md,mkd->mk", queries, near)).ravel()
        self._quantiles = np.quantile(angles, (np.arange(100) + 0.5) / 100)  # a hundred stand for all
        far = _angle(queries @ centre.transform(sample.gallery[sample.others]).T)
        counts, edges = np.histogram(far, bins=_ANGLES, range=(0, np.pi))
        self._far = (edges[:-1] + edges[1:]) / 2
        self.weights = counts / counts.sum()

    def key_bits(self, n: int) -> range:
        return range(4, min(32, max(8, math.ceil(math.log2(n)) + 6)) + 1)

    def same(self, key_bits: int) -> NDArray[np.float64]:
        return same_key(self._far, key_bits)

    def one_table(self, key_bits: int) -> Iterable[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
        """For each number of probes, the chance that one table finds each neighbour, and each of the others."""
        near = self._quantiles
        found = probed_keys(np.concatenate([near, self._far]), 1, key_bits, _PROBES_A_TABLE[-1])
        for probes in _PROBES_A_TABLE:
            if probes <= 2**key_bits:
                yield probes, found[probes - 1, :100], found[probes - 1, 100:]

    def all_tables(self, tables: int, key_bits: int, probes: int, chance: _Chance) -> _Chance:
        """The same with one order of probes over all tables, as a search has it."""
        if probes == 1 or tables == 1:
            return chance
        found = probed_keys(np.concatenate([self._quantiles, self._far]), tables, key_bits, tables * probes)[-1]
        return _Chance(float(found[:100].mean()), found[100:], chance.visits)


class _Distances:
    """The codes of a given hasher: keys of J of its H bits, sampled; what collides is decided by Hamming distance."""

    def __init__(self, sample: _Sample, hasher: Hasher, jobs: int) -> None:
        self._n_bits = hasher.n_bits_
        codes = hasher.encode(sample.gallery, n_jobs=jobs)
        asked = hasher.encode_query(sample.queries, n_jobs=jobs)
        everything = hamming_distances(asked, codes[sample.others], n_jobs=jobs)
        self._near = np.concatenate(
            [hamming_distances(asked[q : q + 1], codes[rows], n_jobs=jobs)[0] for q, rows in enumerate(sample.nearest)]
        )
        self.weights = np.bincount(everything.ravel(), minlength=self._n_bits + 1) / everything.size
        ones = codes.to_bools().mean(axis=0)
        self.constant_bits = int(((ones == 0) | (ones == 1)).sum())

    def key_bits(self, n: int) -> range:
        return range(min(4, self._n_bits), min(self._n_bits, 32, max(8, math.ceil(math.log2(n)) + 6)) + 1)

    def same(self, key_bits: int) -> NDArray[np.float64]:
        return same_sampled_key(np.arange(self._n_bits + 1), self._n_bits, key_bits)

    def one_table(self, key_bits: int) -> Iterable[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
        by_distance = self.same(key_bits)
        yield 1, by_distance[self._near], by_distance

    def all_tables(self, tables: int, key_bits: int, probes: int, chance: _Chance) -> _Chance:
        return chance


def _angle(cosines: NDArray[Any]) -> NDArray[np.float64]:
    return np.arccos(np.clip(cosines.astype(np.float64), -1, 1))
