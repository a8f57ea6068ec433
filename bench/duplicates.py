"""All pairs of near-duplicates among a million random codes of 64 bits, a tenth of which have a copy two bits away.

    python bench/duplicates.py [--codes 1000000] [--radius 3]

The pairs of 2,000 of the codes are checked against a comparison with all others.
"""

import argparse
import time

import numpy as np

from lshcore import BinaryCodes, hamming
from lshcore.duplicates import groups, range_join


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", type=int, default=1_000_000)
    parser.add_argument("--radius", type=int, default=3)
    arguments = parser.parse_args()
    n = arguments.codes
    words = np.random.default_rng(0).integers(0, 2**64, (n, 1), dtype=np.uint64)
    words[::10] = words[1::10] ^ np.uint64(0b101)
    codes = BinaryCodes.from_packed(words.view(np.uint8), 64)
    start = time.perf_counter()
    pairs = range_join(codes, arguments.radius)
    found = groups(pairs, n)
    seconds = time.perf_counter() - start
    said = f"{len(pairs):,} pairs, {len(found):,} groups, {seconds:.1f} s"
    print(f"{n:,} codes of 64 bits, radius {arguments.radius}: {said}")
    some = np.arange(0, n, max(1, n // 2000))
    near = hamming.range_search(BinaryCodes.from_packed(words[some].view(np.uint8), 64), codes, arguments.radius)
    expected = {
        (min(a, b), max(a, b))
        for i, a in enumerate(some.tolist())
        for b in near.ids[slice(*near.offsets[i : i + 2])].tolist()
        if a != b
    }
    chosen = np.isin(pairs.rows, some).any(axis=1)
    assert expected == set(map(tuple, pairs.rows[chosen].tolist())), "range_join must find what a scan finds"


if __name__ == "__main__":
    main()
