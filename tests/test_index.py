"""LSHIndex and FlatIndex against dicts of lists and full distance matrices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import reference
from lshcore import FlatIndex, KMeansIndex, LSHIndex
from lshcore._validation import NotFittedError
from lshcore.hashers import RandomHyperplanes


def check_search(index, queries, rows, ids, candidates: list[list[int]], rank: str, k: int, codes=None) -> None:
    """A search gives the k nearest of the candidates, in the order (distance, id), padded."""
    found = index.search(queries, k=k, rank=rank)
    row_of = {int(identity): row for row, identity in enumerate(ids)}
    assert found.n_candidates.tolist() == [len(mine) for mine in candidates]
    assert found.distances.shape == found.ids.shape == (len(queries), k)
    for q, mine in enumerate(candidates):
        rows_of_mine = [row_of[identity] for identity in mine]
        if rank == "hamming":
            distances = reference.hamming_matrix(codes[0][q : q + 1], codes[1][rows_of_mine])[0].astype(np.uint16)
            wanted, wanted_ids = reference.nearest(distances, np.array(mine, dtype=np.int64), k, 65535)
            assert found.distances[q].tolist() == wanted.tolist()
            assert found.ids[q].tolist() == wanted_ids.tolist()
            continue
        n = min(k, len(mine))
        assert (found.ids[q, n:] == -1).all()
        assert np.isinf(found.distances[q, n:]).all()
        true = dict(zip(mine, reference.vector_distances(queries[q : q + 1], rows[rows_of_mine], rank)[0], strict=True))
        got = [(d, i) for d, i in zip(found.distances[q, :n], found.ids[q, :n].tolist(), strict=True)]
        assert got == sorted(got)
        assert len({i for _, i in got}) == n
        tolerance = 1e-5 * max(1.0, max(true.values(), default=1.0))
        np.testing.assert_allclose([d for d, _ in got], [true[i] for _, i in got], atol=tolerance)
        np.testing.assert_allclose([d for d, _ in got], sorted(true.values())[:n], atol=tolerance)


# -- candidates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_tables", "key_bits", "n_bits", "keys"),
    [
        (1, 1, 1, "blocks"),
        (1, 8, 8, "blocks"),
        (3, 8, 24, "blocks"),
        (12, 16, 192, "blocks"),
        (8, 12, 64, "sample"),
        (5, 20, 100, "blocks"),
        (7, 33, 80, "sample"),
        (2, 63, 126, "blocks"),
        (2, 64, 128, "blocks"),
        (3, 64, 100, "sample"),
        (2, 65, 130, "blocks"),
        (4, 100, 160, "sample"),
        (2, 128, 256, "blocks"),
        (3, 129, 300, "sample"),
        (2, 256, 512, "blocks"),
        (3, 256, 400, "sample"),
    ],
)
def test_candidates_are_those_of_a_dict_of_lists(
    features: NDArray[np.float32], queries: NDArray[np.float32], n_tables: int, key_bits: int, n_bits: int, keys: str
) -> None:
    hasher = RandomHyperplanes(n_bits).fit(features)
    index = LSHIndex(hasher, n_tables, key_bits, keys=keys).add(features)
    # Rows themselves and rows a little off among the queries: long keys match too, and not always.
    asked = np.concatenate([queries, features[::11], features[::13] * np.float32(1.0001) + np.float32(1e-4)])
    found = index.candidates(asked)
    wanted = reference.lsh_candidates(hasher.transform(asked), hasher.transform(features), index.positions, range(300))
    assert [mine.tolist() for mine in found] == wanted
    assert sum(map(len, wanted)) > 0
    assert index.search(asked).n_candidates.tolist() == [len(mine) for mine in wanted]
    for table, positions in enumerate(index.positions):
        keys_of_rows = hasher.transform(features)[:, positions]
        sizes = np.unique(keys_of_rows, axis=0, return_counts=True)[1]
        assert sorted(index.bucket_sizes(table)) == sorted(sizes)


@given(
    n=st.integers(0, 60),
    n_bits=st.integers(1, 40),
    n_tables=st.integers(1, 5),
    share=st.floats(0.05, 1),
    batches=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_candidates_and_hamming_ranks_of_random_indexes(
    n: int, n_bits: int, n_tables: int, share: float, batches: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, asked = rng.normal(size=(n, 4)), rng.normal(size=(7, 4))
    hasher = RandomHyperplanes(n_bits).fit(np.eye(4))
    index = LSHIndex(hasher, n_tables, max(1, int(share * n_bits)), keys="sample", random_state=seed % 1000)
    ids = rng.permutation(10 * n + 10)[:n]
    for part in np.array_split(np.arange(n), batches):
        index.add(x[part], ids[part])
    q_bits = hasher.transform(asked)
    bits = hasher.transform(x)
    candidates = reference.lsh_candidates(q_bits, bits, index.positions, ids)
    assert [mine.tolist() for mine in index.candidates(asked)] == candidates
    check_search(index, asked, x, ids, candidates, "hamming", 5, (q_bits, bits))
    assert index.ids.tolist() == ids.tolist()


@pytest.mark.parametrize("rank", ["hamming", "cosine", "l2"])
@pytest.mark.parametrize("k", [1, 7, 400])
def test_search_ranks_the_candidates(features, queries, rank: str, k: int) -> None:
    hasher = RandomHyperplanes(96).fit(features)
    ids = np.random.default_rng(1).permutation(5000)[:300]
    index = LSHIndex(hasher, 6, 10, vectors="float32")
    for part in np.array_split(np.arange(300), 3):
        index.add(features[part], ids[part])
    codes = hasher.transform(queries), hasher.transform(features)
    candidates = reference.lsh_candidates(*codes, index.positions, ids)
    check_search(index, queries, features, ids, candidates, rank, k, codes)


@pytest.mark.parametrize("rank", ["hamming", "cosine", "l2"])
@pytest.mark.parametrize("k", [1, 7, 400])
def test_a_flat_index_ranks_everything(features, queries, rank: str, k: int) -> None:
    hasher = RandomHyperplanes(20).fit(features)
    index = FlatIndex(hasher).add(features[:120]).add(features[120:])
    everything = [list(range(300))] * len(queries)
    codes = hasher.transform(queries), hasher.transform(features)
    check_search(index, queries, features, range(300), everything, rank, k, codes)
    assert [mine.tolist() for mine in index.candidates(queries[:3])] == everything[:3]


@pytest.mark.parametrize("rank", ["cosine", "l2"])
def test_the_same_pair_has_the_same_distance_in_every_index(features, queries, rank: str) -> None:
    """Bit for bit, whether rows are scored in a tile or gathered from buckets."""
    flat = FlatIndex().add(features).search(queries, k=300, rank=rank)
    hasher = RandomHyperplanes(12).fit(features)
    for index in (LSHIndex(hasher, 1, 1, vectors="float32"), KMeansIndex(9)):
        index.add(features)
        options = {"probes": 9} if isinstance(index, KMeansIndex) else {}
        found = index.search(queries, k=300, rank=rank, **options)
        for q in range(len(queries)):
            exact = dict(zip(flat.ids[q].tolist(), flat.distances[q].tolist(), strict=True))
            n = found.n_candidates[q]
            assert [exact[i] for i in found.ids[q, :n].tolist()] == found.distances[q, :n].tolist()


def test_zero_vectors_are_at_cosine_distance_one(features) -> None:
    x = features.copy()
    x[5] = 0
    index = FlatIndex().add(x)
    distances = index.search(np.zeros(24), k=4, rank="cosine")
    assert distances.distances.tolist() == [[1.0] * 4]
    assert distances.ids.tolist() == [[0, 1, 2, 3]]
    found = index.search(x[:1], k=300, rank="cosine")
    assert found.distances[0, found.ids[0].tolist().index(5)] == 1.0


def test_tiny_and_huge_vectors_keep_their_angle() -> None:
    for scale in (1e-12, 1e-6, 1e6, 1e14):
        x = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]) * scale
        found = FlatIndex().add(x).search(x[:1], k=3, rank="cosine")
        np.testing.assert_allclose(found.distances, [[0, 1 - np.sqrt(0.5), 1]], atol=1e-6)


# -- half precision ----------------------------------------------------------------------------------------------------


def make_half(kind: str, x: NDArray[np.float32]):
    if kind == "k-means":
        return KMeansIndex(1, vectors="float16").add(x[:100]).add(x[100:])
    index = FlatIndex(vectors="float16")
    if kind == "lsh":
        index = LSHIndex(RandomHyperplanes(4).fit(x), 1, 4, vectors="float16")
    return index.add(x[:100]).add(x[100:])


@pytest.mark.parametrize("kind", ["flat", "lsh", "k-means"])
@pytest.mark.parametrize("rank", ["cosine", "l2"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1000.0])
def test_float16_distances_are_those_to_the_rounded_rows(rng, kind: str, rank: str, scale: float) -> None:
    x = (scale * rng.normal(size=(300, 37))).astype(np.float32)
    asked = (x[::9] + 0.5 * scale * rng.normal(size=x[::9].shape)).astype(np.float32)
    index = make_half(kind, x)
    found = index.search(asked, k=300, rank=rank, probes=16 if kind == "lsh" else None)
    assert found.n_candidates.tolist() == [300] * len(asked)
    true = reference.vector_distances(asked, x.astype(np.float16), rank)
    assert found.ids.tolist() == true.argsort(axis=1).tolist()
    wanted = np.sort(true, axis=1)
    np.testing.assert_allclose(found.distances, wanted, rtol=1e-6, atol=1e-6 * (rank == "cosine"))


def test_float16_takes_half_the_memory_and_says_so(features) -> None:
    half, single = (FlatIndex(vectors=vectors).add(features) for vectors in ("float16", "float32"))
    assert single.nbytes["vectors"] - half.nbytes["vectors"] == 300 * 24 * 2
    assert repr(half).startswith("FlatIndex(300 rows, vectors float16, 0.0 MB")


def test_float16_holds_values_up_to_65504(features) -> None:
    hasher = RandomHyperplanes(32).fit(features)
    for index in (
        FlatIndex(vectors="float16"),
        LSHIndex(hasher, vectors="float16", key_bits=4),
        KMeansIndex(2, vectors="float16"),
    ):
        x = features[:9].copy()
        x[4, 7] = -65505
        with pytest.raises(
            ValueError, match=rf"{type(index).__name__}\.add: X must have magnitudes up to 65504 .*"
        ) as e:
            index.add(x)
        assert str(e.value).endswith("to be kept as float16, got -65505.0 at row 4, column 7")
        assert (len(index), index.nbytes["vectors"]) == (0, 0)
        assert not hasattr(index, "centroids_")
        x[4, 7] = -65504
        assert index.add(x).search(x[4], k=1, rank="l2").distances[0, 0] < 1e-4
        index.search(10 * x, rank="l2")  # queries are not rounded


# -- the key positions -------------------------------------------------------------------------------------------------


def fitted(n_bits: int) -> RandomHyperplanes:
    return RandomHyperplanes(n_bits).fit(np.eye(6))


def test_blocks_are_disjoint_runs() -> None:
    index = LSHIndex(fitted(64), 4, 12, keys="blocks")
    assert index.positions.dtype == np.int32
    assert index.positions.tolist() == np.arange(48).reshape(4, 12).tolist()


def test_samples_are_pinned() -> None:
    pinned = [[2, 3, 11, 13], [2, 4, 5, 9], [0, 3, 9, 14]]
    assert LSHIndex(fitted(16), 3, 4, keys="sample", random_state=0).positions.tolist() == pinned
    assert LSHIndex(fitted(16), 3, 4, keys="sample", random_state=1).positions.tolist() != pinned


def test_samples_are_uniform_subsets() -> None:
    positions = LSHIndex(fitted(20), 4000, 5, keys="sample", random_state=3).positions
    assert (np.diff(positions, axis=1) > 0).all()
    counts = np.bincount(positions.ravel(), minlength=20)
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(4000 * 0.25 * 0.75)  # each bit is in a quarter of the tables
    pairs = np.isin(positions, [2, 11]).sum(axis=1) == 2
    assert abs(pairs.mean() - 5 * 4 / (20 * 19)) < 5 * np.sqrt(0.05 / 4000)


def test_default_keys() -> None:
    assert LSHIndex(fitted(96)).positions.tolist() == np.arange(96).reshape(8, 12).tolist()
    sampled = LSHIndex(fitted(95)).positions
    assert sampled.tolist() == LSHIndex(fitted(95), keys="sample").positions.tolist()


def test_given_keys(features, queries) -> None:
    hasher = RandomHyperplanes(30).fit(features)
    keys = np.array([[29, 3, 14], [0, 1, 2]])
    index = LSHIndex(hasher, keys=keys).add(features)
    assert (index.n_tables, index.key_bits) == (2, 3)
    assert index.positions.tolist() == keys.tolist()
    wanted = reference.lsh_candidates(hasher.transform(queries), hasher.transform(features), keys, range(300))
    assert [mine.tolist() for mine in index.candidates(queries)] == wanted
    keys[:] = 0
    assert index.positions[0].tolist() == [29, 3, 14]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"n_tables": 12, "key_bits": 16, "keys": "blocks"},
            ValueError,
            r"= 192 bits, got 64; take a hasher with n_bits=192, fewer tables, or keys=\"sample\"",
        ),
        ({"key_bits": 65}, ValueError, "key_bits must be at most the 64 bits of the hasher's codes, got 65"),
        ({"key_bits": 257}, ValueError, "key_bits must be between 1 and 256, got 257"),
        ({"key_bits": 0}, ValueError, "key_bits must be between 1 and 256, got 0"),
        ({"key_bits": 8.0}, TypeError, "key_bits must be an integer, got 8.0"),
        ({"n_tables": 0}, ValueError, "n_tables must be at least 1, got 0"),
        ({"n_tables": None}, TypeError, "n_tables must be an integer, got None"),
        ({"keys": "rows"}, ValueError, "keys must be one of 'blocks', 'sample', got 'rows'"),
        ({"keys": [[0, 64]]}, ValueError, "keys must be between 0 and 63, got values from 0 to 64"),
        ({"keys": [[-1, 2]]}, ValueError, "keys must be between 0 and 63, got values from -1 to 2"),
        ({"keys": [[1, 2], [7, 7]]}, ValueError, "a bit twice in table 1"),
        ({"keys": [1, 2]}, ValueError, r"keys must have shape \(tables, bits\)"),
        ({"keys": np.zeros((0, 3), int)}, ValueError, r"keys must have shape \(tables, bits\)"),
        ({"keys": [[1.0, 2.0]]}, TypeError, "keys must be integers, got dtype float64"),
        ({"keys": [["a"]]}, TypeError, "keys must hold"),
        ({"vectors": "float64"}, ValueError, "vectors must be one of None, 'float32', 'float16', got 'float64'"),
        ({"keys": "sample", "random_state": "x"}, TypeError, "random_state must be an integer"),
    ],
)
def test_bad_keys(options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=r"(?s)LSHIndex: .*" + message):
        LSHIndex(fitted(64), **options)


# -- the container -----------------------------------------------------------------------------------------------------


def test_hashers_must_be_fitted_hashers() -> None:
    with pytest.raises(NotFittedError, match="LSHIndex: this RandomHyperplanes is not fitted; call fit"):
        LSHIndex(RandomHyperplanes())
    with pytest.raises(NotFittedError, match="FlatIndex: this RandomHyperplanes is not fitted; call fit"):
        FlatIndex(RandomHyperplanes())
    for hasher in (None, "random-hyperplanes", RandomHyperplanes):
        with pytest.raises(TypeError, match=r"LSHIndex: hasher must be a lshcore\.hashers\.Hasher, got"):
            LSHIndex(hasher)
    with pytest.raises(ValueError, match='FlatIndex: needs a hasher or vectors="float32" to rank by'):
        FlatIndex(vectors=None)


def test_fitting_the_hasher_again_leaves_the_index_alone(features, queries) -> None:
    hasher = RandomHyperplanes(40).fit(features)
    index = LSHIndex(hasher, 4, 10).add(features)
    before = index.search(queries)
    hasher.set_params(n_bits=8, random_state=9).fit(features[:, :3])
    after = index.search(queries)
    assert np.array_equal(before.ids, after.ids)
    assert index.n_bits == 40


def test_ids(features) -> None:
    index = FlatIndex().add(features[:3]).add(features[3:5], ids=[10, 7]).add(features[5:7])
    assert index.ids.tolist() == [0, 1, 2, 10, 7, 11, 12]
    assert index.search(features[:7], k=1, rank="l2").ids[:, 0].tolist() == [0, 1, 2, 10, 7, 11, 12]
    before = index.nbytes
    for ids, error, message in [
        ([20, 20], ValueError, "20"),
        ([20, 7], ValueError, "7"),
        ([20, 0], ValueError, "0"),
        ([20, 12], ValueError, "12"),
        ([20, -1], ValueError, "not be negative, got -1"),
        ([20], ValueError, r"shape \(2,\), one for each row, got \(1,\)"),
        ([20.0, 21.0], TypeError, "integers, got dtype float64"),
        (["a", "b"], TypeError, "ids must be integers, as those that the index was begun with, got 'a'"),
    ]:
        with pytest.raises(error, match=message):
            index.add(features[20:22], ids=ids)
        assert index.ids.tolist() == [0, 1, 2, 10, 7, 11, 12]
        assert index.nbytes == before
    assert index.add(features[20:22], ids=np.array([20, 21], dtype=np.uint16)).ids.tolist()[-2:] == [20, 21]


def test_equal_distances_are_ordered_by_id_not_by_row() -> None:
    x = np.ones((6, 3))
    index = FlatIndex(fitted_on(x)).add(x[:3], ids=[50, 3, 40]).add(x[3:], ids=[2, 60, 1])
    for rank in ("hamming", "cosine", "l2"):
        assert index.search(x[:1], k=6, rank=rank).ids.tolist() == [[1, 2, 3, 40, 50, 60]]
        assert index.search(x[:1], k=2, rank=rank).ids.tolist() == [[1, 2]]


def fitted_on(x: np.ndarray) -> RandomHyperplanes:
    return RandomHyperplanes(16).fit(x)


@pytest.mark.parametrize("rank", ["hamming", "cosine", "l2"])
def test_the_top_k_is_a_prefix_of_a_larger_one(features, queries, rank: str) -> None:
    index = LSHIndex(RandomHyperplanes(24).fit(features), 6, 4, vectors="float32").add(features)
    most = index.search(queries, k=310, rank=rank)
    for k in (1, 2, 5, 63, 64, 65, 100, 299, 300, 301):
        fewer = index.search(queries, k=k, rank=rank)
        assert np.array_equal(fewer.ids, most.ids[:, :k])
        assert np.array_equal(fewer.distances, most.distances[:, :k])


@pytest.mark.parametrize("rank", ["hamming", "cosine", "l2"])
def test_any_batch_and_number_of_threads_gives_the_same(features, queries, rank: str) -> None:
    hasher = RandomHyperplanes(60).fit(features)

    def build(parts: int, n_jobs: int) -> LSHIndex:
        index = LSHIndex(hasher, 5, 12, vectors="float32")
        for part in np.array_split(features, parts):
            index.add(part, n_jobs=n_jobs)
        return index

    wanted = build(1, 1).search(queries, rank=rank, n_jobs=1)
    for parts, n_jobs in ((1, 2), (4, 8), (300, 2)):
        index = build(parts, n_jobs)
        found = index.search(queries, rank=rank, n_jobs=n_jobs)
        one_by_one = [index.search(query, rank=rank, n_jobs=n_jobs) for query in queries]
        for name in ("ids", "distances", "n_candidates"):
            assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes()
            assert np.concatenate([getattr(r, name) for r in one_by_one]).tobytes() == getattr(wanted, name).tobytes()


def test_default_rank(features, queries) -> None:
    hasher = RandomHyperplanes(32).fit(features)
    for index, rank in (
        (LSHIndex(hasher, 4, 8), "hamming"),
        (LSHIndex(hasher, 4, 8, vectors="float32"), "cosine"),
        (FlatIndex(), "cosine"),
        (FlatIndex(hasher, vectors=None), "hamming"),
    ):
        index.add(features)
        assert np.array_equal(index.search(queries).distances, index.search(queries, rank=rank).distances)
        assert index.search(queries).distances.dtype == (np.uint16 if rank == "hamming" else np.float32)


def test_an_index_says_what_a_rank_needs(features, queries) -> None:
    hasher = RandomHyperplanes(32).fit(features)
    index = LSHIndex(hasher, 4, 8).add(features)
    for rank in ("cosine", "l2"):
        with pytest.raises(
            ValueError, match=rf'LSHIndex\.search: rank "{rank}" needs .* make it with vectors="float32"'
        ):
            index.search(queries, rank=rank)
    with pytest.raises(ValueError, match=r'FlatIndex\.search: rank "hamming" needs codes'):
        FlatIndex().add(features).search(queries, rank="hamming")
    with pytest.raises(ValueError, match=r'FlatIndex\.search: rank "margin" needs codes'):
        FlatIndex().add(features).search(queries, rank="margin")
    for rank in ("asymmetric", "dot", 3):
        expected = r"LSHIndex\.search: rank must be one of 'hamming', 'margin', 'cosine', 'l2', 'ip', got"
        with pytest.raises(ValueError, match=expected):
            index.search(queries, rank=rank)
    for k, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), (None, TypeError), (True, TypeError)):
        with pytest.raises(error, match=r"LSHIndex\.search: k must be"):
            index.search(queries, k=k)
    with pytest.raises(ValueError, match=r"LSHIndex\.search: k must be at most the 300 rows"):
        index.search(queries, k=2**31)
    for probes in (-1, 0, 3):
        message = rf"LSHIndex\.search: probes must be at least 4, one for each table, got {probes}"
        with pytest.raises(ValueError, match=message):
            index.search(queries, probes=probes)
    with pytest.raises(
        ValueError, match=r"FlatIndex\.search: probes must be 1, for everything is in one bucket, got 2"
    ):
        FlatIndex().add(features).search(queries, probes=2)
    with pytest.raises(TypeError, match=r"LSHIndex\.search: probes must be an integer"):
        index.search(queries, probes=4.0)
    assert index.search(queries, probes=4).ids.tolist() == index.search(queries).ids.tolist()


def make_all(features) -> list:
    hasher = RandomHyperplanes(32).fit(features)
    return [
        LSHIndex(hasher, 4, 8, vectors="float32"),
        LSHIndex(hasher, 4, 8),
        LSHIndex(hasher, 4, 8, vectors="float16"),
        FlatIndex(hasher),
        FlatIndex(),
        FlatIndex(vectors="float16"),
        FlatIndex(hasher, vectors=None),
        KMeansIndex(5).fit(features),
        KMeansIndex(5, codes=hasher, vectors=None).fit(features),
        KMeansIndex(5, codes="residual").fit(features),
    ]


def test_no_rows_and_no_queries(features) -> None:
    for index in make_all(features):
        assert len(index) == 0
        assert index.ids.shape == (0,)
        assert index.ids.dtype == np.int64
        assert index.bucket_sizes().tolist() == []
        empty = index.search(features[:3], k=4)
        assert empty.ids.tolist() == [[-1] * 4] * 3
        assert (empty.distances == (65535 if index.vectors is None else np.inf)).all()
        assert empty.n_candidates.tolist() == [0, 0, 0]
        assert [len(mine) for mine in index.candidates(features[:3])] == [0, 0, 0]
        assert len(index.add(features[:0])) == 0
        index.add(features[:8]).add(features[:0])
        assert index.ids.tolist() == list(range(8))
        none = index.search(features[:0], k=4)
        assert none.ids.shape == none.distances.shape == (0, 4)
        assert (len(none), none.n_candidates.shape, none.timings["total"].shape) == (0, (0,), (0,))
        assert len(index.candidates(features[:0])) == 0


def test_a_search_before_the_first_row_settles_nothing(features) -> None:
    index = FlatIndex()
    assert index.dim is None
    index.search(np.ones((2, 5)))
    assert len(index.add(features)) == 300
    assert index.dim == 24
    with pytest.raises(ValueError, match=r"FlatIndex\.search: Q must have 24 columns, got 5"):
        index.search(np.ones((2, 5)))


def test_a_single_query_may_be_one_dimensional(features) -> None:
    for index in make_all(features):
        index.add(features)
        one = index.search(features[4], k=3)
        assert one.ids.shape == (1, 3)
        assert one.ids.tolist() == index.search(features[4:5], k=3).ids.tolist()


def test_sizes_and_repr(features) -> None:
    hasher = RandomHyperplanes(96).fit(features)
    index = LSHIndex(hasher, 8, 12, vectors="float32").add(features)
    size = sum(index.nbytes.values()) / 1e6
    assert index.nbytes["codes"] == 300 * 16
    assert index.nbytes["vectors"] >= 300 * 24 * 4
    assert index.nbytes["tables"] > 0
    assert set(index.nbytes) == {"codes", "vectors", "ids", "tables"}
    assert repr(index) == f"LSHIndex(300 rows, 8 tables x 12 bits, 96-bit codes, vectors float32, {size:.1f} MB)"
    assert repr(FlatIndex()) == "FlatIndex(0 rows, vectors float32, 0.0 MB)"
    assert repr(FlatIndex(hasher, None).add(np.ones((1200, 24)))).startswith("FlatIndex(1,200 rows, 96-bit codes, 0.0")
    assert repr(KMeansIndex(5)) == "KMeansIndex(0 rows, 5 clusters not trained yet, vectors float32, 0.0 MB)"
    assert sum(index.bucket_sizes(3)) == 300
    for table in (-1, 8):
        with pytest.raises(IndexError, match=f"LSHIndex.bucket_sizes: table must be between 0 and 7, got {table}"):
            index.bucket_sizes(table)
    assert FlatIndex().add(features).bucket_sizes().tolist() == [300]


def test_bucket_sizes_count_a_bucket_once_over_all_batches(features) -> None:
    hasher = RandomHyperplanes(32).fit(features)
    whole = LSHIndex(hasher, 4, 8).add(features)
    batches = LSHIndex(hasher, 4, 8).add(features[:100]).add(features[100:])
    for table in range(4):
        assert sorted(batches.bucket_sizes(table)) == sorted(whole.bucket_sizes(table))


def test_timings_are_seconds_a_query_by_stage(features, queries) -> None:
    index = LSHIndex(RandomHyperplanes(96).fit(features)).add(features)
    timings = index.search(queries).timings
    assert list(timings) == ["encode", "probe", "union", "rerank", "total"]
    assert all(times.shape == (len(queries),) and times.dtype == np.float64 for times in timings.values())
    assert all((times >= 0).all() for times in timings.values())
    parts = sum(timings[stage] for stage in ("encode", "probe", "union", "rerank"))
    np.testing.assert_allclose(timings["total"], parts)
    assert len(set(timings["encode"].tolist())) == 1
    assert timings["encode"][0] > 0
    assert FlatIndex().add(features).search(queries).timings["encode"].sum() == 0


def test_candidate_lists_index_like_a_list(features) -> None:
    found = FlatIndex().add(features[:4]).candidates(features[:3])
    assert [mine.tolist() for mine in found] == [[0, 1, 2, 3]] * 3
    assert found[-1].tolist() == [0, 1, 2, 3]
    with pytest.raises(IndexError, match="query must be below 3, got 3"):
        found[3]


@pytest.mark.parametrize("n_bits", [1, 7, 64, 65, 203])
@pytest.mark.parametrize("make", [FlatIndex, lambda hasher, vectors: LSHIndex(hasher, 3, 1, vectors=vectors)])
def test_rank_margin_weighs_the_bits_that_differ(features, queries, make, n_bits) -> None:
    hasher = RandomHyperplanes(n_bits).fit(features)
    index = make(hasher, vectors=None).add(features)
    found = index.search(queries, k=300, rank="margin")
    margins = hasher.project_query(queries)
    differ = (margins >= 0)[:, None, :] != hasher.transform(features)[None, :, :]
    distances = (np.abs(margins.astype(np.float64))[:, None, :] * differ).sum(axis=2)
    candidates = index.candidates(queries)
    for q in range(len(queries)):
        mine = candidates[q]
        assert found.n_candidates[q] == len(mine)
        ids, given = found.ids[q, : len(mine)], found.distances[q, : len(mine)]
        np.testing.assert_allclose(given, distances[q, ids], rtol=1e-5, atol=1e-6)
        assert sorted(ids) == sorted(mine)
        assert (np.diff(given) >= 0).all()
        ties = np.flatnonzero(np.diff(given) == 0)
        assert (ids[ties] < ids[ties + 1]).all()
        assert np.isinf(found.distances[q, len(mine) :]).all()


def test_rank_margin_after_a_shortlist(features, queries) -> None:
    hasher = RandomHyperplanes(48).fit(features)
    index = FlatIndex(hasher, vectors=None).add(features)
    nearest = index.search(queries, k=20, rank="hamming").ids
    found = index.search(queries, k=20, rank="margin", shortlist=20)
    assert [sorted(ids) for ids in found.ids] == [sorted(ids) for ids in nearest]
