"""Indexes that change: removed and updated rows, compaction, filters for each query, range search, and threads."""

import re
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from lshcore import FlatIndex, KMeansIndex, LSHIndex
from lshcore.codes import BinaryCodes
from lshcore.hashers import CrossPolytope, RandomHyperplanes

DIM, N_BITS = 6, 40
RNG = np.random.default_rng(11)
CENTRES = RNG.normal(size=(9, DIM))
POOL = (CENTRES[RNG.integers(0, 9, 500)] + 0.4 * RNG.normal(size=(500, DIM))).astype(np.float32)
QUERIES = (CENTRES[RNG.integers(0, 9, 12)] + 0.3 * RNG.normal(size=(12, DIM))).astype(np.float32)
HASHER = RandomHyperplanes(N_BITS).fit(POOL)
CELLS = CrossPolytope(n_hashes=6, random_state=1).fit(POOL)

KINDS = {
    "lsh": lambda: LSHIndex(HASHER, 5, 6, keys="blocks", vectors="float32"),
    "lsh, wide keys": lambda: LSHIndex(RandomHyperplanes(140).fit(POOL), 2, 70, keys="blocks", vectors="float16"),
    "lattice": lambda: LSHIndex(CELLS, 3, CELLS.hash_bits_, vectors="float32"),
    "k-means": lambda: KMeansIndex(7, codes=HASHER).fit(POOL),
    "residual": lambda: KMeansIndex(7, codes="residual").fit(POOL),
    "flat": lambda: FlatIndex(HASHER),
}
PROBES = {"lsh": 20, "lsh, wide keys": 30, "lattice": 9, "k-means": 3, "residual": 3, "flat": 1}


def ranks(kind: str) -> tuple[str, ...]:
    of_vectors = ("cosine", "l2", "ip")
    return of_vectors if kind in ("lattice", "residual") else ("hamming", "margin", *of_vectors)


def fresh(kind: str, rows: dict[int, int]):
    """The index that was never anything else: the rows of the pool under their ids, added at once."""
    return KINDS[kind]().add(POOL[list(rows.values())].reshape(-1, DIM), np.array(list(rows), dtype=np.int64))


def answers(index, kind: str, **options) -> list:
    """What every kind of search says, as bytes."""
    found = []
    for rank in ranks(kind):
        result = index.search(QUERIES, k=9, rank=rank, probes=PROBES[kind], **options)
        found.append((result.distances.tobytes(), result.ids.tolist(), result.n_candidates.tolist()))
        if rank in ("cosine", "l2", "ip") and kind != "lattice":
            result = index.search(QUERIES, k=9, rank=rank, shortlist=7, **options)
            found.append((result.distances.tobytes(), result.ids.tolist(), result.n_candidates.tolist()))
        if kind == "residual":
            n = max(1, len(index))
            result = index.search(QUERIES, n, rank=rank, shortlist=n, probes=7, **options)
            exact = index.search(QUERIES, n, rank=rank, probes=7, **options)
            found.append((result.distances.tobytes(), result.ids.tolist(), result.n_candidates.tolist()))
            assert found[-1] == (exact.distances.tobytes(), exact.ids.tolist(), exact.n_candidates.tolist())
    found.append([mine.tolist() for mine in index.candidates(QUERIES, **options)])
    return found


def replace(rows: dict[int, int], identity: int, row: int) -> None:
    """A row moves to the end of the order, as in the index."""
    rows.pop(identity, None)
    rows[identity] = row


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add with ids", "remove", "update", "compact", "search"]),
        st.integers(1, 12),
        st.integers(0, 2**32 - 1),
    ),
    max_size=25,
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(operations=OPERATIONS)
def test_any_sequence_of_changes_gives_the_index_of_what_is_left(kind: str, operations: list) -> None:
    index = KINDS[kind]()
    rows: dict[int, int] = {}  # id -> row of the pool, in the order of rows
    next_id = 0
    for name, n, seed in operations:
        rng = np.random.default_rng(seed)
        new = rng.integers(0, len(POOL), n)
        chosen = rng.permutation(np.array(list(rows), dtype=np.int64))[:n]
        if name == "add":
            index.add(POOL[new])
            rows |= {next_id + i: int(row) for i, row in enumerate(new)}
            next_id += n
        elif name == "add with ids":
            ids = [i for i in rng.permutation(60) if i not in rows][:n]
            index.add(POOL[new[: len(ids)]], ids)
            rows |= {int(i): int(row) for i, row in zip(ids, new, strict=False)}
            next_id = max([next_id, *(int(i) + 1 for i in ids)])
        elif name == "remove":
            assert index.remove(chosen) is index
            for i in chosen.tolist():
                del rows[i]
        elif name == "update":
            assert index.update(POOL[new[: len(chosen)]], chosen) is index
            for i, row in zip(chosen.tolist(), new.tolist(), strict=False):
                replace(rows, i, row)
        elif name == "compact":
            assert index.compact() is index
        else:
            assert answers(index, kind) == answers(fresh(kind, rows), kind)
        assert index.ids.tolist() == list(rows)
        assert len(index) == len(rows)
    assert answers(index, kind) == answers(fresh(kind, rows), kind)
    assert answers(index.compact(), kind) == answers(fresh(kind, rows), kind)
    assert sorted(index.bucket_sizes(0)) == sorted(fresh(kind, rows).bucket_sizes(0))
    for i in range(70):
        assert (i in index) == (i in rows)
    some = list(rows)[::-2]
    wanted = POOL[[rows[i] for i in some]].reshape(-1, DIM)
    if kind == "lsh, wide keys":
        wanted = wanted.astype(np.float16).astype(np.float32)
    assert index.reconstruct(some).tobytes() == wanted.tobytes()
    if index.hasher is not None:
        assert index.codes(some) == index.hasher.encode(POOL[[rows[i] for i in some]].reshape(-1, DIM))


