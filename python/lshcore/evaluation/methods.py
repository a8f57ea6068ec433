"""The methods that `lshcore eval` knows, in one table, and the configurations that options make of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .. import registry
from .._progress import Progress
from . import configurations as grids
from . import costs, labels
from .builders import RESERVED, Built, build_codes, build_exhaustive, build_k_means, build_lattice, build_residual
from .configurations import Configuration, Grid, Options, Parameters, preprocessing
from .prepare import Prepared

if TYPE_CHECKING:
    from .models import Model

BASELINE = "exhaustive"
ALL = "all"


@dataclass(frozen=True)
class Method:
    """One method.

    Parameters
    ----------
    name, description : str
    build : callable
        ``build(configuration, prepared, seed, n_jobs, progress)`` returns a `Built`; ``progress(share, text)`` says how
        much is done.
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
    is_hasher : bool
        Whether it is a hasher of the registry, of the same name.
    building : float
        The share of its time that `build` takes; paces the progress bar.
    """

    name: str
    description: str
    build: Callable[[Configuration, Prepared, int, int, Progress], Built]
    grid: Callable[[Options, int, int], Grid]
    label: Callable[[Parameters], str]
    cost: Callable[[Parameters, int, int], float]
    options: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    is_hasher: bool = False
    building: float = 0.3

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of its hasher that no other option sets, with their defaults."""
        known = registry.load(self.name)().get_params() if self.is_hasher else {}
        return {name: value for name, value in known.items() if name not in RESERVED}


def _hashing(name: str, description: str, grid: Callable[[Options, int, int], Grid] = grids.codes_grid) -> Method:
    """A method that is a hasher of the registry."""
    return Method(
        name=name,
        description=description,
        build=build_codes,
        grid=grid,
        label=labels.codes_label,
        cost=costs.codes_cost,
        options=("bits", "radius", "tables", "key-bits", "keys", "probes", "rank", "shortlist"),
        is_hasher=True,
    )


def _network(name: str, description: str) -> Method:
    """A hasher of the registry that a network learns, which takes far longer than anything else."""
    return replace(_hashing(name, description), cost=costs.network_cost, building=0.95)


def _lattice(name: str, description: str, hashes: tuple[int, ...]) -> Method:
    """A method whose keys are whole hashes of a hasher of the registry, by default as many a key as `hashes` says."""
    return Method(
        name=name,
        description=description,
        build=build_lattice,
        grid=partial(grids.lattice_grid, name, hashes),
        label=labels.lattice_label,
        cost=costs.lattice_cost,
        options=("tables", "hashes", "probes", "rank"),
        is_hasher=True,
    )


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method(
                name=BASELINE,
                description="every item compared by cosine: the baseline, always run",
                build=build_exhaustive,
                grid=grids.exhaustive_grid,
                label=labels.exhaustive_label,
                cost=costs.exhaustive_cost,
            ),
            Method(
                name="k-means",
                description="buckets are k-means clusters; the nearest ones are looked into and re-ranked",
                build=build_k_means,
                grid=grids.k_means_grid,
                label=labels.k_means_label,
                cost=costs.k_means_cost,
                options=("clusters", "algorithm", "probes", "rank", "shortlist", "bits"),
                fixed=grids.K_MEANS_FIXED,
            ),
            Method(
                name="k-means-residual",
                description="as k-means, with a bit a dimension of what is left; tuned for a share of the nearest",
                build=build_residual,
                grid=grids.residual_grid,
                label=labels.residual_label,
                cost=costs.residual_cost,
                options=("recall", "rank", "k"),
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
            _network(
                "neural-lsh", "a network whose codes keep unlike items apart; learns from labels where there are any"
            ),
            _network(
                "relevance-lsh", "a network whose relevant items share buckets; learns from labels where there are any"
            ),
            _network("dsh", "deep supervised hashing: codes of a class near, of others apart; learns from labels"),
            _network("hashnet", "as dsh by likelihood, with signs that sharpen as it trains; learns from labels"),
            _network("bihalf", "a network whose bits split every batch in halves; learns without labels"),
            _network("orthohash", "codes turned to a random code of their class, by angle; learns from labels"),
            _network("csq", "codes drawn to a centre of their class, centres far apart; learns from labels"),
            _network("greedyhash", "a classifier that sees signs only, as if they had gradients; learns from labels"),
            _network("cibhash", "codes alike for an item seen twice, unlike for others; learns without labels"),
        )
    }
)


