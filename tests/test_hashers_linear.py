"""Orthogonal planes, principal components and ITQ: against scikit-learn, FAISS and their own invariants."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import eigh, orthogonal_procrustes
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from lshcore import BinaryCodes, Preprocess, _core, data, metrics
from lshcore.data.dataset import DatasetNotFound
from lshcore.hashers import ITQ, ITQCCA, PCAHashing, PCARandomRotation, RandomHyperplanes
from lshcore.hashers.hyperplanes import orthonormal_rows
from lshcore.hashers.itq import canonical_directions, learn_rotation
from lshcore.hashers.pca import random_rotation


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Matrices here are small: threads of BLAS would mostly wait for one another."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def labels(rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.integers(0, 5, 300)


def offset_of(hasher, x: np.ndarray) -> np.ndarray:
    return -hasher.weights_.astype(np.float64) @ x.astype(np.float64).mean(axis=0)


@pytest.mark.parametrize("n_bits", [1, 20, 24, 60, 200])
def test_orthogonal_planes(features: NDArray[np.float32], n_bits: int) -> None:
    hasher = RandomHyperplanes(n_bits, orthogonal=True).fit(features + 3)
    for start in range(0, n_bits, 24):
        group = hasher.weights_[start : start + 24].astype(np.float64)
        np.testing.assert_allclose(group @ group.T, np.eye(len(group)), atol=1e-6)
    np.testing.assert_allclose(hasher.bias_, offset_of(hasher, features + 3), atol=1e-5)
    plain = RandomHyperplanes(n_bits).fit(features)
    assert np.array_equal(hasher.weights_[0], plain.weights_[0])
    more = RandomHyperplanes(300, orthogonal=True).fit(features)
    assert np.array_equal(more.weights_[:n_bits], hasher.weights_)


def test_orthonormal_rows_span_what_the_rows_span() -> None:
    """As QR says, across the panels in which it is computed; and to the bit what it was when this was written."""
    rows = _core.gaussian(5, 150, 170)
    q, r = np.linalg.qr(rows.T.astype(np.float64))
    np.testing.assert_allclose(orthonormal_rows(rows), (q * np.sign(np.diag(r))).T, atol=1e-12)
    small = orthonormal_rows(np.array([[3, 4, 0], [1, 0, 0]], np.float32))
    np.testing.assert_allclose(small, [[0.6, 0.8, 0], [0.8, -0.6, 0]], atol=1e-15)
    known = "0x1.3bb772f4fc62ep-4"
    assert orthonormal_rows(_core.gaussian(7, 70, 80))[69, 79].hex() == known


@pytest.mark.parametrize("orthogonal", [False, True])
def test_keys_of_several_bits_collide_as_often_as_the_angle_says(rng: np.random.Generator, orthogonal: bool) -> None:
    """P(J bits agree) = (1 - theta / pi) ** J for independent planes, within four standard deviations.

    Bits of orthogonal planes agree as often one by one; J of them, one from each group, are independent.
    """
    dim, n_keys = 16, 256
    axes = np.linalg.qr(rng.normal(size=(dim, 2)))[0].T
    thetas = np.array([0.2, 0.7, 1.2, 1.6, 2.4])
    rows = np.cos(thetas)[:, np.newaxis] * axes[0] + np.sin(thetas)[:, np.newaxis] * axes[1]
    agreements = []
    for seed in range(8):
        hasher = RandomHyperplanes(dim * n_keys, centre=False, orthogonal=orthogonal, random_state=seed).fit(rows)
        bits = hasher.transform(np.concatenate([axes[:1], rows]))
        agreements.append((bits[1:] == bits[0]).reshape(len(thetas), n_keys, dim))
    same = np.concatenate(agreements, axis=1)[:, :, 0]  # one bit of each group
    for J in (1, 2, 4):
        keys = same[:, : same.shape[1] // J * J].reshape(len(thetas), -1, J).all(axis=2)
        expected = (1 - thetas / np.pi) ** J
        bound = 4 * np.sqrt(expected * (1 - expected) / keys.shape[1])
        assert (np.abs(keys.mean(axis=1) - expected) < bound).all()


def test_orthogonal_planes_estimate_angles_better(rng: np.random.Generator) -> None:
    pairs = rng.normal(size=(2, 12))
    pairs[1] += 0.5 * pairs[0]

    def variance(orthogonal: bool) -> float:
        found = [
            RandomHyperplanes(12, centre=False, orthogonal=orthogonal, random_state=seed).fit_transform(pairs)
            for seed in range(600)
        ]
        return np.var([(bits[0] == bits[1]).mean() for bits in found])

    assert variance(True) < 0.9 * variance(False)


def test_principal_components(features: NDArray[np.float32]) -> None:
    x = features + 3
    pca = PCA(24, svd_solver="full").fit(x.astype(np.float64))
    hasher = PCAHashing(20).fit(x)
    signs = np.sign((hasher.weights_ * pca.components_[:20]).sum(axis=1))
    np.testing.assert_allclose(hasher.weights_ * signs[:, np.newaxis], pca.components_[:20], atol=1e-5)
    np.testing.assert_allclose(hasher.project(x) * signs, pca.transform(x)[:, :20], atol=1e-4)
    largest = np.abs(hasher.weights_).argmax(axis=1)
    assert (hasher.weights_[np.arange(20), largest] > 0).all()
    assert np.array_equal(PCAHashing(8).fit(x).weights_, hasher.weights_[:8])


def test_random_rotation_of_principal_components(features: NDArray[np.float32]) -> None:
    axes = PCAHashing(10).fit(features).weights_.astype(np.float64)
    hasher = PCARandomRotation(10, random_state=3).fit(features)
    np.testing.assert_allclose(hasher.rotation_ @ hasher.rotation_.T, np.eye(10), atol=1e-12)
    np.testing.assert_allclose(hasher.weights_, hasher.rotation_.T @ axes, atol=1e-6)
    np.testing.assert_allclose(hasher.bias_, offset_of(hasher, features), atol=1e-5)
    other = PCARandomRotation(10, random_state=4).fit(features)
    assert not np.allclose(hasher.rotation_, other.rotation_)


@pytest.mark.parametrize("n_bits", [1, 7, 24])
@pytest.mark.parametrize("kind", [ITQ, ITQCCA])
def test_itq_error_never_rises(features: NDArray[np.float32], labels: np.ndarray, kind: type, n_bits: int) -> None:
    hasher = kind(n_bits, n_iterations=60).fit(features, labels)
    assert hasher.errors_.shape == (60,)
    assert (np.diff(hasher.errors_) <= 1e-9 * hasher.errors_[0]).all()
    assert n_bits == 1 or hasher.errors_[-1] < 0.99 * hasher.errors_[0]
    np.testing.assert_allclose(hasher.rotation_ @ hasher.rotation_.T, np.eye(n_bits), atol=1e-6)
    np.testing.assert_allclose(hasher.bias_, offset_of(hasher, features), atol=1e-5)
    # The last recorded error, from the margins of a fit of one iteration less.
    before = kind(n_bits, n_iterations=59).fit(features, labels)
    margins = before.project(features).astype(np.float64)
    error = np.square(np.where(margins >= 0, 1, -1) - margins).sum(axis=1).mean()
    assert hasher.errors_[-1] == pytest.approx(error, rel=1e-5)


def test_itq_is_a_rotation_of_principal_components(features: NDArray[np.float32]) -> None:
    axes = PCAHashing(10).fit(features).weights_.astype(np.float64)
    hasher = ITQ(10).fit(features)
    np.testing.assert_allclose(hasher.weights_, hasher.rotation_.T @ axes, atol=1e-6)
    first = ITQ(10, n_iterations=1).fit(features)
    margins = PCARandomRotation(10).fit(features).project(features).astype(np.float64)
    assert first.errors_[0] == pytest.approx(
        np.square(np.where(margins >= 0, 1, -1) - margins).sum(axis=1).mean(), rel=1e-5
    )


def test_itq_finds_codes_that_are_there(rng: np.random.Generator) -> None:
    """Corners of a turned cube: the best of a few starts finds them, and what is left is noise."""
    corners = np.where(rng.random((2000, 8)) < 0.5, -1.0, 1.0)
    turned = corners @ np.linalg.qr(rng.normal(size=(8, 8)))[0] + 0.02 * rng.normal(size=(2000, 8))
    errors = [ITQ(8, n_iterations=100, random_state=seed).fit(turned).errors_[-1] for seed in range(6)]
    assert min(errors) < 8 * (0.02**2 + 1 / 2000)  # the means of bits are off by 1 / sqrt(rows)


def test_rotation_against_the_whole_matrices(rng: np.random.Generator) -> None:
    """Each step is SciPy's orthogonal Procrustes problem."""
    v = rng.normal(size=(500, 7)).astype(np.float32) * np.arange(1, 8, dtype=np.float32)
    wanted = start = random_rotation(1, 7)
    for steps in range(1, 8):
        codes = np.where(v.astype(np.float64) @ wanted >= 0, 1.0, -1.0)
        error = np.square(codes - v.astype(np.float64) @ wanted).sum(axis=1).mean()
        wanted = orthogonal_procrustes(v.astype(np.float64), codes)[0]
        rotation, errors = learn_rotation(v, start, steps)
        np.testing.assert_allclose(rotation, wanted, atol=1e-10)
        assert errors[-1] == pytest.approx(error, rel=1e-10)


