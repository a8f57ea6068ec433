"""Exhaustive Hamming search against comparing bit by bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lshcore import BinaryCodes, hamming
from reference import hamming_matrix, nearest


def random_codes(n: int, n_bits: int, seed: int) -> BinaryCodes:
    """Codes with many equal distances: most bits are zero."""
    return BinaryCodes.from_bools(np.random.default_rng(seed).random((n, n_bits)) < 0.2)


SIZES = {
    "m": st.integers(0, 20),
    "n": st.integers(0, 150),
    "n_bits": st.integers(1, 200),
    "seed": st.integers(0, 2**32 - 1),
}


@given(**SIZES)
def test_distances(m: int, n: int, n_bits: int, seed: int) -> None:
    a, b = random_codes(m, n_bits, seed), random_codes(n, n_bits, seed + 1)
    found = hamming.distances(a, b)
    assert found.dtype == np.uint16
    assert np.array_equal(found, hamming_matrix(a.to_bools(), b.to_bools()))


@given(**SIZES, k=st.integers(1, 200), n_jobs=st.sampled_from([1, 2, 8]))
def test_search(m: int, n: int, n_bits: int, seed: int, k: int, n_jobs: int) -> None:
    q, codes = random_codes(m, n_bits, seed), random_codes(n, n_bits, seed + 1)
    distances, ids = hamming.search(q, codes, k, n_jobs=n_jobs)
    assert (distances.dtype, ids.dtype) == (np.uint16, np.int64)
    assert distances.shape == ids.shape == (m, k)
    for row, of_query in enumerate(hamming_matrix(q.to_bools(), codes.to_bools())):
        wanted, wanted_ids = nearest(of_query, np.arange(n), k, 65535)
        assert distances[row].tolist() == wanted.tolist()
        assert ids[row].tolist() == wanted_ids.tolist()


@given(**SIZES, radius=st.integers(0, 60), n_jobs=st.sampled_from([1, 2, 8]))
def test_range_search(m: int, n: int, n_bits: int, seed: int, radius: int, n_jobs: int) -> None:
    q, codes = random_codes(m, n_bits, seed), random_codes(n, n_bits, seed + 1)
    result = hamming.range_search(q, codes, radius, n_jobs=n_jobs)
    assert len(result) == m
    assert result.offsets.tolist()[-1:] == [len(result.ids)]
    for row, of_query in enumerate(hamming_matrix(q.to_bools(), codes.to_bools())):
        inside = np.flatnonzero(of_query <= radius)
        order = inside[np.lexsort((inside, of_query[inside]))]
        distances, ids = result[row]
        assert ids.tolist() == order.tolist()
        assert distances.tolist() == of_query[order].tolist()


@pytest.mark.parametrize("n_bits", [64, 1000, 4096])
def test_more_rows_than_one_block(n_bits: int) -> None:
    """Galleries that span several blocks of the scan."""
    q, codes = random_codes(5, n_bits, 1), random_codes(40_000 * 64 // n_bits, n_bits, 2)
    bits = codes.to_bools().astype(np.float32)
    queries = q.to_bools().astype(np.float32)
    wanted = np.rint(queries.sum(1)[:, None] + bits.sum(1)[None, :] - 2 * queries @ bits.T).astype(np.uint16)
    assert np.array_equal(hamming.distances(q, codes), wanted)
    distances, ids = hamming.search(q, codes, 300)
    order = np.argsort(wanted, axis=1, kind="stable")[:, :300]
    assert np.array_equal(ids, order)
    assert np.array_equal(distances, np.take_along_axis(wanted, order, axis=1))


def test_the_top_k_is_a_prefix_of_a_larger_one() -> None:
    q, codes = random_codes(30, 24, 3), random_codes(500, 24, 4)
    distances, ids = hamming.search(q, codes, 600)
    for k in (1, 2, 10, 63, 64, 65, 128, 499, 500, 501):
        fewer_distances, fewer_ids = hamming.search(q, codes, k)
        assert np.array_equal(fewer_distances, distances[:, :k])
        assert np.array_equal(fewer_ids, ids[:, :k])


def test_a_search_for_codes_of_the_gallery_finds_them_at_distance_zero() -> None:
    codes = random_codes(40, 128, 5)
    distances, ids = hamming.search(codes[::-1], codes, 1)
    first = {row.tobytes(): i for i, row in reversed(list(enumerate(codes.words)))}
    assert distances.tolist() == [[0]] * 40
    assert ids[:, 0].tolist() == [first[row.tobytes()] for row in codes.words[::-1]]


@pytest.mark.parametrize("n_jobs", [1, 2, 8, -1, None])
def test_any_number_of_threads_gives_the_same(n_jobs: int | None) -> None:
    q, codes = random_codes(70, 48, 6), random_codes(900, 48, 7)
    wanted = hamming.search(q, codes, 20, n_jobs=1)
    found = hamming.search(q, codes, 20, n_jobs=n_jobs)
    assert all(np.array_equal(a, b) for a, b in zip(wanted, found, strict=True))
    ball, wanted_ball = (hamming.range_search(q, codes, 6, n_jobs=jobs) for jobs in (n_jobs, 1))
    assert np.array_equal(ball.ids, wanted_ball.ids)
    assert np.array_equal(ball.offsets, wanted_ball.offsets)


def test_range_results_index_like_a_list() -> None:
    q, codes = random_codes(5, 16, 8), random_codes(50, 16, 9)
    result = hamming.range_search(q, codes, 16)
    assert [len(ids) for _, ids in result] == [50] * 5
    assert np.array_equal(result[-1][1], result[4][1])
    for outside in (5, -6):
        with pytest.raises(IndexError, match=f"query must be below 5, got {outside}"):
            result[outside]


def test_bad_input() -> None:
    a, b = random_codes(3, 64, 0), random_codes(3, 32, 0)
    with pytest.raises(ValueError, match=r"hamming\.distances: b must have 64 bits, got 32"):
        hamming.distances(a, b)
    with pytest.raises(ValueError, match=r"hamming\.search: codes must have 64 bits, got 32"):
        hamming.search(a, b, 1)
    with pytest.raises(TypeError, match=r"hamming\.search: q must be BinaryCodes .* got ndarray"):
        hamming.search(a.words, a, 1)
    with pytest.raises(TypeError, match=r"hamming\.range_search: codes must be BinaryCodes .* got NoneType"):
        hamming.range_search(a, None, 1)
    for k in (0, -3):
        with pytest.raises(ValueError, match=rf"hamming\.search: k must be at least 1, got {k}"):
            hamming.search(a, a, k)
    for k in (2.0, "2", None, True):
        with pytest.raises(TypeError, match=r"hamming\.search: k must be an integer"):
            hamming.search(a, a, k)
    with pytest.raises(ValueError, match=r"hamming\.search: k must be at most the 3 rows"):
        hamming.search(a, a, 2**31)
    with pytest.raises(ValueError, match=r"hamming\.range_search: radius must be at least 0, got -1"):
        hamming.range_search(a, a, -1)
    with pytest.raises(TypeError, match=r"hamming\.range_search: radius must be an integer"):
        hamming.range_search(a, a, 1.5)
