"""Losses of neural hashers against loops over items, pairs and bits in NumPy; invariances, extremes and gradients."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
losses = pytest.importorskip("lshcore.neural.losses")

Sizes = dict[str, int]


class Draw:
    """Random arrays of named axes: "ik" is items times bits."""

    def __init__(self, seed: int, sizes: Sizes, density: float, spread: float = 1.0) -> None:
        self.rng, self.sizes, self.density, self.spread = np.random.default_rng(seed), sizes, density, spread

    def shape(self, axes: str) -> tuple[int, ...]:
        return tuple(self.sizes[axis] for axis in axes)

    def real(self, axes: str) -> np.ndarray:
        return self.spread * self.rng.normal(size=self.shape(axes))

    def soft(self, axes: str) -> np.ndarray:
        return np.tanh(self.real(axes))

    def unit(self, axes: str) -> np.ndarray:
        x = self.real(axes)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def mask(self, axes: str) -> np.ndarray:
        return self.rng.random(self.shape(axes)) < self.density

    def signs(self, axes: str) -> np.ndarray:
        return np.where(self.rng.random(self.shape(axes)) < 0.5, -1.0, 1.0)

    def probabilities(self, axes: str) -> np.ndarray:
        return 1 / (1 + np.exp(-self.real(axes).clip(-700, 700)))

    def similar(self, axes: str) -> np.ndarray:
        half = np.triu(self.mask(axes))
        return half | half.T

    def graded(self, axes: str) -> np.ndarray:
        weights = self.rng.choice([0.25, 0.5, 1.0], self.shape(axes))
        return np.where(self.similar(axes), np.triu(weights) + np.triu(weights, 1).T, 0.0)

    def one_hot(self, axes: str) -> np.ndarray:
        rows, classes = self.shape(axes)
        labelled = self.rng.random((rows, 1)) < self.density
        return np.eye(classes)[self.rng.integers(0, classes, rows)] * labelled

    def several(self, axes: str) -> np.ndarray:
        return self.mask(axes).astype(float)

    def shares(self, axes: str) -> np.ndarray:
        labels = self.several(axes)
        return labels / labels.sum(axis=1, keepdims=True).clip(1)


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return sum(x * y) / math.sqrt(sum(x * x) * sum(y * y))


def log_sum_exp(x: list[float]) -> float:
    return max(x) + math.log(sum(math.exp(value - max(x)) for value in x))


def log_one_exp(x: float) -> float:
    return log_sum_exp([0.0, x])


def pairs(mask: np.ndarray) -> list[tuple[int, int]]:
    return [(i, j) for i in range(mask.shape[0]) for j in range(mask.shape[1]) if mask[i, j]]


def balance_of_items(soft):
    return mean([abs(sum(row)) / len(row) for row in soft])


def balance_of_bits(soft):
    return mean([abs(sum(column) / len(column)) for column in soft.T])


def fence(soft):
    return mean([abs(abs(b) - 1) for row in soft for b in row])


def repulsion(soft, others, negative):
    return mean([abs(sum(soft[i] * others[j])) / len(soft[i]) for i, j in pairs(negative)])


def attraction(soft, others, positive):
    return mean([(1 - sum(soft[i] * others[j]) / len(soft[i])) / 2 for i, j in pairs(positive)])


def relevance_cross_entropy(query, corpus, relevant, cos_to_prob):
    def probability(i: int, j: int) -> float:
        s = sum(query[i] * corpus[j])
        return min(max((1 + s) / 2 if cos_to_prob == "shift" else s, 1e-6), 1 - 1e-6)

    positive = mean([-math.log(probability(i, j)) for i, j in pairs(relevant)])
    negative = mean([-math.log(1 - probability(i, j)) for i, j in pairs(~relevant)])
    return 0.5 * positive + 0.5 * negative


def collision_hinge(query, corpus, relevant, margin):
    of_queries = []
    for c, wanted in zip(query, relevant, strict=True):
        near, far = [sum(c * x) for x in corpus[wanted]], [sum(c * x) for x in corpus[~wanted]]
        if near and far:
            of_queries.append(mean([max(0.0, margin + below - above) for above in near for below in far]))
    return mean(of_queries)


def contrastive(u, similar, margin):
    terms = []
    for i, j in pairs(~np.eye(len(u), dtype=bool)):
        distance = sum((u[i] - u[j]) ** 2)
        terms.append(distance / 2 if similar[i, j] else max(margin - distance, 0) / 2)
    return mean(terms)


def weighted_likelihood(h, similarity, scale):
    every = pairs(~np.eye(len(h), dtype=bool))
    n_similar = sum(similarity[pair] > 0 for pair in every)
    above = below = 0.0
    for i, j in every:
        a, c = scale * sum(h[i] * h[j]), similarity[i, j]
        weight = c * len(every) / n_similar if c > 0 else len(every) / (len(every) - n_similar)
        above += weight * (log_one_exp(a) - (a if c > 0 else 0))
        below += weight
    return above / below if every else 0.0


def cosine_matching(codes, features):
    half = len(codes) // 2
    two = [(cosine(codes[i], codes[i + half]), cosine(features[i], features[i + half])) for i in range(half)]
    return mean([(b - x) ** 2 for b, x in two])


def soft_cross_entropy(logits, targets):
    terms = [sum(y * (log_sum_exp(list(a)) - a)) for a, y in zip(logits, targets, strict=True) if any(y)]
    return mean([float(term) for term in terms])


def cosine_cross_entropy(v, codebook, targets, scale, margin):
    logits = [
        [scale * (cosine(x, c) - (margin if y else 0)) for c, y in zip(codebook, row, strict=True)]
        for x, row in zip(v, targets, strict=True)
    ]
    return soft_cross_entropy(np.array(logits), targets)


def binary_cross_entropy(logits, targets):
    terms = zip(logits.ravel(), targets.ravel(), strict=True)
    return mean([y * log_one_exp(-a) + (1 - y) * log_one_exp(a) for a, y in terms])


def central_similarity(u, centres):
    p, t = (np.tanh(u) + 1) / 2, (centres + 1) / 2
    return mean([-math.log(a) if y else -math.log(1 - a) for a, y in zip(p.ravel(), t.ravel(), strict=True)])


def squared_quantisation(u):
    return mean([(abs(math.tanh(value)) - 1) ** 2 for value in u.ravel()])


def cubic_quantisation(u):
    return mean([abs(abs(value) - 1) ** 3 for value in u.ravel()])


def classification(logits, targets, several):
    return (binary_cross_entropy if several else soft_cross_entropy)(logits, targets)


def nt_xent(a, b, temperature):
    views, terms = [*a, *b], []
    for i, anchor in enumerate(views):
        others = [j for j in range(len(views)) if j != i]
        logits = [cosine(anchor, views[j]) / temperature for j in others]
        terms.append(log_sum_exp(logits) - logits[others.index((i + len(a)) % len(views))])
    return mean(terms)


def bernoulli_divergence(p, q):
    def divergence(x: float, y: float) -> float:
        return x * math.log(x / y) + (1 - x) * math.log((1 - x) / (1 - y))

    p, q = p.clip(1e-6, 1 - 1e-6), q.clip(1e-6, 1 - 1e-6)
    total = sum(divergence(x, y) + divergence(y, x) for x, y in zip(p.ravel(), q.ravel(), strict=True))
    return total / 2 / len(p)


class Case(NamedTuple):
    """A loss: what it is given, as kinds of arrays and their axes, and what leaves it as it is.

    Batch axes are i, j and b, which has two halves; k are bits, d other columns, c classes. Flipped is the axis whose
    signs are free. Learned arrays are the first ones; the others have no gradient.
    """

    name: str
    reference: Callable[..., float]
    arrays: tuple[tuple[str, str], ...]
    settings: dict[str, Any] = {}  # noqa: RUF012
    flipped: str = ""
    n_learned: int = 1

    def draw(self, draw: Draw) -> list[np.ndarray]:
        return [getattr(draw, kind)(axes) for kind, axes in self.arrays]

    def tensors(self, arrays: list[np.ndarray], dtype: Any = None) -> list[Any]:
        dtype = dtype or torch.float64
        tensors = [torch.tensor(x) if x.dtype == bool else torch.tensor(x, dtype=dtype) for x in arrays]
        for tensor in tensors[: self.n_learned]:
            tensor.requires_grad_()
        return tensors

    def loss(self, *tensors: Any) -> Any:
        return getattr(losses, self.name)(*tensors, **self.settings)

    def __call__(self, arrays: list[np.ndarray]) -> float:
        return self.loss(*self.tensors(arrays)).item()


CODES, PAIRS = (("soft", "ik"),), (("soft", "ik"), ("soft", "jk"), ("mask", "ij"))
UNITS = (("unit", "id"), ("unit", "jd"), ("mask", "ij"))
AIMED = (("real", "ik"), ("signs", "ck"))
CASES = [
    Case("balance_of_items", balance_of_items, CODES),
    Case("balance_of_bits", balance_of_bits, CODES, {}, "k"),
    Case("fence", fence, (("real", "ik"),), {}, "k"),
    Case("repulsion", repulsion, PAIRS, {}, "k", 2),
    Case("attraction", attraction, PAIRS, {}, "k", 2),
    Case("relevance_cross_entropy", relevance_cross_entropy, UNITS, {"cos_to_prob": "shift"}, "d", 2),
    Case("relevance_cross_entropy", relevance_cross_entropy, UNITS, {"cos_to_prob": "clamp"}, "d", 2),
    Case("collision_hinge", collision_hinge, PAIRS, {"margin": 1.0}, "k", 2),
    Case("collision_hinge", collision_hinge, PAIRS, {"margin": 0.0}, "k", 2),
    Case("contrastive", contrastive, (("real", "ik"), ("similar", "ii")), {"margin": 6.0}, "k"),
    Case("weighted_likelihood", weighted_likelihood, (("real", "ik"), ("graded", "ii")), {"scale": 0.7}, "k"),
    Case("cosine_matching", cosine_matching, (("real", "bk"), ("real", "bd")), {}, "k"),
    Case("cosine_cross_entropy", cosine_cross_entropy, (*AIMED, ("one_hot", "ic")), {"scale": 8.0, "margin": 0.2}, "k"),
    Case("cosine_cross_entropy", cosine_cross_entropy, (*AIMED, ("shares", "ic")), {"scale": 3.0, "margin": 0.3}, "k"),
    Case("central_similarity", central_similarity, (("real", "ik"), ("signs", "ik")), {}, "k"),
    Case("squared_quantisation", squared_quantisation, (("real", "ik"),), {}, "k"),
    Case("cubic_quantisation", cubic_quantisation, (("real", "ik"),), {}, "k"),
    Case("classification", classification, (("real", "ic"), ("one_hot", "ic")), {"several": False}),
    Case("classification", classification, (("real", "ic"), ("several", "ic")), {"several": True}),
    Case("nt_xent", nt_xent, (("real", "ik"), ("real", "ik")), {"temperature": 0.3}, "k", 2),
    Case("bernoulli_divergence", bernoulli_divergence, (("probabilities", "ik"), ("probabilities", "ik")), {}, "", 2),
]
every_loss = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, (case.name, *case.settings))))

size = st.integers(1, 6)
draws = st.builds(
    Draw,
    st.integers(0, 2**32 - 1),
    st.fixed_dictionaries({"i": size, "j": size, "b": size, "k": size, "d": st.integers(2, 6), "c": size}),
    st.sampled_from([0.0, 0.3, 0.7, 1.0]),
)


def usual(seed: int = 5) -> Draw:
    return Draw(seed, {"i": 5, "j": 7, "b": 6, "k": 8, "d": 4, "c": 3}, 0.5)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small are not worth two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_loss_has_a_case() -> None:
    public = {name for name, value in vars(losses).items() if getattr(value, "__module__", "") == losses.__name__}
    assert {name for name in public if not name.startswith("_")} == {case.name for case in CASES}


@every_loss
@given(draw=draws)
def test_what_loops_give(case: Case, draw: Draw) -> None:
    arrays = case.draw(draw)
    before = [x.copy() for x in arrays]
    tensors = case.tensors(arrays)
    loss = case.loss(*tensors)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(case.reference(*arrays, **case.settings), rel=1e-9, abs=1e-12)
    loss.backward()
    for tensor, x in zip(tensors, before, strict=True):
        assert tensor.grad is None or torch.isfinite(tensor.grad).all()
        assert np.array_equal(tensor.detach().numpy(), x)
    assert all(tensor.grad is not None for tensor in tensors[: case.n_learned])


@every_loss
@pytest.mark.parametrize("seed", range(3))
def test_order_of_items_bits_and_classes(case: Case, seed: int) -> None:
    draw = usual(seed)
    arrays = case.draw(draw)
    loss = case(arrays)
    assert loss > 0
    for axis in sorted({axis for _, axes in case.arrays for axis in axes}):
        order = draw.rng.permutation(draw.sizes[axis])
        if axis == "b":
            halves = draw.rng.permutation(3)
            order = np.concatenate([halves + 3, halves])
        moved = arrays
        for place in range(2):
            moved = [
                x.take(order, place) if axes[place] == axis else x
                for x, (_, axes) in zip(moved, case.arrays, strict=True)
            ]
        assert case(moved) == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if case.flipped], ids=lambda case: case.name)
def test_signs_of_bits_are_free(case: Case) -> None:
    draw = usual()
    arrays = case.draw(draw)
    flips = np.where(np.arange(draw.sizes[case.flipped]) % 3 == 0, -1.0, 1.0)
    moved = [x * flips if axes[1] == case.flipped else x for x, (_, axes) in zip(arrays, case.arrays, strict=True)]
    assert case(moved) == pytest.approx(case(arrays), rel=1e-12)


def test_balance_within_a_code_and_divergence_depend_on_signs() -> None:
    soft = usual().soft("ik")
    assert CASES[0]([soft * np.where(np.arange(8) < 2, -1, 1)]) != pytest.approx(CASES[0]([soft]), rel=1e-3)
    p, q = usual(1).probabilities("ik"), usual(2).probabilities("ik")
    assert CASES[-1]([1 - p, 1 - q]) == pytest.approx(CASES[-1]([p, q]), rel=1e-9)
    assert CASES[-1]([1 - p, q]) != pytest.approx(CASES[-1]([p, q]), rel=1e-3)


@pytest.mark.parametrize(
    "name", ["repulsion", "attraction", "relevance_cross_entropy", "nt_xent", "bernoulli_divergence"]
)
def test_sides_of_a_pair_are_alike(name: str) -> None:
    for case in (case for case in CASES if case.name == name):
        one, other, *mask = case.draw(usual())
        assert case([other, one, *(x.T for x in mask)]) == pytest.approx(case([one, other, *mask]), rel=1e-12)


@every_loss
@pytest.mark.parametrize("seed", [2, 3])
def test_gradients(case: Case, seed: int) -> None:
    tensors = case.tensors(case.draw(usual(seed)))
    assert torch.autograd.gradcheck(case.loss, tensors)
    case.loss(*tensors).backward()
    assert all(tensor.grad.abs().max() > 1e-4 for tensor in tensors[: case.n_learned])


@every_loss
@pytest.mark.parametrize("density", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("spread", [1.0, 1e4])
def test_single_precision_stays_finite(case: Case, density: float, n: int, spread: float) -> None:
    arrays = case.draw(Draw(n, {"i": n, "j": n, "b": n, "k": 8, "d": 4, "c": 3}, density, spread))
    tensors = case.tensors(arrays, torch.float32)
    loss = case.loss(*tensors)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    if spread == 1:
        assert loss.item() == pytest.approx(case.reference(*arrays, **case.settings), rel=1e-4, abs=1e-5)
    loss.backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in tensors[: case.n_learned])


@every_loss
def test_zeros(case: Case) -> None:
    """Gradients are not merely finite: they are no larger than elsewhere."""
    arrays = case.draw(usual())
    tensors = case.tensors([0 * x if place < case.n_learned else x for place, x in enumerate(arrays)], torch.float32)
    loss = case.loss(*tensors)
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(tensor.grad.abs().max() < 10 for tensor in tensors[: case.n_learned])


def both(*rows: list[float]) -> Any:
    return torch.tensor(rows, dtype=torch.float64)


def test_constant_code_of_both_signs() -> None:
    """What the PermGNN paper's first two terms cannot see, its third one forbids."""
    soft = both([1.0, -1.0, -1.0, 1.0]).repeat(3, 1)
    pair = torch.ones(3, 3, dtype=torch.bool)
    assert losses.balance_of_items(soft) == losses.fence(soft) == losses.attraction(soft, soft, pair) == 0
    assert losses.balance_of_bits(soft) == losses.repulsion(soft, soft, pair) == 1
    assert losses.repulsion(soft, -soft, pair) == losses.attraction(soft, -soft, pair) == 1
    assert losses.fence(0 * soft) == losses.balance_of_items(soft.abs()) == 1
    assert losses.balance_of_bits(torch.cat([soft, -soft])) == 0


