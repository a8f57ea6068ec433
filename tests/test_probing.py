"""What a search looks into: query-directed probes, a Hamming radius, filters; and shortlists."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import reference
from lshcore import FlatIndex, KMeansIndex, LSHIndex
from lshcore.hashers import RandomHyperplanes
from lshcore.hashers.base import LinearHasher


class Margins(LinearHasher):
    """Margins are the columns themselves."""

    def __init__(self, n_bits: int) -> None:
        self.n_bits = n_bits

    def _make_weights(self, x, y, n_bits: int):
        return np.eye(n_bits, dtype=np.float32), np.zeros(n_bits, dtype=np.float32)


class Turned(Margins):
    """Asymmetric: queries are read from the last column to the first."""

    def _project_query(self, x, n_jobs: int):
        return np.ascontiguousarray(self._project(x, n_jobs)[:, ::-1])


def lists(index, asked, **options) -> list[list[int]]:
    """Candidates; a search counts as many."""
    found = [mine.tolist() for mine in index.candidates(asked, **options)]
    assert index.search(asked, k=1, **options).n_candidates.tolist() == [len(mine) for mine in found]
    return found


def check_probes(index: LSHIndex, asked, x, ids, numbers=None, cheapest: int = 20) -> int:
    """Candidates for every number of probes where costs leave no choice; gives how many those were."""
    buckets = reference.rows_by_key(index.hasher.transform(x), index.positions, ids)
    checked = 0
    for query, margins in zip(asked, index.hasher.project_query(asked), strict=True):
        costs, keys = reference.probe_order(margins, index.positions, cheapest)
        whole = cheapest >= index.key_bits
        found: set[int] = set()
        for n, key in enumerate(keys, start=1):
            found |= buckets.get(key, set())
            last = n == len(keys)
            distinct = whole if last else costs[n] > costs[n - 1] * (1 + 1e-9)
            if n >= index.n_tables and (n == index.n_tables or distinct) and (numbers is None or n in numbers):
                assert lists(index, query, probes=n) == [sorted(found)]
                checked += 1
    return checked


# -- query-directed probes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_tables", "key_bits", "n_bits", "keys"),
    [(1, 1, 1, "blocks"), (1, 7, 7, "blocks"), (4, 5, 20, "blocks"), (3, 6, 12, "sample"), (9, 2, 30, "sample")],
)
def test_probes_come_by_the_squares_of_the_margins_they_flip(
    features: NDArray[np.float32], queries, n_tables: int, key_bits: int, n_bits: int, keys: str
) -> None:
    index = LSHIndex(RandomHyperplanes(n_bits).fit(features), n_tables, key_bits, keys=keys)
    ids = np.random.default_rng(0).permutation(900)[:300]
    index.add(features[:170], ids[:170]).add(features[170:], ids[170:])
    checked = check_probes(index, queries[:5], features, ids)
    assert checked == 5 * (n_tables * (2**key_bits - 1) + 1) if keys == "blocks" else checked > 5 * 2**key_bits


def test_wide_keys_are_probed_in_the_same_order(rng) -> None:
    """The rows are those that the first probes look for, so that each probe finds one."""
    asked = rng.normal(size=(3, 150)).astype(np.float32)
    hasher = Margins(150).fit(asked)
    for key_bits in (63, 64, 65, 70, 75):
        positions = np.stack([rng.permutation(150)[:key_bits] for _ in range(2)]).astype(np.int32)
        rows = []
        for query in asked:
            _, keys = reference.probe_order(query, positions, cheapest=10)
            assert len(keys) > 25
            for table, bits in keys[:60]:
                row = rng.normal(size=150)
                row[positions[table]] = np.where(np.frombuffer(bits, dtype=bool), 1, -1)
                rows.append(row)
        x = np.array(rows, dtype=np.float32)
        index = LSHIndex(hasher, keys=positions).add(x)
        assert check_probes(index, asked, x, range(len(x)), range(61), cheapest=10) > 50
        assert min(map(len, lists(index, asked, probes=20))) >= 20


@given(
    n=st.integers(0, 80),
    n_bits=st.integers(1, 24),
    n_tables=st.integers(1, 4),
    key_bits=st.integers(1, 6),
    batches=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_probes_of_random_indexes(n: int, n_bits: int, n_tables: int, key_bits: int, batches: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, asked = rng.normal(size=(n, 5)), rng.normal(size=(2, 5))
    key_bits = min(key_bits, n_bits)
    index = LSHIndex(RandomHyperplanes(n_bits).fit(np.eye(5)), n_tables, key_bits, keys="sample")
    ids = rng.permutation(10 * n + 10)[:n]
    for part in np.array_split(np.arange(n), batches):
        index.add(x[part], ids[part])
    numbers = {n_tables, *rng.integers(n_tables, n_tables * 2**key_bits + 1, 5).tolist()}
    check_probes(index, asked, x, ids, numbers)
    assert lists(index, asked, probes=n_tables) == lists(index, asked)
    assert lists(index, asked, probes=n_tables << key_bits) == [sorted(ids.tolist())] * 2
    growing = [lists(index, asked, probes=n) for n in range(n_tables, min(n_tables << key_bits, 40) + 1)]
    for fewer, more in itertools.pairwise(growing):
        assert all(set(a) <= set(b) for a, b in zip(fewer, more, strict=True))


@pytest.mark.parametrize(("n_tables", "key_bits", "n_bits"), [(6, 4, 24), (3, 8, 20), (2, 70, 140)])
@pytest.mark.parametrize("vectors", [None, "float32"])
def test_the_first_probes_are_a_plain_search_and_more_find_no_less(
    features, queries, n_tables: int, key_bits: int, n_bits: int, vectors: str | None
) -> None:
    index = LSHIndex(RandomHyperplanes(n_bits).fit(features), n_tables, key_bits, vectors=vectors).add(features)
    plain, first = index.search(queries), index.search(queries, probes=n_tables)
    for name in ("ids", "distances", "n_candidates"):
        assert getattr(plain, name).tobytes() == getattr(first, name).tobytes()
    before = lists(index, queries)
    for probes in (n_tables + 1, n_tables + 5, 40, 200, 1000):
        now = lists(index, queries, probes=probes)
        assert all(set(a) <= set(b) for a, b in zip(before, now, strict=True))
        assert sum(map(len, now)) > sum(map(len, before)) or max(map(len, before)) == 300 or key_bits > 64
        before = now


def test_all_keys_are_the_whole_gallery_and_there_are_no_more(features, queries) -> None:
    index = LSHIndex(RandomHyperplanes(24).fit(features), 4, 6, vectors="float32").add(features)
    exact = FlatIndex().add(features).search(queries, k=20)
    for probes in (4 * 2**6, 4 * 2**6 + 1, 2**24):
        found = index.search(queries, k=20, probes=probes)
        assert found.n_candidates.tolist() == [300] * len(queries)
        assert found.ids.tobytes() == exact.ids.tobytes()
        assert found.distances.tobytes() == exact.distances.tobytes()


def test_margins_are_those_of_the_query(rng) -> None:
    """An asymmetric hasher has margins of its own for queries, and the least of them is flipped first."""
    x = np.array(list(itertools.product((-1.0, 1.0), repeat=5)))
    index = LSHIndex(Turned(5).fit(x), 1, 5, keys="blocks").add(x)
    query = np.array([0.5, 3.0, -0.2, 1.0, 2.0])
    numbers = [lists(index, query, probes=n)[0] for n in range(1, 6)]
    code = np.sign(query[::-1])
    flips = [(), (2,), (4,), (2, 4), (1,)]  # at 0, 0.04, 0.25, 0.29 and 1 in squares

    def row(flipped: tuple) -> int:
        wanted = code.copy()
        wanted[list(flipped)] *= -1
        return int((x == wanted).all(axis=1).argmax())

    assert numbers == [sorted(row(flipped) for flipped in flips[:n]) for n in range(1, 6)]


def test_queries_are_projected_once(features, queries, monkeypatch) -> None:
    """With the margins at hand, codes are their signs."""
    hasher = RandomHyperplanes(24).fit(features)
    index = LSHIndex(hasher, 4, 6).add(features)
    calls: list[str] = []
    for name in ("_project", "_encode"):
        original = getattr(RandomHyperplanes, name)

        def counted(self, x, n_jobs, name=name, original=original):
            calls.append(name)
            return original(self, x, n_jobs)

        monkeypatch.setattr(RandomHyperplanes, name, counted)
    for options, wanted in (({}, "_encode"), ({"probes": 4}, "_encode"), ({"radius": 1}, "_encode")):
        index.search(queries, **options)
        assert calls == [wanted]
        calls.clear()
    index.search(queries, probes=5)
    assert calls == ["_project"]


# -- a Hamming radius --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 9, 200, 10**30])
@pytest.mark.parametrize(
    ("n_tables", "key_bits", "n_bits"),
    [
        (3, 3, 9),  # few keys are there, so those are looked at
        (4, 12, 48),
        (2, 16, 40),  # many are there, so the first radii are enumerated
        (1, 63, 63),
        (2, 64, 100),
        (2, 65, 130),
        (1, 129, 140),
        (1, 256, 256),
    ],
)
def test_a_radius_takes_every_key_within_it(
    features: NDArray[np.float32], rng, radius: int, n_tables: int, key_bits: int, n_bits: int
) -> None:
    x = np.concatenate([features, rng.normal(size=(300, 24)).astype(np.float32)])
    hasher = RandomHyperplanes(n_bits).fit(x)
    ids = rng.permutation(2000)[:600]
    index = LSHIndex(hasher, n_tables, key_bits, keys="sample", vectors="float32")
    index.add(x[:250], ids[:250]).add(x[250:], ids[250:])
    asked = np.concatenate([x[::40], x[::50] + 0.02 * rng.normal(size=(12, 24)).astype(np.float32)])
    found = lists(index, asked, radius=radius)
    wanted = reference.radius_candidates(
        hasher.transform(asked), hasher.transform(x), index.positions, min(radius, 300), ids
    )
    assert found == wanted
    if radius == 0:
        assert found == lists(index, asked)


@given(
    n=st.integers(0, 60),
    key_bits=st.integers(1, 90),
    n_tables=st.integers(1, 3),
    radius=st.integers(0, 6),
    levels=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_radius_of_random_keys(n: int, key_bits: int, n_tables: int, radius: int, levels: int, seed: int) -> None:
    """Rows are `levels` different ones with a few bits flipped, so that there are few keys or many."""
    rng = np.random.default_rng(seed)
    n_bits = key_bits + 5
    models = rng.choice([-1.0, 1.0], size=(levels, n_bits))
    x = models[rng.integers(0, levels, n)] * np.where(rng.random((n, n_bits)) < 0.03, -1, 1)
    asked = models[:3] * np.where(rng.random((len(models[:3]), n_bits)) < 0.03, -1, 1)
    hasher = Margins(n_bits).fit(models)
    index = LSHIndex(hasher, n_tables, key_bits, keys="sample", random_state=seed).add(x)
    wanted = reference.radius_candidates(
        hasher.transform(asked), hasher.transform(x), index.positions, radius, np.arange(n)
    )
    assert lists(index, asked, radius=radius) == wanted


# -- filters -----------------------------------------------------------------------------------------------------------


@functools.cache
def built(kind: str):
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(12, 24))
    x = (centres[rng.integers(0, 12, 300)] + 0.3 * rng.normal(size=(300, 24))).astype(np.float32)
    asked = x[::11] + 0.1 * rng.normal(size=x[::11].shape).astype(np.float32)
    hasher = RandomHyperplanes(80).fit(x)
    index = {
        "lsh": lambda: LSHIndex(hasher, 6, 10, vectors="float32"),
        "lsh, wide keys": lambda: LSHIndex(hasher, 2, 70, keys="sample", vectors="float32"),
        "lsh, one table": lambda: LSHIndex(hasher, 1, 5, vectors="float16"),
        "k-means": lambda: KMeansIndex(12, codes=hasher).fit(x),
        "flat": lambda: FlatIndex(hasher),
    }[kind]()
    ids = rng.permutation(5000)[:300]
    for part in np.array_split(np.arange(300), 3):
        index.add(x[part], ids[part])
    return index, x, asked


SEARCHES = [
    ("lsh", {}),
    ("lsh", {"probes": 60}),
    ("lsh", {"radius": 2}),
    ("lsh, wide keys", {"probes": 200}),
    ("lsh, wide keys", {"radius": 5}),
    ("lsh, one table", {"probes": 4}),
    ("k-means", {"probes": 3}),
    ("flat", {}),
]


@pytest.mark.parametrize(("kind", "options"), SEARCHES)
@pytest.mark.parametrize("rank", ["hamming", "cosine", "l2"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_a_filter_leaves_the_allowed_rows(kind: str, options: dict, rank: str, share: float) -> None:
    index, _, asked = built(kind)
    mask = np.random.default_rng(3).random(300) < share
    everything = index.search(asked, k=300, rank=rank, **options)
    allowed = np.isin(everything.ids, index.ids[mask])
    twice = np.random.default_rng(4).permutation(np.repeat(index.ids[mask], 2))
    for chosen in (mask, mask.tolist(), index.ids[mask], twice, twice.astype(np.uint16).tolist()):
        found = index.search(asked, k=7, rank=rank, filter=chosen, **options)
        assert found.n_candidates.tolist() == allowed.sum(axis=1).tolist()
        for q, keep in enumerate(allowed):
            n = min(7, int(keep.sum()))
            assert found.ids[q, :n].tolist() == everything.ids[q, keep][:7].tolist()
            assert found.distances[q, :n].tobytes() == everything.distances[q, keep][:7].tobytes()
            assert (found.ids[q, n:] == -1).all()
        assert lists(index, asked, filter=chosen, **options) == [
            sorted(everything.ids[q, keep].tolist()) for q, keep in enumerate(allowed)
        ]


@given(n=st.integers(0, 50), batches=st.integers(1, 4), share=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_filters_of_random_indexes(n: int, batches: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, asked = rng.normal(size=(n, 4)).astype(np.float32), rng.normal(size=(3, 4))
    index = FlatIndex(vectors="float16")
    ids = rng.permutation(10 * n + 10)[:n]
    for part in np.array_split(np.arange(n), batches):
        index.add(x[part], ids[part])
    mask = rng.random(n) < share
    found = index.search(asked, k=n + 1, filter=mask, rank="l2")
    smaller = FlatIndex(vectors="float16").add(x[mask], ids[mask]).search(asked, k=n + 1, rank="l2")
    for name in ("ids", "distances", "n_candidates"):
        assert getattr(found, name).tolist() == getattr(smaller, name).tolist()


def test_a_mask_may_be_any_view_and_is_left_alone() -> None:
    index, _, asked = built("lsh")
    wide = np.zeros((300, 2), dtype=bool)
    wide[::3, 0] = True
    mask = wide[:, 0]
    mask.flags.writeable = False
    assert lists(index, asked, filter=mask) == lists(index, asked, filter=index.ids[::3])


# -- shortlists --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), SEARCHES)
@pytest.mark.parametrize("rank", ["cosine", "l2"])
@pytest.mark.parametrize("length", [1, 5, 40, 300, 10**12])
@pytest.mark.parametrize("filtered", [False, True])
def test_a_shortlist_is_the_nearest_codes(kind: str, options: dict, rank: str, length: int, filtered: bool) -> None:
    index, x, asked = built(kind)
    if filtered:
        options = {**options, "filter": np.random.default_rng(5).random(300) < 0.7}
    hasher = index.hasher
    row_of = {int(identity): row for row, identity in enumerate(index.ids)}
    far = reference.hamming_matrix(hasher.transform(asked), hasher.transform(x))
    everything = index.search(asked, k=300, rank=rank, **options)
    found = index.search(asked, k=8, rank=rank, shortlist=length, **options)
    assert found.n_candidates.tolist() == everything.n_candidates.tolist()
    for q, mine in enumerate(index.candidates(asked, **options)):
        codes_first = sorted((int(far[q, row_of[i]]), i) for i in mine.tolist())[:length]
        short = {i for _, i in codes_first}
        ranked = [
            (d, i) for d, i in zip(everything.distances[q], everything.ids[q].tolist(), strict=True) if i in short
        ]
        got = list(zip(found.distances[q], found.ids[q].tolist(), strict=True))
        assert got[: len(ranked)] == ranked[:8]
        assert all(i == -1 and np.isinf(d) for d, i in got[len(ranked) :])


@given(n=st.integers(0, 60), batches=st.integers(1, 4), length=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
def test_shortlists_of_everything(n: int, batches: int, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, asked = rng.normal(size=(n, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    index = FlatIndex(RandomHyperplanes(6).fit(np.eye(4)))
    ids = rng.permutation(10 * n + 10)[:n]
    for part in np.array_split(np.arange(n), batches):
        index.add(x[part], ids[part])
    found = index.search(asked, k=n + 1, rank="l2", shortlist=length)
    nearest = index.search(asked, k=length, rank="hamming")
    for q in range(3):
        short = nearest.ids[q][nearest.ids[q] >= 0]
        assert np.sort(found.ids[q][found.ids[q] >= 0]).tolist() == np.sort(short).tolist()
        exact = reference.vector_distances(asked[q : q + 1], x[[ids.tolist().index(i) for i in short]], "l2")[0]
        np.testing.assert_allclose(found.distances[q, : len(short)], np.sort(exact), atol=1e-5)
    assert found.n_candidates.tolist() == [n] * 3


# -- the same for everyone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lsh", "lsh, wide keys", "k-means", "flat"])
def test_threads_and_batches_of_queries_change_nothing(kind: str) -> None:
    index, _, asked = built(kind)
    mask = np.random.default_rng(6).random(300) < 0.6
    choices: list[dict] = [{"shortlist": 9}, {"filter": mask}, {"filter": mask, "shortlist": 9, "rank": "l2"}]
    if kind.startswith("lsh"):
        choices += [{"probes": 33}, {"probes": 33, "shortlist": 4, "filter": mask}, {"radius": 3, "rank": "hamming"}]
    for options in choices:
        wanted = index.search(asked, **options, n_jobs=1)
        for n_jobs in (2, 8):
            found = index.search(asked, **options, n_jobs=n_jobs)
            singly = [index.search(query, **options, n_jobs=n_jobs) for query in asked]
            for name in ("ids", "distances", "n_candidates"):
                assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes()
                assert np.concatenate([getattr(r, name) for r in singly]).tobytes() == getattr(wanted, name).tobytes()


def test_batches_of_rows_change_nothing(features, queries) -> None:
    hasher = RandomHyperplanes(60).fit(features)
    once = LSHIndex(hasher, 5, 12, vectors="float16").add(features)
    often = LSHIndex(hasher, 5, 12, vectors="float16")
    for part in np.array_split(features, 40):
        often.add(part)
    for options in ({"probes": 50}, {"radius": 2}, {"probes": 50, "shortlist": 6}, {"filter": np.arange(0, 300, 4)}):
        for name in ("ids", "distances", "n_candidates"):
            a, b = (getattr(index.search(queries, **options), name) for index in (once, often))
            assert a.tobytes() == b.tobytes()


def test_before_the_first_row(features) -> None:
    hasher = RandomHyperplanes(32).fit(features)
    empty: NDArray[np.bool_] = np.zeros(0, dtype=bool)
    for index in (LSHIndex(hasher, 4, 8, vectors="float32"), FlatIndex(hasher), KMeansIndex(5, codes=hasher)):
        if isinstance(index, KMeansIndex):
            index.fit(features)
        choices = [{"shortlist": 3}, {"filter": empty}, {"filter": []}, {"filter": [], "shortlist": 3}]
        if isinstance(index, LSHIndex):
            choices += [{"probes": 9}, {"radius": 2}]
        for options in choices:
            found = index.search(features[:3], k=2, **options)
            assert found.ids.tolist() == [[-1, -1]] * 3
            assert np.isinf(found.distances).all()
            assert found.n_candidates.tolist() == [0] * 3
            assert index.search(features[:0], k=2, **options).ids.shape == (0, 2)


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"probes": 5}, ValueError, "probes must be at least 6, one for each table, got 5"),
        ({"probes": 2**24 + 1}, ValueError, "probes must be at most 16777216, got 16777217"),
        ({"probes": 10**30}, ValueError, f"probes must be at most 16777216, got {10**30}"),
        ({"probes": 8.0}, TypeError, "probes must be an integer, got 8.0"),
        ({"probes": True}, TypeError, "probes must be an integer, got True"),
        ({"radius": -1}, ValueError, "radius must be at least 0, got -1"),
        ({"radius": 1.0}, TypeError, "radius must be an integer, got 1.0"),
        ({"radius": 1, "probes": 6}, ValueError, "probes and radius exclude each other, got probes=6 and radius=1"),
        ({"shortlist": 0}, ValueError, "shortlist must be at least 1, got 0"),
        ({"shortlist": 1.5}, TypeError, "shortlist must be an integer, got 1.5"),
        (
            {"shortlist": 5, "rank": "hamming"},
            ValueError,
            'shortlist must come before another rank than "hamming", got rank "hamming"',
        ),
        (
            {"filter": np.ones(299, bool)},
            ValueError,
            "filter must be a mask of shape (300,), one for each row, got (299,)",
        ),
        (
            {"filter": np.ones((300, 1), bool)},
            ValueError,
            "filter must be a mask of shape (300,), one for each row, got (300, 1)",
        ),
        ({"filter": True}, ValueError, "filter must be a mask of shape (300,), one for each row, got ()"),
        ({"filter": 3}, ValueError, "filter must be 1-d, got shape ()"),
        ({"filter": np.array([[1, 2]])}, ValueError, "filter must be 1-d, got shape (1, 2)"),
        ({"filter": [[1, 2]]}, ValueError, "filter must have a list of ids for each of 28 queries, got 1 lists"),
        ({"filter": [[1.5]] * 28}, TypeError, "filter of query 0 must be integers, got dtype float64"),
        ({"filter": [[6000]] * 28}, ValueError, "filter must hold ids of the index, got 6000, which it has not"),
        ({"filter": [6000, 7000]}, ValueError, "filter must hold ids of the index, got 6000, which it has not"),
        ({"filter": [-1]}, ValueError, "filter must hold ids of the index, got -1, which it has not"),
        (
            {"filter": np.array([2**64 - 1], np.uint64)},
            ValueError,
            "filter must fit into int64, got 18446744073709551615",
        ),
        (
            {"filter": np.ones(300)},
            TypeError,
            "filter must be a mask of bools or an array of integer ids, got dtype float64",
        ),
        ({"filter": ["a"]}, TypeError, "filter must be integers, as those that the index was begun with, got 'a'"),
    ],
)
@pytest.mark.parametrize("call", ["search", "candidates"])
def test_bad_options(options: dict, error: type[Exception], message: str, call: str) -> None:
    index, _, asked = built("lsh")
    if call == "candidates" and "shortlist" in options:
        return
    before = index.search(asked).ids.tobytes()
    with pytest.raises(error) as raised:
        getattr(index, call)(asked, **options)
    assert str(raised.value).startswith(f"LSHIndex.{call}: {message}")
    assert "\n" not in str(raised.value)
    assert index.search(asked).ids.tobytes() == before
    assert len(index) == 300


def test_only_keys_of_bits_have_a_radius(features) -> None:
    for index in (KMeansIndex(5).add(features), FlatIndex().add(features)):
        with pytest.raises(ValueError, match=r"Index\.candidates: radius must be None, for only the keys .*, got 2"):
            index.candidates(features, radius=2)
    with pytest.raises(ValueError, match=r"FlatIndex\.search: shortlist needs codes, and this index has no hasher"):
        FlatIndex().add(features).search(features, shortlist=3)


def test_the_first_unknown_id_is_named() -> None:
    index, _, asked = built("flat")
    with pytest.raises(ValueError, match="got 5001, which"):
        index.search(asked, filter=[int(index.ids[0]), 5001, int(index.ids[3]), 5000])
