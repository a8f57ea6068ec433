"""The training loop. It knows neither method nor data: a learner gives named terms, a source gives rows."""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._progress import Progress as Tell
from .checkpoints import Checkpoint, Progress, Tensors
from .learners import Batch, Learner
from .sampling import generator
from .validation import Validation

# Epochs in a row with worthless codes after which training stops, and the share of constant bits that makes them so.
PATIENCE_WITH_COLLAPSE = 3
MOST_CONSTANT = 0.75

# What codes can be made of.
MOST_MARGIN = 1e15

_ROWS = 4096


class Collapse(ValueError):
    """What is learnt is worth nothing: a term is not a number, or (almost) all codes are equal."""


class Source(Protocol):
    """Rows to train on."""

    whole: bool

    def __len__(self) -> int: ...

    def read(self, rows: Tensor) -> Tensor:
        """Rows (b, ...), on the device, as they are."""
        ...

    def blocks(self, rows: Tensor) -> Iterator[Tensor]:
        """`read` of any number of rows, a part at a time."""
        ...

    def batches(self, parts: Sequence[Tensor], seed: int, epoch: int) -> Iterator[tuple[Tensor, Sequence[Tensor]]]:
        """The numbers of each part, and its rows on the device as they are trained on: one view of them, or two."""
        ...


class Features:
    """A matrix (n, d), all of it on the device."""

    whole = True

    def __init__(self, x: NDArray[np.float32], device: str) -> None:
        self._x = torch.from_numpy(x if x.flags.writeable else x.copy()).to(device)

    def __len__(self) -> int:
        return len(self._x)

    def read(self, rows: Tensor) -> Tensor:
        """Rows (b, d)."""
        return self._x.index_select(0, rows.to(self._x.device))  # several times as fast as indexing, on a CPU

    def blocks(self, rows: Tensor) -> Iterator[Tensor]:
        """As `Source` says."""
        for part in rows.split(_ROWS):
            yield self.read(part)

    def batches(self, parts: Sequence[Tensor], seed: int, epoch: int) -> Iterator[tuple[Tensor, Sequence[Tensor]]]:
        """As `Source` says; on a CPU the next rows are gathered while the last ones are learnt from."""
        if self._x.device.type != "cpu":
            yield from ((rows, [self.read(rows)]) for rows in parts)
            return
        matrix = self._x.numpy()  # NumPy gathers with one thread, and lets others run
        with ThreadPoolExecutor(1) as loader:
            following = [loader.submit(matrix.take, part.numpy(), 0) for part in parts[:1]]
            for i, rows in enumerate(parts):
                x = torch.from_numpy(following.pop().result())
                following += [loader.submit(matrix.take, part.numpy(), 0) for part in parts[i + 1 : i + 2]]
                yield rows, [x]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Parameters
    ----------
    epochs, batch_size : int
    learning_rate : float
        At the beginning; it falls to 0 along half a cosine.
    weight_decay : float
    patience : int or None
        Epochs without a better `map` after which a stage ends; None never ends one early.
    body_learning_rate : float
        That of the backbone, where there is one.
    bf16 : bool
        Compute in bfloat16 where autocast does.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int | None
    body_learning_rate: float = 0.0
    bf16: bool = False


