"""The Hamming engine beside FAISS, usearch and NumPy: the same work, the same answers, one process.

    pip install ".[bench]" && python bench/peers.py [--only flat] [--rows 1281167] [--jobs 2]

Every line first checks that both sides find the same distances (or says what recall they are compared at), then times
them in alternating rounds and prints medians. Codes are synthetic: 1,000 random centres, each code its centre with a
tenth of the bits flipped; the tables get codes of real vectors by random hyperplanes, whose margins direct our probes.
"""

import argparse
import ctypes
import gc
import os
import time
from collections.abc import Callable, Iterator

import faiss
import numpy as np

from lshcore import BinaryCodes, _core, hamming, metrics

Line = tuple[str, str, str, str]  # what was done, ours, the peer's, the ratio


def timed(run: Callable):
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def medians(ours: Callable, theirs: Callable, rounds: int, repeats: int = 1) -> tuple[float, float]:
    """Of alternating rounds; each begins with a run that does not count: it wakes one side's threads while the other's
    fall asleep."""
    times = ([], [])
    for _ in range(rounds):
        for side, its_times in zip((ours, theirs), times, strict=True):
            side()
            its_times.extend(timed(side)[0] for _ in range(repeats))
    return float(np.median(times[0])), float(np.median(times[1]))


def per_second(what: str, queries: int, ours: float, theirs: float) -> Line:
    return what, f"{queries / ours:,.0f} q/s", f"{queries / theirs:,.0f} q/s", f"{theirs / ours:.2f}x"


def check(same: bool, what: str) -> None:
    if not same:
        raise SystemExit(f"{what}: the two do not find the same")