def test_terms_of_codes_are_shares() -> None:
    soft, others, mask = CASES[3].draw(usual())
    for hard in (soft, np.sign(soft)):
        for case, arrays in [(CASES[0], [hard]), (CASES[1], [hard]), (CASES[3], [hard, others, mask])]:
            assert 0 <= case(arrays) <= 1


def test_extremes_of_relevance() -> None:
    x, y, no, yes = both([1.0, 0.0]), both([0.0, 1.0]), torch.tensor([[False]]), torch.tensor([[True]])
    entropy = losses.relevance_cross_entropy
    least, most = -math.log(1 - 1e-6) / 2, -math.log(1e-6) / 2
    for way in ("shift", "clamp"):
        for good, bad in [((x, yes), (x, no)), ((-x, no), (-x, yes))]:
            assert entropy(x, *good, way).item() == pytest.approx(least)
            assert entropy(x, *bad, way).item() == pytest.approx(most)
    assert entropy(x, y, yes).item() == entropy(x, y, no).item() == pytest.approx(math.log(2) / 2)
    # A kind of pairs weighs a half, however many there are.
    many = entropy(x, torch.cat([y] * 9 + [x]), torch.tensor([[False] * 9 + [True]]))
    assert many.item() == pytest.approx(math.log(2) / 2 + least)


