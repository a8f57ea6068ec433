"""Seconds a query against the size of the gallery: exhaustive search, and twelve tables whose keys grow with it.

    python bench/scaling.py [--largest 7] [--jobs 2] [--png scaling.png]

Codes are synthetic: a random centre for every thousand codes, each code its centre with a tenth of the bits flipped.
Keys are log2(rows) of the 64 bits, rounded down and drawn for each table, and as many keys are looked into as the
recall asks for (of distances, among the k nearest). The exponent is that of time ~ rows^exponent, by least squares.
"""

import argparse
import time

import numpy as np

from lshcore import BinaryCodes, _core, hamming

N_BITS, N_TABLES = 64, 12


def codes(rng: np.random.Generator, centres: np.ndarray, n: int) -> BinaryCodes:
    packed = centres[rng.integers(0, len(centres), n)]
    for i in range(0, n, 65_536):
        flips = rng.integers(0, 256, (len(packed[i : i + 65_536]), N_BITS), dtype=np.uint8) < 26
        packed[i : i + 65_536] ^= np.packbits(flips, axis=1, bitorder="little")
    return BinaryCodes.from_packed(packed, N_BITS)


def seconds_a_query(run, n_queries: int, rounds: int) -> float:
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) / n_queries


def measure(rows: int, a: argparse.Namespace) -> tuple[float, float, float, float, int]:
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (rows // 1_000, N_BITS // 8), dtype=np.uint8)
    gallery, queries = codes(rng, centres, rows), codes(rng, centres, a.queries)
    key_bits = int(np.log2(rows))
    positions = rng.random((N_TABLES, N_BITS)).argsort(axis=1)[:, :key_bits].astype(np.int32)
    index = _core.Index(_core.BitKeys(positions, N_BITS), N_BITS)
    index.add(gallery.words, None, None, a.jobs)

    def exhaustive():
        return hamming.search(queries, gallery, a.k, a.jobs)

    def tables():
        return index.search(queries.words, None, a.k, "hamming", probes, a.jobs)

    exact = exhaustive()[0]
    probes, recall = N_TABLES, -1.0
    while recall < a.recall:
        probes = probes * 5 // 4 if recall >= 0 else probes
        distances, ids, n_candidates, _ = tables()
        recall = float((distances <= exact[:, -1:]).mean())
    own = np.bitwise_count(queries.words ^ gallery.words[ids, 0]).astype(np.uint16)
    if not np.array_equal(own[ids >= 0], distances[ids >= 0]) or (distances < exact).any():
        raise SystemExit(f"{rows} rows: the tables give distances that are not those of their ids")
    times = [seconds_a_query(run, a.queries, a.rounds) for run in (exhaustive, tables)]
    return *times, float(n_candidates.mean()), recall, probes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=float, default=7, help="power of ten; the smallest is 4")
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--recall", type=float, default=0.9)
    parser.add_argument("--png")
    a = parser.parse_args()

    print(f"{N_BITS} bits, {N_TABLES} tables, k = {a.k}, {a.jobs} threads, kernels {_core.kernel_set()}")
    print(f"{'codes':>12s}{'exhaustive, us':>16s}{'tables, us':>12s}{'candidates':>12s}{'keys':>7s}{'recall':>8s}")
    sizes = [round(10**power) for power in np.arange(4, a.largest + 0.01, 0.5)]
    times = []
    for rows in sizes:
        exhaustive, tables, candidates, recall, keys = measure(rows, a)
        times.append((exhaustive, tables))
        figures = f"{1e6 * exhaustive:16.2f}{1e6 * tables:12.2f}{candidates:12,.0f}{keys:7d}{recall:8.3f}"
        print(f"{rows:12,d}{figures}", flush=True)
    if len(sizes) < 2:
        return
    for name, n in [("exponent", len(sizes)), ("of last 3", 3)]:
        exponents = np.polyfit(np.log(sizes[-n:]), np.log(times[-n:]), 1)[0]
        print(f"{name:>12s}{exponents[0]:16.2f}{exponents[1]:12.2f}")

    if a.png:
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(5, 3.5), layout="constrained")
        for name, line, exponent in zip(["exhaustive", "12 tables"], np.transpose(times), exponents, strict=True):
            axes.loglog(sizes, line, marker="o", label=f"{name}: rows^{exponent:.2f} at the end")
        axes.set(xlabel="codes of 64 bits", ylabel="seconds a query")
        axes.legend()
        figure.savefig(a.png, dpi=150)


if __name__ == "__main__":
    main()