def test_rotation_is_learned_in_blocks(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    v = rng.normal(size=(1000, 6)).astype(np.float32)
    start = random_rotation(1, 6)
    whole = learn_rotation(v, start, 20)
    monkeypatch.setattr("lshcore.hashers.itq._BLOCK_ENTRIES", 6 * 77)
    parts = learn_rotation(v, start, 20)
    np.testing.assert_allclose(parts[0], whole[0], atol=1e-10)
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-12)


@pytest.mark.parametrize("multi", [False, True])
def test_canonical_directions(
    features: NDArray[np.float32],
    labels: np.ndarray,
    multi: bool,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against the generalised eigenproblem as it is written down, with rows in several blocks."""
    monkeypatch.setattr("lshcore.hashers._blocks._BLOCK_ENTRIES", 24 * 77)
    y = rng.random((300, 6)) < 0.3 if multi else labels
    targets = y.astype(float) if multi else np.eye(5)[labels]
    mean, directions, correlations = canonical_directions(features, y, 24, 0.01)
    x = features.astype(np.float64)
    n_labels = targets.shape[1]
    joint = np.cov(np.concatenate([x, targets], axis=1).T, bias=True)
    xx, xy, yy = joint[:24, :24] + 0.01 * np.eye(24), joint[:24, 24:], joint[24:, 24:] + 0.01 * np.eye(n_labels)
    values = eigh(xy @ np.linalg.solve(yy, xy.T), xx, eigvals_only=True)[::-1]
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-12)
    rank = n_labels if multi else n_labels - 1
    np.testing.assert_allclose(correlations[:rank] ** 2, values[:rank], rtol=1e-9)
    np.testing.assert_allclose(correlations[rank:], 0, atol=1e-7)
    np.testing.assert_allclose(directions @ xx @ directions.T, np.eye(n_labels), atol=1e-9)
    left = directions[:rank] @ xy @ np.linalg.solve(yy, xy.T)
    np.testing.assert_allclose(left, values[:rank, np.newaxis] * directions[:rank] @ xx, atol=1e-9)


def test_itqcca_has_any_number_of_bits(features: NDArray[np.float32], labels: np.ndarray) -> None:
    hasher = ITQCCA(40).fit(features, labels)
    assert hasher.weights_.shape == (40, 24)
    assert hasher.correlations_.shape == (5,)
    assert np.linalg.matrix_rank(hasher.weights_.astype(np.float64), tol=1e-5) == 4
    assert (np.linalg.norm(hasher.weights_, axis=1) > 1e-3).all()
    # Labels by other names are the same labels.
    again = ITQCCA(40).fit(features, np.array([7, -3, 0, 99, 4])[labels])
    np.testing.assert_allclose(np.abs(again.correlations_), hasher.correlations_, atol=1e-9)


@pytest.mark.parametrize("kind", [PCAHashing, PCARandomRotation, ITQ])
def test_bits_are_limited_by_columns_and_rows(features: NDArray[np.float32], kind: type) -> None:
    name = kind.__name__
    with pytest.raises(ValueError, match=rf"^{name}\.fit: n_bits must be at most 24, the columns of X, got 25$"):
        kind(25).fit(features)
    with pytest.raises(ValueError, match=rf"^{name}\.fit: n_bits must be at most 10, the rows of X, got 11$"):
        kind(11).fit(features[:10])
    with pytest.raises(ValueError, match=rf"^{name}\.fit: pca needs rows that differ, got 9 equal ones$"):
        kind(4).fit(np.ones((9, 5)))
    assert kind(10).fit(features[:10]).weights_.shape == (10, 24)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_iterations": 0}, ValueError, "n_iterations must be at least 1, got 0"),
        ({"n_iterations": 2.5}, TypeError, "n_iterations must be an integer, got 2.5"),
        ({"regularisation": 0}, ValueError, "regularisation must be positive, got 0"),
    ],
)
def test_bad_options(features: NDArray[np.float32], labels: np.ndarray, options, error, message: str) -> None:
    hasher = ITQCCA(8).fit(features, labels)
    codes = hasher.encode(features)
    with pytest.raises(error, match=rf"ITQCCA\.fit: {message}"):
        hasher.set_params(**options).fit(features[:, :5], labels)
    assert hasher.encode(features) == codes


def test_itqcca_needs_labels_that_differ(features: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match=r"ITQCCA\.fit: y must hold rows of different labels, got one class"):
        ITQCCA(8).fit(features, np.zeros(300, int))


def test_itq_is_no_worse_than_that_of_faiss() -> None:
    """The same from the same rotation; then ours finds a better one, and codes rank at least as well.

    FAISS 1.15 turns by U V, not by U V^T, for the singular value decomposition U S V^T of a step, so that its error
    rises now and then and ends higher.
    """
    faiss = pytest.importorskip("faiss")
    try:
        pixels = data.load("fashion-mnist")
    except DatasetNotFound as missing:
        pytest.skip(str(missing))
    pca = Preprocess(pca=48, l2=False).fit(pixels.features[:3000])
    x, q = pca.transform(pixels.features[:3000]), pca.transform(pixels.features[60_000:60_400])
    unit, unit_q = (Preprocess().fit(x).transform(part) for part in (x, q))  # FAISS does this itself
    y, q_y = pixels.labels[:3000], pixels.labels[60_000:60_400]

    def mean_average_precision(margins: np.ndarray, q_margins: np.ndarray) -> float:
        codes = [BinaryCodes.from_bools(part >= 0) for part in (q_margins, margins)]
        return metrics.hamming_ranking(*codes, q_y, y)["map"]

    def error(margins: np.ndarray) -> float:
        return np.square(np.where(margins >= 0, 1, -1) - margins).sum(axis=1).mean()

    def of_faiss(n_iterations: int, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        transform = faiss.ITQTransform(48, 32, True)
        transform.max_train_per_dim = 1000
        transform.itq.max_iter = n_iterations
        faiss.copy_array_to_vector(start.ravel(), transform.itq.init_rotation)
        transform.train(x)
        return transform.apply(x), transform.apply(q)

    axes = PCAHashing(32).fit(unit)
    components, q_components = axes.project(unit), axes.project(unit_q)
    # FAISS has principal components of the signs that LAPACK gave them.
    same_signs = np.sign((components * of_faiss(0, np.eye(32))[0]).sum(axis=0)).astype(np.float32)
    components, q_components = components * same_signs, q_components * same_signs
    ours, theirs = [], []
    for seed in range(3):
        start = random_rotation(seed, 32)
        margins, others = [part @ start for part in (components, q_components)], of_faiss(0, start)
        assert mean_average_precision(*margins) == pytest.approx(mean_average_precision(*others), rel=0.01)
        learned = learn_rotation(components, start, 50)[0]
        margins, others = [part @ learned for part in (components, q_components)], of_faiss(50, start)
        assert error(margins[0]) < error(others[0])
        ours.append(mean_average_precision(*margins))
        theirs.append(mean_average_precision(*others))
    print(f"ITQ, 32 bits: map {ours}; FAISS {theirs}")
    assert np.mean(ours) > 0.99 * np.mean(theirs)
