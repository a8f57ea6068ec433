"""Multi-table search beside FAISS IndexBinaryMultiHash, with the same keys and the same candidates.

    pip install ".[bench]" && python bench/tables.py [--rows 1281167] [--tables 12] [--key-bits 16]

Codes are synthetic: 1,000 random centres, each code its centre with a tenth of the bits flipped. Both sides look into
the same buckets (FAISS with nflip=0, ours the plain keys) and rank the union by Hamming distance on the whole code. The
distances must agree, and the answers are checked before anything is printed. Rounds alternate; medians are compared.
"""

import argparse
import os
import time

import numpy as np

from lshcore import _core


def resident_bytes() -> int:
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed(run):
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_281_167)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--tables", type=int, default=12)
    parser.add_argument("--key-bits", type=int, default=16)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()

    import faiss

    faiss.omp_set_num_threads(a.jobs)
    n_bits = a.tables * a.key_bits
    n_bytes = n_bits // 8
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (1_000, n_bytes), dtype=np.uint8)

    def codes(n: int) -> np.ndarray:
        flips = np.packbits(rng.random((n, n_bits), dtype=np.float32) < 0.1, axis=1, bitorder="little")
        return centres[rng.integers(0, len(centres), n)] ^ flips

    gallery, queries = codes(a.rows), codes(a.queries)
    pad = -n_bytes % 8

    def to_words(packed: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, pad)))).view(np.uint64)

    g, q = to_words(gallery), to_words(queries)
    positions = np.arange(n_bits, dtype=np.int32).reshape(a.tables, a.key_bits)

    def build_ours():
        index = _core.Index(_core.BitKeys(positions, n_bits), n_bits)
        index.add(g, None, None, a.jobs)
        return index

    def build_faiss():
        index = faiss.IndexBinaryMultiHash(n_bits, a.tables, a.key_bits)
        index.nflip = 0
        index.add(gallery)
        return index

    print(
        f"{a.rows:,} codes of {n_bits} bits, {a.tables} tables x {a.key_bits} bits, {a.queries:,} queries, k = {a.k}, "
        f"{a.jobs} threads, kernels {_core.kernel_set()}, faiss {faiss.__version__}"
    )
    before = resident_bytes()
    theirs_build, theirs = timed(build_faiss)
    theirs_bytes = resident_bytes() - before
    builds = [timed(build_ours)[0] for _ in range(a.rounds)]
    ours = build_ours()
    ours_bytes = sum(ours.nbytes.values())

    ours_times, theirs_times = [], []
    for _ in range(a.rounds):
        t, (distances, _, n_candidates, _) = timed(lambda: ours.search(q, None, a.k, "hamming", a.tables, a.jobs))
        ours_times.append(t)
        t, (their_distances, _) = timed(lambda: theirs.search(queries, a.k))
        theirs_times.append(t)
    found = np.where(distances == 65535, 2**31 - 1, distances.astype(np.int64))
    if not np.array_equal(found, their_distances):
        raise SystemExit("the two do not find the same distances")
    stats = faiss.cvar.indexBinaryHash_stats
    print(
        f"candidates a query: {n_candidates.mean():,.0f} (the same distances on both sides; faiss scanned "
        f"{stats.ndis / stats.nq:,.0f} with repeats)"
    )

    build, search = float(np.median(builds)), float(np.median(ours_times))
    their_search = float(np.median(theirs_times))
    print(f"{'':14s}{'ours':>12s}{'faiss':>12s}{'ratio':>9s}")
    for name, mine, other, ratio in [
        ("build, s", f"{build:.3f}", f"{theirs_build:.3f}", f"{theirs_build / build:.1f}x"),
        (
            "queries/s",
            f"{a.queries / search:,.0f}",
            f"{a.queries / their_search:,.0f}",
            f"{their_search / search:.1f}x",
        ),
        (
            "bytes an item",
            f"{ours_bytes / a.rows:.1f}",
            f"{theirs_bytes / a.rows:.1f}",
            f"{ours_bytes / theirs_bytes:.2f}x",
        ),
    ]:
        print(f"{name:14s}{mine:>12s}{other:>12s}{ratio:>9s}")


if __name__ == "__main__":
    main()
