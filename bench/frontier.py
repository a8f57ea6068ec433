"""Recall against queries per second: lshcore beside hnswlib, FAISS (HNSW, IVF-Flat, IVF-PQ, RaBitQ), usearch, voyager.

    pip install ".[bench]" hnswlib voyager && apt install dataset-fashion-mnist
    python bench/frontier.py --plot frontier.png               # fashion-mnist-784-euclidean, the data of ann-benchmarks
    python bench/frontier.py --data features                   # its images by a network: pip install ".[vision,test]"
    python bench/frontier.py --data clustered --json all.json  # a million rows, generated
    python bench/frontier.py --data uniform                    # no structure at all: the worst case

One query at a time on one thread, or with `--batch` all at once on `--jobs`. queries/s is 1 / mean time of a query, the
median over the runs, and so is its 99th percentile. A row is found when it is no farther than the k-th true neighbour,
by float64. "MB" is what building adds to the anonymous resident memory, vectors included.

Every setting is tried once on few queries; those that another one of the same library beats clearly, or one of any
library by far, go no further, but for the fastest of each library. Runs of the rest alternate, so that what else the
machine does is shared fairly. Indexes of others are kept in `--cache`, with the time and memory that building took;
ours is built every time.
"""

import argparse
import ctypes
import gc
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from frontier_data import LOADERS, Data, load, say
from frontier_peers import PEERS, Ours, Peer, Setting, default_clusters
from frontier_report import TARGETS, Built, Line, as_json, compared, draw, fastest, names, table
from threadpoolctl import threadpool_limits

from lshcore import _core

EPSILON = 1e-6  # of a distance: what its last bits may differ by
WARM = 20  # queries before a run, not measured
TRIAL = 200  # queries of the first pass
ENOUGH = 0.9995  # more recall than this is worth no time


def check(right: bool, what: str) -> None:
    if not right:
        raise SystemExit(what)


