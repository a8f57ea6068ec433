"""Training that survives a kill: the state of a run in a folder, and what a run must share with it to go on."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .._state import read_state, write_state

STEM = "training"

# Seconds between two checkpoints, and how much longer it gets with every second that writing one takes; what comes out
# does not depend on them.
INTERVAL_SECONDS = 10.0
_STRETCH = 2.0


@dataclass
class Progress:
    """Where a run is.

    Parameters
    ----------
    stage, epoch, step : int
        What comes next; `step` counts within the epoch.
    sums : dict
        Each term, summed over the steps of the epoch so far.
    history : list of dict
        "stage", "epoch", "terms" (means over the epoch) and "map" of each epoch, None where nothing was held out.
    best : float or None
        Best `map` of the stage.
    waited : int
        Epochs since then.
    collapsed : int
        Epochs in a row with worthless codes.
    finished : bool
        Whether the stage is over.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: float | None = None
    waited: int = 0
    collapsed: int = 0
    finished: bool = False


Tensors = dict[str, torch.Tensor]


class Checkpoint:
    """The state of one run in a folder.

    Parameters
    ----------
    folder : Path
    identity : mapping
        What a run must have in common with the one that wrote the folder to go on with it.

    Raises
    ------
    ValueError
        If the folder holds the state of another run (the message says what differs), or a damaged one.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder, self._identity = folder, identity
        self._written, self._seconds = time.monotonic(), 0.0
        self._arrays: dict[str, NDArray[Any]] = {}
        self.progress: Progress | None = None
        if (folder / f"{STEM}.json").exists():
            self._arrays, meta = read_state(folder, STEM, "a training checkpoint")
            _compare(meta["identity"], identity, folder)
            self.progress = Progress(**meta["progress"])

    def restore(self, learner: nn.Module, optimiser: torch.optim.Optimizer) -> Tensors:
        """Put the state into a learner and its optimiser; returns the best weights of the stage so far."""
        parts: dict[str, Tensors] = {"now": {}, "best": {}, "optimiser": {}}
        for name, array in self._arrays.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = torch.from_numpy(array.copy())
        learner.load_state_dict(parts["now"])
        state: dict[int, Tensors] = {}
        for name, tensor in parts["optimiser"].items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        if state:
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
        self._arrays = {}
        return parts["best"]

    def due(self) -> bool:
        """Whether the last one is old."""
        return time.monotonic() - self._written >= INTERVAL_SECONDS * max(1.0, _STRETCH * self._seconds)

    def write(
        self, progress: Progress, learner: nn.Module, optimiser: torch.optim.Optimizer, best: Mapping[str, Any]
    ) -> None:
        """Write the state, in place of the last one."""
        start = time.monotonic()
        tensors = {f"now.{name}": tensor for name, tensor in learner.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        write_state(self._folder, STEM, arrays, {"identity": self._identity, "progress": asdict(progress)})
        self._written = time.monotonic()
        self._seconds = self._written - start


def fingerprint(*arrays: NDArray[Any] | None) -> str:
    """SHA-256 of shapes, types and bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(f"{array.shape} {array.dtype}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _compare(found: Mapping[str, Any], expected: Mapping[str, Any], folder: Path) -> None:
    """Raise ValueError, naming what differs, unless both are the same run."""
    flat, wanted = _flat(found), _flat(expected)
    differing = [name for name in {**wanted, **flat} if flat.get(name) != wanted.get(name)]
    if differing:
        said = ", ".join(f"{name} is {flat.get(name)!r} there and {wanted.get(name)!r} here" for name in differing[:4])
        raise ValueError(
            f"the checkpoint in {folder} is of another training: {said}; "
            f"go on with what it was begun with, or name another folder"
        )


def _flat(identity: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one; tuples as the lists that JSON makes of them."""
    flat: dict[str, Any] = {}
    for name, value in identity.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
