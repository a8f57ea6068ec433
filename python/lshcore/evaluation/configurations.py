"""What to run, as data: options of the command line become a grid of configurations. Nothing heavy is imported here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models import Model

RANKS = ("cosine", "l2", "margin", "hamming")
CODE_RANKS = ("margin", "hamming")
KEYS = ("blocks", "sample")
ALGORITHMS = ("lloyd", "spherical", "minibatch")
LATTICE_RANKS = ("cosine", "l2")
MAX_BITS = 4096
MAX_KEY_BITS = 256
MIN_ITEMS_A_CLUSTER = 4

# What a configuration's parameters can be called.
_CODES = ("bits", "hashes", "keys", "key_bits", "tables")
_SEARCH = ("clusters", "algorithm", "probes", "radius", "rank", "shortlist", "recall", "nearest")
NAMES = (*_CODES, *_SEARCH)

# What no option changes. Result files state it all the same.
K_MEANS_FIXED: Mapping[str, Any] = {"max_iter": 25, "tol": 1e-4}

# Rows that k-means learns from: more would take long and move the centroids little.
K_MEANS_ROWS = 200_000
K_MEANS_ROWS_A_CLUSTER = 256

Parameters = Mapping[str, Any]
Grid = tuple[list[dict[str, Any]], list[str]]


@dataclass(frozen=True)
class Options:
    """The lists a grid is built from; each has the name of its command-line option.

    Parameters
    ----------
    method : names of methods; empty for all
    bits : code lengths of random hyperplanes that rank the whole gallery by Hamming distance
    tables, key_bits : numbers of tables, and bits a key in each
    hashes : numbers of whole hashes that make a key of cross-polytope and p-stable; empty for what suits each
    clusters : numbers of k-means clusters
    algorithm : "lloyd", "spherical" (lloyd by angle) or "minibatch", how k-means is trained
    probes : numbers of clusters, or of keys over all tables, looked into; empty for 1 cluster, and one key a table
    pca : None, a number of dimensions, or a share of the variance
    keys : "blocks", each table its own bits of random hyperplanes, or "sample", each table some bits of codes of `bits`
    radius : Hamming radii of whole codes to look into; empty for none
    rank : "cosine", "l2", "margin" or "hamming", the distance that candidates are ranked by
    shortlist : None, or how many candidates, the nearest by Hamming distance, are ranked by cosine or L2
    recall : shares of the nearest that k-means-residual is tuned to find
    k : list lengths of the metrics
    arguments : mapping of arguments to the hashers' constructors; each method takes those that it has

    Raises
    ------
    ValueError
        If a list that may not be is empty, or a value is out of its range; the message names the option.
    """

    method: tuple[str, ...] = ()
    bits: tuple[int, ...] = (64,)
    tables: tuple[int, ...] = (3, 6, 12)
    key_bits: tuple[int, ...] = (8, 12, 16)
    hashes: tuple[int, ...] = ()
    clusters: tuple[int, ...] = (10, 100, 1000)
    algorithm: tuple[str, ...] = ("lloyd",)
    probes: tuple[int, ...] = ()
    pca: tuple[int | float | None, ...] = (None,)
    keys: tuple[str, ...] = ("blocks",)
    radius: tuple[int, ...] = ()
    rank: tuple[str, ...] = ("cosine",)
    shortlist: tuple[int | None, ...] = (None,)
    recall: tuple[float, ...] = (0.9, 0.99)
    k: tuple[int, ...] = (10, 50)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        highest = {"bits": MAX_BITS, "key_bits": MAX_KEY_BITS}
        for name in (each.name for each in fields(self) if each.name not in ("method", "arguments")):
            values: Sequence[Any] = getattr(self, name)
            option = name.replace("_", "-")
            if not values and name not in ("hashes", "probes", "radius"):
                raise ValueError(f"{option} must have at least one value, got none")
            for value in values:
                if name == "rank":
                    valid, expected = value in RANKS, f"one of {', '.join(RANKS)}"
                elif name == "keys":
                    valid, expected = value in KEYS, f"one of {', '.join(KEYS)}"
                elif name == "algorithm":
                    valid, expected = value in ALGORITHMS, f"one of {', '.join(ALGORITHMS)}"
                elif name == "radius":
                    valid, expected = isinstance(value, int) and value >= 0, "at least 0"
                elif name == "recall":
                    valid, expected = isinstance(value, int | float) and 0 < value <= 1, "above 0 and at most 1"
                elif name == "pca":
                    valid, expected = _is_pca(value), "none, a number of dimensions, or a share between 0 and 1"
                else:
                    top = highest.get(name)
                    valid = isinstance(value, int) and value >= 1 and (top is None or value <= top)
                    expected = "at least 1" if top is None else f"from 1 to {top}"
                    if name == "shortlist":
                        valid, expected = valid or value is None, f"none or {expected}"
                if not valid:
                    raise ValueError(f"{option} must be {expected}, got {value}")


def _is_pca(value: int | float | None) -> bool:
    return value is None or (value >= 1 if isinstance(value, int) else 0 < value < 1)


@dataclass(frozen=True)
class Configuration:
    """One row of a result table.

    Parameters
    ----------
    method : str
    parameters : mapping
        What the grid sets, by name.
    preprocess : mapping
        Arguments of `lshcore.preprocess.Preprocess`.
    leak : bool
        With the leak of the protocol as it was published: preprocessing is fitted on everything, and queries that find
        nothing are left out of ``p@k``.
    arguments : mapping
        Of the hasher's constructor, besides what the grid and the seed set.
    optional : bool
        Left out, with a note, where a package is missing that it needs; otherwise that is an error.
    model : Model, optional
        The hasher, fitted already.
    """

    method: str
    parameters: Parameters
    preprocess: Mapping[str, bool | int | float | None]
    leak: bool = False
    arguments: Parameters = field(default_factory=dict)
    optional: bool = False
    model: "Model | None" = None


def preprocessing(pca: int | float | None) -> dict[str, bool | int | float | None]:
    """Centred, reduced by PCA where asked, scaled to unit length."""
    return {"centre": True, "standardise": False, "pca": pca, "l2": True}


def exhaustive_grid(options: Options, n_gallery: int, n_train: int) -> Grid:
    """The baseline: one configuration."""
    return [{"rank": "cosine"}], []


def k_means_grid(options: Options, n_gallery: int, n_train: int) -> Grid:
    """Clusters x algorithm x probes x rank, without those that the gallery is too small for."""
    grid: list[dict[str, Any]] = []
    rankings, left_out = _rankings(options)
    notes = []
    for clusters in options.clusters:
        if clusters > n_gallery // MIN_ITEMS_A_CLUSTER or clusters > n_train:
            notes.append(
                f"k-means with {clusters} clusters is left out: it needs {MIN_ITEMS_A_CLUSTER} items a cluster, "
                f"and the gallery has {n_gallery} (train part {n_train})"
            )
            continue
        for algorithm in options.algorithm:
            for probes in options.probes or (1,):
                if probes > clusters:
                    notes.append(f"k-means with {clusters} clusters and {probes} probes is left out")
                    continue
                for ranking in rankings:
                    row = {"clusters": clusters, "algorithm": algorithm, "probes": probes, **ranking}
                    grid += [row | {"bits": bits} for bits in options.bits] if reads_codes(row) else [row]
    return grid, list(dict.fromkeys(notes + left_out))


def residual_grid(options: Options, n_gallery: int, n_train: int) -> Grid:
    """Recall of as many neighbours as the longest list has x rank by vectors."""
    grid: list[dict[str, Any]] = []
    notes = []
    for rank in options.rank:
        if rank in CODE_RANKS:
            notes.append(f"k-means-residual with rank {rank} is left out: it ranks by the vectors")
        else:
            grid += [{"recall": recall, "nearest": max(options.k), "rank": rank} for recall in options.recall]
    return grid, notes


def hyperplanes_grid(options: Options, n_gallery: int, n_train: int) -> Grid:
    """Tables x key bits x probes x rank, each table with bits of its own; then what any hasher can do."""
    grid: list[dict[str, Any]] = []
    rankings, _ = _rankings(options)
    notes = []
    for tables, key_bits, probes in _tables(options) if "blocks" in options.keys else ():
        bits = tables * key_bits
        if bits > MAX_BITS:
            notes.append(
                f"random-hyperplanes with {tables} tables of {key_bits} bits is left out: "
                f"{bits} bits, and a code has at most {MAX_BITS}"
            )
        elif probes < tables:
            notes.append(
                f"random-hyperplanes with {tables} tables and probes {probes} is left out: "
                f"it looks into at least one key a table"
            )
        else:
            row = {"tables": tables, "key_bits": key_bits, "keys": "blocks", "bits": bits, "probes": probes}
            grid += [row | ranking for ranking in rankings]
    codes, more = codes_grid(options, n_gallery, n_train)
    return grid + codes, list(dict.fromkeys(notes + more))


def codes_grid(options: Options, n_gallery: int, n_train: int) -> Grid:
    """What any hasher can do, for each code length: tables of sampled bits, whole codes by radius, whole codes."""
    grid: list[dict[str, Any]] = []
    rankings, notes = _rankings(options)
    shortlists = [ranking for ranking in rankings if "shortlist" in ranking]
    unlisted = [{"rank": "hamming"}] + [{"rank": "margin"}] * ("margin" in options.rank)
    whole = unlisted * (None in options.shortlist) + shortlists
    for bits in options.bits:
        for tables, key_bits, probes in _tables(options) if "sample" in options.keys else ():
            if key_bits > bits or probes < tables:
                notes.append(f"{tables} tables of {key_bits} of {bits} bits with {probes} probes are left out")
                continue
            row = {"tables": tables, "key_bits": key_bits, "keys": "sample", "bits": bits, "probes": probes}
            grid += [row | ranking for ranking in rankings]
        if options.radius and bits > MAX_KEY_BITS:
            notes.append(f"radii of {bits}-bit codes are left out: a key has at most {MAX_KEY_BITS} bits")
        else:
            grid += [{"bits": bits, "radius": radius} | ranking for radius in options.radius for ranking in rankings]
        grid += [{"bits": bits} | ranking for ranking in whole]
    return grid, notes


def lattice_grid(name: str, hashes: Sequence[int], options: Options, n_gallery: int, n_train: int) -> Grid:
    """Tables x hashes a key x probes x rank by vectors: the codes number cells, and have no distance to rank by."""
    grid: list[dict[str, Any]] = []
    rankings = [{"rank": rank} for rank in options.rank if rank in LATTICE_RANKS] * (None in options.shortlist)
    unranked = [f"rank {rank}" for rank in options.rank if rank not in LATTICE_RANKS]
    unranked += [f"a shortlist of {shortlist}" for shortlist in options.shortlist if shortlist is not None]
    notes = [f"{name} with {what} is left out: its codes have no distance" for what in unranked]
    for tables in options.tables:
        for n_hashes in options.hashes or hashes:
            for probes in options.probes or (tables,):
                if probes < tables:
                    notes.append(
                        f"{name} with {tables} tables and probes {probes} is left out: "
                        f"it looks into at least one key a table"
                    )
                    continue
                row = {"tables": tables, "hashes": n_hashes, "probes": probes}
                grid += [row | ranking for ranking in rankings]
    return grid, list(dict.fromkeys(notes))


def _tables(options: Options) -> list[tuple[int, int, int]]:
    """Tables x key bits x probes."""
    return [
        (tables, key_bits, probes)
        for tables in options.tables
        for key_bits in options.key_bits
        for probes in options.probes or (tables,)
    ]


def reads_codes(parameters: Parameters) -> bool:
    """Whether candidates are compared by their codes."""
    return parameters["rank"] in CODE_RANKS or "shortlist" in parameters


def _rankings(options: Options) -> Grid:
    """Rank x shortlist, without shortlists for the rank that they are made by."""
    rankings: list[dict[str, Any]] = []
    notes = []
    for rank in options.rank:
        for shortlist in options.shortlist:
            if shortlist is None:
                rankings.append({"rank": rank})
            elif rank == "hamming":
                notes.append(f"rank hamming with a shortlist of {shortlist} is left out: that is for other ranks")
            else:
                rankings.append({"rank": rank, "shortlist": shortlist})
    return rankings, notes