def resident_bytes() -> int:
    """Anonymous memory; freed memory is given back first. Pages of mapped files, such as the data, are not counted."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/status") as f:
        return 1024 * next(int(line.split()[1]) for line in f if line.startswith("RssAnon:"))


def build(peer: Peer, X: np.ndarray, jobs: int) -> Built:
    # What libraries take once, such as the buffers of BLAS, is no part of an index.
    type(peer)(4).build(np.ascontiguousarray(X[:1_000]), jobs)
    before = resident_bytes()
    start = time.perf_counter()
    peer.build(X, jobs)
    seconds = time.perf_counter() - start
    return Built(peer, seconds, resident_bytes() - before)


def build_or_load(peer: Peer, d: Data, jobs: int, cache: Path, rebuild: bool = False) -> Built:
    """Our index is built; another one is kept, for the same data, version, parameters and threads."""
    if isinstance(peer, Ours):
        return build(peer, d.train, jobs)
    path = cache / f"{d.name}-{len(d.train)}-{peer.name}.index"
    told = path.with_suffix(".json")
    expected = {"crc": d.crc, "version": peer.version, "built": peer.built, "jobs": jobs}
    if told.is_file() and path.is_file() and not rebuild:
        saved = json.loads(told.read_text())
        if {name: saved.get(name) for name in expected} == expected:
            peer.load(path, d.train.shape)
            return Built(peer, saved["seconds"], saved["bytes"], kept=True)
    told.unlink(missing_ok=True)
    built = build(peer, d.train, jobs)
    peer.save(path)
    told.write_text(json.dumps({**expected, "seconds": built.seconds, "bytes": built.bytes}))
    return built


def answers(peer: Peer, queries: np.ndarray, k: int, batch: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """Seconds of each query (of a batch, of all of them), and the ids that each found."""
    if batch:
        start = time.perf_counter()
        found = peer.batch(queries, k)
        return np.array([time.perf_counter() - start]) / len(queries), list(found)
    seconds, found = np.empty(len(queries)), []
    for i, v in enumerate(queries):
        start = time.perf_counter()
        ids = peer.one(v, k)
        seconds[i] = time.perf_counter() - start
        found.append(ids)
    return seconds, found


def recall(d: Data, found: Sequence[np.ndarray], k: int, who: object = "an answer") -> float:
    """By distance, so that equals of the k-th count; of the first queries, as many as there are answers."""
    total = 0
    for query, answer, true in zip(d.queries, found, d.distances, strict=False):
        ids = np.asarray(answer).astype(np.int64)
        ids = ids[ids != -1]
        check(len(ids) <= k and len(np.unique(ids)) == len(ids), f"{who} has too many rows, or one twice")
        check(bool(((ids >= 0) & (ids < len(d.train))).all()), f"{who} has rows that there are not")
        gaps = d.train[ids].astype(np.float64) - query
        total += int((np.sqrt((gaps * gaps).sum(axis=1)) <= true[k - 1] * (1 + EPSILON)).sum())
    return total / (k * len(found))


def run(line: Line, d: Data, k: int, jobs: int, batch: bool, average: Callable = np.mean) -> None:
    """One run."""
    peer = line.built.peer
    peer.set(line.setting, jobs)
    answers(peer, d.queries[:WARM], k, batch)
    seconds, found = answers(peer, d.queries, k, batch)
    reached = recall(d, found, k, f"{peer.name}, {line},")
    if isinstance(peer, Ours):
        check(line.recall in (-1.0, reached), f"{peer.name}, {line}: two runs do not find the same")
    line.recall = reached
    line.means.append(float(average(seconds)))
    if not batch:
        line.p99s.append(float(np.quantile(seconds, 0.99)))


def no_less(setting: Setting, than: Setting) -> bool:
    """Whether every parameter is at least that of the other; one that is left out has no limit."""
    names = {*setting, *than}
    return all(setting.get(name, np.inf) >= than.get(name, np.inf) for name in names)


def trial(built: Built, d: Data, k: int, jobs: int, batch: bool) -> list[Line]:
    """Every setting once on few queries, but those that can only be slower than one that finds enough.

    Their time is that of the middle query, which a pause of the machine does not change.
    """
    few = Data(d.name, d.train, d.queries[:TRIAL], d.distances, d.crc)
    lines: list[Line] = []
    for setting in built.peer.settings(k):
        if not any(line.recall >= ENOUGH and no_less(setting, line.setting) for line in lines):
            lines.append(Line(built, setting))
            run(lines[-1], few, k, jobs, batch, np.median)
    return lines


def worth_more(lines: Sequence[Line], clearly: float = 1.25, by_far: float = 10, least: float = 0.5) -> list[Line]:
    """Those not beaten clearly by one of the same library or by far by one of any, and of a recall of any use.

    What is fastest of its library for a recall of the table stays.
    """

    def beaten(line: Line, other: Line) -> bool:
        times = clearly if other.library == line.library else by_far
        return min(other.recall, ENOUGH) >= min(line.recall, ENOUGH) and other.speed > times * line.speed

    best_of_all = [line for target in TARGETS for line in fastest(lines, target).values()]
    kept = [line for line in lines if line in best_of_all or not any(beaten(line, other) for other in lines)]
    best = {library: max(each.recall for each in kept if each.library == library) for library in names(kept)}
    return [line for line in kept if line.recall >= min(least, best[line.library])]


def check_probes(lines: Iterable[Line]) -> None:
    """More probes of ours find no less, where all that is found is ranked; `lines` in ascending order of probes."""
    plain = [line for line in lines if line.library == Ours.name and set(line.setting) == {"probes"}]
    for i, more in enumerate(plain[1:]):
        check(plain[i].recall <= more.recall, f"{more} finds less than {plain[i]}")


def check_all(ours: Ours, d: Data, k: int, n_queries: int) -> None:
    """With every bucket looked into nothing is missed, alone or in a batch."""
    ours.set(ours.everything(), 1)
    for batch in (False, True):
        found = answers(ours, d.queries[:n_queries], k, batch)[1]
        check(recall(d, found, k) == 1, f"{ours.name} misses rows with every bucket looked into")


def cpu() -> str:
    with open("/proc/cpuinfo") as f:
        return next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "unknown CPU")


def chosen(only: str | None, clusters: int) -> list[Peer]:
    """The peers of these names; those that are not installed are named, and left out."""
    wanted = only.split(",") if only else list(PEERS)
    check(set(wanted) <= set(PEERS), f"--only: must be some of {','.join(PEERS)}, got {only}")
    peers = []
    for name in wanted:
        try:
            peers.append(PEERS[name](clusters))
        except ImportError as error:
            print(f"{name}: left out ({error})")
    return peers


def measure(a: argparse.Namespace, d: Data, peers: Sequence[Peer], jobs: int) -> tuple[list[Line], list[Line]]:
    """All lines, and those among them that were measured in full."""
    tried: list[Line] = []
    for peer in peers:
        with threadpool_limits(a.build_jobs):
            built = build_or_load(peer, d, a.build_jobs, a.cache, a.rebuild)
        say(f"{peer.name}: {'kept' if built.kept else 'built'} ({peer.built}; {built.seconds:.1f} s)")
        with threadpool_limits(jobs):
            if isinstance(peer, Ours):
                check_all(peer, d, a.k, WARM)
            tried += trial(built, d, a.k, jobs, a.batch)
    lines = worth_more(tried)
    seconds = a.runs * len(d.queries) * sum(1 / line.speed for line in lines)
    print(f"{len(lines)} of {len(tried)} settings go beyond the first pass", flush=True)
    say(f"some {seconds / 60:.0f} minutes of runs to come")
    for line in lines:
        line.recall, line.means, line.p99s = -1.0, [], []
    order = np.random.default_rng(0)
    with threadpool_limits(jobs):
        for i in range(a.runs):
            for j in order.permutation(len(lines)):
                run(lines[j], d, a.k, jobs, a.batch)
            say(f"run {i + 1} of {a.runs}")
    return tried, lines


def main(arguments: Sequence[str] | None = None) -> None:
    home = Path(os.environ.get("LSHCORE_CACHE_DIR") or Path.home() / ".cache" / "lshcore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=LOADERS, default="fashion-mnist")
    parser.add_argument("--rows", type=int, help="the first ones; generated data may have more than by default")
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--k", type=int, default=10, help="at most 100")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--clusters", type=int, help="FAISS's; about 4 sqrt(rows) by default")
    parser.add_argument("--batch", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="threads of --batch")
    parser.add_argument("--build-jobs", type=int, default=2, help="threads to build with")
    parser.add_argument("--only", metavar="NAME,NAME", help=f"some of {', '.join(PEERS)}")
    parser.add_argument("--cache", type=Path, default=home / "bench", help="folder for data and the indexes of others")
    parser.add_argument("--rebuild", action="store_true", help="build the indexes that the folder has again")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    parser.add_argument("--plot", type=Path, help="a file for the curves")
    a = parser.parse_args(arguments)

    d = load(a.data, a.rows, a.queries, a.cache)
    n, dim = d.train.shape
    vectors = 4 * n * dim
    jobs = a.jobs if a.batch else 1
    title = f"{d.name}, {n:,} x {dim}, {len(d.queries):,} queries {'in a batch' if a.batch else 'one by one'}"
    machine = {"cpu": cpu(), "cpus": os.cpu_count(), "kernels": _core.kernel_set(), "load": [os.getloadavg()[0]]}
    print(f"{title}, k = {a.k}, {jobs} thread(s), median of {a.runs} runs")
    print(f"{machine['cpu']}, {machine['cpus']} CPUs, kernels {machine['kernels']}, load {machine['load'][0]:.1f}")
    check(1 <= a.k <= d.distances.shape[1], f"--k: must be from 1 to {d.distances.shape[1]}, got {a.k}")
    peers = chosen(a.only, a.clusters or default_clusters(n))
    tried, lines = measure(a, d, peers, jobs)
    check_probes(lines)
    table(lines, vectors)
    print(f"fastest at a recall, queries/s; {', '.join(f'{each.name} {each.version}' for each in peers)}")
    for row in compared(lines):
        print(f"{row[0]:24s}" + "".join(f"{cell:>24s}" for cell in row[1:]))
    machine["load"].append(os.getloadavg()[0])
    print(f"load at the end: {machine['load'][1]:.1f}")
    if a.json:
        names_of = ("k", "runs", "batch", "build_jobs")
        about = {"data": d.name, "rows": n, "dim": dim, "queries": len(d.queries), "crc": d.crc, "jobs": jobs}
        best = {f"{t:.2f}": {name: line.speed for name, line in fastest(lines, t).items()} for t in TARGETS}
        about |= {name: getattr(a, name) for name in names_of} | {"machine": machine, "fastest": best}
        a.json.write_text(json.dumps(about | {"lines": as_json(tried, lines, vectors)}, indent=1))
    if a.plot:
        draw(lines, a.k, title, a.plot)


if __name__ == "__main__":
    main()
