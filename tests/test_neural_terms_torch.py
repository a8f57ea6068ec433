"""What each method minimises, by its formula in NumPy: a fit that hardly moves tells the terms that it began with."""

from typing import Any

import numpy as np
import pytest

from neural_cases import clusters, make, several

torch = pytest.importorskip("torch")
sampling = pytest.importorskip("lshcore.neural.sampling")

X, Y = clusters(60)
MANY = several(Y)
OTHERS = ~np.eye(60, dtype=bool)
LABELS = {"one": Y, "several": MANY}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSHCORE_NUM_THREADS", "1")


def begin(name: str, y: np.ndarray | None, **options: Any) -> tuple[dict[str, float], np.ndarray]:
    """Terms of the only step, over all rows, and the margins."""
    still = {"epochs": 1, "batch_size": 60, "validation": 0, "learning_rate": 1e-12}
    hasher: Any = make(name, 16, **still, **options).fit(X, y)
    return hasher.history_[-1]["terms"], hasher.project(X).astype(np.float64)


def check(found: dict[str, float], wanted: dict[str, float]) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-3, abs=1e-6), name


def one_hot(y: np.ndarray) -> np.ndarray:
    return y.astype(float) if y.ndim == 2 else np.eye(6)[y]


def jaccard(y: np.ndarray) -> np.ndarray:
    common = one_hot(y) @ one_hot(y).T
    sizes = one_hot(y).sum(axis=1)
    return common / np.maximum(1, sizes[:, None] + sizes - common)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def codebook(y: np.ndarray) -> np.ndarray:
    return sampling.codebook(one_hot(y).shape[1], 16, sampling.generator(0, 1)).numpy()


@pytest.mark.parametrize(
    "y",
    [
        pytest.param(Y, id="one"),
        pytest.param(MANY | ~MANY.any(axis=1, keepdims=True), id="several"),
        pytest.param(MANY, id="none"),
    ],
)
@pytest.mark.parametrize("balance", ["item", "bit"])
def test_neural_lsh(y: np.ndarray, balance: str) -> None:
    found, margins = begin("NeuralLSH", y, alpha=0.2, beta=0.3, balance=balance, attraction=0.7)
    b, together = np.tanh(margins), jaccard(y) > 0
    products = b @ b.T / 16
    sums = np.abs(b.sum(axis=1)).mean() / 16 if balance == "item" else np.abs(b.sum(axis=0)).mean() / 60
    wanted = {
        "balance": 0.2 * sums,
        "fence": 0.3 * np.abs(np.abs(b) - 1).mean(),
        "repulsion": 0.5 * np.abs(products)[~together & OTHERS].mean(),
        "attraction": 0.7 * ((1 - products) / 2)[together & OTHERS].mean(),
    }
    check(found, wanted)
    assert "attraction" not in begin("NeuralLSH", y)[0]


@pytest.mark.parametrize("kind", LABELS)
def test_dsh(kind: str) -> None:
    found, u = begin("DSH", LABELS[kind], penalty=0.03)
    squared = np.square(u[:, None] - u).sum(axis=2)
    pairs = np.where(jaccard(LABELS[kind]) > 0, squared, np.maximum(2 * 16 - squared, 0)) / 2
    check(found, {"pairs": pairs[OTHERS].mean() / 16, "quantisation": 2 * 0.03 * np.abs(np.abs(u) - 1).mean()})


@pytest.mark.parametrize("kind", LABELS)
def test_hashnet(kind: str) -> None:
    found, u = begin("HashNet", LABELS[kind], scale=0.4)
    c, h = jaccard(LABELS[kind]), np.tanh(u)
    similar, logits = c > 0, 0.4 * h @ h.T
    w = np.where(similar, c / (similar & OTHERS).sum(), 1 / (~similar & OTHERS).sum())
    losses = w * (np.log1p(np.exp(logits)) - similar * logits)
    check(found, {"likelihood": losses[OTHERS].sum() / w[OTHERS].sum()})


@pytest.mark.parametrize("kind", LABELS)
def test_orthohash(kind: str) -> None:
    found, u = begin("OrthoHash", LABELS[kind], scale=5.0, margin=0.3)
    y = one_hot(LABELS[kind])
    v = unit((u - u.mean(axis=0)) / u.std(axis=0))  # in training the batch itself is normalised by
    logits = 5 * (v @ unit(codebook(LABELS[kind])).T - 0.3 * (y > 0))
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    labelled = y.any(axis=1)
    check(found, {"classes": -((y * log_p).sum(axis=1)[labelled] / y.sum(axis=1)[labelled]).mean()})


@pytest.mark.parametrize("kind", LABELS)
def test_csq(kind: str) -> None:
    found, u = begin("CSQ", LABELS[kind], penalty=0.2)
    draw = sampling.generator(0, 1)
    centres = np.sign(one_hot(LABELS[kind]) @ sampling.codebook(one_hot(LABELS[kind]).shape[1], 16, draw).numpy())
    assert (centres == 0).any() == (kind == "several")
    ties = torch.randint(2, (16,), generator=draw).numpy() * 2 - 1
    p = (np.tanh(u) + 1) / 2
    losses = np.where(np.where(centres == 0, ties, centres) > 0, -np.log(p), -np.log(1 - p))
    check(found, {"centres": losses.mean(), "quantisation": 0.2 * np.square(np.abs(np.tanh(u)) - 1).mean()})


@pytest.mark.parametrize("kind", LABELS)
def test_greedyhash(kind: str) -> None:
    found, u = begin("GreedyHash", LABELS[kind], penalty=0.4)
    assert found["quantisation"] == pytest.approx(0.4 * (np.abs(np.abs(u) - 1) ** 3).mean(), rel=1e-4)
    chance = np.log(6) if kind == "one" else np.log(2)
    assert found["classes"] == pytest.approx(chance, rel=0.4)


def test_bihalf() -> None:
    found, u = begin("BiHalf", None)
    order = torch.randperm(60, generator=sampling.generator(0, 0, 0)).numpy()
    b = np.where(np.argsort(np.argsort(-u, axis=0), axis=0) < 30, 1.0, -1.0)
    first, second = order[:30], order[30:]
    cosines = [(unit(x)[first] * unit(x)[second]).sum(axis=1) for x in (b, X.astype(np.float64))]
    check(found, {"cosines": np.square(cosines[0] - cosines[1]).mean()})


def test_cibhash() -> None:
    """Without dropout both views are the row itself."""
    found, u = begin("CIBHash", None, dropout=0.0, temperature=0.5, penalty=0.1)
    views = unit(np.where(u >= 0, 1.0, -1.0))
    similar = np.exp(np.tile(views @ views.T, (2, 2)) / 0.5)
    np.fill_diagonal(similar, 0)
    own = np.exp(1 / 0.5)
    check(found, {"views": -np.log(own / similar.sum(axis=1)).mean(), "divergence": 0.0})
    assert begin("CIBHash", None, dropout=0.3)[0]["divergence"] > 1e-5


def test_relevance_lsh() -> None:
    """Which rows are drawn is not known here, but they are the same ones whatever the weights."""
    first, second = (begin("RelevanceLSH", Y, fence=f, collision=c)[0] for f, c in ((0.1, 0.5), (0.3, 0.2)))
    for name, weights in {"fence": (0.1, 0.3), "collision": (0.5, 0.2), "balance": (0.4, 0.5)}.items():
        assert first[name] / weights[0] == pytest.approx(second[name] / weights[1], rel=1e-4)
        assert first[name] > 0