def check_methods(names: tuple[str, ...]) -> None:
    """Raise ValueError, naming what is known, if one of the names is no method."""
    unknown = [name for name in names if name not in METHODS and name != ALL]
    if unknown:
        raise ValueError(f"method must be one of {ALL}, {', '.join(METHODS)}, got {', '.join(unknown)}")


def check_arguments(arguments: Mapping[str, Any], methods: tuple[str, ...]) -> None:
    """Raise ValueError, naming what there is, unless the hasher of some chosen method has each of the arguments."""
    reserved = {"n_bits": "--bits", "n_hashes": "--hashes", "random_state": "--seed"}
    for name in arguments:
        if name in reserved:
            raise ValueError(f"{name} is set by {reserved[name]}")
    if not arguments:
        return
    known = {name: METHODS[name].arguments for name in _chosen(methods)}
    unknown = [name for name in arguments if not any(name in each for each in known.values())]
    if unknown:
        there = "; ".join(f"{method}: {', '.join(each)}" for method, each in known.items() if each)
        raise ValueError(f"got {unknown[0]}, expected an argument of a chosen method ({there or 'they have none'})")


def label(configuration: Configuration) -> str:
    """What a configuration is, beside its method, as a short text for a table."""
    text = METHODS[configuration.method].label(configuration.parameters)
    return text if configuration.model is None else f"{text}, model {configuration.model.name}"


def _chosen(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(METHODS) if ALL in names or not names else names


def configure(
    options: Options,
    n_gallery: int,
    n_train: int,
    leak: bool = False,
    dim: int | None = None,
    models: Sequence["Model"] = (),
) -> tuple[list[Configuration], list[str]]:
    """Every configuration that the options ask for, the baseline first, and a note for each one left out; with
    `leak`, all of them once more as the protocol was published. With `dim`, the columns of the features, a PCA to more
    is left out, unless there is no other. Models come after the methods, those with a preprocessing of their own at the
    end, once; as published there are none, for nothing of theirs is fitted here.

    Raises
    ------
    ValueError
        If a method is unknown, or with `dim`, a model takes features of another number of columns.
    """
    check_methods(options.method)
    for model in models:
        # The runner sees what a PCA leaves.
        if dim is not None and (model.preprocess is not None or set(options.pca) == {None}):
            model.check_columns(dim)
    configurations: list[Configuration] = []
    too_wide = [pca for pca in options.pca if isinstance(pca, int) and dim is not None and pca > dim]
    pcas = [pca for pca in options.pca if pca not in too_wide] or options.pca  # one alone fails, and says why
    notes = [f"PCA to {pca} dimensions is left out: the features have {dim}" for pca in too_wide if pca not in pcas]
    chosen = [name for name in _chosen(options.method) if name != BASELINE]
    arguments = {name: _arguments(options, name) for name in chosen} if options.arguments else {}
    for pca, leaks in ((pca, leaks) for leaks in (False, True)[: 1 + leak] for pca in pcas):
        for name in (BASELINE, *chosen):
            rows, left_out = METHODS[name].grid(options, n_gallery, n_train)
            common = Configuration(
                name, {}, preprocessing(pca), leaks, arguments.get(name, {}), optional=name not in options.method
            )
            configurations += [replace(common, parameters=row) for row in rows]
            notes += left_out
        for model in models if not leaks else ():
            if model.preprocess is None:
                more, left_out = _of_model(model, options, preprocessing(pca), n_gallery, n_train)
                configurations += more
                notes += left_out
    for model in models:
        if model.preprocess is not None:
            more, left_out = _of_model(model, options, model.preprocess.get_params(), n_gallery, n_train)
            configurations += more
            notes += left_out
    return configurations, list(dict.fromkeys(notes))


def _arguments(options: Options, name: str) -> dict[str, Any]:
    """Those of the arguments that the hasher of a method has."""
    known = METHODS[name].arguments
    return {argument: value for argument, value in options.arguments.items() if argument in known}


def _of_model(
    model: "Model", options: Options, preprocess: Mapping[str, Any], n_gallery: int, n_train: int
) -> tuple[list[Configuration], list[str]]:
    """What any hasher can do, with the codes that the model has."""
    rows, notes = grids.codes_grid(replace(options, bits=(model.hasher.n_bits_,)), n_gallery, n_train)
    return [Configuration(model.method, row, preprocess, model=model) for row in rows], notes
