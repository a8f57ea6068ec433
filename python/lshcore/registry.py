"""Names to classes, as data: the one place that a new hasher or index is entered.

A value is ``"module:Class"``, loaded on first use, so that naming a class never imports it and no module has to import
upward. Keys are the names that the command line, result files and saved files use.
"""

import importlib
from collections.abc import Mapping
from typing import Any

HASHERS: dict[str, str] = {
    "random-hyperplanes": "lshcore.hashers.hyperplanes:RandomHyperplanes",
    "pca-hashing": "lshcore.hashers.pca:PCAHashing",
    "pca-random-rotation": "lshcore.hashers.pca:PCARandomRotation",
    "itq": "lshcore.hashers.itq:ITQ",
    "itq-cca": "lshcore.hashers.itq:ITQCCA",
    "spectral-hashing": "lshcore.hashers.spectral:SpectralHashing",
    "sdh": "lshcore.hashers.sdh:SDH",
    "grh": "lshcore.hashers.grh:GRH",
    "cross-polytope": "lshcore.hashers.lattice:CrossPolytope",
    "p-stable": "lshcore.hashers.lattice:PStable",
    "neural-lsh": "lshcore.neural.hashers:NeuralLSH",
    "relevance-lsh": "lshcore.neural.hashers:RelevanceLSH",
    "dsh": "lshcore.neural.hashers:DSH",
    "hashnet": "lshcore.neural.hashers:HashNet",
    "bihalf": "lshcore.neural.hashers:BiHalf",
    "orthohash": "lshcore.neural.hashers:OrthoHash",
    "csq": "lshcore.neural.hashers:CSQ",
    "greedyhash": "lshcore.neural.hashers:GreedyHash",
    "cibhash": "lshcore.neural.hashers:CIBHash",
}

INDEXES: dict[str, str] = {
    "flat": "lshcore.index.flat:FlatIndex",
    "lsh": "lshcore.index.lsh:LSHIndex",
    "kmeans": "lshcore.index.kmeans:KMeansIndex",
}


def load_target(target: str) -> Any:
    """Import what a ``"module:attribute"`` string names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def load(name: str, table: Mapping[str, str] | None = None) -> Any:
    """Class of a registered name.

    Parameters
    ----------
    name : str
        Key of `table`, such as ``"random-hyperplanes"``.
    table : mapping of str to str, optional
        Names to ``"module:Class"``; all hashers and indexes by default.

    Raises
    ------
    ValueError
        If the name is not in the table; the message lists those that are.
    """
    known = {**HASHERS, **INDEXES} if table is None else table
    if name not in known:
        raise ValueError(f"registry.load: name must be one of {', '.join(known)}, got {name!r}")
    return load_target(known[name])


def lazy_attribute(module: str, table: Mapping[str, str], name: str) -> Any:
    """Class called `name` among a table's targets; what a package's ``__getattr__`` calls."""
    for target in table.values():
        if target.endswith(f":{name}"):
            return load_target(target)
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


def class_names(table: Mapping[str, str]) -> list[str]:
    """Class names of a table, in its order."""
    return [target.partition(":")[2] for target in table.values()]
