"""Parts of neural hashers against NumPy and loops: layers of bits, heads and what they weigh, codes of classes."""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lshcore.neural.layers import Layer, check_layers, forward

torch = pytest.importorskip("torch")
heads = pytest.importorskip("lshcore.neural.heads")
sampling = pytest.importorskip("lshcore.neural.sampling")

Rows = tuple[np.ndarray, np.ndarray]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tensor(x: np.ndarray, gradient: bool = False) -> "torch.Tensor":
    return torch.from_numpy(np.ascontiguousarray(x)).requires_grad_(gradient)


# -- two layers of bits ------------------------------------------------------------------------------------------------


def slow_half_half(u: np.ndarray) -> np.ndarray:
    codes = np.empty_like(u)
    for bit in range(u.shape[1]):
        ranked = sorted(range(len(u)), key=lambda row: -u[row, bit])  # stable: of equal ones the first
        for place, row in enumerate(ranked):
            codes[row, bit] = 1 if place < len(u) // 2 else -1
    return codes


@given(
    n=st.integers(1, 40), n_bits=st.integers(1, 9), values=st.sampled_from([1, 2, 5, None]), seed=st.integers(0, 2**32)
)
def test_half_of_every_bit_is_one(n: int, n_bits: int, values: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(n, n_bits)) if values is None else rng.integers(0, values, (n, n_bits)).astype(float)
    codes = heads.half_half(tensor(u.astype(np.float32)), 6.0).numpy()
    assert ((codes == 1) | (codes == -1)).all()
    assert ((codes == 1).sum(axis=0) == n // 2).all()
    assert np.array_equal(codes, slow_half_half(u.astype(np.float32)))


@pytest.mark.parametrize("n", [8, 7])
@pytest.mark.parametrize("gamma", [0.0, 6.0])
def test_gradient_of_half_half(rng: np.random.Generator, n: int, gamma: float) -> None:
    u, upstream = tensor(rng.normal(size=(n, 5)), True), rng.normal(size=(n, 5))
    heads.half_half(u, gamma).backward(tensor(upstream))
    margins = u.detach().numpy()
    wanted = upstream + gamma * (margins - slow_half_half(margins)) / (n * 5)
    np.testing.assert_allclose(u.grad.numpy(), wanted, rtol=1e-12)


def test_sign(rng: np.random.Generator) -> None:
    values = np.array([[0.0, -0.0, 1e-30], [-1e-30, 3.0, -2.0]])
    u, upstream = tensor(values, True), rng.normal(size=(2, 3))
    codes = heads.sign(u)
    assert codes.tolist() == [[1, 1, 1], [-1, 1, -1]]
    assert codes.dtype == u.dtype
    codes.backward(tensor(upstream))
    assert np.array_equal(u.grad.numpy(), upstream)


# -- heads -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    """Columns of different means and sizes."""
    return (rng.normal(size=(200, 10)) * np.linspace(0.1, 4, 10) + np.linspace(-3, 9, 10)).astype(np.float32)


def trained(x: np.ndarray, **options) -> "torch.nn.Module":
    """A head after some steps, in evaluation."""
    torch.manual_seed(0)
    head = heads.Head(10, 6, **options)
    head.adapt(x)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    targets = tensor(np.random.default_rng(1).normal(3, 2, size=(200, 6)).astype(np.float32))
    for start in range(0, 200, 40):
        optimiser.zero_grad()
        (head(tensor(x[start : start + 40])) - targets[start : start + 40]).square().mean().backward()
        optimiser.step()
    return head.eval()


@pytest.mark.parametrize("hidden", [(), (16,), (16, 5)])
@pytest.mark.parametrize("kind", ["", "normalise", "unit"])
def test_exported_layers_are_the_head(x: np.ndarray, hidden: tuple[int, ...], kind: str) -> None:
    head = trained(x, hidden=hidden, **({kind: True} if kind else {}))
    with torch.inference_mode():
        wanted = head(tensor(x)).numpy()
    layers = head.export()
    check_layers(layers, 10, 6)
    assert [layer.after for layer in layers] == ["relu"] * len(hidden) + ["unit" if kind == "unit" else ""]
    found = forward(layers, x, 1)
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * scale)
    clear = np.abs(wanted) > 1e-5 * scale
    assert clear.mean() > 0.99
    assert np.array_equal((found >= 0)[clear], (wanted >= 0)[clear])
    if kind == "unit":
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    if kind == "normalise":  # in training it is another function, which nobody wants
        assert np.abs(head.train()(tensor(x)).detach().numpy() - found).max() > 0.01 * scale