def test_hinge_of_many_items() -> None:
    """Over 10^9 pairs, of similarities that differ little for their size, in single precision; against counts."""
    rng = np.random.default_rng(3)
    levels = rng.integers(-8, 9, 100_000)
    relevant = rng.random((2, 100_000)) < [[0.5], [0.9999]]
    query = torch.tensor([[1.0, 1.0], [-0.5, 1.0]])
    corpus = torch.tensor(np.column_stack([levels / 8, np.full(100_000, 1000)]), dtype=torch.float32)
    wanted = []
    for sign, mask in zip((1.0, -0.5), relevant, strict=True):
        near, far = (np.bincount(levels[which] + 8, minlength=17) for which in (mask, ~mask))
        value = sign * np.arange(-8, 9) / 8
        losses_of_levels = np.maximum(0, 0.3 + value - value[:, np.newaxis])
        wanted.append(near @ losses_of_levels @ far / near.sum() / far.sum())
    loss = losses.collision_hinge(query, corpus, torch.tensor(relevant), 0.3)
    assert loss.item() == pytest.approx(np.mean(wanted), rel=2e-6)


def test_hinge_at_its_kink() -> None:
    """Equal similarities: the margin is all that is lost; a margin just kept costs nothing."""
    corpus, relevant = both([1.0, 1.0], [1.0, 1.0], [1.0, 1.0]), torch.tensor([[True, False, True]])
    assert losses.collision_hinge(corpus[:1], corpus, relevant, 0.75) == 0.75
    assert losses.collision_hinge(corpus[:1], corpus * torch.tensor([[1.0], [0.5], [1.0]]), relevant, 1.0) == 0
    assert losses.collision_hinge(corpus[:1], corpus * torch.tensor([[0.5], [1.0], [0.5]]), relevant, 1.0) == 2


