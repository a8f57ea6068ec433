"""How each method builds what is searched: hashers are fitted once, and used again where only the search differs."""

import inspect
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import metrics, registry
from .._progress import Progress
from ..hashers import Hasher
from ..hashers.lattice import LatticeHasher
from ..index import FlatIndex, KMeansIndex, LSHIndex
from ..index.container import Index
from . import configurations as grids
from .configurations import Configuration, Parameters
from .prepare import CannotFit, Matrix, Prepared

MOST_FLOAT32_BYTES = 1 << 30

# Arguments of hashers that are options of their own, --bits, --hashes and --seed.
RESERVED = ("n_bits", "n_hashes", "random_state")

Metrics = dict[str, Any]


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


class _Clock:
    """Seconds since the last look."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return seconds


def build_exhaustive(
    configuration: Configuration, prepared: Prepared, seed: int, n_jobs: int, progress: Progress
) -> Built:
    """Every item in one bucket."""
    parameters = configuration.parameters
    clock = _Clock()
    index = FlatIndex(vectors=_vectors(parameters, prepared))
    index.add(prepared.gallery, n_jobs=n_jobs)
    return Built(index, {"rank": parameters["rank"]}, train_seconds=0.0, build_seconds=clock.lap())


def _fitted(
    name: str, arguments: Mapping[str, Any], prepared: Prepared, seed: int, progress: Progress
) -> tuple[Any, float]:
    """A hasher of the registry, fitted with these arguments now or before, and the seconds that its fitting took.

    One that could not be fitted is not tried again either.
    """
    make = registry.load(name)
    if "random_state" in make().get_params():
        arguments = {**arguments, "random_state": seed}
    key = f"{name} {json.dumps(arguments, sort_keys=True)}"
    if key not in prepared.fitted:
        clock = _Clock()
        hasher: Hasher = make(**arguments)
        more = {"progress": progress} if "progress" in inspect.signature(hasher.fit).parameters else {}
        try:
            hasher.fit(prepared.train, prepared.train_labels, **more)
        except ValueError as error:
            prepared.fitted[key] = CannotFit(str(error))
        else:
            prepared.fitted[key] = hasher, clock.lap()
    found = prepared.fitted[key]
    if isinstance(found, CannotFit):
        raise found
    return found


def _settings(hasher: Hasher, *known: str) -> dict[str, Any]:
    """What a hasher was made with, but for what the configuration says, and apart from what only sounds like it."""
    arguments = {name: value for name, value in hasher.get_params().items() if name not in known}
    return {f"hasher_{name}" if name in grids.NAMES else name: value for name, value in arguments.items()}


def _vectors(parameters: Parameters, prepared: Prepared) -> str | None:
    """How the index keeps vectors: in half precision where they would fill a gigabyte."""
    if parameters["rank"] in grids.CODE_RANKS:
        return None
    return "float32" if prepared.gallery.nbytes <= MOST_FLOAT32_BYTES else "float16"


def _search(parameters: Parameters) -> Mapping[str, Any]:
    """Options of a search."""
    return {name: parameters[name] for name in ("probes", "radius", "rank", "shortlist") if name in parameters}


def build_k_means(
    configuration: Configuration, prepared: Prepared, seed: int, n_jobs: int, progress: Progress
) -> Built:
    """Buckets that are clusters; with codes of random hyperplanes, where the ranking asks for codes."""
    parameters = configuration.parameters
    hasher, hasher_seconds = None, 0.0
    if grids.reads_codes(parameters):
        hasher, hasher_seconds = _fitted("random-hyperplanes", {"n_bits": parameters["bits"]}, prepared, seed, progress)
    clock = _Clock()
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
    index.fit(train, n_jobs=n_jobs, on_round=lambda done, inertia: progress(done / rounds, "building"))
    settings = {} if train is prepared.train else {"trained_on": len(train)}
    train_seconds = hasher_seconds + clock.lap()
    index.add(prepared.gallery, n_jobs=n_jobs)
    return Built(index, _search(parameters), train_seconds, clock.lap(), settings)


def build_residual(
    configuration: Configuration, prepared: Prepared, seed: int, n_jobs: int, progress: Progress
) -> Built:
    """Buckets that are clusters, with codes of the residuals, tuned for a recall."""
    parameters = configuration.parameters
    clock = _Clock()
    index = KMeansIndex(
        codes="residual", random_state=seed, vectors=_vectors(parameters, prepared), rank=parameters["rank"]
    )
    rounds = index.max_iter
    index.fit(prepared.gallery, n_jobs=n_jobs, on_round=lambda done, inertia: progress(done / rounds, "building"))
    train_seconds = clock.lap()
    index.add(prepared.gallery, n_jobs=n_jobs)
    tuned = index.tune(parameters["recall"], parameters["nearest"], n_jobs=n_jobs)
    search = {"probes": tuned.probes, "shortlist": tuned.shortlist, "rank": tuned.rank}
    settings = {"n_clusters": index.n_clusters, "tuned_probes": tuned.probes, "tuned_shortlist": tuned.shortlist}
    return Built(index, search, train_seconds, clock.lap(), settings | {"tuned_recall": tuned.recall})


def _sampled(x: Matrix, most: int, seed: int) -> Matrix:
    """Some of the rows, drawn by seed, where there are more than `most`."""
    return x if len(x) <= most else x[np.sort(np.random.RandomState(seed).permutation(len(x))[:most])]


def build_codes(configuration: Configuration, prepared: Prepared, seed: int, n_jobs: int, progress: Progress) -> Built:
    """Tables of keys, or whole codes, of a hasher that is fitted here or came as a model."""
    parameters, model = configuration.parameters, configuration.model
    if model is None:
        arguments = {"n_bits": parameters["bits"], **configuration.arguments}
        hasher, train_seconds = _fitted(configuration.method, arguments, prepared, seed, progress)
        settings = _settings(hasher, "n_bits", "random_state")
    else:
        hasher, train_seconds = model.hasher, 0.0
        settings = {"model": model.path, "model_split": model.split} | _settings(hasher, "n_bits")
    constant = len(getattr(hasher, "constant_bits_", ()))
    settings |= {"constant_bits": constant} if constant else {}
    clock = _Clock()
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


def build_lattice(
    configuration: Configuration, prepared: Prepared, seed: int, n_jobs: int, progress: Progress
) -> Built:
    """Tables whose keys are whole hashes."""
    parameters = configuration.parameters
    tables, hashes = parameters["tables"], parameters["hashes"]
    arguments = {"n_hashes": tables * hashes, **configuration.arguments}
    hasher: LatticeHasher
    hasher, train_seconds = _fitted(configuration.method, arguments, prepared, seed, progress)
    clock = _Clock()
    key_bits = hashes * hasher.hash_bits_
    try:
        index = LSHIndex(hasher, tables, key_bits, "blocks", vectors=_vectors(parameters, prepared))
    except ValueError as error:
        raise CannotFit(str(error)) from error
    settings = {"key_bits": key_bits, **_settings(hasher, "n_hashes", "random_state")}
    index.add(prepared.gallery, n_jobs=n_jobs)
    return Built(index, _search(parameters), train_seconds, clock.lap(), settings)
