"""The compiled core. Arrays must be C-contiguous and of exactly the dtype named; the Python layer sees to that."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_U64: TypeAlias = NDArray[np.uint64]
_F32: TypeAlias = NDArray[np.float32]
_F64: TypeAlias = NDArray[np.float64]
_I64: TypeAlias = NDArray[np.int64]
_I32: TypeAlias = NDArray[np.int32]
_I8: TypeAlias = NDArray[np.int8]
_U16: TypeAlias = NDArray[np.uint16]
_U32: TypeAlias = NDArray[np.uint32]
_U8: TypeAlias = NDArray[np.uint8]
_Bools: TypeAlias = NDArray[np.bool_]

# What may be a candidate: a mask, one for each row in row order; ids; or (offsets, ids), a list of ids for each query.
_Allowed: TypeAlias = _Bools | _I64 | tuple[_I64, _I64]

MAX_BITS: int
MAX_KEY_BITS: int

def kernel_set() -> str: ...
def kernel_sets() -> list[str]: ...
def available_cpus() -> int: ...
def check_finite(x: _F32, what: str, n_jobs: int = 1) -> None: ...
def gaussian(seed: int, rows: int, cols: int) -> _F32: ...
def pack_bools(bits: _Bools) -> _U64: ...
def unpack_bools(words: _U64, n_bits: int) -> _Bools: ...
def pack_signs(margins: _F32) -> _U64: ...
def check_padding(words: _U64, n_bits: int) -> None: ...
def project(x: _F32, weights: _F32, bias: _F32, n_jobs: int = 1) -> _F32: ...
def encode(x: _F32, weights: _F32, bias: _F32, n_jobs: int = 1) -> _U64: ...
def normalize_rows(x: _F32, n_jobs: int = 1) -> _F32: ...
def crc32c(data: _U8, n_jobs: int = 1) -> int: ...
def block_crcs(data: _U8, block_bytes: int, n_jobs: int = 1) -> _U32: ...
def hamming_distances(a: _U64, b: _U64, n_bits: int, n_jobs: int = 1) -> _U16: ...
def hamming_search(queries: _U64, gallery: _U64, n_bits: int, k: int, n_jobs: int = 1) -> tuple[_U16, _I64]: ...
def hamming_range(
    queries: _U64, gallery: _U64, n_bits: int, radius: int, n_jobs: int = 1
) -> tuple[_I64, _U16, _I64]: ...
def kmeans(
    x: _F32,
    n_clusters: int,
    seed: int,
    max_iter: int,
    tol: float,
    n_jobs: int = 1,
    on_round: Callable[[int, float], None] | None = None,
    spherical: bool = False,
    random_seeds: bool = False,
    warm_up: int = 0,
    on_gpu: bool = False,
) -> tuple[_F32, _I32, float, int, _F32]: ...
def assign_clusters(x: _F32, centroids: _F32, n_jobs: int = 1) -> tuple[_I32, _F32]: ...

class OneBucket:
    def __init__(self) -> None: ...

class BitKeys:
    def __init__(self, positions: _I32, n_bits: int) -> None: ...
    @property
    def positions(self) -> _I32: ...

class Lattice:
    @property
    def hash_bits(self) -> int: ...
    def encode(self, x: _F32, n_jobs: int = 1) -> _U64: ...

class CrossPolytope(Lattice):
    def __init__(self, signs: _I8, rotations: int, vertices: int, shift: _F32) -> None: ...

class PStable(Lattice):
    def __init__(self, weights: _F32, bias: _F32, hash_bits: int) -> None: ...

class LatticeKeys:
    def __init__(self, positions: _I32, lattice: Lattice) -> None: ...

class ClusterKeys:
    def __init__(self, centroids: _F32, spreads: _F32 | None = None, sizes: _F32 | None = None) -> None: ...
    @property
    def centroids(self) -> _F32: ...

class Labels:
    @staticmethod
    def single(labels: _I64) -> Labels: ...
    @staticmethod
    def multi(labels: _Bools) -> Labels: ...
    def __len__(self) -> int: ...

class RankingAccumulator:
    def __init__(self, ks: list[int], curve_ranks: list[int], n_bits: int = 0, stable: bool = False) -> None: ...
    def add_list(self, distances: _F32, relevant: _Bools, n_relevant: int) -> None: ...
    def merge(self, other: RankingAccumulator) -> None: ...
    def result(self) -> dict[str, Any]: ...

def cuda_available() -> bool: ...
def cuda_device() -> str: ...
def cuda_stream() -> int: ...

# What follows takes NumPy arrays and DLPack capsules of tensors on the device or in host memory; int64 passes for
# uint64. What ends in `out`, and the results after k and clusters, is written to.
def cuda_project(x: Any, weights: Any, bias: Any, out: Any) -> None: ...
def cuda_encode(x: Any, weights: Any, bias: Any, out: Any) -> None: ...
def cuda_hamming_distances(a: Any, b: Any, n_bits: int, out: Any) -> None: ...
def cuda_hamming_search(queries: Any, gallery: Any, n_bits: int, k: int, distances: Any, ids: Any) -> None: ...
def cuda_hamming_range(
    queries: Any, gallery: Any, n_bits: int, radius: int, n_jobs: int = 1
) -> tuple[_I64, _U16, _I64]: ...
def cuda_assign_clusters(x: Any, clusters: ClusterKeys, labels: Any, distances: Any = None) -> None: ...
def cuda_rank_hamming(
    accumulator: RankingAccumulator,
    queries: Any,
    gallery: Any,
    n_bits: int,
    query_labels: Labels,
    gallery_labels: Labels,
    n_jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None: ...
def rank_hamming(
    accumulator: RankingAccumulator,
    queries: _U64,
    gallery: _U64,
    n_bits: int,
    query_labels: Labels,
    gallery_labels: Labels,
    n_jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None: ...

class Blocks:
    """CRC-32C of each `block_bytes` of `data`, a whole file; the last block may be shorter. Borrows the data.

    `source` is what errors name: the file.
    """

    def __init__(self, data: _U8, crcs: _U32, block_bytes: int, source: str = "Segment") -> None: ...

class Segment:
    """Rows and their tables; immutable.

    Arrays: "codes" uint64 (n, words); "ids" int64 (n,) and "ids_order" uint32 (n,), the rows in the order of their ids,
    absent where ids count from `first_id`; "vectors" float32 or "halves" float16 (n, dim), with "inverse_norms" float32
    (n,); for table t "keys.t" uint64 (buckets,), absent where addressed by the key, "offsets.t" uint32 and "rows.t"
    uint32 (n,).
    """

    @staticmethod
    def from_arrays(
        index: Index, arrays: dict[str, NDArray[Any]], n_rows: int, first_id: int = 0, blocks: Blocks | None = None
    ) -> Segment:
        """Borrow arrays. Sizes are checked now, contents at their first use: ValueError where they are damaged."""

    def arrays(self) -> dict[str, NDArray[Any]]: ...
    def verify(self, n_jobs: int = 1) -> None: ...
    @property
    def n_rows(self) -> int: ...
    @property
    def serial(self) -> int:
        """Of no other segment in this process."""

    @property
    def first_id(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

class Index:
    def __init__(
        self,
        partitioner: OneBucket | BitKeys | ClusterKeys | LatticeKeys,
        n_bits: int = 0,
        dim: int = 0,
        vectors: str | None = None,
    ) -> None: ...
    def __len__(self) -> int: ...
    @property
    def ids(self) -> _I64: ...
    @property
    def n_segments(self) -> int: ...
    @property
    def n_tables(self) -> int: ...
    @property
    def nbytes(self) -> dict[str, int]: ...
    def add(self, codes: _U64 | None, vectors: _F32 | None, ids: _I64 | None, n_jobs: int = 1) -> None: ...
    def remove(self, ids: _I64) -> None: ...
    def update(self, codes: _U64 | None, vectors: _F32 | None, ids: _I64, n_jobs: int = 1) -> None: ...
    def compact(self, n_jobs: int = 1) -> None: ...
    def contains(self, ids: _I64) -> _Bools: ...
    def codes_of(self, ids: _I64) -> _U64: ...
    def vectors_of(self, ids: _I64) -> _F32: ...
    def state(self) -> tuple[list[tuple[Segment, _U8 | None]], int]:
        """Segments, each with its removed rows (bit row % 8 of byte row // 8; None: none), and the next default id."""

    def restore(self, segments: list[tuple[Segment, _U8 | None]], next_id: int) -> None: ...
    def search(
        self,
        codes: _U64 | None,
        vectors: _F32 | None,
        k: int,
        rank: str,
        probes: int,
        n_jobs: int = 1,
        margins: _F32 | None = None,
        radius: int = -1,
        shortlist: int = 0,
        allowed: _Allowed | None = None,
        on_gpu: bool = False,
    ) -> tuple[_U16 | _F32, _I64, _I64, _F64]: ...
    def range_search(
        self,
        codes: _U64 | None,
        vectors: _F32 | None,
        radius: float,
        rank: str,
        probes: int,
        n_jobs: int = 1,
        margins: _F32 | None = None,
        key_radius: int = -1,
        allowed: _Allowed | None = None,
    ) -> tuple[_I64, _U16 | _F32, _I64, _I64]: ...
    def candidates(
        self,
        codes: _U64 | None,
        vectors: _F32 | None,
        probes: int,
        n_jobs: int = 1,
        margins: _F32 | None = None,
        radius: int = -1,
        allowed: _Allowed | None = None,
        rank: str = "hamming",
    ) -> tuple[_I64, _I64]: ...
    def evaluate(
        self,
        accumulator: RankingAccumulator,
        codes: _U64 | None,
        vectors: _F32 | None,
        rank: str,
        probes: int,
        query_labels: Labels,
        gallery_labels: Labels,
        n_jobs: int = 1,
        margins: _F32 | None = None,
        radius: int = -1,
        shortlist: int = 0,
        allowed: _Allowed | None = None,
    ) -> None: ...
    def bucket_sizes(self, table: int) -> _I64: ...
