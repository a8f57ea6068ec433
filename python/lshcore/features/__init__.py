"""Features of images: networks, and stores on disk that survive being killed. Nothing here imports torch by itself."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backbones import Backbone as Backbone
    from .backbones import backbone as backbone
    from .cache import cached as cached
    from .cache import default_directory as default_directory
    from .extraction import extract as extract
    from .saved import open_backbone as open_backbone
    from .saved import save_backbone as save_backbone
    from .store import FeatureStore as FeatureStore
    from .store import Skipped as Skipped

_PLACES = {
    "Backbone": "backbones",
    "FeatureStore": "store",
    "Skipped": "store",
    "backbone": "backbones",
    "cached": "cache",
    "default_directory": "cache",
    "extract": "extraction",
    "open_backbone": "saved",
    "save_backbone": "saved",
}

__all__ = [
    "Backbone",
    "FeatureStore",
    "Skipped",
    "backbone",
    "cached",
    "default_directory",
    "extract",
    "open_backbone",
    "save_backbone",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
