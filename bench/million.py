"""An evaluation of the size of ImageNet-1K: 1,281,167 x 512 float16 features, 1,000 classes, 50,000 queries.

    python bench/million.py DIR        makes the features in DIR (1.3 GB), unless they are there, and evaluates them

Prints the table of `lshcore eval`, the wall time, and the peak memory of the process.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

GALLERY, QUERIES, DIM, CLASSES = 1_281_167, 50_000, 512, 1_000
METHODS = ["--method", "k-means,random-hyperplanes", "--clusters", "1000", "--tables", "12", "--key-bits", "16"]


def make(folder: Path, gallery: int, queries: int) -> None:
    """Rectified features of classes that overlap, in blocks, so that nothing large is held."""
    rng = np.random.default_rng(0)
    n = gallery + queries
    folder.mkdir(parents=True, exist_ok=True)
    # The spread within a class has few dimensions, as that of a network's features has.
    centres = rng.standard_normal((CLASSES, DIM), dtype=np.float32)
    axes = rng.standard_normal((64, DIM), dtype=np.float32) / 8
    labels = rng.integers(0, CLASSES, n)
    features = np.lib.format.open_memmap(folder / "features.npy", mode="w+", dtype=np.float16, shape=(n, DIM))
    for start in range(0, n, 16_384):
        of = labels[start : start + 16_384]
        spread = 2.0 * rng.standard_normal((len(of), len(axes)), dtype=np.float32) @ axes
        noise = 0.5 * rng.standard_normal((len(of), DIM), dtype=np.float32)
        features[start : start + len(of)] = np.maximum(centres[of] + spread + noise, 0)
    features.flush()
    query = np.zeros(n, bool)
    query[gallery:] = True
    np.save(folder / "query.npy", query)
    np.save(folder / "labels.npy", labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gallery", type=int, default=GALLERY)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--jobs", type=int, default=2)
    a = parser.parse_args()
    if not (a.folder / "labels.npy").is_file():
        make(a.folder, a.gallery, a.queries)
    start = time.perf_counter()
    command = [sys.executable, "-m", "lshcore.cli.main", "eval", "--dataset", str(a.folder), "--jobs", str(a.jobs)]
    subprocess.run([*command, *METHODS], check=True)
    print(f"# {time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