def life(index):
    """Rows 0 to 299 of the pool, with holes and in several segments; gives their ids and rows."""
    index.add(POOL[:250]).remove(np.arange(20, 90)).add(POOL[250:300], np.arange(1000, 1050))
    index.remove([0, 7, 249, 1049]).update(POOL[300:310], np.arange(100, 110))
    rows = {i: i for i in range(250) if not 20 <= i < 90 and i not in (0, 7, 249)}
    rows |= {1000 + i: 250 + i for i in range(49)}
    for i in range(10):
        replace(rows, 100 + i, 300 + i)
    assert index.ids.tolist() == list(rows)
    return rows


def test_a_changed_index_answers_as_dicts_and_matrices_do() -> None:
    index = KINDS["lsh"]()
    rows = life(index)
    ids, x = np.array(list(rows)), POOL[list(rows.values())]
    bits, q_bits = HASHER.transform(x), HASHER.transform(QUERIES)
    candidates = reference.lsh_candidates(q_bits, bits, index.positions, ids)
    assert [mine.tolist() for mine in index.candidates(QUERIES)] == candidates
    found = index.search(QUERIES, k=8, rank="hamming")
    for q, mine in enumerate(candidates):
        at = [list(rows).index(i) for i in mine]
        distances = reference.hamming_matrix(q_bits[q : q + 1], bits[at])[0].astype(np.uint16)
        wanted, wanted_ids = reference.nearest(distances, np.array(mine, dtype=np.int64), 8, 65535)
        assert found.distances[q].tolist() == wanted.tolist()
        assert found.ids[q].tolist() == wanted_ids.tolist()


# -- filters -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_of_each_query_is_that_of_each_query_alone(kind: str) -> None:
    index = KINDS[kind]()
    rows = life(index)
    rng = np.random.default_rng(5)
    ids = np.array(list(rows))
    sizes = [0, 1, 2, 10, len(ids), 200, 5, 3, 30, 0, 100, 60]
    lists = [rng.permutation(ids)[:n] for n in sizes]
    lists[4] = np.concatenate([lists[4], lists[4][:5]])  # twice is no matter
    options = {"probes": PROBES[kind]}
    for rank in ranks(kind):
        for shortlist in (None, 8):
            if shortlist and (rank == "hamming" or kind == "lattice"):
                continue
            found = index.search(QUERIES, k=9, rank=rank, shortlist=shortlist, filter=lists, **options)
            for q, mine in enumerate(lists):
                alone = index.search(
                    QUERIES[q], k=9, rank=rank, shortlist=shortlist, filter=np.isin(index.ids, mine), **options
                )
                assert found.ids[q].tolist() == alone.ids[0].tolist()
                assert found.distances[q].tobytes() == alone.distances[0].tobytes()
                assert found.n_candidates[q] == alone.n_candidates[0] <= sizes[q]
    everything = index.candidates(QUERIES, **options)
    for given_lists in (lists, tuple(lists), [mine.tolist() for mine in lists]):
        for q, mine in enumerate(index.candidates(QUERIES, filter=given_lists, **options)):
            assert mine.tolist() == np.intersect1d(everything[q], lists[q]).tolist()
    some = ids[::5]
    for chosen in (np.isin(index.ids, some), some, some.tolist()):
        assert answers(index, kind, filter=chosen) == answers(index, kind, filter=[some] * len(QUERIES))


