"""Training speed: an epoch of OrthoHash on 60,000 x 512 features, beside the loop that most repositories have.

    python bench/training.py [--epochs 7]

Both train the same linear head with batch normalisation and the same loss, in batches of 1,024, on the CPU. The peer is
a `TensorDataset` under a `DataLoader` that shuffles. Epochs alternate, so that both meet the same neighbours; times are
medians of epochs. Ours counts everything but validation: drawing, loading, learning rates, checks for NaN.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from lshcore import hashers, metrics
from lshcore.neural import learners, losses
from lshcore.neural.fitting import count_threads
from lshcore.neural.sampling import ByLabel
from lshcore.neural.training import Features, Schedule, Trainer

N, DIM, BITS, CLASSES, BATCH = 60_000, 512, 64, 100, 1024


def make_data(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes as noisy clusters."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(CLASSES, DIM))
    y = rng.integers(0, CLASSES, n)
    return (centres[y] + 2 * rng.normal(size=(n, DIM))).astype(np.float32), y


class Timed(Features):
    """Features whose loading is timed."""

    seconds = 0.0

    def batches(
        self, parts: Sequence[torch.Tensor], seed: int, epoch: int
    ) -> Iterator[tuple[torch.Tensor, Sequence[torch.Tensor]]]:
        batches = super().batches(parts, seed, epoch)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.seconds += time.perf_counter() - start
            if batch is None:
                return
            yield batch


def make_ours(x: np.ndarray, y: np.ndarray) -> tuple[Trainer, Timed]:
    """A trainer that goes on, an epoch at a time."""
    source = Timed(x, "cpu")
    task = learners.Task(DIM, BITS, torch.arange(N), source.read, ByLabel(y, "cpu"), 0)
    learner = learners.OrthoHash(task, hashers.OrthoHash(BITS, hidden=()).get_params())
    learner.head.adapt(x)
    schedule = Schedule(1, BATCH, 1e-3, 0.0, None)
    return Trainer(learner, source, np.arange(N), schedule, 0, "cpu"), source


def make_peer(x: np.ndarray, y: np.ndarray) -> tuple[torch.nn.Module, torch.Tensor, DataLoader]:
    """Head, codebook and loader."""
    head = torch.nn.Sequential(torch.nn.Linear(DIM, BITS), torch.nn.BatchNorm1d(BITS))
    codebook = torch.randint(2, (CLASSES, BITS)).float() * 2 - 1
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return head, codebook, DataLoader(rows, batch_size=BATCH, shuffle=True)


def epoch_of_peer(head: torch.nn.Module, codebook: torch.Tensor, loader: DataLoader) -> float:
    """Seconds of one epoch."""
    optimiser = torch.optim.Adam(head.parameters(), lr=1e-3)
    start = time.perf_counter()
    for x, y in loader:
        targets = torch.nn.functional.one_hot(y, CLASSES).float()
        loss = losses.cosine_cross_entropy(head(x), codebook, targets, 8.0, 0.2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=7, help="epochs of each that are timed")
    arguments = parser.parse_args()
    x, y = make_data(N, 0)
    trainer, source = make_ours(x, y)
    torch.set_num_threads(count_threads(trainer.learner, BATCH))  # as `fit` does
    peer = make_peer(x, y)
    ours: list[float] = []
    theirs: list[float] = []
    loading: list[float] = []
    for _ in range(arguments.epochs + 1):  # the first warms up
        source.seconds = 0.0
        start = time.perf_counter()
        trainer.run()
        ours.append(time.perf_counter() - start)
        loading.append(source.seconds / ours[-1])
        theirs.append(epoch_of_peer(*peer))
    a, b = statistics.median(ours[1:]), statistics.median(theirs[1:])
    setting = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"{N:,} x {DIM}, {BITS} bits, batches of {BATCH:,}, {setting}")
    print(f"seconds an epoch: ours {a:.3f}, DataLoader {b:.3f}, {b / a:.2f}x")
    print(f"loading: {100 * statistics.median(loading[1:]):.1f} % of our epoch")
    hasher = hashers.OrthoHash(BITS, hidden=(), epochs=5, batch_size=BATCH).fit(x, y)
    queries, query_labels = make_data(1_000, 1)
    score = metrics.hamming_ranking(hasher.encode(queries), hasher.encode(x), query_labels, y)["map"]
    assert score > 0.5, f"what was timed must learn, got map {score:.3f}"
    print(f"map after 5 epochs {score:.3f}")


if __name__ == "__main__":
    main()