def test_head_by_hand(x: np.ndarray) -> None:
    head = trained(x, hidden=(7,))
    entries = (x.astype(np.float64) - head.shift.numpy()) * float(head.scale)
    for i, layer in enumerate(head.linear):
        entries = np.maximum(entries, 0) if i else entries
        entries = entries @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    np.testing.assert_allclose(head(tensor(x)).detach().numpy(), entries, rtol=1e-4, atol=1e-5)


def test_adapting(x: np.ndarray) -> None:
    head = heads.Head(10, 6)
    head.adapt(x)
    entries = (x.astype(np.float64) - head.shift.numpy()) * float(head.scale)
    np.testing.assert_allclose(entries.mean(axis=0), 0, atol=1e-5)
    assert entries.var() == pytest.approx(1, rel=1e-5)
    assert entries.var(axis=0)[0] < 0.01 < 2 < entries.var(axis=0)[-1]  # columns keep their sizes
    many = np.tile(x, (45, 1))  # more than are summed at a time
    again = heads.Head(10, 6)
    again.adapt(many)
    assert float(again.scale) == pytest.approx(float(head.scale), rel=1e-5)
    head.adapt(np.full((5, 10), 7, np.float32))
    assert float(head.scale) == 1
    assert (head.shift == 7).all()


# -- layers without torch ----------------------------------------------------------------------------------------------


@pytest.fixture
def layers(rng: np.random.Generator) -> list[Layer]:
    def draw(n: int, m: int, after: str) -> Layer:
        return Layer(rng.normal(size=(n, m)).astype(np.float32), rng.normal(size=n).astype(np.float32), after)

    return [draw(33, 10, "relu"), draw(7, 33, "unit"), draw(12, 7, "")]


def test_layers_are_those_of_numpy(x: np.ndarray, layers: list[Layer]) -> None:
    found, y = forward(layers, x, 1), x.astype(np.float64)
    y = np.maximum(y @ layers[0].weight.T + layers[0].bias, 0)
    y = y @ layers[1].weight.T + layers[1].bias
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    y = y @ layers[2].weight.T + layers[2].bias
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, y, rtol=1e-4, atol=1e-4)


def test_neither_batch_nor_threads_matter(x: np.ndarray, layers: list[Layer], monkeypatch: pytest.MonkeyPatch) -> None:
    before, wanted = x.tobytes(), forward(layers, x, 1)
    for size in (1, 3, 64):
        parts = [forward(layers, x[start : start + size], 2) for start in range(0, 200, size)]
        assert np.concatenate(parts).tobytes() == wanted.tobytes()
    monkeypatch.setattr("lshcore.hashers._blocks._BLOCK_ENTRIES", 33 * 17)
    assert forward(layers, x, 2).tobytes() == wanted.tobytes()
    assert forward(layers, x[:0], 1).shape == (0, 12)
    assert x.tobytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w, b: Layer(w[:, :9], b), r"layer 1 must take 33 columns, .* got weights \(7, 9\), biases \(7,\)"),
        (lambda w, b: Layer(w, b[:6]), r"layer 1 must take 33 columns, with one bias an output.* biases \(6,\)"),
        (lambda w, b: Layer(w, w), r"layer 1 .* biases \(7, 33\)"),
        (lambda w, b: Layer(w[0], b[:1]), r"layer 1 .* got weights \(33,\)"),
        (lambda w, b: Layer(w, b, "tanh"), r"layer 1 .* be followed by one of \('', 'relu', 'unit'\); .* 'tanh'"),
        (lambda w, b: Layer(w[:6], b[:6]), r"layer 2 must take 6 columns"),
    ],
)
def test_layers_that_do_not_fit(layers: list[Layer], change: Callable[..., Layer], message: str) -> None:
    check_layers(layers, 10, 12)
    with pytest.raises(ValueError, match=message):
        check_layers([layers[0], change(layers[1].weight, layers[1].bias), layers[2]], 10, 12)
    with pytest.raises(ValueError, match="layer 0 must take 11 columns"):
        check_layers(layers, 11, 12)
    with pytest.raises(ValueError, match="the last layer must give 13 columns, got 12"):
        check_layers(layers, 10, 13)


