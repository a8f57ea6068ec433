"""Batches of images from worker processes, in order."""

import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from .._validation import resolve_jobs
from .decode import Batch
from .imports import import_torch
from .network import threads

_PREFETCH = 2
_DIED = re.compile(r"DataLoader worker \(pid")


class Decoding(Protocol):
    """Batches that are decoded when they are asked for; of plain parts, so that worker processes can have them."""

    def __len__(self) -> int: ...

    def __getitem__(self, b: int) -> Batch: ...


def default_workers(device: str) -> int:
    """Processes that decode: a GPU is fed by all CPUs; on a CPU, most of them are the network's."""
    cpus = resolve_jobs(None)
    return min(16, cpus) if device == "cuda" else min(4, max(1, cpus // 4))


def load(batches: Decoding, workers: int, device: str) -> Iterator[Batch]:
    """All batches in order; the processes end with the iterator.

    Parameters
    ----------
    batches : Decoding
    workers : int
        Processes that decode; with 0, this one does.
    device : str
        For "cuda", tensors are pinned.

    Raises
    ------
    RuntimeError
        If a process was ended from outside.
    """
    torch = import_torch()
    workers = min(workers, len(batches))
    if not workers:
        for b in range(len(batches)):
            with threads(1):  # an image is too small to be shared among more
                batch = batches[b]
            yield batch
        return
    loader = torch.utils.data.DataLoader(
        _Caught(batches),
        batch_size=None,
        num_workers=workers,
        collate_fn=_same,
        pin_memory=device == "cuda",
        prefetch_factor=_PREFETCH,
        worker_init_fn=_ignore_interrupts,
        # Forked processes need nothing that can be pickled, and start at once.
        multiprocessing_context="fork" if sys.platform == "linux" else None,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads
            iterator = iter(loader)
        for batch in iterator:
            if isinstance(batch, Exception):
                raise batch
            yield batch
    except (RuntimeError, OSError) as error:
        if not _DIED.search(str(error)):
            raise
        hint = "fewer --workers or a smaller --batch-size"
        if "shared memory" in str(error) or "Bus error" in str(error):
            hint = "--workers 0, or more room in /dev/shm (docker run --shm-size=2g)"
        raise RuntimeError(
            f"a process that decodes images was ended by the system, mostly for want of memory ({_first_line(error)}): "
            f"run the same command again with {hint}, and it goes on"
        ) from None


@dataclass(frozen=True)
class _Caught:
    """Batches, or what went wrong with them: torch would put the traceback into the message of what it raises again."""

    batches: Decoding

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, b: int) -> Batch | Exception:
        try:
            return self.batches[b]
        except Exception as error:
            return error


def _same(value: Any) -> Any:
    return value


def _ignore_interrupts(worker: int) -> None:
    # Ctrl-C reaches every process of a terminal: the parent alone answers it. Where it leaves while it takes a batch,
    # the thread of `multiprocessing` that gives it would print a traceback of the connection.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _report_all_but_lost_connections
    os.nice(5)  # the network goes before the images after next


def _report_all_but_lost_connections(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if not issubclass(kind, ConnectionError):
        sys.__excepthook__(kind, error, trace)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].strip(" .")
