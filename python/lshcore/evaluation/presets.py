"""Options under names, as data: the grids of published tables. Nothing heavy is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Lists for the options that are not given.

    Parameters
    ----------
    lists : mapping of str to tuple
        Values by the name of a list option, as `Options` takes them.
    protocol : str, optional
        Where none is given; that of the data set by default.
    """

    lists: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    protocol: str | None = None


def _k_means(*clusters: int) -> Preset:
    """Clusters of all the features, and of the 248 components that hold 95 % of the variance of ResNet-18's."""
    return Preset({"method": ("k-means",), "clusters": clusters, "pca": (None, 248)})


def _hyperplanes(*key_bits: int) -> Preset:
    return Preset({"method": ("random-hyperplanes",), "tables": (3, 6, 12), "key-bits": key_bits})


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "report-kmeans": _k_means(10, 20, 100, 200, 1000),
        "report-kmeans-cifar100": _k_means(100, 200, 500, 1000, 2000),
        "report-kmeans-imagenet": _k_means(1000, 2000, 5000, 10000),
        "report-hyperplanes": _hyperplanes(3, 4, 7, 8, 10),
        "report-hyperplanes-cifar100": _hyperplanes(7, 8, 9, 10, 11),
        "grh-tutorial": Preset(
            {"method": ("random-hyperplanes", "grh"), "bits": (16,), "radius": tuple(range(11))}, "grh-tutorial"
        ),
    }
)


def find_preset(name: str | None) -> Preset:
    """The preset of that name; one without lists for None.

    Raises
    ------
    ValueError
        If there is no such preset; the message names those that there are.
    """
    if name is None:
        return Preset()
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name}")
    return PRESETS[name]
