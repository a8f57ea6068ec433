"""Near-duplicates: the join and its groups against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lshcore import BinaryCodes, hamming
from lshcore.duplicates import Pairs, choose_tables, groups, range_join


@st.composite
def clustered(draw, n_bits):
    """Codes of which many are near each other: a few, each with some of its bits flipped."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, flips = draw(st.integers(0, 60)), draw(st.integers(0, 8))
    bits = rng.integers(0, 2, (5, n_bits)).astype(bool)[rng.integers(0, 5, n)]
    for row in bits:
        row[rng.integers(0, n_bits, rng.integers(0, flips + 1))] ^= True
    return BinaryCodes.from_bools(bits.reshape(n, n_bits))


@st.composite
def cases(draw, two):
    n_bits = draw(st.sampled_from([1, 7, 32, 63, 64, 65, 130, 300, 600]))
    codes = draw(clustered(n_bits))
    other = draw(clustered(n_bits)) if two else None
    radius = draw(st.one_of(st.integers(0, 12), st.just(n_bits)))
    return codes, other, min(radius, n_bits)


@given(cases(False))
def test_pairs_within_one_gallery(case):
    codes, _, radius = case
    apart = hamming.distances(codes, codes).astype(int)
    expected = np.argwhere(np.triu(apart <= radius, 1))
    found = range_join(codes, radius, n_jobs=1)
    assert found.rows.dtype == np.int64
    assert found.distances.dtype == np.uint16
    assert found.rows.tolist() == expected.tolist()
    assert found.distances.tolist() == [apart[i, j] for i, j in expected]


@given(cases(True))
def test_pairs_between_two(case):
    codes, other, radius = case
    apart = hamming.distances(other, codes).astype(int)
    expected = np.argwhere(apart <= radius)
    found = range_join(codes, radius, against=other, n_jobs=2)
    assert found.rows.tolist() == expected.tolist()
    assert found.distances.tolist() == [apart[i, j] for i, j in expected]


@given(st.integers(1, 40), st.data())
def test_groups_are_connected_components(n, data):
    edges = data.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda e: e[0] != e[1])))
    parts = [{i} for i in range(n)]
    for a, b in edges:
        first, second = (next(part for part in parts if row in part) for row in (a, b))
        if first is not second:
            parts.remove(second)
            first |= second
    expected = sorted((sorted(part) for part in parts if len(part) > 1), key=lambda part: (-len(part), part[0]))
    pairs = Pairs(np.array(sorted(edges), np.int64).reshape(-1, 2), np.zeros(len(edges), np.uint16))
    assert [group.tolist() for group in groups(pairs, n)] == expected


@given(st.sampled_from([1, 16, 64, 100, 512]), st.integers(0, 64), st.integers(0, 10**7))
def test_blocks_fit_the_code(n_bits, radius, n_codes):
    tables, bits = choose_tables(n_bits, min(radius, n_bits), n_codes)
    assert tables >= 1
    assert bits >= 1
    assert tables * bits <= n_bits


def test_progress_and_threads_change_nothing(rng):
    codes = BinaryCodes.from_bools(rng.integers(0, 2, (2000, 24)).astype(bool))
    told = []
    found = range_join(codes, 3, n_jobs=1, progress=lambda share, text: told.append((share, text)))
    assert told[0] == (0.0, "filing codes")
    assert told[-1] == (1.0, "comparing")
    again = range_join(codes, 3, n_jobs=3)
    assert np.array_equal(found.rows, again.rows)
    assert np.array_equal(found.distances, again.distances)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: range_join(c.words, 1), TypeError, "range_join: codes must be BinaryCodes, got ndarray"),
        (lambda c: range_join(c, 1, c.words), TypeError, "range_join: against must be BinaryCodes, got ndarray"),
        (lambda c: range_join(c, -1), ValueError, "radius must be at least 0, got -1"),
        (lambda c: range_join(c, 1.5), TypeError, "radius must be an integer, got 1.5"),
        (
            lambda c: range_join(c, 1, BinaryCodes.from_bools(np.ones((1, 9), bool))),
            ValueError,
            "codes must be of one width, got 9 and 8 bits",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(BinaryCodes.from_bools(np.ones((2, 8), bool)))
