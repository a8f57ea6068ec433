"""Preprocess in bounded memory: blocks, chosen rows, results written in place, and nothing larger than a block."""

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from lshcore import Preprocess, preprocess

OPTIONS = (
    {"centre": False, "l2": False},
    {"standardise": True},
    {"pca": 5},
    {"standardise": True, "pca": 0.9, "l2": False},
)
LEARNT = ("mean_", "scale_", "components_", "offset_", "explained_variance_ratio_")


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    rows = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 12)) + 0.1 * rng.normal(size=(500, 12)) + 3
    rows[:, 7] = 2
    return rows.astype(np.float16)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 16 rows of 12 columns."""
    monkeypatch.setattr(preprocess, "_BLOCK_ENTRIES", 200)


def same(one: Preprocess, other: Preprocess) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in LEARNT)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("entries", [1, 12, 100, 3000])
def test_the_size_of_a_block_does_not_matter(x, monkeypatch, options, entries):
    whole = Preprocess(**options).fit(x)
    wanted = whole.transform(x)
    monkeypatch.setattr(preprocess, "_BLOCK_ENTRIES", entries)
    assert whole.transform(x, n_jobs=2).tobytes() == wanted.tobytes()
    step = Preprocess(**options).fit(x)
    for name in LEARNT:
        if getattr(whole, name) is not None:
            np.testing.assert_allclose(getattr(step, name), getattr(whole, name), rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_chosen_rows_are_those_rows(x, small_blocks, rng, options, dtype):
    x = np.abs(x * 20).astype(dtype)
    for rows in (rng.permutation(500)[:123], np.arange(0, 500, 3), np.array([4, 4, 2, 9, 30, 11])):
        step = Preprocess(**options).fit(x, rows=rows)
        assert same(step, Preprocess(**options).fit(x[rows]))
        assert step.transform(x, rows=rows).tobytes() == step.transform(x[rows]).tobytes()
    assert step.transform(x, rows=[]).shape == (0, step.n_features_out_)
    assert step.transform(x, rows=np.array([3, 1], np.uint8)).tobytes() == step.transform(x[[3, 1]]).tobytes()


@pytest.mark.parametrize("options", OPTIONS)
def test_results_are_written_where_one_says(x, small_blocks, tmp_path, options):
    step = Preprocess(**options).fit(x)
    wanted = step.transform(x)
    wide = np.zeros((500, 20), np.float32)
    on_disk = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float16, wanted.shape)
    for out in (np.empty_like(wanted), np.asfortranarray(wanted), wide[:, : wanted.shape[1]], on_disk):
        assert step.transform(x, out=out) is out
        assert np.array_equal(out, wanted.astype(out.dtype))
    assert not wide[:, wanted.shape[1] :].any()


@pytest.mark.parametrize("standardise", [False, True])
def test_components_are_those_of_scikit_learn_in_double(x, small_blocks, standardise):
    double = x.astype(np.float64)
    if standardise:
        double = (double - double.mean(axis=0)) / np.where(double.std(axis=0) == 0, 1, double.std(axis=0))
    oracle = PCA(6, svd_solver="covariance_eigh").fit(double)
    step = Preprocess(standardise=standardise, pca=6, l2=False).fit(x)
    np.testing.assert_allclose(step.components_, oracle.components_, atol=3e-7)  # the signs too
    np.testing.assert_allclose(step.explained_variance_ratio_, oracle.explained_variance_ratio_, rtol=1e-6)
    np.testing.assert_allclose(step.transform(x), oracle.transform(double), atol=1e-5)


def test_fewer_rows_than_columns(rng):
    x = rng.normal(size=(5, 40))
    step = Preprocess(pca=0.9999999, l2=False).fit(x)
    assert step.n_features_out_ <= 5
    between = np.linalg.norm(step.transform(x)[:, np.newaxis] - step.transform(x), axis=2)
    np.testing.assert_allclose(between, np.linalg.norm(x[:, np.newaxis] - x, axis=2), rtol=1e-5)


def test_a_column_is_constant_only_if_every_block_says_so(small_blocks):
    x = np.full((100, 12), 0.1)
    x[99, 3] = 0.2
    scale = Preprocess(standardise=True).fit(x).scale_
    assert np.delete(scale, 3).tolist() == [1] * 11
    np.testing.assert_allclose(scale[3], x[:, 3].std(), rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_bad_values_are_named_by_their_row_of_x(x, small_blocks, value):
    step = Preprocess().fit(x)
    x = x.astype(np.float64)
    x[321, 4] = value
    message = r"Preprocess\.{}: X: expected finite values .* at row 321, column 4$"
    rows = np.array([*range(40), 321, 7])
    for chosen in (None, rows, rows[::-1]):
        with pytest.raises(ValueError, match=message.format("fit")):
            Preprocess(pca=2).fit(x, rows=chosen)
        with pytest.raises(ValueError, match=message.format("transform")):
            step.transform(x, rows=chosen)
    good = np.delete(np.arange(500), 321)
    assert Preprocess().fit(x, rows=good).transform(x, rows=good).shape == (499, 12)


def test_what_half_precision_cannot_hold(x, small_blocks):
    step = Preprocess(centre=False, l2=False).fit(x)
    big = x.astype(np.float32)
    big[77, 2] = 7e4
    message = r"transform: the result must have magnitudes up to 65504 .* got 70000.0 at row 77, column 2"
    with pytest.raises(ValueError, match=message):
        step.transform(big, out=np.empty((500, 12), np.float16))
    assert step.transform(big, out=np.empty((500, 12), np.float32))[77, 2] == 7e4


def test_bad_rows(x):
    step = Preprocess().fit(x)
    for rows, error, message in [
        ([0, 500], ValueError, "rows must be from 0 to 499, the rows of X, got 500"),
        ([3, -1], ValueError, "rows must be from 0 to 499, the rows of X, got -1"),
        ([0.0, 1.0], TypeError, r"rows must be integers \(m,\), got dtype float64"),
        (np.ones(500, bool), TypeError, r"rows must be integers \(m,\), got dtype bool"),
        ([[1, 2]], TypeError, r"rows must be integers \(m,\), got dtype int64 and shape \(1, 2\)"),
    ]:
        with pytest.raises(error, match=r"Preprocess\.fit: " + message):
            Preprocess().fit(x, rows=rows)
        with pytest.raises(error, match=r"Preprocess\.transform: " + message):
            step.transform(x, rows=rows)
    with pytest.raises(ValueError, match=r"Preprocess\.fit: X must have at least 1 row, got 0"):
        Preprocess().fit(x, rows=[])
    with pytest.raises(ValueError, match=r"pca for X of shape \(3, 12\) must be between 1 and 3, got 4"):
        Preprocess(pca=4).fit(x, rows=[1, 2, 3])


def test_bad_out(x):
    step = Preprocess(pca=3).fit(x)
    locked = np.empty((500, 3), np.float32)
    locked.flags.writeable = False
    for out, error, message in [
        (np.empty((500, 3)), TypeError, "a writeable array of float16 or float32, got dtype float64"),
        ([[0.0] * 3] * 500, TypeError, "a writeable array of float16 or float32, got list"),
        (locked, TypeError, "got dtype float32, read-only"),
        (np.empty((500, 12), np.float32), ValueError, r"out must have shape \(500, 3\), got \(500, 12\)"),
    ]:
        with pytest.raises(error, match=message):
            step.transform(x, out=out)


def test_a_failed_fit_changes_nothing(x):
    step = Preprocess(standardise=True).fit(x)
    before = step.transform(x)
    bad = x.copy()
    bad[-1, 0] = np.nan
    with pytest.raises(ValueError, match="at row 499, column 0"):
        step.fit(bad)
    assert step.transform(x).tobytes() == before.tobytes()


def test_too_many_columns_for_pca():
    with pytest.raises(ValueError, match=r"Preprocess\.fit: pca needs at most 8192 columns, got 8193"):
        Preprocess(pca=2).fit(np.zeros((3, 8193), np.uint8))


PROGRAM = """
import threading
import numpy as np
from lshcore import Preprocess

