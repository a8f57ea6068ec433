"""Segments of the core in somebody else's memory: what a saved index is made of."""

import gc
import threading
import weakref

import numpy as np
import pytest
from numpy.typing import NDArray

from lshcore import FlatIndex, KMeansIndex, LSHIndex, _core
from lshcore.hashers import RandomHyperplanes

RNG = np.random.default_rng(3)
X = RNG.normal(size=(400, 10)).astype(np.float32)
QUERIES = X[::23] + np.float32(0.05)
HASHER = RandomHyperplanes(70).fit(X)
BLOCK = 4096

KINDS = {
    "lsh": lambda: LSHIndex(HASHER, 3, 6, vectors="float32"),
    "lsh, wide keys": lambda: LSHIndex(RandomHyperplanes(140).fit(X), 2, 70, vectors="float16"),
    "k-means": lambda: KMeansIndex(7, codes=HASHER).fit(X),
    "flat": lambda: FlatIndex(HASHER),
}


class File:
    """The arrays of a segment in one block of memory, aligned, as a file would have them."""

    def __init__(self, segment: _core.Segment) -> None:
        self.n_rows, self.first_id = segment.n_rows, segment.first_id
        self.places = {}
        parts, at = [], 0
        for name, array in segment.arrays().items():
            raw = np.frombuffer(array.tobytes(), dtype=np.uint8)
            self.places[name] = (at, array.dtype, array.shape)
            pad = -len(raw) % 64
            parts += [raw, np.zeros(pad, dtype=np.uint8)]
            at += len(raw) + pad
        self.data: NDArray[np.uint8] = np.concatenate(parts)
        self.crcs = _core.block_crcs(self.data, BLOCK)

    def arrays(self) -> dict[str, NDArray]:
        return {
            name: self.data[at : at + int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)
            for name, (at, dtype, shape) in self.places.items()
        }

    def segment(self, index, checked: bool = True) -> _core.Segment:
        blocks = _core.Blocks(self.data, self.crcs, BLOCK) if checked else None
        return _core.Segment.from_arrays(index._core, self.arrays(), self.n_rows, self.first_id, blocks)


def built(kind: str, ids: bool):
    index = KINDS[kind]()
    order = np.random.default_rng(1).permutation(3000)
    for begin, end in [(0, 250), (250, 400)]:
        index.add(X[begin:end], order[begin:end] if ids else None)
    return index.remove(index.ids[200:260])


def answers(index) -> list:
    found = []
    for rank in ("hamming", "cosine", "l2"):
        result = index.search(QUERIES, k=7, rank=rank)
        found += [result.ids.tolist(), result.distances.tobytes(), result.n_candidates.tolist()]
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("checked", [False, True])
def test_an_index_put_together_from_arrays_is_the_index(kind: str, ids: bool, checked: bool) -> None:
    index = built(kind, ids)
    segments, next_id = index._core.state()
    other = KINDS[kind]()
    if other._core is None:
        other.add(X[:1]).remove(0)
    files = [File(segment) for segment, _ in segments]
    other._core.restore(
        [(file.segment(other, checked), removed) for file, (_, removed) in zip(files, segments, strict=True)], next_id
    )
    assert len(other) == 340
    assert other.ids.tolist() == index.ids.tolist()
    assert answers(other) == answers(index)
    for one in (index, other):
        one.add(X[:30]).remove(one.ids[5:9]).update(X[40:45], one.ids[10:15])
    assert other.ids.tolist() == index.ids.tolist()
    assert answers(other) == answers(index)
    assert answers(other.compact()) == answers(index)
    again = other._core.state()
    assert len(again[0]) == 1
    assert again[0][0][1] is None
    assert again[1] == index._core.state()[1]


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_are_views_that_keep_the_segment(kind: str) -> None:
    index = built(kind, ids=True)
    (segment, removed), *_ = index._core.state()[0]
    assert removed.dtype == np.uint8
    assert np.unpackbits(removed, bitorder="little")[:250].tolist() == [0] * 200 + [1] * 50
    arrays = segment.arrays()
    assert segment.n_rows == 250
    assert segment.nbytes == sum(array.nbytes for array in arrays.values())
    assert not any(array.flags.writeable for array in arrays.values())
    assert arrays["codes"].tolist() == index.hasher.encode(X[:250]).words.tolist()
    assert (arrays["ids"][arrays["ids_order"]] == np.sort(arrays["ids"])).all()
    assert arrays["ids"][:200].tolist() == index.ids[:200].tolist()
    vectors = arrays["halves"] if kind == "lsh, wide keys" else arrays["vectors"]
    assert vectors.dtype == (np.float16 if kind == "lsh, wide keys" else np.float32)
    assert vectors.tobytes() == X[:250].astype(vectors.dtype).tobytes()
    for name in arrays:
        if name.startswith("rows."):
            assert sorted(arrays[name]) == list(range(250))
            assert len(arrays["offsets." + name[5:]]) == len(arrays.get("keys." + name[5:], range(64))) + 1 or (
                kind == "k-means"
            )
    del index, segment
    gc.collect()
    assert vectors.tobytes() == X[:250].astype(vectors.dtype).tobytes()


