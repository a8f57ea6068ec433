"""Image retrieval by hashing: compare hashing methods under one protocol, and index with the winner.

Everything here is loaded on first use, so that ``import lshcore`` stays fast and brings neither scikit-learn nor torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

try:
    importlib.import_module("lshcore._core")
except ModuleNotFoundError as error:
    if error.name != "lshcore._core":
        raise
    raise ImportError(
        "lshcore: the compiled core lshcore._core is missing; build it with `pip install .` in the root of the "
        "source tree (a C++20 compiler is all it needs)",
        name="lshcore._core",
    ) from None

if TYPE_CHECKING:
    from . import hamming as hamming
    from . import hashers as hashers
    from . import metrics as metrics
    from . import preprocess as preprocess
    from .codes import BinaryCodes as BinaryCodes
    from .collection import Collection as Collection
    from .index import FlatIndex as FlatIndex
    from .index import KMeansIndex as KMeansIndex
    from .index import LSHIndex as LSHIndex
    from .index import SearchResult as SearchResult
    from .index import open_index as open_index
    from .neighbors import LSHNeighborsTransformer as LSHNeighborsTransformer
    from .planning import Plan as Plan
    from .planning import plan as plan
    from .preprocess import Preprocess as Preprocess

    __version__: str

_MODULES = ("hamming", "hashers", "metrics", "preprocess")
_CLASSES = {
    "BinaryCodes": "codes",
    "Collection": "collection",
    "FlatIndex": "index",
    "KMeansIndex": "index",
    "LSHIndex": "index",
    "LSHNeighborsTransformer": "neighbors",
    "Plan": "planning",
    "Preprocess": "preprocess",
    "SearchResult": "index",
    "open_index": "index",
    "plan": "planning",
}

__all__ = [
    "BinaryCodes",
    "Collection",
    "FlatIndex",
    "KMeansIndex",
    "LSHIndex",
    "LSHNeighborsTransformer",
    "Plan",
    "Preprocess",
    "SearchResult",
    "__version__",
    "hamming",
    "hashers",
    "metrics",
    "open_index",
    "plan",
    "preprocess",
]


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("lshcore")
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__version__":
        value = _version()
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    elif name in _CLASSES:
        value = getattr(importlib.import_module(f"{__name__}.{_CLASSES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
