"""The libraries of `frontier.py`: each builds an index of float32 rows by L2 distance, and answers with row numbers."""

import os
from collections.abc import Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
from ann_benchmarks.module import LSHCore

import lshcore

Setting = dict[str, int]

# How many rows are ranked by the true distance, as multiples of k: ours and FAISS's.
OURS = (1.5, 2, 3, 5, 10, 20, 40, 80, 160)
FACTORS = (2, 3, 4, 8, 16, 32, 64)
EF = (10, 11, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 256, 384, 512, 768, 1_024)


def default_clusters(n: int) -> int:
    """About 4 sqrt(n), a power of two: 1,024 for 60,000 rows, 4,096 for a million."""
    return max(1, 2 ** round(np.log2(4 * n**0.5)))


def probes(clusters: int) -> list[int]:
    """1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ..., and all of the clusters."""
    steps = {round(f * 2**i) for i in range(20) for f in (1, 1.25, 1.5, 1.75)}
    return sorted({clusters, *(p for p in steps if p < clusters)})


def beams(k: int) -> list[int]:
    """Candidate lists of a graph: at least k long."""
    return sorted({k, *(ef for ef in EF if ef > k)})


class Peer:
    """One library with one kind of index. Making one raises ImportError where it is not installed.

    `built` says what is built; `one` and `batch` may fill up with -1 where they find fewer than k.
    """

    name = package = built = ""

    def __init__(self, clusters: int) -> None:
        raise NotImplementedError

    def build(self, X: np.ndarray, jobs: int) -> None:
        raise NotImplementedError

    def settings(self, k: int) -> list[Setting]:
        """What to search with. More of any parameter is slower; one that is left out has no limit."""
        raise NotImplementedError

    def set(self, setting: Setting, jobs: int) -> None:
        raise NotImplementedError

    def one(self, v: np.ndarray, k: int) -> np.ndarray:
        raise NotImplementedError

    def batch(self, X: np.ndarray, k: int) -> Sequence[np.ndarray]:
        raise NotImplementedError

    def save(self, path: Path) -> None:
        raise NotImplementedError

    def load(self, path: Path, shape: tuple[int, int]) -> None:
        raise NotImplementedError

    @property
    def version(self) -> str:
        return version(self.package)


class Ours(Peer):
    """k-means buckets with residual codes, as many as the rows call for."""

    name = package = "lshcore"
    built = "residual codes"

    def __init__(self, clusters: int) -> None:
        self.algorithm = LSHCore("euclidean", "kmeans", {})

    def build(self, X: np.ndarray, jobs: int) -> None:
        os.environ["LSHCORE_NUM_THREADS"] = str(jobs)
        self.algorithm.fit(X)

    def settings(self, k: int) -> list[Setting]:
        each = probes(self.algorithm.index.n_clusters)
        return [{"probes": p} for p in each] + [{"probes": p, "shortlist": int(f * k)} for p, f in product(each, OURS)]

    @property
    def version(self) -> str:
        return lshcore.__version__  # sources in place have no other

    def everything(self) -> Setting:
        """The setting that misses nothing."""
        return {"probes": self.algorithm.index.n_clusters}

    def set(self, setting: Setting, jobs: int) -> None:
        os.environ["LSHCORE_NUM_THREADS"] = str(jobs)
        self.algorithm.set_query_arguments(**setting)
        self.probes, self.shortlist = setting["probes"], setting.get("shortlist")

    def one(self, v: np.ndarray, k: int) -> np.ndarray:
        # The rank is the index's own.
        return self.algorithm.index.search(v, k, probes=self.probes, shortlist=self.shortlist, n_jobs=1).ids[0]

    def batch(self, X: np.ndarray, k: int) -> Sequence[np.ndarray]:
        self.algorithm.batch_query(X, k)
        return self.algorithm.get_batch_results()


class HNSWLib(Peer):
    name = package = "hnswlib"
    built = "M=16, efConstruction=200"

    def __init__(self, clusters: int) -> None:
        import hnswlib

        self._make = hnswlib.Index

    def build(self, X: np.ndarray, jobs: int) -> None:
        self.index = self._make(space="l2", dim=X.shape[1])
        self.index.init_index(len(X), ef_construction=200, M=16)
        self.index.add_items(X, num_threads=jobs)

    def settings(self, k: int) -> list[Setting]:
        return [{"ef": ef} for ef in beams(k)]

    def set(self, setting: Setting, jobs: int) -> None:
        self.index.set_ef(setting["ef"])
        self.index.set_num_threads(jobs)

    def one(self, v: np.ndarray, k: int) -> np.ndarray:
        return self.index.knn_query(v, k)[0][0]

    def batch(self, X: np.ndarray, k: int) -> Sequence[np.ndarray]:
        return self.index.knn_query(X, k)[0]

    def save(self, path: Path) -> None:
        self.index.save_index(str(path))

    def load(self, path: Path, shape: tuple[int, int]) -> None:
        self.index = self._make(space="l2", dim=shape[1])
        self.index.load_index(str(path), max_elements=shape[0])