def resident_bytes() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Data:
    """Packed codes of 512 bits and their classes; narrower codes are their first bytes."""

    def __init__(self, rows: int, queries: int) -> None:
        rng = np.random.default_rng(0)
        self.centres = rng.integers(0, 256, (1_000, 64), dtype=np.uint8)
        self.labels, self.gallery = self._draw(rng, rows)
        self.query_labels, self.queries = self._draw(rng, queries)

    def _draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, len(self.centres), n)
        packed = self.centres[labels]
        for i in range(0, n, 65_536):
            flips = rng.integers(0, 256, (len(packed[i : i + 65_536]), 512), dtype=np.uint8) < 26
            packed[i : i + 65_536] ^= np.packbits(flips, axis=1, bitorder="little")
        return labels, packed

    def packed(self, n_bits: int) -> tuple[np.ndarray, np.ndarray]:
        return (np.ascontiguousarray(self.queries[:, : n_bits // 8]), self.gallery[:, : n_bits // 8].copy())

    def codes(self, n_bits: int) -> tuple[BinaryCodes, BinaryCodes]:
        return tuple(BinaryCodes.from_packed(p, n_bits) for p in self.packed(n_bits))


def exhaustive(a: argparse.Namespace, what: str, codes: tuple[BinaryCodes, BinaryCodes], k: int, theirs) -> Line:
    def ours() -> np.ndarray:
        return hamming.search(*codes, k, a.jobs)[0]

    check(np.array_equal(ours(), theirs()), what)
    return per_second(what, len(codes[0]), *medians(ours, theirs, a.rounds))


def flat(a: argparse.Namespace, data: Data) -> Iterator[Line]:
    """IndexBinaryFlat, exhaustive."""

    def line(n_bits: int, k: int) -> Line:
        packed, gallery = data.packed(n_bits)
        index = faiss.IndexBinaryFlat(n_bits)
        index.add(gallery)
        what = f"flat {n_bits} bits, k={k}: IndexBinaryFlat"
        return exhaustive(a, what, data.codes(n_bits), k, lambda: index.search(packed, k)[0])

    for n_bits, k in [(64, 100), (128, 100), (256, 100), (512, 100), (64, 1_000)]:
        yield line(n_bits, k)


def one(a: argparse.Namespace, data: Data) -> Iterator[Line]:
    """One query at a time."""
    (q, g), (packed, gallery) = data.codes(64), data.packed(64)
    index = faiss.IndexBinaryFlat(64)
    index.add(gallery)
    check(np.array_equal(hamming.search(q[:1], g, 100, a.jobs)[0], index.search(packed[:1], 100)[0]), "one")
    first, packed = q[:1], packed[:1]
    ours, theirs = medians(lambda: hamming.search(first, g, 100, a.jobs), lambda: index.search(packed, 100), 5, 10)
    what = "one query 64 bits, k=100: IndexBinaryFlat"
    yield what, f"{1e3 * ours:.2f} ms", f"{1e3 * theirs:.2f} ms", f"{theirs / ours:.2f}x"


def lsh(a: argparse.Namespace, data: Data) -> Iterator[Line]:
    """IndexLSH holds bits and scans them all; it takes its queries as floats, here the signs."""
    codes = data.codes(64)
    index = faiss.IndexLSH(64, 64, False, False)
    index.add_sa_codes(data.packed(64)[1])
    signs = codes[0].to_signs().astype(np.float32)
    yield exhaustive(a, "flat 64 bits, k=100: IndexLSH", codes, 100, lambda: index.search(signs, 100)[0])


def usearch(a: argparse.Namespace, data: Data) -> Iterator[Line]:
    """usearch's exact search, of a tenth of the queries."""
    what = "flat 64 bits, k=100, fewer queries: usearch exact"
    try:
        from usearch.index import MetricKind, search
    except ImportError:
        yield what, "-", "not installed", "-"
        return
    (q, g), (packed, gallery) = data.codes(64), data.packed(64)
    few = -(-len(q) // 10)

    def theirs() -> np.ndarray:
        return search(gallery, packed[:few], 100, MetricKind.Hamming, exact=True, threads=a.jobs, dtype="b1").distances

    yield exhaustive(a, what, (q[:few], g), 100, theirs)


def tables(a: argparse.Namespace, data: Data) -> Iterator[Line]:
    """IndexBinaryMultiHash, 12 tables of 16 bits, every key with at most one bit flipped."""
    n_tables, key_bits, k, n_bits = 12, 16, 100, 192
    rng = np.random.default_rng(1)
    centres, weights = rng.normal(size=(1_000, 64)), rng.normal(size=(n_bits, 64)).astype(np.float32)

    def vectors(n: int) -> np.ndarray:
        return (centres[rng.integers(0, 1_000, n)] + 0.5 * rng.normal(size=(n, 64))).astype(np.float32)

    gallery = BinaryCodes(_core.encode(vectors(a.rows), weights, np.zeros(n_bits, np.float32), a.jobs), n_bits)
    margins = vectors(a.queries) @ weights.T
    queries = BinaryCodes.from_signs(margins)
    packed, packed_gallery = queries.to_packed(), gallery.to_packed()
    positions = np.arange(n_bits, dtype=np.int32).reshape(n_tables, key_bits)

    def build_ours():
        index = _core.Index(_core.BitKeys(positions, n_bits), n_bits)
        index.add(gallery.words, None, None, a.jobs)
        return index

    def build_theirs():
        index = faiss.IndexBinaryMultiHash(n_bits, n_tables, key_bits)
        index.nflip = 1
        index.add(packed_gallery)
        return index

    before = resident_bytes()
    first_build, ours = timed(build_ours)
    our_bytes = resident_bytes() - before
    build = float(np.median([first_build, *(timed(build_ours)[0] for _ in range(a.rounds - 1))]))
    before = resident_bytes()
    their_build, theirs = timed(build_theirs)
    their_bytes = resident_bytes() - before

    def search(probes: int = n_tables, radius: int = -1):
        return ours.search(queries.words, None, k, "hamming", probes, a.jobs, margins=margins, radius=radius)

    exact = hamming.search(queries, gallery, k, a.jobs)[0]

    def recall(distances: np.ndarray) -> float:
        return float((distances <= exact[:, -1:]).mean())  # of the hits; equals of the k-th count

    their_distances = theirs.search(packed, k)[0]
    within = search(radius=1)
    found = np.where(within[0] == 65_535, 2**31 - 1, within[0].astype(np.int64))
    check(np.array_equal(found, their_distances), "tables")
    goal = recall(their_distances)
    low, high = n_tables - 1, n_tables
    while recall(search(high)[0]) < goal:
        low, high = high, 2 * high
    while high - low > 1:  # the fewest probes that reach it
        middle = (low + high) // 2
        low, high = (middle, high) if recall(search(middle)[0]) < goal else (low, middle)
    reached = search(high)

    yield per_second(
        f"tables, the same {n_tables * (key_bits + 1)} keys, recall {goal:.4f}",
        len(queries),
        *medians(lambda: search(radius=1), lambda: theirs.search(packed, k), a.rounds),
    )
    yield per_second(
        f"tables, our {high} probes by margin, recall {recall(reached[0]):.4f}",
        len(queries),
        *medians(lambda: search(high), lambda: theirs.search(packed, k), a.rounds),
    )
    yield "  candidates a query: by margin; the 204 keys", f"{reached[2].mean():,.0f}", f"{within[2].mean():,.0f}", ""
    yield "  build", f"{build:.2f} s", f"{their_build:.2f} s", f"{their_build / build:.1f}x"
    size = sum(ours.nbytes.values())
    yield (
        "  memory: resident (ours by its own count)",
        f"{our_bytes / 1e6:,.0f} ({size / 1e6:,.0f}) MB",
        f"{their_bytes / 1e6:,.0f} MB",
        f"{their_bytes / our_bytes:.1f}x",
    )


def numpy_ap(query: np.ndarray, gallery: np.ndarray, relevant: np.ndarray) -> float:
    """AP of a query, float32 product and argsort; ties fall as argsort leaves them."""
    distances = 0.5 * (gallery.shape[1] - np.dot(query, gallery.T))
    places = np.where(relevant[np.argsort(distances)])[0] + 1.0
    return float(np.mean(np.arange(1, len(places) + 1) / places)) if len(places) else 0.0


def repository_ap(query: np.ndarray, gallery: np.ndarray, label: np.ndarray, labels: np.ndarray) -> float:
    """As the repositories of deep hashing have it: what is relevant is a product too, of float32 one-hot labels."""
    return numpy_ap(query, gallery, np.dot(label, labels.T) > 0)


def mean_ap(a: argparse.Namespace, data: Data) -> Iterator[Line]:
    """Average precision over the whole gallery, per query."""
    rng = np.random.default_rng(2)
    for _ in range(20):  # distances that all differ: row i is i bits away
        bits, rows = rng.random(512) < 0.5, rng.permutation(513)
        order, relevant = rng.permutation(512), rng.random(513) < 0.3
        gallery = np.tile(bits, (513, 1))
        for i, distance in enumerate(rows):
            gallery[i, order[:distance]] ^= True
        q, g = BinaryCodes.from_bools(bits[np.newaxis]), BinaryCodes.from_bools(gallery)
        ours = metrics.hamming_ranking(q, g, np.ones(1, np.int64), relevant.astype(np.int64), n_jobs=a.jobs)["map"]
        theirs = numpy_ap(*(c.to_signs().astype(np.float32).squeeze() for c in (q, g)), relevant)
        check(abs(ours - theirs) < 1e-12, "map")
    q, g = data.codes(64)
    signs, query_signs = g.to_signs().astype(np.float32), q.to_signs().astype(np.float32)
    one_hot = np.zeros((len(data.labels), len(data.centres)), np.float32)
    one_hot[np.arange(len(data.labels)), data.labels] = 1
    times = []
    for i in range(a.rounds):
        mine = one_hot[np.flatnonzero(data.labels == data.query_labels[i])[0]]
        relevant = data.labels == data.query_labels[i]
        ours = timed(lambda: metrics.hamming_ranking(q, g, data.query_labels, data.labels, n_jobs=a.jobs))[0]
        theirs = timed(lambda i=i, mine=mine: repository_ap(query_signs[i], signs, mine, one_hot))[0]
        given = timed(lambda i=i, relevant=relevant: numpy_ap(query_signs[i], signs, relevant))[0]
        times.append((ours / len(q), theirs, given))
    ours, theirs, given = np.median(times, axis=0)
    what = "AP over the whole gallery, 64 bits, a query: NumPy"
    yield what, f"{1e3 * ours:.3f} ms", f"{1e3 * theirs:.1f} ms", f"{theirs / ours:.0f}x"
    yield "  NumPy told what is relevant", f"{1e3 * ours:.3f} ms", f"{1e3 * given:.1f} ms", f"{given / ours:.0f}x"


LINES = {"flat": flat, "one": one, "lsh": lsh, "usearch": usearch, "tables": tables, "map": mean_ap}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=LINES)
    parser.add_argument("--rows", type=int, default=1_281_167)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()

    faiss.omp_set_num_threads(a.jobs)
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "unknown CPU")
    print(
        f"{a.rows:,} codes, {a.queries:,} queries, {a.jobs} threads; {cpu}, kernels {_core.kernel_set()}, "
        f"faiss {faiss.__version__} ({faiss.get_compile_options().strip()}), numpy {np.__version__}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'':56s}{'ours':>18s}{'peer':>18s}{'ratio':>9s}")
    data = Data(a.rows, a.queries)
    for name in [a.only] if a.only else LINES:
        for what, ours, theirs, ratio in LINES[name](a, data):
            print(f"{what:56s}{ours:>18s}{theirs:>18s}{ratio:>9s}", flush=True)


if __name__ == "__main__":
    main()