# -- codes of classes --------------------------------------------------------------------------------------------------


def distances(codes: np.ndarray) -> set[int]:
    return {int((a != b).sum()) for a, b in combinations(codes, 2)}


def book(n_classes: int, n_bits: int, seed: int = 0) -> np.ndarray:
    codes = sampling.codebook(n_classes, n_bits, sampling.generator(seed)).numpy()
    assert codes.shape == (n_classes, n_bits)
    assert set(np.unique(codes)) <= {-1.0, 1.0}
    return codes


@pytest.mark.parametrize("n_bits", [1, 2, 4, 16, 64])
def test_codes_of_classes_from_hadamard(n_bits: int) -> None:
    for n_classes in {1, 2, n_bits - 1, n_bits, n_bits + 1, 2 * n_bits} - {0}:
        if n_classes <= 2 * n_bits:
            half, opposite = min(n_classes, n_bits) > 1, n_classes > n_bits
            for seed in range(3):
                wanted = ({n_bits / 2} if half else set()) | ({n_bits} if opposite else set())
                assert distances(book(n_classes, n_bits, seed)) == wanted


@pytest.mark.parametrize(
    ("n_classes", "n_bits"),
    [(4, 4), (8, 8), (10, 16), (15, 16), (17, 16), (10, 32), (10, 64), (64, 64), (100, 64), (10, 128), (20, 1024)],
)
def test_no_bit_is_the_same_in_every_class(n_classes: int, n_bits: int) -> None:
    for seed in range(10):
        assert (np.abs(book(n_classes, n_bits, seed).sum(axis=0)) < n_classes).all()


@pytest.mark.parametrize(("n_classes", "n_bits"), [(1, 8), (2, 16), (3, 64)])
def test_classes_too_few_for_every_bit(n_classes: int, n_bits: int) -> None:
    """Some bit is the same in so few classes: they have codes nonetheless."""
    codes = book(n_classes, n_bits)
    assert distances(codes) == ({n_bits / 2} if n_classes > 1 else set())


@pytest.mark.parametrize(("n_classes", "n_bits"), [(10, 12), (40, 16), (100, 24), (9, 4), (5, 100)])
def test_codes_of_classes_that_are_drawn(n_classes: int, n_bits: int) -> None:
    def least(codes: np.ndarray) -> int:
        return min(distances(codes))

    found = [least(book(n_classes, n_bits, seed)) for seed in range(4)]
    rng = np.random.default_rng(0)
    drawn = [least(rng.choice([-1, 1], (n_classes, n_bits))) for _ in range(4)]
    assert min(found) > 0
    assert min(found) >= max(drawn)
    assert sum(found) > sum(drawn)


@pytest.mark.parametrize("n_bits", [16, 12])
def test_codes_of_classes_are_seeded(n_bits: int) -> None:
    assert np.array_equal(book(9, n_bits, 5), book(9, n_bits, 5))
    assert not np.array_equal(book(9, n_bits, 5), book(9, n_bits, 6))


def test_generators_depend_on_every_number() -> None:
    def draws(*seeds: int) -> int:
        return int(torch.randint(2**62, (), generator=sampling.generator(*seeds)))

    runs = [0, 1, 2**32, 2**64 - 1]
    every = [(run, *rest) for run in runs for rest in [(0, 0), (0, 2), (1, 0), (1, 2), (0, 0, 1), (0, 2, 1), (2, 0, 1)]]
    assert len({draws(*seeds) for seeds in every}) == len(every)
    assert draws(3, 4) == draws(3, 4)
