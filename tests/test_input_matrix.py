"""24 classes of input in every entry point: each is taken, with the answer of a plain float32 array, or refused."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lshcore import BinaryCodes, FlatIndex, KMeansIndex, LSHIndex, Preprocess, hamming, metrics
from lshcore.hashers import RandomHyperplanes

ROWS, DIM = 12, 8
RNG = np.random.default_rng(7)
# Small whole numbers from -1 to 6, which every dtype below holds but bool and the unsigned ones.
SIGNED = RNG.integers(-1, 7, size=(ROWS, DIM)).astype(np.float32)
WHOLE = np.abs(SIGNED)
BITS = (WHOLE > 2).astype(np.float32)
GALLERY = RNG.normal(size=(40, DIM)).astype(np.float32)
LABELS = np.arange(40) % 3
HASHER = RandomHyperplanes(64).fit(GALLERY)
CODES = HASHER.encode(GALLERY)

TAKEN = "taken"
Refusal = tuple[type[Exception], str]
Outcome = str | Refusal


def with_one(x: np.ndarray, value: float, dtype: type = np.float32) -> np.ndarray:
    x = x.astype(dtype)
    x[3, 5] = value
    return x


def strided(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), dtype=x.dtype)
    wide[::2, ::3] = x
    return wide[::2, ::3]


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


# What each class makes of a plain array (n, d) of whole numbers in float32.
ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "NaN": lambda x: with_one(x, np.nan),
    "Inf": lambda x: with_one(x, -np.inf),
    "overflow": lambda x: with_one(x, 1e300, np.float64),
    "zeros": np.zeros_like,
    "wrong dimension": lambda x: x[:, :-1],
    "strided": strided,
    "Fortran": np.asfortranarray,
    "read-only": read_only,
    "complex": lambda x: x.astype(np.complex64),
    "texts": lambda x: x.astype(str),
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16),
    "int8": lambda x: x.astype(np.int8),
    "uint8": lambda x: np.abs(x).astype(np.uint8),
    "bool": lambda x: x > 0,
    "0-d": lambda x: x[0, 0],
    "3-d": lambda x: x[np.newaxis],
    "None": lambda x: None,
    "ragged": lambda x: [x[0].tolist(), x[1, :3].tolist()],
    "1-d": lambda x: x[0],
    "empty": lambda x: x[:0],
}
NUMBERS = {"k > n": [41, 1000], "k < 1": [0, -1], "k = 2^31": [2**31]}
CLASSES = (*ARRAYS, *NUMBERS)
assert len(CLASSES) == 24

SHAPES: dict[str, Outcome] = {
    "0-d": (ValueError, r"shape \(\)"),
    "3-d": (ValueError, r"shape \(1, 12, 8\)"),
    "None": (TypeError, "got None"),
    "ragged": (ValueError, "rectangular"),
    "complex": (TypeError, "dtype complex64"),
    "texts": (TypeError, "dtype <U"),
}
AS_IT_IS = dict.fromkeys(("zeros", "strided", "Fortran", "read-only"), TAKEN)
MATRIX: dict[str, Outcome] = {
    **SHAPES,
    **AS_IT_IS,
    **dict.fromkeys(("float64", "float16", "int8", "uint8", "bool"), TAKEN),
    "NaN": (ValueError, "row 3, column 5"),
    "Inf": (ValueError, "row 3, column 5"),
    "overflow": (ValueError, "row 3, column 5"),
    "wrong dimension": (ValueError, "must have 8 columns, got 7"),
    "1-d": (ValueError, r"shape \(8,\)"),
    "empty": TAKEN,
}
FIT: dict[str, Outcome] = {
    **{name: outcome for name, outcome in MATRIX.items() if name != "wrong dimension"},  # any number will do
    "empty": (ValueError, "got 0"),
}
QUERY: dict[str, Outcome] = {**MATRIX, "1-d": TAKEN}  # one row
K: dict[str, Outcome] = {
    "k > n": TAKEN,
    "k < 1": (ValueError, "k must be at least 1, got"),
    "k = 2^31": (ValueError, "k must be at most the 40 rows"),
}
WIDTHS = {name: (TypeError, f"dtype {name}") for name in ("float64", "float16", "int8", "uint8", "bool")}
FLOATS = dict.fromkeys(("NaN", "Inf", "overflow", "float64", "float16"), (TypeError, "dtype float"))


@dataclass
class Entry:
    """One entry point: what every message begins with, and which argument it names."""

    where: str
    name: str
    call: Callable[[Any], Any]  # with any input; gives what can be compared
    outcomes: dict[str, Outcome]
    plain: np.ndarray | None = None  # what the classes are made of
    make: Callable[[np.ndarray], Any] = np.asarray  # what of it is in the right form
    call_k: Callable[[int], Any] | None = None


def flat() -> FlatIndex:
    return FlatIndex(HASHER).add(GALLERY)


def lsh() -> LSHIndex:
    return LSHIndex(HASHER, 4, 4, vectors="float32").add(GALLERY)


def residual() -> KMeansIndex:
    return KMeansIndex(4, codes="residual").add(GALLERY)


def found(result: Any) -> list[Any]:
    return [result.ids.tolist(), result.distances.tolist(), result.n_candidates.tolist()]


def state(thing: Any) -> list[bytes]:
    """All fitted arrays."""
    return [np.array(vars(thing)[name]).tobytes() for name in sorted(vars(thing)) if name.endswith("_")]


def rows(index: Any) -> list[Any]:
    return [index.ids.tolist(), index.reconstruct(index.ids).tobytes(), found(index.search(GALLERY, k=60, rank="l2"))]


def n_rows(x: Any) -> int:
    return len(x) if getattr(x, "ndim", 1) == 2 else 1


ENTRIES: dict[str, Entry] = {
    "hasher.fit": Entry("RandomHyperplanes.fit", "X", lambda x: state(RandomHyperplanes(16).fit(x)), FIT),
    "hasher.encode": Entry("RandomHyperplanes.encode", "X", lambda x: HASHER.encode(x).words.tolist(), MATRIX),
    "hasher.encode_query": Entry(
        "RandomHyperplanes.encode_query",
        "X",
        lambda x: HASHER.encode_query(x).words.tolist(),
        QUERY,
    ),
    "BinaryCodes": Entry(
        "BinaryCodes",
        "words",
        lambda x: BinaryCodes(x, 8 * 64).words.tolist(),
        {
            **SHAPES,
            **FLOATS,
            **{name: WIDTHS[name] for name in ("int8", "uint8", "bool")},
            **AS_IT_IS,
            "wrong dimension": (ValueError, r"must have shape \(n, 8\), got \(12, 7\)"),
            "3-d": (ValueError, r"must have shape \(n, 8\)"),
            "0-d": (ValueError, r"must have shape \(n, 8\)"),
            "1-d": (ValueError, r"must have shape \(n, 8\)"),
            "empty": TAKEN,
        },
        WHOLE,
        lambda x: x.astype(np.uint64),
    ),
    "BinaryCodes.from_bools": Entry(
        "BinaryCodes.from_bools",
        "bits",
        lambda x: BinaryCodes.from_bools(x).words.tolist(),
        {
            **SHAPES,
            "NaN": (TypeError, "float"),
            "Inf": (TypeError, "float"),
            "overflow": (TypeError, "float"),
            "float64": (TypeError, "float64"),
            "float16": (TypeError, "float16"),
            **dict.fromkeys(("int8", "uint8", "bool", "empty"), TAKEN),
            **AS_IT_IS,
            "1-d": (ValueError, r"shape \(8,\)"),
        },
        BITS,
        lambda x: x.astype(np.int32),
    ),
    "BinaryCodes.from_signs": Entry(
        "BinaryCodes.from_signs",
        "signs",
        lambda x: BinaryCodes.from_signs(x).words.tolist(),
        {
            **SHAPES,
            **{name: MATRIX[name] for name in ("NaN", "Inf", "overflow", "1-d", "empty")},
            **dict.fromkeys(("float64", "float16", "int8"), TAKEN),
            "uint8": (TypeError, "dtype uint8"),
            "bool": (TypeError, "dtype bool"),
            **AS_IT_IS,
        },
    ),
    "BinaryCodes.from_packed": Entry(
        "BinaryCodes.from_packed",
        "packed",
        lambda x: BinaryCodes.from_packed(x, 64).words.tolist(),
        {
            **SHAPES,
            **dict.fromkeys(FLOATS, (TypeError, "dtype float")),
            "int8": WIDTHS["int8"],
            "bool": WIDTHS["bool"],
            "uint8": TAKEN,
            **AS_IT_IS,
            "wrong dimension": (ValueError, r"must have shape \(n, 8\), got \(12, 7\)"),
            "3-d": (ValueError, r"must have shape \(n, 8\)"),
            "0-d": (ValueError, r"must have shape \(n, 8\)"),
            "1-d": (ValueError, r"must have shape \(n, 8\)"),
            "empty": TAKEN,
        },
        WHOLE,
        lambda x: x.astype(np.uint8),
    ),
    "index.add": Entry("FlatIndex.add", "X", lambda x: rows(flat().add(x)), MATRIX),
    "index.update": Entry("LSHIndex.update", "X", lambda x: rows(lsh().update(x, np.arange(n_rows(x)))), MATRIX),
    "index.search": Entry(
        "LSHIndex.search",
        "Q",
        lambda x: found(lsh().search(x, k=5)),
        {**QUERY, **K},
        call_k=lambda k: found(lsh().search(GALLERY[:3], k=k)),
    ),
    "index.range_search": Entry(
        "FlatIndex.range_search",
        "Q",
        lambda x: [part.tolist() for hit in flat().range_search(x, 30.0, rank="l2") for part in hit],
        QUERY,
    ),
    "index.candidates": Entry(
        "LSHIndex.candidates",
        "Q",
        lambda x: [mine.tolist() for mine in lsh().candidates(x)],
        QUERY,
    ),
    "index.reconstruct": Entry(
        "FlatIndex.reconstruct",
        "ids",
        lambda x: flat().reconstruct(x).tolist(),
        {
            **FLOATS,
            "bool": (TypeError, "dtype bool"),
            "complex": SHAPES["complex"],
            "texts": (TypeError, "must be integers|must be texts|got '"),
            "None": SHAPES["None"],
            "ragged": SHAPES["ragged"],
            "3-d": (ValueError, "must be 1-d"),
            "wrong dimension": (ValueError, "must be in the index, got 777"),
            **dict.fromkeys(
                ("zeros", "strided", "Fortran", "read-only", "int8", "uint8", "1-d", "0-d", "empty"), TAKEN
            ),
        },
        WHOLE,
    ),
    "index.remove": Entry(
        "FlatIndex.remove",
        "ids",
        lambda x: rows(flat().remove(x)),
        {
            **FLOATS,
            "bool": (TypeError, "dtype bool"),
            "complex": SHAPES["complex"],
            "texts": (TypeError, "must be integers|must be texts|got '"),
            "None": SHAPES["None"],
            "ragged": SHAPES["ragged"],
            "3-d": (ValueError, "must be 1-d"),
            "zeros": (ValueError, "must be given once, got 0 twice"),
            "wrong dimension": (ValueError, "must be in the index, got 777"),
            **dict.fromkeys(("strided", "Fortran", "read-only", "int8", "uint8", "1-d", "0-d", "empty"), TAKEN),
        },
        WHOLE,
    ),
    "residual.add": Entry("KMeansIndex.add", "X", lambda x: rows(residual().add(x)), MATRIX),
    "residual.update": Entry(
        "KMeansIndex.update", "X", lambda x: rows(residual().update(x, np.arange(n_rows(x)))), MATRIX
    ),
    "residual.search": Entry(
        "KMeansIndex.search",
        "Q",
        lambda x: found(residual().search(x, k=5, probes=3, shortlist=20)),
        {**QUERY, **K},
        call_k=lambda k: found(residual().search(GALLERY[:3], k=k, probes=4, shortlist=40)),
    ),
    "residual.fit": Entry(
        "KMeansIndex.fit", "X", lambda x: state(KMeansIndex(target_recall=0.9, max_iter=3).fit(x)), FIT
    ),
    "k-means.fit": Entry("KMeansIndex.fit", "X", lambda x: state(KMeansIndex(3, max_iter=3).fit(x)), FIT),
    "Preprocess.fit": Entry(
        "Preprocess.fit",
        "X",
        lambda x: state(Preprocess(standardise=True, pca=2).fit(x)),
        {**FIT, "zeros": (ValueError, "pca needs rows that differ")},
    ),
    "Preprocess.transform": Entry(
        "Preprocess.transform",
        "X",
        lambda x: Preprocess(standardise=True, l2=True).fit(GALLERY).transform(x).tolist(),
        MATRIX,
    ),
    "metrics.evaluate": Entry(
        "metrics.evaluate",
        "Q",
        lambda x: metrics.evaluate(flat(), x, np.arange(n_rows(x)) % 3, LABELS, k=5),
        {
            **QUERY,
            "empty": (ValueError, "needs at least one query"),
            "k > n": TAKEN,
            "k < 1": K["k < 1"],
        },
        call_k=lambda k: metrics.evaluate(flat(), GALLERY[:3], [0, 1, 2], LABELS, k=k),
    ),
    "hamming.search": Entry(
        "hamming.search",
        "q",
        lambda x: [part.tolist() for part in hamming.search(x, CODES, 5)],
        {
            **dict.fromkeys(ARRAYS, (TypeError, "must be BinaryCodes .* got (ndarray|NoneType|list|float32)")),
            "wrong dimension": (ValueError, "must have 32 bits, got 64"),
            "empty": TAKEN,
            **K,
        },
        call_k=lambda k: [part.tolist() for part in hamming.search(CODES[:3], CODES, k)],
    ),
}

# Ids are whole rows of an array, of whole numbers below 40 that differ.
DISTINCT = np.array([3, 39, 0, 17, 21, 8, 5, 30], dtype=np.int64)


def id_input(kind: str) -> Any:
    if kind == "wrong dimension":  # no such thing: ids that are not there
        return np.array([3, 777])
    if kind in ("strided", "Fortran", "read-only", "zeros"):
        made = ARRAYS[kind](np.tile(DISTINCT, (ROWS, 1)))
        return made[0] if kind != "Fortran" else made[0, :]
    if kind in ("1-d", "0-d", "empty"):
        return {"1-d": DISTINCT, "0-d": DISTINCT[1], "empty": DISTINCT[:0]}[kind]
    if kind == "bool":
        return DISTINCT > 9
    if kind in ("NaN", "Inf", "overflow"):
        return with_one(np.tile(DISTINCT, (ROWS, 1)), {"NaN": np.nan, "Inf": -np.inf, "overflow": 1e300}[kind], float)[
            3
        ]
    if kind in ("None", "ragged", "3-d"):
        return ARRAYS[kind](np.tile(DISTINCT, (ROWS, 1)))
    return ARRAYS[kind](np.tile(DISTINCT, (ROWS, 1)))[0]


def inputs(entry: str, kind: str) -> tuple[Any, Any]:
    """The input, and the plain one that must give the same where it is taken."""
    one = ENTRIES[entry]
    if one.name == "ids":
        made = id_input(kind)
        return made, (None if one.outcomes[kind] != TAKEN else np.array(made, dtype=np.int64).reshape(-1))
    if entry == "hamming.search" and kind in ("wrong dimension", "empty"):
        codes = BinaryCodes(np.zeros((0, 1), np.uint64), 64) if kind == "empty" else CODES
        return codes, codes
    plain = SIGNED if one.plain is None else one.plain
    if kind in ("uint8", "bool"):
        plain = np.abs(plain)
    value = ARRAYS[kind](one.make(plain))
    if one.outcomes[kind] != TAKEN:
        return value, None
    copy = np.ascontiguousarray(np.array(value, dtype=np.float32))
    return value, one.make(copy.reshape(1, -1) if kind == "1-d" else copy)


@pytest.mark.parametrize(("entry", "kind"), [(name, kind) for name, one in ENTRIES.items() for kind in one.outcomes])
def test_every_class_of_input_is_taken_or_refused_as_promised(entry: str, kind: str) -> None:
    one = ENTRIES[entry]
    outcome = one.outcomes[kind]
    if kind in NUMBERS:
        assert one.call_k is not None
        for k in NUMBERS[kind]:
            if outcome == TAKEN:
                padded(entry, one.call_k(k), one.call_k(40), k)
            else:
                refused(one, outcome, lambda k=k: one.call_k(k), "k")
        return
    if entry == "hamming.search" and kind == "wrong dimension":
        narrow = RandomHyperplanes(32).fit(GALLERY).encode(GALLERY)
        refused(one, outcome, lambda: hamming.search(narrow, CODES, 5), "codes")
        return
    value, plain = inputs(entry, kind)
    if outcome != TAKEN:
        refused(one, outcome, lambda: one.call(value), one.name)
        return
    before = np.array(value, copy=True) if isinstance(value, np.ndarray) else None
    result = one.call(value)
    assert result == one.call(plain)
    assert before is None or np.array_equal(value, before)  # and never written to


def refused(one: Entry, outcome: Outcome, call: Callable[[], Any], name: str) -> None:
    assert not isinstance(outcome, str)
    error, message = outcome
    with pytest.raises(error) as raised:
        call()
    text = str(raised.value)
    assert type(raised.value) is error
    # What the core alone can see is said of an Index.
    assert text.startswith((f"{one.where}: ", f"Index.{one.where.split('.')[-1]}: ")), text
    said = {"needs at least one query": "query", "pca needs rows that differ": "pca"}.get(message, name)
    assert re.search(rf"\b{said}\b", text), text
    assert re.search(message, text), text
    assert "\n" not in text


def padded(entry: str, result: Any, whole: Any, k: int) -> None:
    """More hits asked for than there are rows: all of them, then padding."""
    if entry == "metrics.evaluate":
        assert result["n_queries"] == whole["n_queries"]
        return
    first = 1 if entry == "hamming.search" else 0
    ids, distances, whole_ids = result[first], result[1 - first], whole[first]
    for mine, far, all_rows in zip(ids, distances, whole_ids, strict=True):
        assert len(mine) == len(far) == k
        assert mine[:40] == all_rows
        assert set(mine[40:]) == {-1}
        assert set(far[40:]) == {far[-1]} <= {float("inf"), 65535}


def test_the_table_is_complete() -> None:
    """What is not in the table of an entry point cannot be: a width that any number fits, a `k` that is not taken."""
    left_out = {name: set(CLASSES) - set(one.outcomes) for name, one in ENTRIES.items()}
    for name, one in ENTRIES.items():
        expected = set(NUMBERS) if one.call_k is None else {"k = 2^31"} & left_out[name]
        if one.outcomes.get("wrong dimension") is None:
            expected |= {"wrong dimension"}
        assert left_out[name] == expected, name


@pytest.mark.parametrize("rank", ["hamming", "margin", "cosine", "l2"])
def test_an_empty_index_gives_padding_and_counts(rank: str) -> None:
    for index in (FlatIndex(HASHER), LSHIndex(HASHER, 4, 4, vectors="float32")):
        result = index.search(GALLERY[:3], k=4, rank=rank)
        assert result.ids.tolist() == [[-1] * 4] * 3
        assert result.distances.tolist() == [[65535 if rank == "hamming" else float("inf")] * 4] * 3
        assert result.n_candidates.tolist() == [0] * 3
        assert len(index.candidates(GALLERY[:3]).ids) == 0
    distances, ids = hamming.search(CODES[:2], CODES[:0], 3)
    assert ids.tolist() == [[-1] * 3] * 2
    assert distances.tolist() == [[65535] * 3] * 2


def test_a_row_of_zeros_is_at_cosine_distance_1_of_everything() -> None:
    index = FlatIndex(HASHER).add(GALLERY).add(np.zeros((1, DIM)))
    result = index.search(np.zeros(DIM), k=41, rank="cosine")
    assert result.ids.tolist() == [list(range(41))]
    assert set(result.distances[0].tolist()) == {1.0}
    near = index.search(GALLERY[:1], k=41, rank="cosine")
    assert near.distances[0][near.ids[0].tolist().index(40)] == 1.0
