"""Makes the golden files of the format: small saved indexes and what they answer.

They were made once, by the first lshcore of their version, and are never made again: that would prove nothing. A new
version of the format gets a folder of its own: ``python tests/golden/make.py tests/golden/v2``.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from stored import QUERIES, answers, sample  # noqa: E402

# What is kept of each class.
GOLDEN = {
    "flat": ["flat", "flat-half", "flat-codes", "flat-names"],
    "lsh": ["lsh", "lsh-codes", "lsh-wide", "lsh-names"],
    "kmeans": ["kmeans", "kmeans-half", "kmeans-codes", "kmeans-residual"],
}


def main(folder: Path) -> None:
    if folder.exists():
        raise SystemExit(f"{folder} is there already; golden files are never made again")
    for cls, kinds in GOLDEN.items():
        for kind in kinds:
            path = folder / cls / kind
            index = sample(kind)
            index.save(path)
            (path / ".lock").unlink()
            np.savez_compressed(path / "answers.npz", queries=QUERIES, **answers(index))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