def test_a_mask_aligns_with_the_rows_that_are_left() -> None:
    index = KINDS["flat"]()
    life(index)
    mask = np.arange(len(index)) % 3 == 0
    found = index.search(QUERIES, k=len(index), filter=mask)
    assert found.n_candidates.tolist() == [mask.sum()] * len(QUERIES)
    assert sorted(found.ids[0][: mask.sum()]) == sorted(index.ids[mask])
    with pytest.raises(ValueError, match=rf"filter must be a mask of shape \({len(index)},\), one for each row"):
        index.search(QUERIES, filter=np.ones(310, dtype=bool))
    with pytest.raises(ValueError, match="filter must hold ids of the index, got 50, which it has not"):
        index.search(QUERIES, filter=[[50]] * len(QUERIES))  # removed
    with pytest.raises(ValueError, match=r"FlatIndex\.search: filter must have a list of ids for each of 12 queries"):
        index.search(QUERIES, filter=[[1]] * 11)


# -- range search ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("filtered", [None, "ids", "lists"])
def test_a_range_search_is_all_hits_up_to_a_distance(kind: str, filtered: str | None) -> None:
    index = KINDS[kind]()
    rows = life(index)
    ids = np.array(list(rows))
    options: dict = {"probes": PROBES[kind]}
    if filtered == "ids":
        options["filter"] = ids[::2]
    elif filtered == "lists":
        options["filter"] = [ids[q :: q + 1] for q in range(len(QUERIES))]
    for rank in ranks(kind):
        whole = index.search(QUERIES, k=len(index), rank=rank, **options)
        for share in (0.0, 0.2, 1.0):
            at = int(share * (whole.n_candidates.min() - 1))
            limit = whole.distances[0, max(at, 0)] if share > 0 else 0
            if np.isinf(limit):
                continue
            found = index.range_search(QUERIES, int(limit) if rank == "hamming" else limit, rank=rank, **options)
            assert found.n_candidates.tolist() == whole.n_candidates.tolist()
            assert len(found) == len(QUERIES)
            for q in range(len(QUERIES)):
                keep = (whole.distances[q] <= limit) & (whole.ids[q] >= 0)
                distances, hits = found[q]
                assert hits.tolist() == whole.ids[q][keep].tolist()
                assert distances.tobytes() == whole.distances[q][keep].tobytes()


@pytest.mark.parametrize(
    ("rank", "value", "error", "message"),
    [
        ("hamming", -1, ValueError, "max_distance must be at least 0, got -1"),
        ("hamming", 1.5, TypeError, "max_distance must be an integer, got 1.5"),
        ("l2", -0.5, ValueError, "max_distance must be at least 0, got -0.5"),
        ("l2", float("nan"), ValueError, "max_distance must be at least 0, got nan"),
        ("cosine", [1.0], TypeError, "max_distance must be a number, got [1.0]"),
        ("cosine", True, TypeError, "max_distance must be a number, got True"),
    ],
)
def test_bad_distances(rank: str, value, error: type[Exception], message: str) -> None:
    index = KINDS["flat"]().add(POOL[:9])
    with pytest.raises(error) as raised:
        index.range_search(QUERIES, value, rank=rank)
    assert str(raised.value) == f"FlatIndex.range_search: {message}"


def test_empty_and_boundless_ranges() -> None:
    index = KINDS["flat"]()
    assert index.range_search(QUERIES, 3, rank="hamming").offsets.tolist() == [0] * 13
    index.add(POOL[:9])
    assert len(index.range_search(QUERIES, 10**9, rank="hamming").ids) == 9 * 12
    assert len(index.range_search(QUERIES, float("inf"), rank="l2").ids) == 9 * 12
    assert index.range_search(QUERIES[:0], 3, rank="hamming").offsets.tolist() == [0]


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_changes_that_cannot_be_say_why_and_change_nothing(kind: str) -> None:
    index = KINDS[kind]()
    where = type(index).__name__
    with pytest.raises(ValueError, match=f"{where}.remove: ids must be in the index, got 5, which is not"):
        index.remove(5)
    life(index)
    before = answers(index, kind)
    for call, message in [
        (lambda: index.remove([1, 50, 51]), f"{where}.remove: ids must be in the index, got 50, which is not"),
        (lambda: index.remove([1, 2, 1]), "ids must be given once, got 1 twice"),
        (lambda: index.remove([[1]]), f"{where}.remove: ids must be 1-d, got shape (1, 1)"),
        (lambda: index.update(POOL[:2], [1, 60]), f"{where}.update: ids must be in the index, got 60, which is not"),
        (lambda: index.update(POOL[:2], [1]), f"{where}.update: ids must have shape (2,)"),
        (lambda: index.update(POOL[:2, :3], [1, 2]), f"{where}.update: X must have 6 columns, got 3"),
        (lambda: index.update(np.full((1, DIM), np.nan), [1]), f"{where}.update: X"),
        (lambda: index.reconstruct([1, 50]), f"{where}.reconstruct: ids must be in the index, got 50, which is not"),
        (
            lambda: index.codes(50),
            f"{where}.codes: "
            + ("ids must be in the index, got 50, which is not" if index.hasher else "this index has no hasher"),
        ),
        (lambda: index.add(POOL[:1], [1]), "ids must be new, 1 is in the index already"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)) as raised:
            call()
        assert "\n" not in str(raised.value)
    with pytest.raises(TypeError, match="ids must be integers, got dtype float64"):
        index.remove([1.0])
    assert answers(index, kind) == before
    assert 1 in index
    for stranger in (50, -1, 2**70, "a", None, 1.0, True):
        assert stranger not in index
    assert np.int32(1) in index
    index.remove(1)
    assert 1 not in index
    assert index.remove([]).reconstruct([]).shape == (0, DIM)


