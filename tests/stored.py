"""Small indexes of every kind, what they must answer by NumPy alone, and what they do answer."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import reference
from lshcore import FlatIndex, KMeansIndex, LSHIndex
from lshcore.hashers import RandomHyperplanes
from lshcore.index.container import Index

DIM = 6
CLUSTERS = 4


def vectors(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """Whole numbers, whose squared distances are exact, and a little that float16 rounds away; none is zero."""
    whole = rng.integers(-4, 5, (n, DIM))
    whole[:, 0] = np.where(whole.any(axis=1), whole[:, 0], 1)
    return (whole * (1 + 2.0**-14)).astype(np.float32)


TRAIN = vectors(np.random.default_rng(1), 200)
QUERIES = vectors(np.random.default_rng(2), 4)


@cache
def hasher(n_bits: int = 12) -> RandomHyperplanes:
    return RandomHyperplanes(n_bits, random_state=3).fit(TRAIN)


KINDS: dict[str, Callable[[], Index]] = {
    "flat": lambda: FlatIndex(),
    "flat-codes": lambda: FlatIndex(hasher(), None),
    "flat-half": lambda: FlatIndex(hasher(), "float16"),
    "lsh": lambda: LSHIndex(hasher(), 3, 4, vectors="float32"),
    "lsh-codes": lambda: LSHIndex(hasher(), 4, 5, keys="sample"),
    "lsh-wide": lambda: LSHIndex(hasher(80), 2, 70, keys="sample", vectors="float16"),
    "kmeans": lambda: KMeansIndex(CLUSTERS, codes=hasher()).fit(TRAIN),
    "kmeans-codes": lambda: KMeansIndex(CLUSTERS, codes=hasher(), vectors=None).fit(TRAIN),
    "kmeans-half": lambda: KMeansIndex(CLUSTERS, vectors="float16").fit(TRAIN),
    "kmeans-residual": lambda: KMeansIndex(CLUSTERS, codes="residual").fit(TRAIN),
}

# Of these with texts as ids.
NAMED = {"flat-names": "flat", "lsh-names": "lsh-codes"}


def everything(index: Index) -> dict[str, Any]:
    """Options that make every row a candidate."""
    if isinstance(index, LSHIndex):
        return {"radius": index.key_bits}
    return {"probes": CLUSTERS} if isinstance(index, KMeansIndex) else {}


def has_residuals(index: Index) -> bool:
    return isinstance(index, KMeansIndex) and index.residual


def ranks(index: Index) -> list[str]:
    of_vectors = ["l2", "cosine"] * (index.vectors is not None) + ["ip"] * has_residuals(index)
    return ["hamming"] * (index.hasher is not None) + of_vectors


def answers(index: Index, queries: NDArray[np.float32] = QUERIES) -> dict[str, NDArray[Any]]:
    """What an index says of all that it is asked; equal bytes for equal content."""
    out = {"ids": index.ids, "len": np.array(len(index))}
    known = index.ids
    whole = everything(index)
    near = index.candidates(queries)
    out["candidates"], out["candidates.offsets"] = near.ids, near.offsets
    for rank in ranks(index):
        found = index.search(queries, 7, rank=rank, **whole)
        out[f"{rank}.distances"], out[f"{rank}.ids"] = found.distances, found.ids
        found = index.search(queries, 3, rank=rank)
        out[f"{rank}.near"], out[f"{rank}.n"] = found.ids, found.n_candidates
        within = index.range_search(queries, 4 if rank == "hamming" else 0.7, rank=rank, **whole)
        out[f"{rank}.within"], out[f"{rank}.offsets"] = within.ids, within.offsets
        if has_residuals(index):  # as many as are ranked: each of them is
            for name, length in (("all", max(1, len(index))), ("few", 7)):
                found = index.search(queries, length, rank=rank, shortlist=length, **whole)
                out[f"{rank}.{name}.distances"], out[f"{rank}.{name}.ids"] = found.distances, found.ids
            found = index.search(queries, 3, rank=rank, shortlist=3, probes=2)
            out[f"{rank}.listed"], out[f"{rank}.listed.n"] = found.ids, found.n_candidates
    if index.vectors is not None:
        out["vectors"] = index.reconstruct(known)
    if index.hasher is not None:
        out["codes"] = index.codes(known).words
    return {name: plain(array) for name, array in out.items()}


def plain(array: NDArray[Any]) -> NDArray[Any]:
    """Texts of an array of objects as bytes that can be compared, and kept in a file."""
    return array if array.dtype != object else np.array([str(one) for one in array.flat], np.str_).reshape(array.shape)


def same(a: dict[str, NDArray[Any]], b: dict[str, NDArray[Any]]) -> bool:
    return a.keys() == b.keys() and all(
        a[key].dtype == b[key].dtype and a[key].shape == b[key].shape and a[key].tobytes() == b[key].tobytes()
        for key in a
    )


def check(index: Index, rows: dict[int, NDArray[np.float32]], queries: NDArray[np.float32] = QUERIES) -> None:
    """Compare everything that an index can be asked with a dict of its rows, in their order."""
    ids = np.array(list(rows), np.int64)
    x = np.array(list(rows.values()), np.float32).reshape(-1, DIM)
    kept = x.astype(np.float16).astype(np.float32) if index.vectors == "float16" else x
    assert len(index) == len(rows)
    assert index.ids.tolist() == ids.tolist()
    assert all(id in index for id in rows)
    assert not any(id in index for id in (-1, max(rows, default=0) + 1, 10**6))
    if index.vectors is not None and index.dim is not None:
        assert np.array_equal(index.reconstruct(ids[::-1]), kept[::-1])
    bits = differ = None
    if index.hasher is not None:
        bits, asked = index.hasher.transform(x).astype(bool), index.hasher.transform(queries).astype(bool)
        differ = (bits[None] != asked[:, None]).sum(axis=2)
        assert np.array_equal(index.codes(ids).to_bools(), bits)
    for rank in ranks(index):
        distances = _distances(rank, queries, kept, differ)
        _check_rank(index, rank, queries, ids, distances)
    expected = _near(index, queries, x, bits)
    found = index.candidates(queries)
    for query in range(len(queries)):
        assert found[query].tolist() == sorted(ids[expected[query]].tolist())
    whole = index.candidates(queries, **everything(index))
    assert all(whole[query].tolist() == sorted(rows) for query in range(len(queries)))


def _distances(rank: str, queries: NDArray[Any], kept: NDArray[Any], differ: Any) -> NDArray[Any]:
    if rank == "hamming":
        return np.asarray(differ)
    q, k = queries.astype(np.float64), kept.astype(np.float64)
    if rank == "l2":
        return ((q[:, None] - k[None]) ** 2).sum(axis=2)
    if rank == "ip":
        return -(q @ k.T)
    return 1 - q @ k.T / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(k, axis=1)


def _check_rank(index: Index, rank: str, queries: Any, ids: Any, distances: Any) -> None:
    k = 5
    found = index.search(queries, k, rank=rank, **everything(index))
    radius = {"hamming": 5, "l2": 40.1, "cosine": 0.71, "ip": 3.1}[rank]
    within = index.range_search(queries, radius, rank=rank, **everything(index))
    slack = 0 if rank == "hamming" else 1e-4 if rank == "cosine" else 0.05
    for query in range(len(queries)):
        n = min(k, len(ids))
        order = np.lexsort((ids, distances[query]))
        by_id = dict(zip(ids.tolist(), distances[query].tolist(), strict=True))
        got, said = found.ids[query].tolist(), found.distances[query]
        assert found.n_candidates[query] == len(ids)
        assert got[n:] == [-1] * (k - n)
        assert len(set(got[:n])) == n
        assert np.allclose(said[:n], distances[query][order[:n]], rtol=0, atol=slack)
        assert np.allclose(said[:n], [by_id[id] for id in got[:n]], rtol=0, atol=slack)
        if rank == "hamming":
            assert got[:n] == ids[order[:n]].tolist()
        if has_residuals(index) and len(ids) > 0:
            listed = index.search(queries[query], len(ids), rank=rank, shortlist=len(ids), **everything(index))
            assert sorted(listed.ids[0].tolist()) == sorted(ids.tolist())
            assert np.allclose(listed.distances[0], distances[query][order], rtol=0, atol=slack)
            assert listed.n_candidates[0] == len(ids)
        near, near_ids = within[query]
        assert (
            set(ids[distances[query] <= radius - slack])
            <= set(near_ids)
            <= set(ids[distances[query] <= radius + slack])
        )
        assert np.allclose(near, [by_id[id] for id in near_ids.tolist()], rtol=0, atol=slack)


def _near(index: Index, queries: Any, x: Any, bits: Any) -> list[NDArray[Any]]:
    """Which rows a search looks at by default: buckets, by loops."""
    if isinstance(index, LSHIndex):
        asked = index.hasher.transform(queries).astype(bool)  # type: ignore[union-attr]
        return [
            np.array([any((row[key] == code[key]).all() for key in index.positions) for row in bits], bool)
            for code in asked
        ]
    if isinstance(index, KMeansIndex):
        far = lambda rows: ((rows[:, None] - index.centroids_[None]) ** 2).sum(axis=2)  # noqa: E731
        probes = 1 if index.tuned_ is None else index.tuned_.probes
        later = reference.reluctance(index) if index.residual else 0.0
        looked = (far(queries) + later).argsort(axis=1, kind="stable")[:, :probes]
        return [np.isin(far(x).argmin(axis=1), mine) for mine in looked]
    return [np.ones(len(x), bool)] * len(queries)


def sample(kind: str) -> Index:
    """Two or three segments, ids of both sorts, removed and updated rows."""
    rng = np.random.default_rng(5)
    index = KINDS[NAMED.get(kind, kind)]()
    first, more = range(40), 100 + rng.permutation(50)[:20]
    if kind in NAMED:
        index.add(vectors(rng, 40), ids=[f"bilder/{id}é.jpg" for id in first])
        index.add(vectors(rng, 20), ids=[f"{id}" for id in more])
    else:
        index.add(vectors(rng, 40))
        index.add(vectors(rng, 20), ids=more)
    index.remove(index.ids[3:9])
    index.update(vectors(rng, 3), ids=index.ids[[0, 10, 40]])
    if has_residuals(index):
        index.tune(0.9, 3, rank="l2")
    return index


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}
