"""From a hasher's arguments to its trained layers: what is held out, which learner, where it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._progress import Progress
from .._validation import resolve_seed
from ..features.imports import import_torch
from ..features.network import resolve_device, threads

if TYPE_CHECKING:
    from .hashers import NeuralHasher
    from .learners import Learner
    from .training import Source

# Held-out rows that search, and rows that they search, while training.
MOST_QUERIES, MOST_GALLERY = 2_000, 20_000

# Fewer rows than this are all trained on.
_LEAST_ROWS = 20

# Multiplications and additions of a step that are worth a thread.
_WORK_A_THREAD = 1_000_000_000

# Rows from which a head learns its shift and its scale, where not all can be had at once.
_ADAPT_ROWS = 512


@dataclass(frozen=True, eq=False)
class Material:
    """What a hasher learns from.

    Parameters
    ----------
    source : Source
    dim : int
        Features of a row.
    labels : int64 (n,) or bool (n, C), or None
    device : {"cpu", "cuda"}
    identity : mapping
        What a checkpoint must have in common with it, beside the hasher's arguments.
    most : (int, int)
        Limits of the rows that search, and of those that they search, while training.
    body : torch.nn.Module, optional
        From rows of the source to features, trained too (in place); without it the rows are features.
    body_learning_rate : float
    """

    source: "Source"
    dim: int
    labels: NDArray[Any] | None
    device: str
    identity: Mapping[str, Any]
    most: tuple[int, int] = (MOST_QUERIES, MOST_GALLERY)
    body: Any = None
    body_learning_rate: float = 0.0


def fit_features(
    hasher: "NeuralHasher",
    x: NDArray[np.float32],
    labels: NDArray[Any] | None,
    n_bits: int,
    folder: Path | None,
    progress: Progress | None,
) -> None:
    """Train a hasher on features x (n, d), and set what it learns."""
    import_torch("learned hashers", "neural")
    from .checkpoints import fingerprint
    from .training import Features

    device = resolve_device(hasher.device, f"{type(hasher).__name__}.fit")
    if labels is not None:
        labels = compact(labels)
    identity = {} if folder is None else {"dim": x.shape[1], "rows": len(x), "data": fingerprint(x, labels)}
    material = Material(Features(x, device), x.shape[1], labels, device, identity)
    learn(hasher, material, n_bits, folder, progress, f"{type(hasher).__name__}.fit")


def learn(
    hasher: "NeuralHasher", material: Material, n_bits: int, folder: Path | None, progress: Progress | None, where: str
) -> None:
    """Train a hasher, and set what it learns; `where` is what messages call the caller."""
    torch = import_torch()
    from . import learners
    from .checkpoints import Checkpoint
    from .sampling import ByLabel
    from .training import Schedule, Trainer
    from .validation import Validation, outputs

    source, labels, device = material.source, material.labels, material.device
    seed = resolve_seed(hasher.random_state, where)
    rows, queries, gallery = split(len(source), hasher.validation, seed, material.most)
    arguments = {name: _plain(value) for name, value in hasher.get_params().items()}
    schedule = Schedule(
        arguments["epochs"],
        arguments["batch_size"] or min(512, max(64, len(rows) // 100)),
        arguments["learning_rate"],
        arguments["weight_decay"],
        arguments["patience"],
        material.body_learning_rate,
        bool(arguments["bf16"]),
    )
    saved = None
    if folder is not None:
        arguments |= {"random_state": seed, "device": device}
        saved = Checkpoint(folder, {"method": type(hasher).__name__, "arguments": arguments, **material.identity})
    with threads(), torch.random.fork_rng():
        torch.manual_seed(seed)
        task = learners.Task(
            dim=material.dim,
            n_bits=n_bits,
            rows=torch.from_numpy(rows),
            read=source.read,
            labels=None if labels is None else ByLabel(labels, device),
            seed=seed,
            whole=source.whole,
        )
        learner = getattr(learners, type(hasher).__name__)(task, hasher.get_params())
        if material.body is not None:
            learner.body = material.body
        learner.to(device)
        sample = rows if source.whole else np.sort(np.random.default_rng([seed, 3]).permutation(rows)[:_ADAPT_ROWS])
        features = outputs(source, torch.from_numpy(sample), learner)
        for head in learner.heads:
            head.adapt(features)
        del features
        validation = Validation(source, queries, gallery, labels, learner) if len(queries) else None
        trainer = Trainer(learner, source, rows, schedule, seed, device, validation, saved, progress)
        with threads(count_threads(learner, schedule.batch_size)):
            history = trainer.run()
        seen = outputs(source, torch.from_numpy(gallery), learner)
    hasher.layers_, hasher.query_layers_ = learner.export()
    hasher.history_ = history
    bits = hasher._project(seen, 1) >= 0
    hasher.constant_bits_ = np.flatnonzero((bits == bits[0]).all(axis=0)).tolist()


def _plain(value: Any) -> Any:
    """Numbers of NumPy as those of Python, also within sequences."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def count_threads(learner: "Learner", batch_size: int) -> int:
    """Threads that a step has work for: those of a small head cost more than they bring, many times as much where other
    processes want the cores too. It also makes what is learnt independent of how many cores there are."""
    n_weights: int = sum(parameter.numel() for parameter in learner.parameters())
    return max(1, 6 * n_weights * batch_size // _WORK_A_THREAD)


def split(
    n: int, share: float, seed: int, most: tuple[int, int] = (MOST_QUERIES, MOST_GALLERY)
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on, rows held out that search, and those of the first that they search; seeded, ascending."""
    order = np.random.default_rng([seed, 2]).permutation(n)
    held = 0 if n < _LEAST_ROWS else min(most[0], round(share * n))
    rows = np.sort(order[held:])
    return rows, np.sort(order[:held]), np.sort(order[held : held + most[1]])


def compact(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels, int64 (n,), numbered from 0 without gaps; bool (n, C) as they are."""
    if labels.ndim == 2:
        return labels
    numbered: NDArray[np.int64] = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return numbered
