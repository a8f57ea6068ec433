"""Indexes on the GPU against the CPU: the same results, to the last bit. Without a GPU: what is said about that."""

import re
from typing import Any

import numpy as np
import pytest

from lshcore import FlatIndex, KMeansIndex, LSHIndex, _core, hashers

on_gpu = pytest.mark.skipif(not _core.cuda_available(), reason="no GPU that lshcore can use")
without_gpu = pytest.mark.skipif(_core.cuda_available(), reason="there is a GPU")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(500, 12)).astype(np.float32)
Q = RNG.normal(size=(30, 12)).astype(np.float32)


def hasher() -> hashers.RandomHyperplanes:
    return hashers.RandomHyperplanes(64, random_state=0).fit(X)


INDEXES = {
    "flat": lambda: FlatIndex(hasher()),
    "lsh": lambda: LSHIndex(hasher(), n_tables=4, key_bits=6, vectors="float32"),
    "lsh-half": lambda: LSHIndex(hasher(), n_tables=1, key_bits=4, vectors="float16"),
    "k-means": lambda: KMeansIndex(8, codes=hasher(), vectors="float32", random_state=0),
    "residual": lambda: KMeansIndex(8, codes="residual", random_state=0),
}


def same(a: Any, b: Any) -> bool:
    return a.distances.tobytes() == b.distances.tobytes() and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("ids", "n_candidates")
    )


@without_gpu
@pytest.mark.parametrize("name", INDEXES)
def test_without_a_gpu_it_is_said(name: str) -> None:
    index = INDEXES[name]().add(X)
    asked = re.escape(f"{type(index).__name__}.search: device 'cuda' was asked for")
    with pytest.raises(ValueError, match=asked):
        index.search(Q, 5, device="cuda")
    with pytest.raises(ValueError, match="device must be one of 'cpu', 'cuda'"):
        index.search(Q, 5, device="gpu")
    assert same(index.search(Q, 5, device="cpu"), index.search(Q, 5))
    with pytest.raises(RuntimeError, match=r"no CUDA kernels|no GPU"):  # the core itself
        _search_in_core(index)


def _search_in_core(index: Any) -> None:
    prepared = index._prepare(Q, "search", 1, shortlist=None)
    prepared.shortlist = 0
    index._nearest(prepared, 3, 1, True)


@on_gpu
@pytest.mark.parametrize("rank", ["hamming", "cosine", "l2", "ip"])
@pytest.mark.parametrize("name", INDEXES)
def test_searches_are_the_same(name: str, rank: str) -> None:
    index = INDEXES[name]()
    index.add(X[:300], ids=np.arange(300) * 7 % 300).add(X[300:]).remove(np.arange(0, 300, 9))
    if rank == "hamming" and index.hasher is None:
        return
    if rank != "hamming" and index.vectors is None:
        return
    for k in (1, 10, 600):
        for probes in (None, 8):
            if name != "flat" or probes is None:
                exact = {} if name != "residual" else {"shortlist": 500, "probes": probes or 1}
                wanted = index.search(Q, k, **{"rank": rank, "probes": probes, **exact})
                found = index.search(Q, k, rank=rank, probes=exact.get("probes", probes), device="cuda")
                assert same(found, wanted)
    for unfit in ({"shortlist": 5}, {"filter": np.ones(len(index), bool)}, {"rank": "margin"}):
        with pytest.raises(ValueError, match="takes no shortlist, no filter and no rank 'margin'"):
            index.search(Q, 5, device="cuda", **unfit)


def test_kmeans_on_the_gpu_needs_one_and_lloyd() -> None:
    with pytest.raises(ValueError, match="device must be one of 'cpu', 'cuda'"):
        KMeansIndex(3).fit(X, device="gpu")
    if not _core.cuda_available():
        with pytest.raises(ValueError, match=re.escape("KMeansIndex.fit: device 'cuda' was asked for")):
            KMeansIndex(3).fit(X, device="cuda")
        return
    with pytest.raises(ValueError, match="algorithm 'lloyd'"):
        KMeansIndex(3, algorithm="minibatch").fit(X, device="cuda")
    for codes in (None, "residual"):
        there, here = (KMeansIndex(3, codes=codes, random_state=0).fit(X, device=device) for device in ("cuda", "cpu"))
        assert there.centroids_.tobytes() == here.centroids_.tobytes()