def test_borrowed_memory_lives_as_long_as_it_is_used() -> None:
    index = built("flat", ids=False)
    file = File(index._core.state()[0][0][0])

    class Memory(np.ndarray):
        pass

    file.data = file.data.view(Memory)
    watch = weakref.ref(file.data)
    other = FlatIndex(HASHER)
    other._core.restore([(file.segment(other, checked=False), None)], 250)
    del file
    gc.collect()
    assert watch() is not None
    assert other.search(X[3], k=1, rank="l2").ids.tolist() == [[3]]
    done = threading.Event()

    def search() -> None:
        while not done.is_set():
            other.search(QUERIES, n_jobs=1)

    readers = [threading.Thread(target=search) for _ in range(3)]
    for reader in readers:
        reader.start()
    other.remove(np.arange(250))  # the last segment goes while others read it
    done.set()
    for reader in readers:
        reader.join()
    gc.collect()
    assert watch() is None


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_an_error_that_names_it(kind: str) -> None:
    index = built(kind, ids=True)
    segment, _ = index._core.state()[0][0]
    file = File(segment)
    file.segment(index).verify(n_jobs=2)
    for name, (at, dtype, shape) in file.places.items():
        place = at + int(np.prod(shape)) * dtype.itemsize // 2
        file.data[place] ^= 16
        damaged = file.segment(index)
        with pytest.raises(ValueError, match=r"^Segment: array '.*' is damaged: block \d+ \(bytes \d+ to \d+\): "):
            damaged.verify()
        other = KINDS[kind]()
        if other._core is None:
            other.add(X[:1]).remove(0)
        other._core.restore([(damaged, None)], 3000)
        if name.split(".")[0] in ("codes", "ids", "keys", "offsets", "rows") or name == "ids_order":
            with pytest.raises(ValueError, match="is damaged"):
                other.search(QUERIES, rank="hamming")
        file.data[place] ^= 16
        assert len(other.search(QUERIES, rank="hamming").ids) == len(QUERIES)  # whole again


def test_only_the_vectors_that_are_read_are_verified() -> None:
    index = LSHIndex(HASHER, 2, 8, vectors="float32").add(np.tile(X, (100, 1)))
    file = File(index._core.state()[0][0][0])
    at, _, _ = file.places["vectors"]
    row = 31_234
    file.data[at + 40 * row] ^= 1
    other = LSHIndex(HASHER, 2, 8, vectors="float32")
    other._core.restore([(file.segment(other), None)], len(index))
    far = np.arange(len(index))[: row - 2 * BLOCK // 40]
    assert other.reconstruct(far[::50]).tobytes() == np.tile(X, (100, 1))[far[::50]].tobytes()
    wanted = index.search(QUERIES, rank="l2", filter=far)
    assert other.search(QUERIES, rank="l2", filter=far).ids.tolist() == wanted.ids.tolist()
    with pytest.raises(ValueError, match="array 'vectors' is damaged"):
        other.reconstruct([row])
    with pytest.raises(ValueError, match="array 'vectors' is damaged"):
        other.search(X[row % 400], rank="l2")


def test_arrays_that_do_not_fit_are_refused_at_once() -> None:
    index = built("lsh", ids=True)
    file = File(index._core.state()[0][0][0])

    def make(n_rows: int = 250, first_id: int = 0, blocks=None, **changes) -> None:
        arrays = {**file.arrays(), **{name.replace("_0", ".0"): array for name, array in changes.items()}}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        _core.Segment.from_arrays(index._core, arrays, n_rows, first_id, blocks)

    make()
    arrays = file.arrays()
    for changes, error, message in [
        ({"codes": arrays["codes"].astype(np.int64)}, TypeError, "'codes': expected dtype uint64, got int64"),
        ({"codes": arrays["codes"].tolist()}, TypeError, "'codes': expected an ndarray"),
        ({"codes": arrays["codes"][:, :1]}, ValueError, "'codes': expected a C-contiguous array of 2 columns"),
        ({"codes": arrays["codes"][:9]}, ValueError, "'codes': expected 500 elements, got 18"),
        ({"codes": None}, ValueError, "'codes': expected 500 elements, got 0"),
        ({"ids": arrays["ids"][::2]}, ValueError, "'ids': expected a C-contiguous array of one axis"),
        ({"ids_order": None}, ValueError, "'ids_order': expected 250 elements, got 0"),
        ({"ids": arrays["ids"][:0]}, ValueError, "'ids': expected an id for each row, got none"),
        ({"keys_0": np.zeros(3, np.uint64)}, ValueError, "'keys.0': expected 0 elements, got 3"),
        ({"other": arrays["ids"]}, ValueError, "there is no array 'other'"),
        ({"n_rows": 0}, ValueError, "expected 1 to 2^32 - 2 rows, got 0"),
        ({"blocks": _core.Blocks(file.data[:64], file.crcs[:1], 64)}, ValueError, "within that of the blocks"),
    ]:
        with pytest.raises(error) as raised:
            make(**changes)
        assert message in str(raised.value)
    with pytest.raises(ValueError, match="expected 2 checksums for 5000 bytes, got 1"):
        _core.Blocks(np.zeros(5000, np.uint8), np.zeros(1, np.uint32), 4096)
    with pytest.raises(ValueError, match="another shape"):
        LSHIndex(HASHER, 4, 6, vectors="float32")._core.restore(index._core.state()[0], 9)


def test_checksums() -> None:
    data = np.random.default_rng(0).integers(0, 256, 3_000_001, dtype=np.uint8)
    assert _core.crc32c(np.frombuffer(b"123456789", dtype=np.uint8)) == 0xE3069283
    assert _core.crc32c(data, 1) == _core.crc32c(data, 3)
    crcs = _core.block_crcs(data, 1 << 20, 2)
    assert crcs.dtype == np.uint32
    assert crcs.tolist() == [_core.crc32c(data[i : i + (1 << 20)]) for i in range(0, len(data), 1 << 20)]