def test_what_is_not_kept_cannot_be_given_back() -> None:
    with pytest.raises(ValueError, match=r"FlatIndex\.codes: this index has no hasher"):
        FlatIndex().add(POOL[:3]).codes([1])
    with pytest.raises(ValueError, match=r"LSHIndex\.reconstruct: this index keeps no vectors"):
        LSHIndex(HASHER, 2, 8).add(POOL[:3]).reconstruct([1])
    codes = LSHIndex(HASHER, 2, 8).add(POOL[:3]).codes([2, 0])
    assert isinstance(codes, BinaryCodes)
    assert codes == HASHER.encode(POOL[[2, 0]])


def test_clusters_without_vectors_are_compacted_by_their_old_tables() -> None:
    index = KMeansIndex(7, vectors=None, codes=HASHER).fit(POOL)
    index.add(POOL[:300]).remove(np.arange(0, 300, 3))
    before = [mine.tolist() for mine in index.candidates(QUERIES, probes=2)]
    assert [mine.tolist() for mine in index.compact().candidates(QUERIES, probes=2)] == before
    assert index.nbytes["vectors"] == 0


# -- memory and segments -----------------------------------------------------------------------------------------------


def test_many_small_adds_leave_few_segments() -> None:
    index = KINDS["lsh"]()
    for row in POOL[:400]:
        index.add(row[np.newaxis])
        assert index._core.n_segments <= 21
    assert answers(index, "lsh") == answers(fresh("lsh", {i: i for i in range(400)}), "lsh")
    assert index.nbytes["ids"] == 0
    assert index.compact()._core.n_segments == 1


def test_compacting_gives_memory_back() -> None:
    index = LSHIndex(RandomHyperplanes(192).fit(POOL), 12, 16)
    x = np.random.default_rng(0).normal(size=(70_000, DIM)).astype(np.float32)
    index.add(x[:5]).add(x).remove(np.arange(5)).compact()
    bytes_ = index.nbytes
    assert bytes_["ids"] == bytes_["vectors"] == 0
    assert bytes_["codes"] == 24 * len(x)
    assert bytes_["tables"] == 48 * len(x) + 12 * 4 * (2**16 + 1)
    assert 24 + 48 + 12 * 4 * (2**16 + 1) / 1_281_167 < 80  # a row of ImageNet


# -- threads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lsh", "k-means", "residual", "flat"])
def test_searches_beside_changes_see_the_rows_before_or_after_each(kind: str) -> None:
    def change(index, step: int) -> None:
        ids = np.arange(4 * step, 4 * step + 4)
        if step % 4 == 0:
            index.add(POOL[200 + ids])
        elif step % 4 == 1:
            index.remove(ids[:2])
        elif step % 4 == 2:
            index.update(POOL[300 + ids], ids)
        else:
            index.compact(n_jobs=1)

    def look(index):
        options = {"rank": "l2", "shortlist": 15} if kind == "residual" else {"rank": "hamming"}
        found = index.search(QUERIES, k=15, probes=PROBES[kind], n_jobs=1, **options)
        return found.ids.tobytes() + found.distances.tobytes() + found.n_candidates.tobytes()

    steps = 40
    alone = KINDS[kind]().add(POOL[:200])
    states = {look(alone)}
    for step in range(steps):
        change(alone, step)
        states.add(look(alone))
    last = look(alone)

    index = KINDS[kind]().add(POOL[:200])
    done, wrong, counts = threading.Event(), [], [0] * 8

    def read(number: int) -> None:
        try:
            while not done.is_set():
                if look(index) not in states:
                    wrong.append(number)
                counts[number] += 1
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for step in range(steps):
        change(index, step)
        time.sleep(0.002)
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert min(counts) > 0
    assert look(index) == last


def test_writers_wait_for_each_other() -> None:
    index = KINDS["lsh"]()
    threads = [
        threading.Thread(target=lambda n=n: [index.add(POOL[[i]], [100 * n + i]) for i in range(30)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(index.ids) == sorted(100 * n + i for n in range(4) for i in range(30))
