"""Spectral hashing: against the formulas of the paper, written down slowly."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lshcore.hashers import SpectralHashing
from lshcore.hashers.spectral import cosines_of_pi_times, smoothest_modes


def slow_modes(extent: np.ndarray, n_modes: int) -> list[tuple[float, int, int]]:
    """Eigenvalue order, axis and mode of every sinusoid up to mode n_modes along any axis."""
    every = [
        ((math.pi * mode / extent[axis]) ** 2, axis, mode)
        for axis, mode in itertools.product(range(len(extent)), range(1, n_modes + 1))
        if extent[axis] > 0
    ]
    return sorted(every)[:n_modes]


@pytest.mark.parametrize("n_modes", [1, 5, 32, 100])
def test_modes_are_in_eigenvalue_order(rng: np.random.Generator, n_modes: int) -> None:
    extent = np.append(rng.uniform(0.01, 5, 12), 0.0)
    axis, mode = smoothest_modes(extent, n_modes)
    assert list(zip(axis, mode, strict=True)) == [(a, m) for _, a, m in slow_modes(extent, n_modes)]
    eigenvalues = (np.pi * mode / extent[axis]) ** 2
    assert (np.diff(eigenvalues) >= 0).all()
    assert axis.max() < 12
    # Where one axis is much the longest, every mode is along it.
    assert not smoothest_modes(np.array([100.0 * n_modes, 1.0]), n_modes)[0].any()


@pytest.mark.parametrize("n_bits", [1, 10, 24, 64])
def test_margins_are_those_of_the_paper(features: NDArray[np.float32], n_bits: int) -> None:
    hasher = SpectralHashing(n_bits).fit(features)
    other = (3 * features[::5]).astype(np.float32)  # far outside of the box
    n_axes = min(n_bits, 24)
    centred = features.astype(np.float64) - features.astype(np.float64).mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:n_axes]
    axes *= np.sign((axes * hasher.axes_).sum(axis=1))[:, np.newaxis]
    training = features.astype(np.float64) @ axes.T
    low, high = training.min(axis=0), training.max(axis=0)
    modes = slow_modes(high - low, n_bits)
    for x in (features, other):
        margins = hasher.project(x)
        v = x.astype(np.float64) @ axes.T
        for bit, (_, axis, mode) in enumerate(modes):
            omega = mode * math.pi / (high[axis] - low[axis])
            wanted = np.sin(math.pi / 2 + omega * (v[:, axis] - low[axis]))
            np.testing.assert_allclose(margins[:, bit], wanted, atol=1e-4 * mode)
        assert np.array_equal(hasher.transform(x), margins >= 0)


def test_the_sign_of_a_cosine() -> None:
    below = np.delete(np.arange(-40, 40), [39, 40])  # around 0 the last digits are too small to be kept
    # The cosine of pi * (below + 1/2) is 0; it falls there where below is even.
    assert not cosines_of_pi_times(below + 0.5).any()
    for side, falls in ((-np.inf, 1), (np.inf, -1)):
        cosines = cosines_of_pi_times(np.nextafter(below + 0.5, side))
        assert np.array_equal(np.sign(cosines), np.where(below % 2 == 0, falls, -falls))
    t = np.linspace(-7, 7, 1001)
    np.testing.assert_allclose(cosines_of_pi_times(t), np.cos(np.pi * t), atol=1e-14)


def test_one_axis_has_all_the_bits() -> None:
    """On a line the bits are the square waves of 1, 2, 3, ... half periods."""
    x = np.linspace(0, 1, 1001)[:, np.newaxis]
    hasher = SpectralHashing(6).fit(x)
    assert hasher.modes_.tolist() == [1, 2, 3, 4, 5, 6]
    inside = np.arange(0.005, 1, 0.01)[:, np.newaxis]
    position = inside if hasher.axes_[0, 0] > 0 else 1 - inside
    wanted = np.cos(np.pi * position * np.arange(1, 7))
    clear = np.abs(wanted) > 1e-4
    assert np.array_equal(hasher.transform(inside)[clear], wanted[clear] >= 0)


def test_rows_must_differ() -> None:
    with pytest.raises(ValueError, match=r"SpectralHashing\.fit: pca needs rows that differ, got 4 equal ones"):
        SpectralHashing(3).fit(np.ones((4, 6)))
    with pytest.raises(ValueError, match=r"SpectralHashing\.fit: X must have at least 2 rows that differ"):
        SpectralHashing(3).fit(np.ones((1, 6)))
