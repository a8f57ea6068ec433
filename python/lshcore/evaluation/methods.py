"""The methods that `lshcore eval` knows: one table, and how each builds what is searched."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import metrics, registry
from ..hashers import Hasher
from ..hashers.lattice import LatticeHasher
from ..index import FlatIndex, KMeansIndex, LSHIndex
from ..index.container import Index
from . import configurations as grids
from .configurations import Configuration, Grid, Options, Parameters, preprocessing
from .prepare import Matrix, Prepared

BASELINE = "exhaustive"
ALL = "all"

MOST_FLOAT32_BYTES = 1 << 30

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
    settings : mapping
        What the hasher was made with, besides the parameters of the configuration.
    rank_gallery : callable, optional
        Metrics over the whole gallery, where a method has a better way than through the index:
        ``rank_gallery(queries, query_labels, k=, n_jobs=, progress=)``.
    """

    index: Index
    search: Mapping[str, Any]
    train_seconds: float
    build_seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)
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
    index = FlatIndex(vectors=_vectors(parameters, prepared))
    index.add(prepared.gallery, n_jobs=n_jobs)
    return Built(index, {"rank": parameters["rank"]}, train_seconds=0.0, build_seconds=clock.lap())


class CannotFit(ValueError):
    """A hasher cannot learn from this data with these parameters: the configuration is left out, and it says why."""


def _fitted(name: str, parameters: Parameters, prepared: Prepared, seed: int) -> Hasher:
    make = registry.load(name)
    arguments: dict[str, Any] = {"n_bits": parameters["bits"]}
    if "random_state" in make().get_params():
        arguments["random_state"] = seed
    try:
        hasher: Hasher = make(**arguments).fit(prepared.train, prepared.train_labels)
    except ValueError as error:
        raise CannotFit(str(error)) from error
    return hasher


def _vectors(parameters: Parameters, prepared: Prepared) -> str | None:
    """How the index keeps vectors: in half precision where they would fill a gigabyte."""
    if parameters["rank"] in grids.CODE_RANKS:
        return None
    return "float32" if prepared.gallery.nbytes <= MOST_FLOAT32_BYTES else "float16"


def _search(parameters: Parameters) -> Mapping[str, Any]:
    """Options of a search."""
    return {name: parameters[name] for name in ("probes", "radius", "rank", "shortlist") if name in parameters}


def _build_k_means(parameters: Parameters, prepared: Prepared, seed: int, n_jobs: int, tell: Tell) -> Built:
    clock = _Clock()
    hasher = _fitted("random-hyperplanes", parameters, prepared, seed) if grids.reads_codes(parameters) else None
    spherical = parameters["algorithm"] == "spherical"
    index = KMeansIndex(
        n_clusters=parameters["clusters"],
        random_state=seed,
        algorithm="lloyd" if spherical else parameters["algorithm"],
        spherical=spherical,
        vectors=_vectors(parameters, prepared),
        codes=hasher,
        **grids.K_MEANS_FIXED,
    )
    rounds = index.max_iter
    train = _sampled(prepared.train, max(grids.K_MEANS_ROWS, grids.K_MEANS_ROWS_A_CLUSTER * index.n_clusters), seed)
    index.fit(train, n_jobs=n_jobs, on_round=lambda done, inertia: tell(done / rounds))
    settings = {} if train is prepared.train else {"trained_on": len(train)}
    train_seconds = clock.lap()
    index.add(prepared.gallery, n_jobs=n_jobs)
    return Built(index, _search(parameters), train_seconds, clock.lap(), settings)


def _sampled(x: Matrix, most: int, seed: int) -> Matrix:
    """Some of the rows, drawn by seed, where there are more than `most`."""
    return x if len(x) <= most else x[np.sort(np.random.RandomState(seed).permutation(len(x))[:most])]


def _build_codes(name: str, parameters: Parameters, prepared: Prepared, seed: int, n_jobs: int, tell: Tell) -> Built:
    clock = _Clock()
    hasher = _fitted(name, parameters, prepared, seed)
    train_seconds = clock.lap()
    settings = {key: value for key, value in hasher.get_params().items() if key not in ("n_bits", "random_state")}
    rank_gallery = None
    index: Index
    if "tables" in parameters:
        keys = {"n_tables": parameters["tables"], "key_bits": parameters["key_bits"], "keys": parameters["keys"]}
        index = LSHIndex(hasher, **keys, vectors=_vectors(parameters, prepared), random_state=seed)
    elif "radius" in parameters:
        index = LSHIndex(hasher, 1, hasher.n_bits_, vectors=_vectors(parameters, prepared))
    else:
        index = FlatIndex(hasher, vectors=_vectors(parameters, prepared))
        if parameters["rank"] == "hamming":

            def rank_gallery(queries: Matrix, query_labels: Any, **options: Any) -> Metrics:
                codes, gallery = hasher.encode_query(queries), hasher.encode(prepared.gallery)
                return metrics.hamming_ranking(codes, gallery, query_labels, prepared.gallery_labels, **options)

    index.add(prepared.gallery, n_jobs=n_jobs)
    return Built(index, _search(parameters), train_seconds, clock.lap(), settings, rank_gallery)


