"""Nearest neighbours as ann-benchmarks measures them: lshcore beside hnswlib and FAISS IVF-Flat, on Fashion-MNIST.

    pip install ".[bench]" hnswlib && apt install dataset-fashion-mnist && python bench/ann.py --plot frontier.png

The data are those of fashion-mnist-784-euclidean: 60,000 rows, pixels from 0 to 255; the true neighbours are computed
here, exactly. One query at a time on one thread, or with `--batch` all at once; queries/s is 1 / mean time of the best
run, a row is found when it is no farther than the k-th true neighbour + 1e-3, "bytes" is what building adds to the
resident memory. Unlike there, runs of all settings alternate, so that what else the machine does is shared fairly.
"""

import argparse
import itertools
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ann_benchmarks.module import LSHCore

from lshcore import _core, data

NEIGHBOURS = 100
EPSILON = 1e-3


@dataclass
class Data:
    train: np.ndarray  # float32 (n, d)
    queries: np.ndarray  # float32 (m, d)
    distances: np.ndarray  # float64 (m, 100), sorted


def true_neighbours(train: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and distances, by distance and then id. Of whole numbers: their squares are exact in float64."""
    x = train.astype(np.float64)
    squares = (x * x).sum(axis=1)
    ids, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    for start in range(0, len(queries), 200):
        q = queries[start : start + 200].astype(np.float64)
        squared = squares - 2 * (q @ x.T) + (q * q).sum(axis=1)[:, np.newaxis]
        for i, row in enumerate(squared, start):
            near = np.flatnonzero(row <= np.partition(row, k - 1)[k - 1])
            ids[i] = near[np.argsort(row[near], kind="stable")[:k]]
            distances[i] = np.sqrt(row[ids[i]])
    return ids, distances


def load(n_queries: int, cache: Path) -> Data:
    """Fashion-MNIST, and its true neighbours from the cache where that has them."""
    pixels = data.load("fashion-mnist")
    train, queries = (pixels.features[part].astype(np.float32) for part in pixels.official_split)
    queries = queries[:n_queries]
    crc = zlib.crc32(queries.tobytes(), zlib.crc32(train.tobytes()))
    if cache.is_file():
        with np.load(cache) as saved:
            if saved["crc"] == crc:
                return Data(train, queries, saved["distances"])
    ids, distances = true_neighbours(train, queries, NEIGHBOURS)
    np.savez(cache, crc=crc, neighbors=ids, distances=distances)
    return Data(train, queries, distances)


class HNSW:
    """hnswlib."""

    def __init__(self, jobs: int, m: int = 16, ef_construction: int = 200) -> None:
        import hnswlib

        self._make, self._jobs, self._m, self._ef_construction = hnswlib.Index, jobs, m, ef_construction

    def fit(self, X: np.ndarray) -> None:
        self.index = self._make(space="l2", dim=X.shape[1])
        self.index.init_index(len(X), self._ef_construction, self._m)
        self.index.set_num_threads(self._jobs)
        self.index.add_items(X)

    def set_query_arguments(self, ef: int) -> None:
        self._ef = ef
        self.index.set_ef(ef)

    def query(self, v: np.ndarray, n: int) -> np.ndarray:
        return self.index.knn_query(v[np.newaxis], n)[0][0]

    def batch_query(self, X: np.ndarray, n: int) -> None:
        self._found = self.index.knn_query(X, n)[0]

    def get_batch_results(self) -> np.ndarray:
        return self._found

    def __str__(self) -> str:
        return f"HNSW(M={self._m}, efConstruction={self._ef_construction}, ef={self._ef})"


class IVFFlat:
    """FAISS."""

    def __init__(self, jobs: int, lists: int) -> None:
        import faiss

        faiss.omp_set_num_threads(jobs)
        self._faiss, self._lists = faiss, lists

    def fit(self, X: np.ndarray) -> None:
        self._quantizer = self._faiss.IndexFlatL2(X.shape[1])
        self.index = self._faiss.IndexIVFFlat(self._quantizer, X.shape[1], self._lists)
        self.index.train(X)
        self.index.add(X)

    def set_query_arguments(self, probes: int) -> None:
        self.index.nprobe = probes

    def query(self, v: np.ndarray, n: int) -> np.ndarray:
        ids = self.index.search(v[np.newaxis], n)[1][0]
        return ids[ids >= 0]

    def batch_query(self, X: np.ndarray, n: int) -> None:
        self._found = self.index.search(X, n)[1]

    def get_batch_results(self) -> list[np.ndarray]:
        return [ids[ids >= 0] for ids in self._found]

    def __str__(self) -> str:
        return f"IVFFlat(lists={self._lists}, nprobe={self.index.nprobe})"


@dataclass
class Built:
    library: str
    algorithm: LSHCore | HNSW | IVFFlat
    seconds: float
    bytes: int


@dataclass
class Line:
    built: Built
    arguments: tuple[int, ...]
    setting: str = ""
    recall: float = -1.0
    mean_time: float = float("inf")


def build(library: str, algorithm: LSHCore | HNSW | IVFFlat, X: np.ndarray, memory: Callable[[], float]) -> Built:
    before = memory()
    start = time.perf_counter()
    algorithm.fit(X)
    seconds = time.perf_counter() - start
    return Built(library, algorithm, seconds, round(1024 * (memory() - before)))


def answers(algorithm: LSHCore | HNSW | IVFFlat, queries: np.ndarray, k: int, batch: bool) -> tuple[float, list]:
    """Mean time of a query, and the ids that each found."""
    if batch:
        start = time.perf_counter()
        algorithm.batch_query(queries, k)
        seconds = time.perf_counter() - start
        return seconds / len(queries), list(algorithm.get_batch_results())
    seconds, found = 0.0, []
    for v in queries:
        start = time.perf_counter()
        ids = algorithm.query(v, k)
        seconds += time.perf_counter() - start
        found.append(ids)
    return seconds / len(queries), found


def recall(d: Data, found: Sequence[np.ndarray], k: int) -> float:
    """By distance, so that equals of the k-th count; of the first queries, as many as there are answers."""
    total = 0
    for query, ids, true in zip(d.queries, found, d.distances, strict=False):
        check(len(ids) <= k and len(set(ids.tolist())) == len(ids), "an answer has too many rows, or one twice")
        gaps = d.train[ids].astype(np.float64) - query
        total += int((np.sqrt((gaps * gaps).sum(axis=1)) <= true[k - 1] + EPSILON).sum())
    return total / (k * len(found))


def check(right: bool, what: str) -> None:
    if not right:
        raise SystemExit(what)


def run(line: Line, d: Data, k: int, batch: bool) -> None:
    """One run; the best one counts."""
    algorithm = line.built.algorithm
    algorithm.set_query_arguments(*line.arguments)
    mean_time, found = answers(algorithm, d.queries, k, batch)
    reached = recall(d, found, k)
    check(line.recall in (-1.0, reached), f"{algorithm}: two runs do not find the same")
    line.setting, line.recall, line.mean_time = str(algorithm), reached, min(line.mean_time, mean_time)


def check_probes(lines: Iterable[Line]) -> None:
    """More probes find no less, where all that is found is ranked; `lines` in ascending order of probes."""
    plain = [line for line in lines if isinstance(line.built.algorithm, LSHCore) and not any(line.arguments[1:])]
    for fewer, more in itertools.pairwise(plain):
        if fewer.built is more.built:
            check(fewer.recall <= more.recall, f"{more.setting} finds less than {fewer.setting}")


def check_all(algorithm: LSHCore, probes: int, d: Data, k: int, n_queries: int) -> None:
    """With every bucket looked into nothing is missed, alone or in a batch."""
    algorithm.set_query_arguments(probes)
    for batch in (False, True):
        found = answers(algorithm, d.queries[:n_queries], k, batch)[1]
        check(recall(d, found, k) == 1, f"{algorithm} misses rows")


def frontier(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """(recall, queries/s) that no other has both more of."""
    best, kept = 0.0, []
    for reached, speed in sorted(points, reverse=True):
        if speed > best:
            best = speed
            kept.append((reached, speed))
    return kept[::-1]


def draw(lines: Sequence[Line], k: int, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot(
        xlabel=f"recall of {k}", ylabel="queries/s", yscale="log", title="fashion-mnist-784-euclidean"
    )
    for library in dict.fromkeys(line.built.library for line in lines):
        points = [(line.recall, 1 / line.mean_time) for line in lines if line.built.library == library]
        axes.plot(*zip(*frontier(points), strict=True), marker="o", label=library)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--clusters", type=int, default=1_024, help="ours and FAISS's")
    parser.add_argument("--batch", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="threads to build with, and of --batch")
    parser.add_argument("--cache", type=Path, default=Path("fashion-mnist-784-euclidean.npz"))
    parser.add_argument("--plot", type=Path)
    a = parser.parse_args()

    from threadpoolctl import threadpool_limits

    print(
        f"fashion-mnist-784-euclidean, {a.queries:,} queries{' in a batch' if a.batch else ''}, k = {a.k}, {a.jobs} "
        f"thread(s), best of {a.runs} runs, kernels {_core.kernel_set()}, load {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} CPUs",
        flush=True,
    )
    d = load(a.queries, a.cache)
    os.environ["LSHCORE_NUM_THREADS"] = str(a.jobs)
    probes = [p for p in (1, 2, 4, 8, 16, 32, 64) if p <= a.clusters]
    kmeans = LSHCore("euclidean", "kmeans", {"clusters": a.clusters, "bits": 256})
    lsh = LSHCore("euclidean", "lsh", {"tables": 16, "key_bits": 14})
    sweeps = [
        ("lshcore k-means", lambda: kmeans, [(p,) for p in probes] + [(p, 400) for p in probes[2:]]),
        ("lshcore LSH", lambda: lsh, [(p, s) for s in (0, 400) for p in (16, 64, 256, 1_024)]),
        ("hnswlib", lambda: HNSW(a.jobs), [(ef,) for ef in (10, 20, 40, 80, 160, 320)]),
        ("faiss IVF-Flat", lambda: IVFFlat(a.jobs, a.clusters), [(p,) for p in probes]),
    ]
    lines = []
    with threadpool_limits(a.jobs):
        # What libraries take once, such as the buffers of BLAS, is no part of an index.
        LSHCore("euclidean", "kmeans", {"clusters": 4, "bits": 256}).fit(d.train[:2_000])
        for library, make, arguments in sweeps:
            try:
                algorithm = make()
            except ImportError:
                print(f"{library}: not installed")
                continue
            built = build(library, algorithm, d.train, kmeans.get_memory_usage)
            print(f"{library}: built in {built.seconds:.1f} s", file=sys.stderr, flush=True)
            lines += [Line(built, each) for each in arguments]
        check_all(kmeans, a.clusters, d, a.k, 100)
        check_all(lsh, 16 << 14, d, a.k, 20)
        for _ in range(a.runs):
            for line in lines:
                run(line, d, a.k, a.batch)
    check_probes(lines)

    print(f"{'library':16s}{'setting':66s}{'recall':>8s}{'queries/s':>11s}{'build, s':>10s}{'bytes':>14s}")
    for line in lines:
        print(
            f"{line.built.library:16s}{line.setting:66s}{line.recall:8.4f}{1 / line.mean_time:11,.0f}"
            f"{line.built.seconds:10.1f}{line.built.bytes:14,d}"
        )
    print(f"load at the end: {os.getloadavg()[0]:.1f}")
    if a.plot:
        draw(lines, a.k, a.plot)


if __name__ == "__main__":
    main()
