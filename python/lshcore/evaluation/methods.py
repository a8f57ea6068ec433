"""The methods that `lshcore eval` knows: one table, and how each builds what is searched."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .. import hashers, metrics
from ..hashers import Hasher
from ..index import FlatIndex, KMeansIndex, LSHIndex
from ..index.container import Index
from . import configurations as grids
from .configurations import Configuration, Grid, Options, Parameters, preprocessing
from .prepare import Matrix, Prepared

BASELINE = "exhaustive"

Metrics = dict[str, Any]
Tell = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Built:
    """An index ready to be searched.

    Parameters
    ----------
    index : Index
    search : mapping
        Options of `index.search` and `metrics.evaluate`.
    train_seconds, build_seconds : float
        What fitting on the train part and adding the gallery took.
    rank_gallery : callable, optional
        Metrics over the whole gallery, where a method has a better way than through the index:
        ``rank_gallery(queries, query_labels, k=, n_jobs=, progress=)``.
    """

    index: Index
    search: Mapping[str, Any]
    train_seconds: float
    build_seconds: float
    rank_gallery: Callable[..., Metrics] | None = None

    def measure(self, queries: Matrix, query_labels: Any, gallery_labels: Any, **options: Any) -> Metrics:
        """The metrics of PROTOCOL.md for these queries."""
        if self.rank_gallery is not None:
            return self.rank_gallery(queries, query_labels, **options)
        return metrics.evaluate(self.index, queries, query_labels, gallery_labels, **self.search, **options)


@dataclass(frozen=True)
class Method:
    """One method.

    Parameters
    ----------
    name, description : str
    build : callable
        ``build(parameters, prepared, seed, n_jobs, tell)`` returns a `Built`; ``tell(share)`` says how much is done.
    grid : callable
        ``grid(options, n_gallery, n_train)`` returns the parameters of each configuration, and a note for each one
        left out.
    label : callable
        Parameters as a short text for a table.
    cost : callable
        ``cost(parameters, n_queries, n_gallery)``, what it takes beside the others; paces the progress bar.
    options : tuple of str
        The command-line options that it reads.
    fixed : mapping
        Parameters that no option changes; result files state them all the same.
    """

    name: str
    description: str
    build: Callable[[Parameters, Prepared, int, int, Tell], Built]
    grid: Callable[[Options, int, int], Grid]
    label: Callable[[Parameters], str]
    cost: Callable[[Parameters, int, int], float]
    options: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)


class _Clock:
    """Seconds since the last look."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return seconds


def _build_exhaustive(parameters: Parameters, prepared: Prepared, seed: int, n_jobs: int, tell: Tell) -> Built:
    clock = _Clock()
    index = FlatIndex()
    index.add(prepared.gallery, n_jobs=n_jobs)
    return Built(index, {"rank": parameters["rank"]}, train_seconds=0.0, build_seconds=clock.lap())


def _hyperplanes(parameters: Parameters, prepared: Prepared, seed: int) -> Hasher:
    hasher = hashers.RandomHyperplanes(n_bits=parameters["bits"], random_state=seed, **grids.HYPERPLANES_FIXED)
    return hasher.fit(prepared.train)


def _vectors(parameters: Parameters) -> str | None:
    """How the index keeps vectors."""
    return None if parameters["rank"] == "hamming" else "float32"


def _search(parameters: Parameters) -> Mapping[str, Any]:
    """Options of a search."""
    return {name: parameters[name] for name in ("probes", "rank", "shortlist") if name in parameters}


def _build_k_means(parameters: Parameters, prepared: Prepared, seed: int, n_jobs: int, tell: Tell) -> Built:
    clock = _Clock()
    hasher = _hyperplanes(parameters, prepared, seed) if grids.reads_codes(parameters) else None
    index = KMeansIndex(
        n_clusters=parameters["clusters"],
        random_state=seed,
        vectors=_vectors(parameters),
        codes=hasher,
        **grids.K_MEANS_FIXED,
    )
    rounds = index.max_iter
    index.fit(prepared.train, n_jobs=n_jobs, on_round=lambda done, inertia: tell(done / rounds))
    train_seconds = clock.lap()
    index.add(prepared.gallery, n_jobs=n_jobs)
    return Built(index, _search(parameters), train_seconds=train_seconds, build_seconds=clock.lap())


def _build_hyperplanes(parameters: Parameters, prepared: Prepared, seed: int, n_jobs: int, tell: Tell) -> Built:
    clock = _Clock()
    hasher = _hyperplanes(parameters, prepared, seed)
    train_seconds = clock.lap()
    rank_gallery = None
    index: Index
    if "tables" in parameters:
        keys = {"n_tables": parameters["tables"], "key_bits": parameters["key_bits"], "keys": parameters["keys"]}
        index = LSHIndex(hasher, **keys, vectors=_vectors(parameters))
    else:
        index = FlatIndex(hasher, vectors=_vectors(parameters))
    if "tables" not in parameters and parameters["rank"] == "hamming":

        def rank_gallery(queries: Matrix, query_labels: Any, **options: Any) -> Metrics:
            codes, gallery = hasher.encode_query(queries), hasher.encode(prepared.gallery)
            return metrics.hamming_ranking(codes, gallery, query_labels, prepared.gallery_labels, **options)

    index.add(prepared.gallery, n_jobs=n_jobs)
    return Built(index, _search(parameters), train_seconds, clock.lap(), rank_gallery)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method(
                name=BASELINE,
                description="every item compared by cosine: the baseline, always run",
                build=_build_exhaustive,
                grid=grids.exhaustive_grid,
                label=grids.exhaustive_label,
                cost=grids.exhaustive_cost,
            ),
            Method(
                name="k-means",
                description="buckets are k-means clusters; the nearest ones are looked into and re-ranked",
                build=_build_k_means,
                grid=grids.k_means_grid,
                label=grids.k_means_label,
                cost=grids.k_means_cost,
                options=("clusters", "probes", "rank", "shortlist", "bits"),
                fixed=grids.K_MEANS_FIXED,
            ),
            Method(
                name="random-hyperplanes",
                description="sign bits of random projections: as keys of tables, re-ranked; and as whole codes",
                build=_build_hyperplanes,
                grid=grids.hyperplanes_grid,
                label=grids.hyperplanes_label,
                cost=grids.hyperplanes_cost,
                options=("tables", "key-bits", "probes", "rank", "shortlist", "bits"),
                fixed=grids.HYPERPLANES_FIXED,
            ),
        )
    }
)


def check_methods(names: tuple[str, ...]) -> None:
    """Raise ValueError, naming what is known, if one of the names is no method."""
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {', '.join(unknown)}")


def configure(options: Options, n_gallery: int, n_train: int) -> tuple[list[Configuration], list[str]]:
    """Every configuration that the options ask for, the baseline first, and a note for each one left out.

    Raises
    ------
    ValueError
        If a method is unknown.
    """
    check_methods(options.method)
    chosen = options.method or tuple(METHODS)
    configurations: list[Configuration] = []
    notes: list[str] = []
    for pca in options.pca:
        for name in (BASELINE, *(name for name in chosen if name != BASELINE)):
            rows, left_out = METHODS[name].grid(options, n_gallery, n_train)
            configurations += [Configuration(name, row, preprocessing(pca)) for row in rows]
            notes += left_out
    return configurations, list(dict.fromkeys(notes))
