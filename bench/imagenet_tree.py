"""ImageNet's layout at small size, through the whole chain: 1,000 classes, 21,000 real JPEGs, some of them no good.

    python bench/imagenet_tree.py DIR      makes DIR/imagenet, unless it is there, and evaluates it

Three images are corrupt, one is CMYK, one is a PNG with the name of a JPEG. The network is a ResNet-18 with random
weights that sees 32 x 32 pixels. Prints the table of `lshcore eval`.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES, TRAIN, VAL = 1_000, 18, 3
OPTIONS = ["--backbone", "resnet18", "--weights", "random", "--image-size", "32"]
METHODS = ["--method", "k-means,random-hyperplanes", "--clusters", "100", "--tables", "12", "--key-bits", "12"]


def make(root: Path) -> None:
    """A class is a colour, its images are that with noise."""
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        colour = rng.integers(0, 256, 3)
        for part, n in (("train", TRAIN), ("val", VAL)):
            folder = root / part / f"n{10_000_000 + label:08d}"
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(n):
                pixels = np.clip(colour + rng.normal(0, 25, (20, 26, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).resize((52, 40)).save(folder / f"{i}.JPEG", quality=85)
    first = root / "train/n10000000"
    whole = Image.open(first / "5.JPEG").convert("RGB")
    (first / "0.JPEG").write_bytes((first / "5.JPEG").read_bytes()[:300])
    (first / "1.JPEG").write_bytes(b"\xff\xd8\xff\xe0 no image")
    (first / "2.JPEG").write_bytes(b"")
    whole.convert("CMYK").save(first / "3.JPEG")
    whole.save(first / "4.JPEG", format="PNG")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    a = parser.parse_args()
    if not (a.folder / "imagenet/val/n10000999").is_dir():
        make(a.folder / "imagenet")
    start = time.perf_counter()
    command = [sys.executable, "-m", "lshcore.cli.main", "eval", "--dataset", "imagenet", "--data-dir", str(a.folder)]
    environment = {**os.environ, "LSHCORE_CACHE_DIR": str(a.folder / "cache")}
    subprocess.run([*command, *OPTIONS, *METHODS], check=True, env=environment)
    print(f"# {time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