@dataclass(eq=False)
class Trainer:
    """One training, stage after stage; a learner ends with the weights of its best `map`.

    Every random choice depends on the seed, the epoch and the step alone, so that a run that was killed goes on from
    its checkpoint to the same weights.

    Parameters
    ----------
    learner : Learner
        Trained in place.
    source : Source
    rows : int64 (n,)
        Rows of the source to train on.
    schedule : Schedule
    seed : int
    device : {"cpu", "cuda"}
    validation : Validation or None
        None looks neither for collapse nor for the best weights.
    checkpoint : Checkpoint or None
    tell : callable, optional
        ``tell(share, text)``.
    """

    learner: Learner
    source: Source
    rows: NDArray[np.int64]
    schedule: Schedule
    seed: int
    device: str
    validation: Validation | None = None
    checkpoint: Checkpoint | None = None
    tell: Tell | None = None

    def run(self) -> list[dict[str, Any]]:
        """Train, and return the history, as `Progress` has it.

        Raises
        ------
        Collapse
            If a term is not finite, or the codes are worthless three epochs in a row or at the end.
        """
        saved = None if self.checkpoint is None else self.checkpoint.progress
        progress = saved or Progress()
        for stage in range(progress.stage, self.learner.stages):
            self.learner.begin(stage)
            optimiser = make_optimiser(self.learner, self.schedule)
            best: Tensors = {}
            if saved is not None and self.checkpoint is not None:
                best, saved = self.checkpoint.restore(self.learner, optimiser), None
            else:
                progress = Progress(stage=stage, history=progress.history)
            while not progress.finished:
                self._epoch(progress, optimiser, best)
                self._end_epoch(progress, best)
                if self.checkpoint is not None and (progress.finished or self.checkpoint.due()):
                    self.checkpoint.write(progress, self.learner, optimiser, best)
            if best:
                self.learner.load_state_dict(best)
        if self.tell is not None:
            self.tell(1.0, "trained")
        return progress.history

    def _epoch(self, progress: Progress, optimiser: torch.optim.Optimizer, best: Tensors) -> None:
        stage, epoch = progress.stage, progress.epoch
        # Batches of equal size, and none of a single row, which has no variance.
        n_steps = max(1, min(math.ceil(len(self.rows) / self.schedule.batch_size), len(self.rows) // 2))
        total = self.schedule.epochs * n_steps
        order = torch.randperm(len(self.rows), generator=generator(self.seed, stage, epoch))
        parts = torch.from_numpy(self.rows)[order].tensor_split(n_steps)[progress.step :]
        self.learner.train()
        for rows, views in self.source.batches(parts, self.seed, epoch):
            # what this step draws, and how fast it learns
            step = epoch * n_steps + progress.step
            draw = generator(self.seed, stage, step, 1)
            torch.manual_seed(int(torch.randint(2**62, (), generator=draw)))
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * rate(step / total)
            # forward, backward
            with torch.autocast(self.device, torch.bfloat16, enabled=self.schedule.bf16):
                first, *others = [self.learner.body(view) for view in views]
                terms = self.learner(Batch(first, rows, step, draw, *others))
            optimiser.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()
            # count and keep
            for name, term in terms.items():
                progress.sums[name] = progress.sums.get(name, 0.0) + float(term.detach())
            _check_finite(progress.sums, self.learner, epoch)
            progress.step += 1
            if self.checkpoint is not None and self.checkpoint.due():
                self.checkpoint.write(progress, self.learner, optimiser, best)
            if self.tell is not None:
                self.tell((stage + (step + 1) / total) / self.learner.stages, _said(progress, self.schedule))

    def _end_epoch(self, progress: Progress, best: Tensors) -> None:
        """Look at the codes, keep the best weights, and say whether the stage is over."""
        terms = {name: total / progress.step for name, total in progress.sums.items()}
        score = None
        over = progress.epoch + 1 >= self.schedule.epochs
        if self.validation is not None:
            score, margins = self.validation(self.learner, by_codes=progress.stage == self.learner.stages - 1)
            _check_margins(margins, self.learner, progress.epoch)
            progress.waited += 1
            if progress.best is None or score > progress.best:
                progress.best, progress.waited = score, 0
                best.clear()
                best.update({name: tensor.detach().clone() for name, tensor in self.learner.state_dict().items()})
            over = over or (self.schedule.patience is not None and progress.waited >= self.schedule.patience)
            bits = margins >= 0
            progress.collapsed = progress.collapsed + 1 if worthless(bits) else 0
            if progress.collapsed >= (1 if over else PATIENCE_WITH_COLLAPSE):
                raise Collapse(_collapse(bits, terms, self.learner, progress.epoch))
        progress.history.append({"stage": progress.stage, "epoch": progress.epoch, "terms": terms, "map": score})
        progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, {}
        progress.finished = over


def make_optimiser(learner: Learner, schedule: Schedule) -> torch.optim.Optimizer:
    """Adam over what is to be trained, the backbone at its own rate."""
    body = {id(parameter) for parameter in learner.body.parameters()}
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) not in body], "lr": schedule.learning_rate},
        {"params": [p for p in trained if id(p) in body], "lr": schedule.body_learning_rate},
    ]
    for group in groups:
        group["initial_lr"] = group["lr"]
    return torch.optim.Adam([group for group in groups if group["params"]], weight_decay=schedule.weight_decay)


def rate(done: float) -> float:
    """Share of the learning rate when that share of the steps is done."""
    return 0.5 * (1 + math.cos(math.pi * done))


def worthless(bits: NDArray[np.bool_]) -> bool:
    """Whether (almost) every bit is the same in all rows (n, n_bits)."""
    return bool((bits == bits[0]).all(axis=0).mean() > MOST_CONSTANT)


def _check_finite(sums: Mapping[str, float], learner: Learner, epoch: int) -> None:
    for name, total in sums.items():
        if not math.isfinite(total):
            raise Collapse(
                f"training {type(learner).__name__} stopped in epoch {epoch + 1}: the term {name!r} of the loss is "
                f"{total}; lower learning_rate, and give features that are centred and of length 1"
            )


def _check_margins(margins: NDArray[np.float32], learner: Learner, epoch: int) -> None:
    if not np.abs(margins).max(initial=0.0) <= MOST_MARGIN:  # NaN is neither
        raise Collapse(
            f"training {type(learner).__name__} stopped after epoch {epoch + 1}: margins are beyond {MOST_MARGIN:g}, "
            f"though the terms of the loss are finite; lower learning_rate, and give features that are centred and of "
            f"length 1"
        )


def _collapse(bits: NDArray[np.bool_], terms: Mapping[str, float], learner: Learner, epoch: int) -> str:
    constant = int((bits == bits[0]).all(axis=0).sum())
    what = "all codes are equal" if constant == bits.shape[1] else f"{constant} of {bits.shape[1]} bits are constant"
    said = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
    suspects = [name for name in terms if name in learner.remedies] or list(terms)
    least = min(suspects, key=lambda name: terms[name])
    remedy = learner.remedies.get(least) or "lower learning_rate, or raise batch_size"
    return (
        f"training {type(learner).__name__} stopped after epoch {epoch + 1}: {what} (terms of the loss: {said}); "
        f"the term {least!r} is met without telling rows apart: {remedy}"
    )


def _said(progress: Progress, schedule: Schedule) -> str:
    """Where a run is, in words."""
    terms = ", ".join(f"{name} {total / progress.step:.3f}" for name, total in progress.sums.items())
    last = progress.history[-1]["map"] if progress.history else None
    score = "" if last is None else f", map {last:.3f}"
    return f"epoch {progress.epoch + 1} of {schedule.epochs}, {terms}{score}"
