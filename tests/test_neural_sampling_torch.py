"""What belongs together, and rows to hold a batch apart from, against loops."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from neural_cases import clusters, several

torch = pytest.importorskip("torch")
sampling = pytest.importorskip("lshcore.neural.sampling")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


X, LABELS = clusters(90)
EVERY = torch.arange(len(X))
AMONG = EVERY[EVERY % 3 < 2]  # of the batch A, some are among them, and some are not
A, B = torch.tensor([5, 3, 3, 80, 25, 0, 41, 17]), torch.tensor([3, 0, 1, 25, 50, 89, 12, 5, 7])


def read(rows: "torch.Tensor") -> "torch.Tensor":
    return torch.from_numpy(X)[rows]


def cosine(i: int, j: int) -> float:
    a, b = X[i].astype(np.float64), X[j].astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_one_label_each() -> None:
    relevant = sampling.ByLabel(LABELS, "cpu")
    assert relevant(A, B).tolist() == [[bool(LABELS[i] == LABELS[j]) for j in B] for i in A]
    assert relevant.similarity(A).tolist() == [[float(LABELS[i] == LABELS[j]) for j in A] for i in A]
    assert relevant.targets(A).tolist() == [[float(LABELS[i] == c) for c in range(6)] for i in A]
    assert (relevant.n_classes, relevant.several) == (6, False)


def test_several_labels_each() -> None:
    labels = several(LABELS)
    sets = [set(np.flatnonzero(row)) for row in labels]
    assert not sets[0]
    relevant = sampling.ByLabel(labels, "cpu")
    assert relevant(A, B).tolist() == [[bool(sets[i] & sets[j]) for j in B.tolist()] for i in A.tolist()]
    jaccard = [[len(sets[i] & sets[j]) / max(1, len(sets[i] | sets[j])) for j in A.tolist()] for i in A.tolist()]
    assert len({value for row in jaccard for value in row}) > 2
    np.testing.assert_allclose(relevant.similarity(A).numpy(), jaccard, rtol=1e-6)
    assert np.array_equal(relevant.targets(A).numpy(), labels[A])
    assert (relevant.n_classes, relevant.several) == (7, True)


@pytest.mark.parametrize("share", [0.5, 0.1, 2.0**-8])
@pytest.mark.parametrize("rows", [EVERY, AMONG])
def test_a_share_of_all_pairs_is_similar(share: float, rows: "torch.Tensor") -> None:
    relevant = sampling.BySimilarity(read, rows, share, seed=3)
    found = relevant(EVERY, EVERY).numpy()
    others = ~np.eye(len(X), dtype=bool)
    assert found[rows][:, rows][others[rows][:, rows]].mean() == pytest.approx(share, abs=0.002)
    assert found.diagonal().all()
    values = np.array([[cosine(i, j) for j in range(len(X))] for i in range(len(X))])
    assert values[found & others].min() > values[~found].max() - 1e-6
    assert np.array_equal(relevant(A, B).numpy(), found[A][:, B])
    lone = sampling.BySimilarity(read, A[:1], share, seed=3)
    assert lone(A[:1], A[:1]).shape == (1, 1)


def test_the_threshold_is_that_of_the_rows_alone() -> None:
    seen: list[int] = []

    def look(rows: "torch.Tensor") -> "torch.Tensor":
        seen.extend(rows.tolist())
        return read(rows)

    sampling.BySimilarity(look, AMONG, 0.1, seed=3)
    assert sorted(seen) == AMONG.tolist()


def test_the_threshold_is_estimated_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_SAMPLE", 50)
    shares = [sampling.BySimilarity(read, EVERY, 0.2, seed)(EVERY, EVERY).float().mean().item() for seed in (1, 2)]
    assert shares[0] != shares[1]
    assert shares == pytest.approx([0.2, 0.2], abs=0.08)


RELEVANT: dict[str, Callable[[], object]] = {
    "label": lambda: sampling.ByLabel(LABELS, "cpu"),
    "labels": lambda: sampling.ByLabel(several(LABELS), "cpu"),
    "similarity": lambda: sampling.BySimilarity(read, EVERY, 0.1, 0),
}


def table(others: "torch.Tensor") -> "torch.Tensor":
    return torch.tensor([[cosine(i, j) for j in others.tolist()] for i in A.tolist()])


def negatives(kind: str, n_negatives: int, relevant: object, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = sampling.generator(seed)
    others, negative = sampling.draw_negatives(kind, n_negatives, A, AMONG, relevant, table, draw)
    assert negative.shape == (len(A), len(others))
    assert negative.dtype == torch.bool
    return others.numpy(), negative.numpy()


def held_apart(relevant: Callable[..., "torch.Tensor"], others: np.ndarray) -> np.ndarray:
    """What may be negative: what does not belong together, and no row of itself."""
    return ~relevant(A, torch.from_numpy(others)).numpy() & (A.numpy()[:, None] != others)


@pytest.mark.parametrize("kind", ["all", "uniform", "hard"])
@pytest.mark.parametrize("by", RELEVANT)
def test_negatives(kind: str, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_POOL", 30)
    relevant = RELEVANT[by]()
    others, negative = negatives(kind, 5, relevant)
    apart = held_apart(relevant, others)
    assert not (negative & ~apart).any()
    if by == "labels":  # rows 0 and 25 have no labels, and do not even belong to themselves
        itself = A.numpy()[:, None] == others
        assert (~relevant(A, torch.from_numpy(others)).numpy() & itself).any()
    if kind == "all":
        assert others.tolist() == A.tolist()
        assert np.array_equal(negative, apart)
        return
    assert len(others) == 30
    assert set(others.tolist()) <= set(AMONG.tolist())
    assert (negative.sum(axis=1) == np.minimum(5, apart.sum(axis=1))).all()
    again = negatives(kind, 5, relevant)
    assert np.array_equal(others, again[0])
    assert np.array_equal(negative, again[1])
    assert not np.array_equal(others, negatives(kind, 5, relevant, seed=1)[0])
    if kind == "hard":
        for i, row, may in zip(A.tolist(), negative, apart, strict=True):
            values = np.array([cosine(i, j) for j in others.tolist()])
            assert values[row].min() >= values[may & ~row].max() - 1e-6
    else:  # not the same for every row, as those of the hard ones hardly are either
        assert len({row.tobytes() for row in negative}) == len(A)


def test_uniform_negatives_are_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_POOL", 30)
    monkeypatch.setitem(globals(), "table", None)  # nor do they look at the features
    relevant = RELEVANT["label"]()
    counts = np.zeros(len(X))
    for seed in range(300):
        others, negative = negatives("uniform", 5, relevant, seed)
        np.add.at(counts, others[negative[0]], 1)
    apart = (LABELS[int(A[0])] != LABELS) & np.isin(EVERY, AMONG)
    assert counts[~apart].sum() == 0
    assert counts.sum() == 300 * 5
    mean = counts[apart].mean()
    assert np.square(counts[apart] - mean).sum() / mean < apart.sum() + 5 * np.sqrt(2 * apart.sum())  # chi-squared


def test_more_negatives_than_there_are() -> None:
    relevant = RELEVANT["label"]()
    others, negative = negatives("hard", 2000, relevant)
    assert len(others) == 4000
    assert (negative.sum(axis=1) == np.minimum(2000, held_apart(relevant, others).sum(axis=1))).all()
    nothing = sampling.ByLabel(np.zeros(len(X), np.int64), "cpu")
    for kind in ("all", "uniform", "hard"):
        assert not negatives(kind, 3, nothing)[1].any()
