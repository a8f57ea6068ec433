"""BinaryCodes against bit-by-bit packing."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lshcore import BinaryCodes
from reference import pack


def random_bits(n: int, n_bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, n_bits)) < 0.5


@given(n=st.integers(0, 20), n_bits=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
def test_every_form_holds_the_same_bits(n: int, n_bits: int, seed: int) -> None:
    bits = random_bits(n, n_bits, seed)
    codes = BinaryCodes.from_bools(bits)
    assert codes.words.tolist() == pack(bits).tolist()
    assert (len(codes), codes.n_bits) == (n, n_bits)
    assert np.array_equal(codes.to_bools(), bits)
    assert codes.to_signs().dtype == np.int8
    assert np.array_equal(codes.to_signs(), np.where(bits, 1, -1))
    packed = np.packbits(bits, axis=1, bitorder="little")
    assert np.array_equal(codes.to_packed(), packed)
    assert codes == BinaryCodes.from_packed(packed, n_bits)
    assert codes == BinaryCodes.from_signs(codes.to_signs())
    assert codes == BinaryCodes.from_bools(bits.astype(np.uint8))
    assert codes == BinaryCodes(codes.words, n_bits)


@pytest.mark.parametrize("n_bits", [1, 63, 64, 65, 127, 128, 129, 4095, 4096])
def test_widths_at_the_edges_of_words(n_bits: int) -> None:
    bits = random_bits(3, n_bits)
    codes = BinaryCodes.from_bools(bits)
    assert codes.words.shape == (3, -(-n_bits // 64))
    assert np.array_equal(codes.to_bools(), bits)
    assert codes.nbytes == codes.words.nbytes == 3 * -(-n_bits // 64) * 8


def test_a_bit_is_one_where_its_margin_is_at_least_zero() -> None:
    margins = [[0.0, -0.0, 1.0, -1.0, 1e-300, -1e-300]]
    wanted = [[True, True, True, False, True, False]]
    assert BinaryCodes.from_signs(margins).to_bools().tolist() == wanted
    assert BinaryCodes.from_signs(np.float32(margins)).to_bools().tolist() == [[True, True, True, False, True, True]]


@pytest.mark.parametrize("order", ["C", "F"])
def test_any_layout_is_taken(order: str) -> None:
    bits = random_bits(12, 70)
    wanted = BinaryCodes.from_bools(bits)
    assert BinaryCodes.from_bools(np.array(bits, order=order)) == wanted
    assert BinaryCodes.from_bools(np.repeat(bits, 2, axis=1)[:, ::2]) == wanted
    assert BinaryCodes.from_bools(bits.tolist()) == wanted
    assert BinaryCodes.from_signs(np.array(wanted.to_signs(), dtype=">f4", order=order)) == wanted
    assert BinaryCodes(np.array(wanted.words, order=order), 70) == wanted
    assert BinaryCodes(wanted.words.astype(">u8"), 70) == wanted
    assert BinaryCodes.from_packed(np.array(wanted.to_packed(), order=order), 70) == wanted


def test_rows() -> None:
    bits = random_bits(10, 70)
    codes = BinaryCodes.from_bools(bits)
    mask = np.arange(10) % 3 == 0
    for rows in (slice(2, 7), slice(None, None, -2), np.array([4, 1, 4]), [3], [], mask):
        assert np.array_equal(codes[rows].to_bools(), bits[rows].reshape(-1, 70))
    assert np.array_equal(codes[-1].to_bools(), bits[-1:])
    assert [len(row) for row in codes] == [1] * 10
    with pytest.raises(IndexError, match="out of bounds"):
        codes[10]
    with pytest.raises(TypeError, match="a 1-d array, got a tuple"):
        codes[1, 2]
    with pytest.raises(TypeError, match="integers or bools, got dtype float64"):
        codes[[1.0]]
    with pytest.raises(ValueError, match="rows must be 1-d"):
        codes[np.zeros((2, 2), dtype=int)]


def test_equality_is_by_value() -> None:
    bits = random_bits(4, 70)
    codes = BinaryCodes.from_bools(bits)
    other = bits.copy()
    other[2, 69] = ~other[2, 69]
    assert codes != BinaryCodes.from_bools(other)
    assert codes != BinaryCodes.from_bools(bits[:, :69])
    assert codes != BinaryCodes.from_bools(bits[:3])
    assert codes != codes.words.tolist()
    with pytest.raises(TypeError, match="unhashable"):
        hash(codes)
    assert pickle.loads(pickle.dumps(codes)) == codes == copy.deepcopy(codes)


def test_words_are_read_only_and_the_users_array_is_left_alone() -> None:
    words = np.zeros((3, 2), dtype=np.uint64)
    codes = BinaryCodes(words, 70)
    with pytest.raises(ValueError, match="read-only"):
        codes.words[0, 0] = 1
    words[0, 0] = 0  # still the user's to write
    assert repr(codes) == "BinaryCodes(3 x 70 bits, 0.0 MB)"


def test_codes_are_not_an_array() -> None:
    codes = BinaryCodes.from_bools(random_bits(3, 70))
    with pytest.raises(TypeError, match=r"not an array: use \.words"):
        np.asarray(codes)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BinaryCodes.from_bools(None), TypeError, "from_bools: bits must hold .* got None"),
        (lambda: BinaryCodes.from_bools([[0.0, 1.0]]), TypeError, "from_bools: bits must be bools .* float64"),
        (lambda: BinaryCodes.from_bools([[0, 2]]), ValueError, "from_bools: bits must be bools"),
        (lambda: BinaryCodes.from_bools([True]), ValueError, r"from_bools: bits must be 2-d.* got shape \(1,\)"),
        (lambda: BinaryCodes.from_bools(np.zeros((2, 0), bool)), ValueError, "n_bits must be between 1 and 4096"),
        (lambda: BinaryCodes.from_bools(np.zeros((2, 4097), bool)), ValueError, "n_bits must be between 1 and 4096"),
        (lambda: BinaryCodes.from_signs([[True]]), TypeError, "from_signs: .* use from_bools"),
        (lambda: BinaryCodes.from_signs(np.ones((2, 2), np.uint8)), TypeError, "from_signs: .* use from_bools"),
        (lambda: BinaryCodes.from_signs([[1.0, np.nan]]), ValueError, "from_signs: signs.*row 0, column 1"),
        (lambda: BinaryCodes.from_signs([["+"]]), TypeError, "from_signs: signs must hold"),
        (lambda: BinaryCodes.from_packed(np.zeros((2, 9), np.uint8), 64), ValueError, r"shape \(n, 8\), got \(2, 9\)"),
        (lambda: BinaryCodes.from_packed(np.zeros((2, 8)), 64), TypeError, "packed must be uint8, got dtype float64"),
        (lambda: BinaryCodes.from_packed(np.full((2, 1), 128, np.uint8), 7), ValueError, "row 0"),
        (lambda: BinaryCodes.from_packed(np.zeros((2, 8), np.uint8), 0), ValueError, "n_bits must be between"),
        (lambda: BinaryCodes.from_packed(np.zeros((2, 8), np.uint8), 64.0), TypeError, "n_bits must be an integer"),
        (lambda: BinaryCodes(np.zeros((2, 1), np.int64), 64), TypeError, "words must be uint64, got dtype int64"),
        (lambda: BinaryCodes(np.zeros((2, 2), np.uint64), 64), ValueError, r"shape \(n, 1\), got \(2, 2\)"),
        (lambda: BinaryCodes(np.full((2, 1), 8, np.uint64), 3), ValueError, "row 0"),
    ],
)
def test_bad_input(make, error, message) -> None:
    with pytest.raises(error, match=message):
        make()
