"""Extraction of features beside a plain loop over torchvision's `ImageFolder` and torch's `DataLoader`.

    pip install ".[all]" && python bench/extraction.py [--images 300] [--backbone resnet18] [--jobs 2]

Images are generated: JPEGs of 500 x 375 pixels, as ImageNet's are on average. Weights are random, which costs the same.
Both sides have the same weights, transform, batches, threads and worker processes. Ours lays images out channels last,
and checks, writes and syncs what it makes; the loop keeps its features in memory. They must agree. Rounds alternate;
medians are compared.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image

from lshcore import data, features
from lshcore.features.loading import default_workers


def generate(root: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (36, 48, 3), dtype=np.uint8))
        noise = rng.integers(-12, 13, (375, 500, 3))
        fine = np.clip(np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)) + noise, 0, 255)
        path = root / f"class{i % 10}" / f"{i:05}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(fine.astype(np.uint8)).save(path, quality=90)


def plain_loop(root: Path, network: features.Backbone, batch_size: int, workers: int) -> tuple[np.ndarray, float]:
    """Features as float32, and the share of the time that was spent in the network."""
    images = torchvision.datasets.ImageFolder(root, transform=network.prepare)
    loader = torch.utils.data.DataLoader(images, batch_size=batch_size, num_workers=workers)
    rows, inside, start = [], 0.0, time.perf_counter()
    with torch.inference_mode():
        for batch, _ in loader:
            asked = time.perf_counter()
            rows.append(network.module(batch).numpy())
            inside += time.perf_counter() - asked
    return np.concatenate(rows), inside / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--image-size", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=default_workers("cpu"))
    parser.add_argument("--jobs", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()

    torch.set_num_threads(a.jobs)
    network, plain = (features.backbone(a.backbone, "random", a.image_size) for _ in range(2))
    paces, shares, their_paces, their_shares = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        generate(root, a.images)
        images = data.load_images(f"folder:{root}")
        for r in range(a.rounds):
            start = time.perf_counter()
            store = features.extract(
                images,
                network,
                Path(folder) / str(r),
                dtype="float32",
                batch_size=a.batch_size,
                workers=a.workers,
                device="cpu",
                bf16=False,
            )
            paces.append(a.images / (time.perf_counter() - start))
            shares.append(store.figures["network_share"])
            start = time.perf_counter()
            rows, share = plain_loop(root, plain, a.batch_size, a.workers)
            their_paces.append(a.images / (time.perf_counter() - start))
            their_shares.append(share)
        if not np.allclose(store.features, rows, rtol=1e-3, atol=1e-4):
            raise SystemExit("the two do not make the same features")

    print(
        f"{a.images:,} JPEGs of 500 x 375 pixels, {a.backbone}, {network.transform}; {a.jobs} threads, {a.workers} "
        f"workers, torch {torch.__version__}"
    )
    print(f"{'':18s}{'ours':>10s}{'loop':>10s}{'ratio':>8s}")
    pace, their_pace = np.median(paces), np.median(their_paces)
    print(f"{'images/s':18s}{pace:10.1f}{their_pace:10.1f}{pace / their_pace:7.2f}x")
    print(f"{'inside the network':18s}{np.median(shares):10.1%}{np.median(their_shares):10.1%}")


if __name__ == "__main__":
    main()