def _build_lattice(name: str, parameters: Parameters, prepared: Prepared, seed: int, n_jobs: int, tell: Tell) -> Built:
    clock = _Clock()
    tables, hashes = parameters["tables"], parameters["hashes"]
    try:
        hasher: LatticeHasher = registry.load(name)(n_hashes=tables * hashes, random_state=seed).fit(prepared.train)
        key_bits = hashes * hasher.hash_bits_
        index = LSHIndex(hasher, tables, key_bits, "blocks", vectors=_vectors(parameters, prepared))
    except ValueError as error:
        raise CannotFit(str(error)) from error
    train_seconds = clock.lap()
    settings = {key: value for key, value in hasher.get_params().items() if key not in ("n_hashes", "random_state")}
    index.add(prepared.gallery, n_jobs=n_jobs)
    return Built(index, _search(parameters), train_seconds, clock.lap(), {"key_bits": key_bits, **settings})


def _hashing(name: str, description: str, grid: Callable[[Options, int, int], Grid] = grids.codes_grid) -> Method:
    """A method that is a hasher of the registry."""
    return Method(
        name=name,
        description=description,
        build=partial(_build_codes, name),
        grid=grid,
        label=grids.codes_label,
        cost=grids.codes_cost,
        options=("bits", "radius", "tables", "key-bits", "keys", "probes", "rank", "shortlist"),
    )


def _lattice(name: str, description: str, hashes: tuple[int, ...]) -> Method:
    """A method whose keys are whole hashes of a hasher of the registry, by default as many a key as `hashes` says."""
    return Method(
        name=name,
        description=description,
        build=partial(_build_lattice, name),
        grid=partial(grids.lattice_grid, name, hashes),
        label=grids.lattice_label,
        cost=grids.lattice_cost,
        options=("tables", "hashes", "probes", "rank"),
    )


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
                options=("clusters", "algorithm", "probes", "rank", "shortlist", "bits"),
                fixed=grids.K_MEANS_FIXED,
            ),
            _hashing(
                "random-hyperplanes",
                "sign bits of random projections: as keys of tables, re-ranked; and as whole codes",
                grids.hyperplanes_grid,
            ),
            _lattice("cross-polytope", "keys are the nearest vertices of turned cross-polytopes, by angle", (1, 2)),
            _lattice("p-stable", "keys are cells along random directions (E2LSH), by Euclidean distance", (4, 8)),
            _hashing("pca-hashing", "sign bits of the principal components"),
            _hashing("pca-random-rotation", "sign bits of randomly rotated principal components"),
            _hashing("itq", "principal components, rotated so that their signs lose the least"),
            _hashing("spectral-hashing", "sinusoids along the principal components, smoothest first"),
            _hashing("itq-cca", "as itq, on directions that correlate with the labels; learns from labels"),
            _hashing("sdh", "supervised discrete hashing: codes that a linear classifier can read; learns from labels"),
            _hashing(
                "grh", "graph regularised hashing: bits averaged over each class, then learnt; learns from labels"
            ),
        )
    }
)


def check_methods(names: tuple[str, ...]) -> None:
    """Raise ValueError, naming what is known, if one of the names is no method."""
    unknown = [name for name in names if name not in METHODS and name != ALL]
    if unknown:
        raise ValueError(f"method must be one of {ALL}, {', '.join(METHODS)}, got {', '.join(unknown)}")


def configure(
    options: Options, n_gallery: int, n_train: int, leak: bool = False, dim: int | None = None
) -> tuple[list[Configuration], list[str]]:
    """Every configuration that the options ask for, the baseline first, and a note for each one left out; with
    `leak`, all of them once more as the protocol was published. With `dim`, the columns of the features, a PCA to more
    is left out, unless there is no other.

    Raises
    ------
    ValueError
        If a method is unknown.
    """
    check_methods(options.method)
    chosen = tuple(METHODS) if ALL in options.method or not options.method else options.method
    configurations: list[Configuration] = []
    too_wide = [pca for pca in options.pca if isinstance(pca, int) and dim is not None and pca > dim]
    pcas = [pca for pca in options.pca if pca not in too_wide] or options.pca  # one alone fails, and says why
    notes = [f"PCA to {pca} dimensions is left out: the features have {dim}" for pca in too_wide if pca not in pcas]
    for pca, leaks in ((pca, leaks) for leaks in (False, True)[: 1 + leak] for pca in pcas):
        for name in (BASELINE, *(name for name in chosen if name != BASELINE)):
            rows, left_out = METHODS[name].grid(options, n_gallery, n_train)
            configurations += [Configuration(name, row, preprocessing(pca), leaks) for row in rows]
            notes += left_out
    return configurations, list(dict.fromkeys(notes))