def anonymous():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) / 1000

shape = 400_000, 256  # 205 MB in float16, 410 MB in float32
x = np.memmap("x", np.float16, "r", shape=shape)
out = np.memmap("out", np.float16, "w+", shape=(shape[0], 64))
rows = np.random.default_rng(0).permutation(shape[0])[:200_000]
warm = Preprocess(pca=64).fit(x[:5000]).transform(x[:100], n_jobs=2)  # loads what is loaded but once
before, peak, done = anonymous(), 0.0, threading.Event()

def sample():
    global peak
    while not done.wait(0.005):
        peak = max(peak, anonymous())

sampler = threading.Thread(target=sample)
sampler.start()
step = Preprocess(standardise=True, pca=64).fit(x, rows=rows)
step.transform(x, n_jobs=2, out=out)
done.set()
sampler.join()
assert out[-1].any()
print(round(peak - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="samples what /proc says is used")
def test_a_large_file_is_never_copied_whole(run_python, tmp_path: Path) -> None:
    block = np.random.default_rng(1).normal(size=(20_000, 256)).astype(np.float16).tobytes()
    with (tmp_path / "x").open("wb") as file:
        for _ in range(20):
            file.write(block)
    assert float(run_python(f"import os; os.chdir({str(tmp_path)!r})\n{PROGRAM}")) < 150
