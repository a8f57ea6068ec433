"""Searches and evaluations never hold a number for every query and item: they run where that matrix would not fit.

Nor does an index being built hold its rows twice.
"""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
import numpy as np
import lshcore
from lshcore import hamming, hashers, metrics
from lshcore.codes import BinaryCodes

rng = np.random.default_rng(0)
queries, items = 4_000, 400_000  # 1.6e9 pairs: 3.2 GB of uint16, 6.4 GB of float32
gallery = BinaryCodes.from_packed(rng.integers(0, 256, (items, 8), dtype=np.uint8), 64)
asked = BinaryCodes.from_packed(rng.integers(0, 256, (queries, 8), dtype=np.uint8), 64)
few = asked[:200]
labels, asked_labels = rng.integers(0, 1000, items), rng.integers(0, 1000, queries)
rows = rng.normal(size=(items, 8)).astype(np.float32)
flat = lshcore.FlatIndex().add(rows)

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 1_000_000_000,) * 2)
work = {
    "search": lambda: hamming.search(asked, gallery, k=100, n_jobs=2),
    "range": lambda: hamming.range_search(asked, gallery, 10, n_jobs=2),
    "ranking": lambda: metrics.hamming_ranking(asked, gallery, asked_labels, labels, n_jobs=2),
    "stable ranking": lambda: metrics.hamming_ranking(few, gallery, asked_labels[:200], labels, ties="stable"),
    "tuned": lambda: lshcore.KMeansIndex(target_recall=0.9, max_iter=2).add(rows, n_jobs=2).search(rows[:4000], 100),
    "exact": lambda: metrics.evaluate(flat, rows[:300], asked_labels[:300], labels, n_jobs=2),
}
work[sys.argv[1]]()
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space by what /proc says is used")
@pytest.mark.parametrize("work", ["search", "range", "ranking", "stable ranking", "tuned", "exact"])
def test_no_matrix_of_queries_and_items(work: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, work], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "done\n", done.stderr[-2000:]


BUILD = """
import sys, threading, time
from pathlib import Path

import numpy as np

import lshcore

rows, dim = 100_000, 256
path = Path(sys.argv[1])
store = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, dim))
rng = np.random.default_rng(0)
for start in range(0, rows, 10_000):
    store[start : start + 10_000] = rng.standard_normal((10_000, dim), dtype=np.float32) + rng.integers(9)
store.flush()
del store

def anonymous():  # without what is mapped from files
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("RssAnon"))

peak, before, done = 0, anonymous(), False

def watch():
    global peak
    while not done:
        peak = max(peak, anonymous())
        time.sleep(0.005)

watcher = threading.Thread(target=watch)
watcher.start()
index = lshcore.KMeansIndex(codes="residual", max_iter=2).add(np.load(path, mmap_mode="r"), n_jobs=2)
done = True
watcher.join()
print((peak - before) / (4 * rows * dim), sum(index.nbytes.values()) / (4 * rows * dim))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what /proc says is used")
def test_an_index_of_a_mapped_store_is_built_beside_its_vectors_alone(tmp_path: Path) -> None:
    """The rows are copied into the index once; sample, labels and codes are little beside them."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path / "rows.npy")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    peak, kept = map(float, done.stdout.split())
    assert 1 < kept <= 1.25
    assert peak <= 1.5
