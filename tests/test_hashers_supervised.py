"""SDH and GRH: each step against a slow way of saying it, and what must hold at the end."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC, LinearSVC
from threadpoolctl import threadpool_limits

from lshcore.hashers import GRH, ITQ, SDH, RandomHyperplanes
from lshcore.hashers._blocks import gram, indicators, sample_rows, signs
from lshcore.hashers.anchors import draw_anchors, gaussian_similarities
from lshcore.hashers.grh import learn_planes, nystroem, regularise
from lshcore.hashers.sdh import Regression, descend, learn_codes
from lshcore.hashers.svm import separate


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Matrices here are small: threads of BLAS would mostly wait for one another."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def labels(features: NDArray[np.float32]) -> NDArray[np.int64]:
    """Classes that a plane nearly separates."""
    return ((features[:, 0] > 0) + 2 * (features[:, 1] + features[:, 2] > 0.3)).astype(np.int64)


@pytest.fixture
def many_labels(rng: np.random.Generator) -> NDArray[np.bool_]:
    return rng.random((300, 5)) < 0.25


def random_codes(rng: np.random.Generator, n_bits: int, n: int = 300) -> NDArray[np.float64]:
    return np.where(rng.random((n, n_bits)) < 0.4, -1.0, 1.0)


def test_sums_of_products_in_blocks(rng: np.random.Generator) -> None:
    x = rng.normal(size=(50, 7)).astype(np.float32)
    total = gram((x[start : start + 8] for start in range(0, 50, 8)), 7)
    np.testing.assert_allclose(total, x.T.astype(np.float64) @ x, rtol=1e-12)


def test_labels_as_indicators(many_labels: np.ndarray) -> None:
    assert indicators(np.array([5, -1, 5, 8])).toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert np.array_equal(indicators(many_labels).toarray(), many_labels)


def test_samples() -> None:
    x = np.arange(100)
    rows = sample_rows(100, 30, seed=4)
    assert len(np.unique(rows)) == 30
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, sample_rows(100, 30, seed=4))
    assert not np.array_equal(rows, sample_rows(100, 30, seed=5))
    for every in (None, 100, 200):
        assert np.array_equal(x[sample_rows(100, every, seed=4)], x)


def test_similarities_are_those_of_scikit_learn(features: NDArray[np.float32]) -> None:
    anchors, gamma = draw_anchors(features, 40, None, 3.0, seed=1)
    wanted = rbf_kernel(features.astype(np.float64), anchors.astype(np.float64), gamma)
    np.testing.assert_allclose(gaussian_similarities(features, anchors, gamma, 2), wanted, atol=1e-6)
    assert np.mean(-np.log(wanted)) == pytest.approx(3.0, rel=1e-3)
    assert len(draw_anchors(features, 999, 0.5, 3.0, seed=1)[0]) == 300
    assert draw_anchors(features, 40, 0.5, 3.0, seed=1)[1] == 0.5
    assert draw_anchors(np.ones((3, 2), np.float32), 40, None, 3.0, seed=1)[1] == 1.0


def test_regression(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(80, 6)).astype(np.float32), rng.normal(size=(80, 3))
    weights, bias, fitted = Regression(x)(y)
    design = np.concatenate([x, np.ones((80, 1))], axis=1)
    wanted = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(np.concatenate([weights.T, bias[np.newaxis]]), wanted, atol=1e-10)
    np.testing.assert_allclose(fitted, design @ wanted, atol=1e-10)
    twice = Regression(np.concatenate([x, x], axis=1))(y)
    np.testing.assert_allclose(twice[2], fitted, atol=1e-6)


def test_bits_descend_one_by_one(rng: np.random.Generator) -> None:
    codes, linear, classifier = random_codes(rng, 6, 40), rng.normal(size=(40, 6)), rng.normal(size=(6, 4))

    def objective(b: np.ndarray) -> float:
        return np.square(b @ classifier).sum() - 2 * (b * linear).sum()

    before = objective(codes)
    assert descend(codes, linear, classifier)
    assert objective(codes) < before
    assert not descend(codes, linear, classifier)
    for row in range(40):  # no single bit would do better the other way
        for bit in range(6):
            flipped = codes.copy()
            flipped[row, bit] *= -1
            assert objective(flipped) >= objective(codes) - 1e-9


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("fit_weight", [1e-5, 0.3])
def test_sdh_objective_never_rises(
    features: NDArray[np.float32],
    labels: np.ndarray,
    many_labels: np.ndarray,
    multi: bool,
    fit_weight: float,
    rng: np.random.Generator,
) -> None:
    targets = indicators(many_labels if multi else labels)
    similarities = gaussian_similarities(features, features[:50], 0.05, 1)
    objective = learn_codes(similarities, targets, random_codes(rng, 12), 20, 1.0, fit_weight)[2]
    assert len(objective) > 1
    assert (np.diff(objective) <= 1e-9 * objective[0]).all()
    # The last one, from its definition.
    steps = len(objective)
    codes = random_codes(np.random.default_rng(0), 12)
    y = targets.toarray()
    for _ in range(2):
        w = np.linalg.solve(codes.T @ codes + np.eye(12), codes.T @ y)
        fitted = Regression(similarities)(codes)[2]
        descend(codes, y @ w.T + fit_weight * fitted, w)
    wanted = np.square(y - codes @ w).sum() + np.square(w).sum() + fit_weight * np.square(codes - fitted).sum()
    found = learn_codes(similarities, targets, random_codes(np.random.default_rng(0), 12), 2, 1.0, fit_weight)[2]
    assert found[1] == pytest.approx(wanted, rel=1e-6)
    assert steps <= 20


@pytest.mark.parametrize("multi", [False, True])
def test_sdh(features: NDArray[np.float32], labels: np.ndarray, many_labels: np.ndarray, multi: bool) -> None:
    y = many_labels if multi else labels
    hasher = SDH(16, n_anchors=60).fit(features + 5, y)
    assert hasher.weights_.dtype == hasher.bias_.dtype == hasher.anchors_.dtype == np.float32
    assert (hasher.weights_.shape, hasher.anchors_.shape) == ((16, 60), (60, 24))
    assert (np.diff(hasher.objective_) <= 1e-9 * hasher.objective_[0]).all()
    x = (features + 5).astype(np.float64)
    anchors = hasher.anchors_.astype(np.float64) + hasher.mean_
    margins = rbf_kernel(x, anchors, hasher.gamma_) @ hasher.weights_.T + hasher.bias_
    np.testing.assert_allclose(hasher.project(features + 5), margins, atol=2e-3)
    few = SDH(16, n_anchors=60, max_samples=100).fit(features, y)
    assert not np.array_equal(few.mean_, SDH(16, n_anchors=60).fit(features, y).mean_)


def test_sdh_reads_the_labels(features: NDArray[np.float32], labels: np.ndarray) -> None:
    bits = SDH(16).fit(features, labels).transform(features)
    assert LinearSVC().fit(bits, labels).score(bits, labels) > 0.99


def slow_average(codes: np.ndarray, y: np.ndarray) -> np.ndarray:
    shared = y[:, np.newaxis] == y if y.ndim == 1 else (y.astype(int) @ y.T.astype(int)) > 0
    adjacency = (shared | np.eye(len(y), dtype=bool)).astype(float)
    return adjacency / adjacency.sum(axis=1, keepdims=True) @ codes


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.49, 0.5, 0.6, 1.0])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("multi", [False, True])
def test_regularisation(
    labels: np.ndarray, many_labels: np.ndarray, multi: bool, alpha: float, cut: bool, rng: np.random.Generator
) -> None:
    y = many_labels if multi else labels
    assert not multi or (~y.any(axis=1)).sum() > 5  # some rows have no label
    codes, kept = random_codes(rng, 40), random_codes(rng, 40)
    for first, second in ((codes, kept), (kept, kept)):
        average = slow_average(first, y)
        average[np.abs(average) < 1e-12] = 0
        mixed = alpha * (signs(average) if cut else average) + (1 - alpha) * second
        found = regularise(first, second, y, alpha, cut)
        clear = np.abs(mixed) > 1e-9
        assert np.array_equal(found[clear], signs(mixed)[clear])
    if alpha < 0.5:
        assert np.array_equal(regularise(codes, kept, y, alpha, cut), kept)
    if alpha == 1 or (cut and alpha > 0.5):
        assert not np.array_equal(regularise(kept, kept, y, alpha, cut), kept)


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_planes_are_those_of_scikit_learn(
    features: NDArray[np.float32], rng: np.random.Generator, scale: float
) -> None:
    x = scale * features.astype(np.float64)
    x[:, 3] *= 20
    margins = features @ rng.normal(size=(24, 9)) + np.linspace(-6, 6, 9) + rng.normal(size=(300, 9))
    codes = np.concatenate([signs(margins), -signs(margins), np.ones((300, 1))], axis=1)
    normals, bias = learn_planes(x, codes, 0.5, False, rng)
    counts = set()
    for normal, offset, bit in zip(normals[:18], bias, codes.T, strict=False):
        n_ones = int((bit > 0).sum())
        rarer = min(n_ones, 300 - n_ones)
        times = np.ceil((300 - rarer) / rarer)
        counts.add(times)
        cost = 0.5 * np.where((bit > 0) == (2 * n_ones <= 300), times, 1)
        svm = LinearSVC(
            C=0.5, class_weight={1.0 if 2 * n_ones <= 300 else -1.0: times}, dual=False, max_iter=100_000, tol=1e-8
        ).fit(x, bit)

        def objective(w: np.ndarray, b: float, bit: np.ndarray = bit, cost: np.ndarray = cost) -> float:
            return (w @ w + b * b) / 2 + (cost * np.maximum(0, 1 - bit * (x @ w + b)) ** 2).sum()

        assert objective(normal, offset) == pytest.approx(
            objective(svm.coef_[0], svm.intercept_[0]), rel=2e-3, abs=1e-3
        )
        found, wanted = x @ normal + offset, svm.decision_function(x)
        assert np.corrcoef(found, wanted)[0, 1] > 0.98
        assert (signs(found) == signs(wanted)).mean() > 0.99
    assert len(counts) > 3
    np.testing.assert_allclose(normals[9:18], -normals[:9], atol=0.02 * np.abs(normals).max())
    assert 0.2 < (x @ normals[18] >= 0).mean() < 0.8  # the same for all rows: a random plane through the mean
    assert bias[18] == 0
    plain, no_bias = learn_planes(x, codes, 0.5, True, rng)
    assert np.array_equal(plain[4], SVC(C=0.5, kernel="linear").fit(x, codes[:, 4]).coef_[0])
    assert not no_bias.any()


@pytest.mark.parametrize("shape", [(30, 80), (40, 40), (200, 1)])
def test_planes_of_any_shape(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    x, codes = rng.normal(size=shape), random_codes(rng, 7, shape[0])
    costs = rng.choice([0.2, 1.0], size=codes.shape)
    normals, bias = separate(x, codes, costs)
    for normal, offset, bit, cost in zip(normals, bias, codes.T, costs.T, strict=True):
        svm = LinearSVC(dual=False, max_iter=10_000, tol=1e-8).fit(x, bit, sample_weight=cost)
        wanted = np.append(svm.coef_[0], svm.intercept_[0])
        np.testing.assert_allclose(np.append(normal, offset), wanted, atol=0.03 * np.abs(wanted).max())


def test_planes_of_rows_that_are_all_zero() -> None:
    normals, bias = separate(np.zeros((10, 3)), np.repeat([[1.0], [-1.0]], 5, axis=0), np.ones((10, 1)))
    assert not normals.any()
    assert bias.tolist() == [0.0]


def test_features_of_all_anchors_have_the_products_of_the_kernel(features: NDArray[np.float32]) -> None:
    x = features[:60]
    similarities = gaussian_similarities(x, x, 0.05, 1).astype(np.float64)
    mapped = similarities @ nystroem(x, 0.05)
    np.testing.assert_allclose(mapped @ mapped.T, similarities, atol=1e-5)
    some = gaussian_similarities(features, x, 0.05, 1) @ nystroem(x, 0.05)
    wanted = Nystroem(gamma=0.05, n_components=60).fit(x.astype(np.float64)).transform(features.astype(np.float64))
    np.testing.assert_allclose(some @ some.T, wanted @ wanted.T, atol=1e-4)


def test_grh_by_hand(features: NDArray[np.float32], labels: np.ndarray, rng: np.random.Generator) -> None:
    x = features + 2
    hasher = GRH(6, n_iterations=2, alpha=0.8, max_samples=None, random_state=9).fit(x, labels)
    initial = signs(RandomHyperplanes(6, random_state=9).fit(x).project(x))
    centred = (x - hasher.mean_).astype(np.float64)
    codes = initial
    for step in range(2):
        codes = regularise(codes, initial, labels, 0.8)
        assert hasher.flipped_[step] == (codes != initial).mean() > 0
        normals, bias = learn_planes(centred, codes, 1.0, False, rng)
        margins = centred @ normals.T + bias
        codes = signs(margins)
    np.testing.assert_allclose(hasher.project(x), margins, atol=1e-4)


@pytest.mark.filterwarnings("ignore:GRH.fit. alpha below")
def test_the_tutorial_never_uses_labels(features: NDArray[np.float32], labels: np.ndarray) -> None:
    x = features / np.linalg.norm(features, axis=1, keepdims=True)
    hasher = GRH(8, variant="tutorial").fit(x, labels)
    assert not hasher.flipped_.any()
    assert not hasher.bias_.any()
    other = GRH(8, variant="tutorial").fit(x, labels[::-1])
    assert np.array_equal(hasher.weights_, other.weights_)
    # As its code says.
    centred = (x - hasher.mean_).astype(np.float64)
    planes = RandomHyperplanes(8).fit(x).weights_.T.astype(np.float64)
    for _ in range(2):
        bits = np.where(centred @ planes >= 0, 1, -1)
        refined = np.where(slow_average(bits, labels) >= 0, 1, -1)
        bits = np.where(0.25 * refined + 0.75 * bits >= 0, 1, -1)
        planes = np.stack([SVC(kernel="linear", C=1).fit(centred, bit).coef_[0] for bit in bits.T], axis=1)
    np.testing.assert_allclose(hasher.weights_, planes.T, rtol=1e-5, atol=1e-6)
    assert GRH(8, variant="tutorial", alpha=0.75).fit(x, labels).flipped_.all()


def test_alpha_below_a_half_is_warned_of(features: NDArray[np.float32], labels: np.ndarray) -> None:
    for variant in ("paper", "tutorial"):
        with pytest.warns(UserWarning, match=r"GRH\.fit: alpha below 0\.5 changes no bit, so that labels are not used"):
            hasher = GRH(4, alpha=0.49, variant=variant).fit(features, labels)
        assert not hasher.flipped_.any()


def test_initial_hashers(features: NDArray[np.float32], labels: np.ndarray) -> None:
    by_name = GRH(8, initial="itq").fit(features, labels)
    unfitted = ITQ(99)
    assert GRH(8, initial=unfitted).fit(features, labels).encode(features) == by_name.encode(features)
    assert not hasattr(unfitted, "n_bits_")
    ready = ITQ(8).fit(features)
    weights = ready.weights_
    assert GRH(8, initial=ready).fit(features, labels).encode(features) == by_name.encode(features)
    assert ready.weights_ is weights
    supervised = GRH(8, initial="sdh").fit(features, labels)
    assert supervised.encode(features) != by_name.encode(features)
    with pytest.raises(ValueError, match=r"GRH\.fit: initial must have 4 bits, got 8"):
        GRH(4, initial=ready).fit(features, labels)
    with pytest.raises(TypeError, match=r"GRH\.fit: initial must be a Hasher or the name of one, got float"):
        GRH(4, initial=3.5).fit(features, labels)
    with pytest.raises(ValueError, match=r"name must be one of random-hyperplanes, .*, got 'nothing'"):
        GRH(4, initial="nothing").fit(features, labels)


def test_kernel_grh(features: NDArray[np.float32], labels: np.ndarray) -> None:
    """With every row an anchor, margins are those of a kernel SVM, of which this is the primal form."""
    hasher = GRH(6, kernel="rbf", n_anchors=300, gamma=0.02, n_iterations=1).fit(features, labels)
    assert hasher.anchors_.shape == (300, 24)
    centred = (features - hasher.mean_).astype(np.float64)
    kernel = rbf_kernel(centred, gamma=0.02)
    values, vectors = np.linalg.eigh(kernel)
    root = vectors * np.sqrt(np.maximum(values, 0))
    initial = signs(RandomHyperplanes(6).fit(features).project(features))
    codes = regularise(initial, initial, labels, 1.0)
    generator = np.random.default_rng(0)
    normals, bias = learn_planes(root, codes, 1.0, False, generator)
    margins = root @ normals.T + bias
    np.testing.assert_allclose(hasher.project(features), margins, atol=2e-2)


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        (SDH, {"n_anchors": 0}, ValueError, "n_anchors must be at least 1, got 0"),
        (SDH, {"gamma": -1.0}, ValueError, "gamma must be positive, got -1.0"),
        (SDH, {"fit_weight": "some"}, TypeError, "fit_weight must be a number, got 'some'"),
        (SDH, {"penalty": 0}, ValueError, "penalty must be positive, got 0"),
        (SDH, {"max_samples": 0}, ValueError, "max_samples must be at least 1, got 0"),
        (GRH, {"alpha": 1.5}, ValueError, "alpha must be between 0 and 1, got 1.5"),
        (GRH, {"alpha": "half"}, TypeError, "alpha must be a number, got 'half'"),
        (GRH, {"kernel": "poly"}, ValueError, "kernel must be one of 'linear', 'rbf', got 'poly'"),
        (GRH, {"variant": "2020"}, ValueError, "variant must be one of 'paper', 'tutorial', got '2020'"),
        (GRH, {"C": 0}, ValueError, "C must be positive, got 0"),
        (GRH, {"gamma": float("nan")}, ValueError, "gamma must be positive, got nan"),
        (GRH, {"n_iterations": 0}, ValueError, "n_iterations must be at least 1, got 0"),
        (GRH, {"max_samples": 1}, ValueError, "max_samples must be at least 2, got 1"),
    ],
)
def test_bad_options(features: NDArray[np.float32], labels: np.ndarray, kind, options, error, message) -> None:
    hasher = kind(4).fit(features, labels)
    codes = hasher.encode(features)
    with pytest.raises(error, match=rf"^{kind.__name__}\.fit: {message}$"):
        hasher.set_params(**options).fit(features[:, :5], labels)
    assert hasher.encode(features) == codes
