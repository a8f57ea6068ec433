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
    arguments : mapping
        Of the hashers' constructors, by name; a method takes those that it has.
    """

    lists: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    protocol: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _k_means(*clusters: int) -> Preset:
    """Clusters of all the features, and of the 248 components that hold 95 % of the variance of ResNet-18's."""
    return Preset({"method": ("k-means",), "clusters": clusters, "pca": (None, 248)})


def _hyperplanes(*key_bits: int) -> Preset:
    return Preset({"method": ("random-hyperplanes",), "tables": (3, 6, 12), "key-bits": key_bits})


def _neural(bits: int, tables: int, key_bits: tuple[int, ...], **arguments: Any) -> Preset:
    """Tables whose keys are some bits of the codes of one network."""
    lists = {"method": ("neural-lsh",), "bits": (bits,), "tables": (tables,), "key-bits": key_bits, "keys": ("sample",)}
    return Preset(lists, arguments=arguments)


_REPORT_NEURAL: Mapping[str, Any] = {"alpha": 0.3, "beta": 0.3, "epochs": 20, "learning_rate": 1e-3}

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
        "report-neural-lsh": _neural(800, 8, (4, 8, 16, 32), **_REPORT_NEURAL),
        "report-neural-lsh-imagenet": _neural(800, 8, (20, 80, 100), **_REPORT_NEURAL),
        "permgnn": _neural(16, 10, (8,), alpha=0.01, beta=0.01),
        # It ranks whole codes; random hyperplanes would have all their tables beside them.
        "learning-to-hash": Preset(
            {
                "method": ("dsh", "hashnet", "bihalf", "itq", "spectral-hashing", "random-hyperplanes"),
                "bits": (8, 16, 32, 64),
                "tables": (1,),
                "key-bits": (16,),
            }
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
