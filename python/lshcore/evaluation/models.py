"""Saved hashers as they are evaluated: a directory that `Hasher.save` wrote, often with its preprocessing beside it."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import hashers, registry
from ..hashers import Hasher
from ..hashers.lattice import LatticeHasher
from ..preprocess import Preprocess

PREPROCESS_FILE, TRAINED_FILE, BACKBONE_FILE = "preprocess.json", "trained.json", "backbone.json"


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted hasher from a directory.

    Parameters
    ----------
    path, name : str
        The directory as it was given, and what a table calls it.
    method : str
        Name of the hasher's class in the registry, which is also that of its method.
    hasher : Hasher
    preprocess : Preprocess, optional
        What makes its matrices of features; without one, they are made as for the methods.
    split : str, optional
        Digest of the split whose train part it has learnt from, where `lshcore train` has written that down.
    network : bool
        Whether the directory also holds the network that makes its features.
    """

    path: str
    name: str
    method: str
    hasher: Hasher
    preprocess: Preprocess | None = None
    split: str | None = None
    network: bool = False

    def check_columns(self, dim: int) -> None:
        """Raise ValueError unless it takes features of `dim` columns."""
        needed = (self.preprocess or self.hasher).n_features_in_
        if needed != dim:
            raise ValueError(f"model {self.path} was fitted on features of {needed} columns, got {dim}")


def open_models(paths: Sequence[str]) -> list[Model]:
    """The models of several directories; where two directories have the same name, tables call them by the whole path.

    Raises
    ------
    FileNotFoundError, ValueError
        As `open_model`.
    """
    names = [os.path.basename(os.path.abspath(path)) for path in paths]
    return [open_model(path, path if names.count(name) > 1 else name) for path, name in zip(paths, names, strict=True)]


def open_model(path: str, called: str) -> Model:
    """Read the hasher of a directory, and its preprocessing where there is one; `called` is its name in tables.

    Raises
    ------
    FileNotFoundError
        If there is no such directory.
    ValueError
        If a file in it is damaged, its parts do not fit together, or its codes cannot be compared bit by bit.
    """
    if not Path(path).is_dir():
        raise FileNotFoundError(f"model {path} was not found: expected a directory that Hasher.save wrote")
    hasher = hashers.load(path)
    target = f"{type(hasher).__module__}:{type(hasher).__name__}"
    method = next(name for name, known in registry.HASHERS.items() if known == target)
    if isinstance(hasher, LatticeHasher):
        raise ValueError(f"model {path} must be a hasher whose codes have a Hamming distance, got {method}")
    preprocess = Preprocess.load(path) if (Path(path) / PREPROCESS_FILE).exists() else None
    if preprocess is not None and preprocess.n_features_out_ != hasher.n_features_in_:
        raise ValueError(
            f"model {path}: its preprocessing must give the {hasher.n_features_in_} columns that its hasher takes, "
            f"got {preprocess.n_features_out_}"
        )
    network = (Path(path) / BACKBONE_FILE).exists()
    return Model(path, called, method, hasher, preprocess, _split(Path(path) / TRAINED_FILE), network)


def _split(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["split"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{file} must say what a model was trained on, got {type(error).__name__}: {error}") from error