def test_far_from_the_origin_distances_keep_their_digits() -> None:
    u, similar = usual().real("ik"), usual().similar("ii")
    near, far = (torch.tensor(u + shift, dtype=torch.float32) for shift in (0, 1000))
    loss = losses.contrastive(near, torch.tensor(similar), 6.0)
    assert losses.contrastive(far, torch.tensor(similar), 6.0).item() == pytest.approx(loss.item(), rel=1e-3)


def test_extremes_of_pairs() -> None:
    code, alike = both([1.0, -1.0, 1.0]).repeat(4, 1), torch.ones(4, 4, dtype=torch.bool)
    assert losses.contrastive(code, alike, 6.0) == 0
    assert losses.contrastive(code, ~alike, 6.0) == 3
    assert losses.contrastive(torch.cat([code[:2], -code[:2]]), alike, 6.0).item() == pytest.approx(12 / 2 * 8 / 12)
    for similarity in (alike, ~alike, torch.eye(4)):
        assert losses.weighted_likelihood(0 * code, similarity.double(), 1.0).item() == pytest.approx(math.log(2))
    # Similar and dissimilar pairs weigh the same, although there are two of the ones and ten of the others.
    similarity = torch.zeros(4, 4, dtype=torch.float64)
    similarity[0, 1] = similarity[1, 0] = 1
    wanted = (math.log1p(math.exp(-3)) + math.log1p(math.exp(3))) / 2
    assert losses.weighted_likelihood(code, similarity, 1.0).item() == pytest.approx(wanted)


