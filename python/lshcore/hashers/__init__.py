"""Hashers: estimators from features to bits. Each is loaded on first use; `lshcore.registry` lists them all."""

from typing import TYPE_CHECKING, Any

from lshcore import registry

from .base import Hasher as Hasher
from .base import LinearHasher as LinearHasher
from .base import load as load

if TYPE_CHECKING:
    from .grh import GRH as GRH
    from .hyperplanes import RandomHyperplanes as RandomHyperplanes
    from .itq import ITQ as ITQ
    from .itq import ITQCCA as ITQCCA
    from .lattice import CrossPolytope as CrossPolytope
    from .lattice import PStable as PStable
    from .pca import PCAHashing as PCAHashing
    from .pca import PCARandomRotation as PCARandomRotation
    from .sdh import SDH as SDH
    from .spectral import SpectralHashing as SpectralHashing

__all__ = ["Hasher", "LinearHasher", "load", *registry.class_names(registry.HASHERS)]


def __getattr__(name: str) -> Any:
    value = registry.lazy_attribute(__name__, registry.HASHERS, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