class Faiss(Peer):
    """An index by its text for `index_factory`, and the names of its parameters there."""

    package = "faiss-cpu"
    factory = ""
    parameters: tuple[str, ...] = ("nprobe",)

    def __init__(self, clusters: int) -> None:
        import faiss

        self.faiss, self.clusters = faiss, clusters
        self.built = self.factory.format(clusters=clusters, dim="(d)", parts="(d/2)")

    def build(self, X: np.ndarray, jobs: int) -> None:
        dim = X.shape[1]
        # Two columns a part of a product quantiser, as the ScaNN of the paper and ann-benchmarks have it.
        parts = dim // 2 if dim % 2 == 0 else dim
        self.faiss.omp_set_num_threads(jobs)
        self.index = self.faiss.index_factory(dim, self.factory.format(clusters=self.clusters, dim=dim, parts=parts))
        self._before_rows()
        self.index.train(X)
        self.index.add(X)

    def _before_rows(self) -> None:
        pass

    def settings(self, k: int) -> list[Setting]:
        lists = {"nprobe": probes(self.clusters), "efSearch": beams(k), "k_factor_rf": FACTORS}
        values = product(*(lists[name] for name in self.parameters))
        return [dict(zip(self.parameters, each, strict=True)) for each in values]

    def set(self, setting: Setting, jobs: int) -> None:
        self.faiss.omp_set_num_threads(jobs)
        for name, value in setting.items():
            self.faiss.ParameterSpace().set_index_parameter(self.index, name, value)

    def one(self, v: np.ndarray, k: int) -> np.ndarray:
        return self.index.search(v[np.newaxis], k)[1][0]

    def batch(self, X: np.ndarray, k: int) -> Sequence[np.ndarray]:
        return self.index.search(X, k)[1]

    def save(self, path: Path) -> None:
        self.faiss.write_index(self.index, str(path))

    def load(self, path: Path, shape: tuple[int, int]) -> None:
        self.index = self.faiss.read_index(str(path))


class FaissHNSW(Faiss):
    name, factory, parameters = "faiss-hnsw", "HNSW16,Flat", ("efSearch",)

    def _before_rows(self) -> None:
        self.index.hnsw.efConstruction = 200


class FaissIVFFlat(Faiss):
    name, factory = "faiss-ivf-flat", "IVF{clusters},Flat"


class FaissIVFPQ(Faiss):
    """Product quantisation by fast scan, then the true distance."""

    name, factory = "faiss-ivf-pq", "IVF{clusters},PQ{parts}x4fs,RFlat"
    parameters = ("nprobe", "k_factor_rf")


class FaissIVFRaBitQ(Faiss):
    """RaBitQ by fast scan where FAISS has it, after a random rotation, then the true distance."""

    name = "faiss-ivf-rabitq"
    parameters = ("nprobe", "k_factor_rf")

    def __init__(self, clusters: int) -> None:
        import faiss

        if not hasattr(faiss, "IndexIVFRaBitQ"):
            raise ImportError("this FAISS has no RaBitQ")
        code = "RaBitQfs" if hasattr(faiss, "IndexIVFRaBitQFastScan") else "RaBitQ"
        self.factory = f"RR{{dim}},IVF{{clusters}},{code},RFlat"
        super().__init__(clusters)


class USearch(Peer):
    name = package = "usearch"
    built = "connectivity=16, expansion_add=200, f32"

    def __init__(self, clusters: int) -> None:
        from usearch.index import Index

        self._make = Index

    def _empty(self, dim: int):
        # Keys are row numbers, never looked up.
        options = {"connectivity": 16, "expansion_add": 200, "enable_key_lookups": False}
        return self._make(ndim=dim, metric="l2sq", dtype="f32", **options)

    def build(self, X: np.ndarray, jobs: int) -> None:
        self.index = self._empty(X.shape[1])
        self.index.add(np.arange(len(X), dtype=np.uint64), X, threads=jobs)

    def settings(self, k: int) -> list[Setting]:
        return [{"expansion": ef} for ef in beams(k)]

    def set(self, setting: Setting, jobs: int) -> None:
        self.index.expansion_search, self._jobs = setting["expansion"], jobs

    def one(self, v: np.ndarray, k: int) -> np.ndarray:
        return self.index.search(v, k, threads=1).keys

    def batch(self, X: np.ndarray, k: int) -> Sequence[np.ndarray]:
        found = self.index.search(X, k, threads=self._jobs)
        return [keys[:n] for keys, n in zip(found.keys, found.counts, strict=True)]

    def save(self, path: Path) -> None:
        self.index.save(str(path))

    def load(self, path: Path, shape: tuple[int, int]) -> None:
        self.index = self._empty(shape[1])
        self.index.load(str(path))


class Voyager(Peer):
    name = package = "voyager"
    built = "M=16, ef_construction=200, Float32"

    def __init__(self, clusters: int) -> None:
        import voyager

        self._voyager = voyager

    def build(self, X: np.ndarray, jobs: int) -> None:
        v = self._voyager
        self.index = v.Index(
            v.Space.Euclidean,
            X.shape[1],
            M=16,
            ef_construction=200,
            max_elements=len(X),
            storage_data_type=v.StorageDataType.Float32,
        )
        self.index.add_items(X, num_threads=jobs)

    def settings(self, k: int) -> list[Setting]:
        return [{"ef": ef} for ef in beams(k)]

    def set(self, setting: Setting, jobs: int) -> None:
        self._ef, self._jobs = setting["ef"], jobs

    def one(self, v: np.ndarray, k: int) -> np.ndarray:
        return self.index.query(v, k, 1, self._ef)[0]

    def batch(self, X: np.ndarray, k: int) -> Sequence[np.ndarray]:
        return self.index.query(X, k, self._jobs, self._ef)[0]

    def save(self, path: Path) -> None:
        self.index.save(str(path))

    def load(self, path: Path, shape: tuple[int, int]) -> None:
        self.index = self._voyager.Index.load(str(path))


PEERS: dict[str, type[Peer]] = {
    each.name: each for each in (Ours, HNSWLib, FaissHNSW, FaissIVFFlat, FaissIVFPQ, FaissIVFRaBitQ, USearch, Voyager)
}