def test_extremes_of_aims() -> None:
    """Hadamard's codes are orthogonal: OrthoHash's softmax has one logit of ``scale * (1 - margin)``, else zeros."""
    codebook = both([1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1])
    targets = torch.eye(4, dtype=torch.float64)
    loss = losses.cosine_cross_entropy(5 * codebook, codebook, targets, 8.0, 0.25)
    assert loss.item() == pytest.approx(math.log1p(3 * math.exp(-6)))
    assert losses.central_similarity(20 * codebook, codebook).item() == pytest.approx(0, abs=1e-15)
    assert losses.central_similarity(0 * codebook, codebook).item() == pytest.approx(math.log(2))
    assert losses.central_similarity(-1e4 * codebook, codebook).item() == pytest.approx(2e4)
    assert losses.squared_quantisation(0 * codebook) == losses.cubic_quantisation(2 * codebook) == 1
    assert losses.squared_quantisation(30 * codebook) == losses.cubic_quantisation(codebook) == 0
    assert losses.classification(0 * codebook, targets, False).item() == pytest.approx(math.log(4))
    assert losses.classification(0 * codebook, targets, True).item() == pytest.approx(math.log(2))


def test_extremes_of_views() -> None:
    same = both([1.0, 2.0]).repeat(3, 1)
    assert losses.nt_xent(same, same, 0.3).item() == pytest.approx(math.log(5))
    assert losses.nt_xent(same[:1], -same[:1], 0.3) == 0
    axes = torch.eye(3, dtype=torch.float64)
    assert losses.nt_xent(axes, 7 * axes, 0.5).item() == pytest.approx(math.log1p(4 * math.exp(-2)))
    assert losses.cosine_matching(torch.cat([same, same]), torch.cat([same, -same])).item() == pytest.approx(4)
    assert losses.cosine_matching(torch.cat([same, 9 * same]), torch.cat([same, same])).item() == pytest.approx(0)
    zero, one = torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    assert losses.bernoulli_divergence(one, one) == 0
    assert losses.bernoulli_divergence(zero, one).item() == pytest.approx(3 * math.log(1e6), rel=1e-5)
