"""Bad input at every entry point, and every layout and dtype that must work."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lshcore import FlatIndex, KMeansIndex, LSHIndex, Preprocess, metrics
from lshcore._validation import (
    NotFittedError,
    as_ids,
    as_integer,
    as_labels,
    as_matrix,
    check_choice,
    check_fitted,
    check_k,
    resolve_jobs,
    resolve_seed,
)
from lshcore.hashers import RandomHyperplanes

DIM = 24


def with_one(at: tuple[int, int], value: float, dtype: type = np.float64) -> np.ndarray:
    x = np.ones((5, DIM), dtype=dtype)
    x[at] = value
    return x


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "None": (None, TypeError, "got None"),
    "text": (np.full((5, DIM), "1"), TypeError, "dtype <U1"),
    "one string": ("features", TypeError, "dtype <U8"),
    "objects": (np.full((5, DIM), 1, dtype=object), TypeError, "dtype object"),
    "None inside": ([[None] * DIM], TypeError, "dtype object"),
    "a dict": ({"a": 1}, TypeError, "type dict"),
    "complex": (np.ones((5, DIM), dtype=np.complex64), TypeError, "dtype complex64"),
    "dates": (np.zeros((5, DIM), dtype="M8[s]"), TypeError, r"datetime64\[s\]"),
    "extended": (np.ones((5, DIM), dtype=np.clongdouble), TypeError, "dtype c"),
    "records": (np.zeros((5, DIM), dtype=[("a", "f4")]), TypeError, "dtype"),
    "masked": (np.ma.masked_equal(np.ones((5, DIM)), 1), TypeError, "masked array"),
    "ragged": ([[1.0, 2.0], [3.0]], ValueError, "rectangular"),
    "0-d": (np.float32(3), ValueError, r"shape \(\)"),
    "3-d": (np.ones((2, 3, DIM)), ValueError, r"shape \(2, 3, 24\)"),
    "no columns": (np.ones((5, 0)), ValueError, "column"),
    "NaN": (with_one((3, 7), np.nan), ValueError, "row 3, column 7"),
    "Inf": (with_one((4, 0), np.inf), ValueError, "row 4, column 0"),
    "-Inf": (with_one((0, 23), -np.inf), ValueError, "row 0, column 23"),
    "overflow": (with_one((2, 2), 1e300), ValueError, "row 2, column 2"),
    "too large": (with_one((1, 5), -2e15), ValueError, "row 1, column 5"),
    "large integer": (with_one((1, 5), 2**60, np.int64), ValueError, "row 1, column 5"),
}
WRONG_WIDTH = {"narrow": (np.ones((5, 23)), ValueError, "24 columns, got 23")}
NOT_A_ROW = {"1-d": (np.ones(DIM), ValueError, r"shape \(24,\)")}


class Entry:
    """One entry point: a call on a fitted object, and what of that object must not change."""

    def __init__(self, name: str, call: Callable[[Any, Any], Any], *, fits: bool = False, queries: bool = False):
        self.name = name
        self.call = call
        self.bad = {**BAD, **({} if fits else WRONG_WIDTH), **({} if queries else NOT_A_ROW)}
        if fits:
            self.bad["no rows"] = (np.ones((0, DIM)), ValueError, "at least [12] row|n_clusters = 4 rows")


def built(kind: str) -> Any:
    x = np.random.default_rng(5).normal(size=(40, DIM))
    hasher = RandomHyperplanes(32).fit(x)
    return {
        "hasher": lambda: hasher,
        "preprocess": lambda: Preprocess(pca=3).fit(x),
        "lsh": lambda: LSHIndex(hasher, 4, 8, vectors="float32").add(x),
        "flat": lambda: FlatIndex(hasher).add(x),
        "kmeans": lambda: KMeansIndex(4).add(x),
        "untrained": lambda: KMeansIndex(4),
        "residual": lambda: KMeansIndex(4, target_recall=0.9).add(x),
    }[kind]()


def state(thing: Any) -> Any:
    """Everything of a fitted object that can be compared."""
    found = {name: value for name, value in vars(thing).items() if name.endswith("_") and value is not None}
    if hasattr(thing, "ids"):
        found["ids"] = thing.ids
        found["nbytes"] = np.array(list(thing.nbytes.values()))
    return {name: np.array(value) for name, value in found.items()}


def entries(kind: str) -> list[Entry]:
    index = [
        Entry("add", lambda o, x: o.add(x)),
        Entry("search", lambda o, x: o.search(x), queries=True),
        Entry("candidates", lambda o, x: o.candidates(x), queries=True),
        Entry("evaluate", lambda o, x: metrics.evaluate(o, x, [1], np.ones(40, dtype=int)), queries=True),
    ]
    return {
        "hasher": [
            Entry("fit", lambda o, x: o.fit(x), fits=True),
            Entry("project", lambda o, x: o.project(x)),
            Entry("transform", lambda o, x: o.transform(x)),
            Entry("encode", lambda o, x: o.encode(x)),
            Entry("project_query", lambda o, x: o.project_query(x), queries=True),
            Entry("encode_query", lambda o, x: o.encode_query(x), queries=True),
        ],
        "preprocess": [
            Entry("fit", lambda o, x: o.fit(x), fits=True),
            Entry("transform", lambda o, x: o.transform(x)),
        ],
        "lsh": index,
        "flat": index,
        "kmeans": index,
        "residual": index,
        "untrained": [Entry("fit", lambda o, x: o.fit(x), fits=True)],
    }[kind]


KINDS = ("hasher", "preprocess", "lsh", "flat", "kmeans", "residual", "untrained")


@pytest.mark.parametrize(("kind", "entry"), [(kind, entry.name) for kind in KINDS for entry in entries(kind)])
def test_bad_matrices_raise_and_change_nothing(kind: str, entry: str) -> None:
    thing = built(kind)
    chosen = next(e for e in entries(kind) if e.name == entry)
    before = state(thing)
    where = rf"(?s)(\.{entry}|metrics\.{entry}): .*"
    for value, error, message in chosen.bad.values():
        with pytest.raises(error, match=where + message):
            chosen.call(thing, value)
        after = state(thing)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in before)


VALUES = np.random.default_rng(3).integers(0, 2, size=(60, DIM)).astype(np.float32)


def strided() -> np.ndarray:
    wide = np.zeros((120, 2 * DIM), dtype=np.float32)
    wide[::2, ::2] = VALUES
    return wide[::2, ::2]


def read_only() -> np.ndarray:
    x = VALUES.copy()
    x.flags.writeable = False
    return x


def unaligned() -> np.ndarray:
    raw = np.zeros(VALUES.nbytes + 1, dtype=np.uint8)
    raw[1:] = np.frombuffer(VALUES.tobytes(), dtype=np.uint8)
    return raw[1:].view(np.float32).reshape(VALUES.shape)


LAYOUTS: dict[str, Callable[[], Any]] = {
    "Fortran": lambda: np.asfortranarray(VALUES),
    "strided": strided,
    "negative strides": lambda: np.ascontiguousarray(VALUES[::-1, ::-1])[::-1, ::-1],
    "transposed": lambda: np.ascontiguousarray(VALUES.T).T,
    "read-only": read_only,
    "unaligned": unaligned,
    "big-endian": lambda: VALUES.astype(">f4"),
    "big-endian double": lambda: VALUES.astype(">f8"),
    "matrix": lambda: VALUES.view(np.ndarray).tolist(),
    **{
        np.dtype(d).name: lambda d=d: VALUES.astype(d)
        for d in (np.float16, np.float64, np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint64, np.bool_)
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_and_dtype_gives_the_same_answer(layout: str) -> None:
    x = LAYOUTS[layout]()
    copy = np.array(x, copy=True)
    hasher, plain = RandomHyperplanes(64).fit(x), RandomHyperplanes(64).fit(VALUES)
    assert hasher.weights_.tobytes() == plain.weights_.tobytes()
    assert hasher.bias_.tobytes() == plain.bias_.tobytes()
    assert hasher.encode(x) == plain.encode(VALUES)
    for make in (
        lambda: LSHIndex(plain, 4, 6, vectors="float32"),
        lambda: FlatIndex(),
        lambda: KMeansIndex(5),
    ):
        found = make().add(x).search(x, k=7)
        wanted = make().add(VALUES).search(VALUES, k=7)
        assert found.distances.tobytes() == wanted.distances.tobytes()
        assert found.ids.tobytes() == wanted.ids.tobytes()
    scaled = Preprocess(standardise=True).fit(x).transform(x)
    assert scaled.tobytes() == Preprocess(standardise=True).fit(VALUES).transform(VALUES).tobytes()
    assert np.array_equal(x, copy)


def test_broadcast_arrays_work() -> None:
    x = np.broadcast_to(VALUES[0], (30, DIM))
    hasher = RandomHyperplanes(40).fit(VALUES)
    assert hasher.encode(x) == hasher.encode(np.array(x))
    assert FlatIndex().add(x).search(x[:1], k=3).ids.tolist() == [[0, 1, 2]]


def test_arrays_are_never_written_to() -> None:
    x = VALUES.copy()
    Preprocess(standardise=True, pca=4).fit(x).transform(x)
    hasher = RandomHyperplanes(40).fit(x)
    hasher.encode(x)
    LSHIndex(hasher, 2, 8, vectors="float32").add(x).search(x)
    KMeansIndex(3).add(x).search(x)
    assert np.array_equal(x, VALUES)


def test_stored_rows_do_not_follow_the_users_array() -> None:
    x = VALUES + np.arange(60, dtype=np.float32)[:, None]
    index = FlatIndex().add(x)
    before = index.search(VALUES, k=5, rank="l2")
    x[:] = 0
    after = index.search(VALUES, k=5, rank="l2")
    assert before.ids.tobytes() == after.ids.tobytes()
    assert before.distances.tobytes() == after.distances.tobytes()


def test_torch_tensors_work() -> None:
    torch = pytest.importorskip("torch")
    plain = RandomHyperplanes(64).fit(VALUES)
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    for device in devices:
        tensor = torch.tensor(VALUES, device=device, requires_grad=True)
        assert RandomHyperplanes(64).fit(tensor).encode(tensor) == plain.encode(VALUES)
        assert plain.encode(tensor.half()) == plain.encode(VALUES)
        assert plain.encode(tensor.detach().T.contiguous().T) == plain.encode(VALUES)
        ids = torch.arange(60, device=device)
        index = LSHIndex(plain, 4, 6).add(tensor, ids=ids)
        assert index.search(tensor, k=1).n_candidates.min() >= 1
        report = metrics.evaluate(index, tensor, ids % 3, ids % 3, k=5)
        assert report == metrics.evaluate(index, VALUES, np.arange(60) % 3, np.arange(60) % 3, k=5)
    with pytest.raises(TypeError, match=r"encode: X must be a dense tensor .* torch.bfloat16"):
        plain.encode(torch.ones((3, DIM), dtype=torch.bfloat16))
    with pytest.raises(TypeError, match=r"encode: X must be a dense tensor .* torch.sparse_coo"):
        plain.encode(torch.eye(DIM).to_sparse())
    with pytest.raises(TypeError, match=r"encode: X must hold .* dtype complex64"):
        plain.encode(torch.ones((3, DIM), dtype=torch.complex64))


def test_a_matrix_in_the_right_form_is_not_copied() -> None:
    assert as_matrix(VALUES, "here") is VALUES
    assert as_matrix(VALUES[:0], "here").shape == (0, DIM)
    assert as_matrix(VALUES[0], "here", allow_1d=True).shape == (1, DIM)


def test_labels() -> None:
    assert as_labels([3, 1, 2], "here").dtype == np.int64
    assert as_labels(np.array([True, False]), "here").tolist() == [1, 0]
    multi = as_labels([[1, 0], [0, 0]], "here", 2)
    assert multi.dtype == np.bool_
    assert multi.tolist() == [[True, False], [False, False]]
    for value, error, message in [
        ([1.0, 2.0], TypeError, "got dtype float64"),
        (["a", "b"], TypeError, "dtype <U1"),
        (None, TypeError, "got None"),
        ([[0, 2]], ValueError, "only 0 and 1"),
        ([[[1]]], ValueError, r"got \(1, 1, 1\)"),
        (np.ones((3, 0), dtype=bool), ValueError, r"got \(3, 0\)"),
        (3, ValueError, r"got \(\)"),
        (np.array([2**63], dtype=np.uint64), ValueError, "int64"),
    ]:
        with pytest.raises(error, match=r"here: .*" + message):
            as_labels(value, "here")
    with pytest.raises(ValueError, match="here: labels must have length 3, one for each row, got 2"):
        as_labels([1, 2], "here", 3)


def test_ids() -> None:
    assert as_ids(np.array([5, 3], dtype=np.uint8), "here", 2).tolist() == [5, 3]
    assert as_ids([], "here", 0).dtype == np.int64
    for value, error, message in [
        ([1.0, 2.0], TypeError, "integers, got dtype float64"),
        ([True, False], TypeError, "integers, got dtype bool"),
        (["a", "b"], TypeError, "dtype <U1"),
        ([1], ValueError, r"shape \(2,\)"),
        ([[1, 2]], ValueError, r"got \(1, 2\)"),
        ([4, -1], ValueError, "not be negative, got -1"),
        (np.array([1, 2**63], dtype=np.uint64), ValueError, "int64"),
    ]:
        with pytest.raises(error, match=r"here: .*" + message):
            as_ids(value, "here", 2)


def test_integers_and_k() -> None:
    assert as_integer(np.uint8(3), "here", "n") == 3
    for value in (3.0, "3", None, True, np.True_, [3]):
        with pytest.raises(TypeError, match="here: n must be an integer, got"):
            as_integer(value, "here", "n")
    with pytest.raises(ValueError, match="here: n must be between 1 and 5, got 6"):
        as_integer(6, "here", "n", low=1, high=5)
    with pytest.raises(ValueError, match="here: n must be at most 5, got 6"):
        as_integer(6, "here", "n", high=5)
    for k in (0, -1):
        with pytest.raises(ValueError, match=f"here: k must be at least 1, got {k}"):
            check_k(k, "here")
    assert check_k(2**31, "here", 0, 10) == 2**31
    with pytest.raises(ValueError, match="here: k must be at most the 10 rows"):
        check_k(2**31, "here", 1, 10)


def test_choices() -> None:
    assert check_choice(None, "here", "vectors", (None, "float32")) is None
    for value in ("float16", 3, ["float32"], np.array([1, 2])):
        with pytest.raises(ValueError, match="here: vectors must be one of None, 'float32', got"):
            check_choice(value, "here", "vectors", (None, "float32"))


def test_unfitted() -> None:
    message = r"here: this RandomHyperplanes is not fitted; call fit\(X\) first"
    with pytest.raises(NotFittedError, match=message):
        check_fitted(RandomHyperplanes(), "weights_", "here")
    assert issubclass(NotFittedError, ValueError)


def test_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    monkeypatch.delenv("LSHCORE_NUM_THREADS", raising=False)
    assert resolve_jobs(None) == resolve_jobs(-1) == cpus
    assert resolve_jobs(3) == 3
    monkeypatch.setenv("LSHCORE_NUM_THREADS", "5")
    assert resolve_jobs(None) == 5
    assert resolve_jobs(2) == 2
    for value in ("0", "-1", "many", "1.5", "100000"):
        monkeypatch.setenv("LSHCORE_NUM_THREADS", value)
        with pytest.raises(ValueError, match=f"LSHCORE_NUM_THREADS must be .* got '{value}'"):
            resolve_jobs(None)
    for jobs in (0, -2, 10**6):
        with pytest.raises(ValueError, match=f"n_jobs must be .* got {jobs}"):
            resolve_jobs(jobs)
    for jobs in (1.0, "2", True):
        with pytest.raises(TypeError, match=r"n_jobs: .* must be an integer"):
            resolve_jobs(jobs)


def test_seeds() -> None:
    assert resolve_seed(7, "here") == resolve_seed(np.int32(7), "here") == 7
    assert resolve_seed(None, "here") != resolve_seed(None, "here")
    generator = np.random.default_rng(0)
    assert resolve_seed(generator, "here") != resolve_seed(generator, "here")
    assert resolve_seed(np.random.default_rng(0), "here") == resolve_seed(np.random.default_rng(0), "here")
    assert resolve_seed(np.random.RandomState(1), "here") == resolve_seed(np.random.RandomState(1), "here")
    for value in (-1, 2**64):
        with pytest.raises(ValueError, match=f"here: random_state must be between .* got {value}"):
            resolve_seed(value, "here")
    for value in (1.5, "0", [1]):
        with pytest.raises(TypeError, match="here: random_state must be an integer, None, a numpy Generator"):
            resolve_seed(value, "here")
