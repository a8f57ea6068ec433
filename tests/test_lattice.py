"""Cross-polytope and p-stable hashing: collision rates, codes, and what an index of them looks into."""

import itertools
import os

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import hadamard
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

import reference
from lshcore import FlatIndex, KMeansIndex, LSHIndex, Preprocess, _core, hashers, metrics, registry
from lshcore._validation import NotFittedError
from lshcore.hashers import CrossPolytope, Hasher, PStable

ZEROS = np.zeros((2, 64), dtype=np.float32)


def numbers(hasher: Hasher, x) -> NDArray[np.int64]:
    """Values of the hashes, (n, n_hashes)."""
    bits = hasher.transform(x)
    return bits.reshape(len(bits), -1, hasher.hash_bits_) @ (1 << np.arange(hasher.hash_bits_))


def turned(hasher: CrossPolytope, x) -> NDArray[np.float64]:
    """Coordinates (n, n_hashes, dim), by whole Hadamard matrices in double."""
    n_hashes, rotations, width = hasher.signs_.shape
    v = np.zeros((len(x), n_hashes, width))
    v[:, :, : x.shape[1]] = (x - hasher.shift_)[:, np.newaxis]
    for round_ in range(rotations):
        v = (v * hasher.signs_[:, round_]) @ (hadamard(width) / 2 ** (int(np.log2(width)) // 2))
    return v[:, :, : hasher.dim_]


def costs(hasher: Hasher, x) -> NDArray[np.float64]:
    """What each value of each hash costs, (n, n_hashes, 2**hash_bits)."""
    if isinstance(hasher, CrossPolytope):
        v = turned(hasher, x)
        return (np.abs(v).max(axis=2, keepdims=True) - np.concatenate([-v, v], axis=2)) ** 2
    places = x.astype(np.float64) @ hasher.weights_.T.astype(np.float64) + hasher.bias_
    begins = np.arange(2**hasher.hash_bits_, dtype=np.float64) - 2 ** (hasher.hash_bits_ - 1)
    below = np.where(begins == begins[0], -np.inf, begins)
    above = np.where(begins == begins[-1], np.inf, begins + 1)
    p = places[:, :, np.newaxis]
    return np.maximum(np.maximum(below - p, p - above), 0) ** 2


# -- collision rates ---------------------------------------------------------------------------------------------------

ANGLES = (0.15, 0.3, 0.5, 0.8, 1.1, 1.5)


def pair(kind: str, angle: float, dim: int) -> NDArray[np.float32]:
    """Two rows at an angle: two of the axes, which is hardest on a fast rotation, or dense."""
    axes = np.eye(dim)[:2] if kind == "axes" else np.linalg.qr(np.random.default_rng(3).normal(size=(dim, 2)))[0].T
    return np.array([axes[0], np.cos(angle) * axes[0] + np.sin(angle) * axes[1]], dtype=np.float32)


def rate(kind: str, angle: float, dim: int, seeds: int, rotations: int = 3) -> tuple[float, int]:
    """Share of hashes in which the pair collides, and their number."""
    same = []
    for seed in range(seeds):
        hasher = CrossPolytope(500, rotations, centre=False, random_state=seed).fit(ZEROS[:, :dim])
        a, b = numbers(hasher, pair(kind, angle, dim))
        same.append(a == b)
    return float(np.mean(same)), np.size(same)


@pytest.fixture(scope="module")
def dense_rates() -> dict[float, tuple[float, int]]:
    """The same of rotations that are uniform: the Q of Gaussian matrices, with the signs that make them so."""
    q, r = np.linalg.qr(np.random.default_rng(1).normal(size=(4000, 64, 64)))
    q *= np.sign(np.diagonal(r, axis1=1, axis2=2))[:, np.newaxis]
    rates = {}
    for angle in ANGLES:
        v = q @ pair("dense", angle, 64).T.astype(np.float64)  # (4000, 64, 2)
        largest = np.abs(v).argmax(axis=1)
        signs = np.take_along_axis(v, largest[:, np.newaxis], axis=1)[:, 0] > 0
        same = (largest[:, 0] == largest[:, 1]) & (signs[:, 0] == signs[:, 1])
        rates[angle] = float(same.mean()), same.size
    return rates


@pytest.mark.parametrize(("kind", "dim"), [("axes", 64), ("dense", 64), ("axes", 50), ("dense", 33)])
def test_vertices_collide_as_often_as_under_uniform_rotations(dense_rates, kind: str, dim: int) -> None:
    for angle, (dense, n_dense) in dense_rates.items():
        found, n = rate(kind, angle, dim, seeds=8)
        pooled = (found * n + dense * n_dense) / (n + n_dense)
        assert abs(found - dense) < 4 * np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_dense)), angle


def test_one_round_of_signs_is_no_rotation(dense_rates) -> None:
    """What the test above would not forgive."""
    found, n = rate("axes", 0.15, 64, seeds=2, rotations=1)
    assert abs(found - dense_rates[0.15][0]) > 10 * np.sqrt(0.25 / n)


def p_stable_rate(ratio: float) -> float:
    """P(same cell) at distance width / ratio (Datar et al., 2004)."""
    tail = 2 / (np.sqrt(2 * np.pi) * ratio) * (1 - np.exp(-(ratio**2) / 2))
    return 1 - 2 * norm.cdf(-ratio) - tail


@pytest.mark.parametrize(("distance", "known"), [(0.5, 0.900264), (1, 0.800532), (2, 0.609548), (4, 0.368746)])
def test_cells_collide_as_often_as_the_closed_form_says(distance: float, known: float) -> None:
    assert p_stable_rate(4 / distance) == pytest.approx(known, abs=1e-6)
    for dim, centre in ((3, 7.0), (60, -2.5)):
        x = np.full((2, dim), centre, dtype=np.float32)
        x[1, 1] += distance
        same = []
        for seed in range(10):
            hasher = PStable(500, width=4, centre=seed % 2 == 0, random_state=seed).fit(x)
            a, b = numbers(hasher, x)
            same.append(a == b)
        assert abs(np.mean(same) - known) < 4 * np.sqrt(known * (1 - known) / np.size(same))


# -- codes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 5, 24, 33])
@pytest.mark.parametrize("centre", [False, True])
def test_a_code_is_the_nearest_cell_of_each_hash(rng, dim: int, centre: bool) -> None:
    x = rng.normal(size=(200, dim)).astype(np.float32) + 1
    for hasher in (
        CrossPolytope(9, centre=centre),
        CrossPolytope(9, rotations=1, dim=1, centre=centre),
        PStable(9, centre=centre),
        PStable(9, width=0.02, cell_bits=3, centre=centre),
        PStable(9, width=0.02, cell_bits=16, centre=centre),
    ):
        hasher.fit(x)
        found, cost = numbers(hasher, x), costs(hasher, x)
        own = np.take_along_axis(cost, found[:, :, np.newaxis], axis=2)
        np.testing.assert_allclose(np.sqrt(own), 0, atol=1e-3 if isinstance(hasher, PStable) else 1e-5)
        assert (found == cost.argmin(axis=2)).mean() > 0.99
        assert hasher.encode(x).n_bits == hasher.n_bits_ == 9 * hasher.hash_bits_
        assert hasher.encode_query(x) == hasher.encode(x)
        assert hasher.encode_query(x[3]) == hasher.encode(x)[3]
        for n_jobs, size in ((1, 1), (2, 7), (8, 64)):
            parts = [hasher.encode(x[i : i + size], n_jobs=n_jobs).words for i in range(0, len(x), size)]
            assert np.array_equal(np.concatenate(parts), hasher.encode(x).words)
        assert len(hasher.encode(x[:0])) == 0


def test_bits_of_a_hash(rng) -> None:
    x = rng.normal(size=(50, 40))
    assert CrossPolytope().fit(x).hash_bits_ == 7  # 2 x 64 vertices
    assert CrossPolytope(dim=8).fit(x).hash_bits_ == 4
    assert CrossPolytope(dim=1).fit(x).hash_bits_ == 1
    assert CrossPolytope().fit(x[:, :32]).signs_.shape == (16, 3, 32)
    assert PStable(cell_bits=5).fit(x).hash_bits_ == 5


def test_fewer_dimensions_have_the_first_coordinates(rng) -> None:
    x = rng.normal(size=(100, 60)).astype(np.float32)
    few, all_ = CrossPolytope(20, dim=8).fit(x), CrossPolytope(20).fit(x)
    assert np.array_equal(few.signs_, all_.signs_)
    v = turned(all_, x)[:, :, :8]
    largest = np.abs(v).argmax(axis=2)
    sign = np.take_along_axis(v, largest[:, :, np.newaxis], axis=2)[:, :, 0] >= 0
    assert (numbers(few, x) == largest + 8 * sign).mean() > 0.999


def test_a_length_does_not_move_a_vertex(rng) -> None:
    x = rng.normal(size=(100, 60)).astype(np.float32)
    hasher = CrossPolytope(20, centre=False).fit(x)
    for factor in (2.0**-60, 0.25, 2.0**40):
        assert hasher.encode(x * np.float32(factor)) == hasher.encode(x)
    assert np.array_equal(numbers(hasher, -x) % 64, numbers(hasher, x) % 64)
    assert not (numbers(hasher, -x) == numbers(hasher, x)).any()


def test_the_default_width_is_the_root_mean_square_distance(features) -> None:
    distances = reference.vector_distances(features, features, "l2")
    assert PStable().fit(features).width_ == pytest.approx(np.sqrt(distances.mean()), rel=1e-5)
    assert PStable(width=3).fit(features).width_ == 3
    assert PStable().fit(np.ones((5, 3))).width_ == 1


def test_cells_beyond_the_last_are_the_last() -> None:
    x = np.linspace(-100, 100, 401)[:, np.newaxis]
    hasher = PStable(40, width=1, cell_bits=4, centre=False).fit(x)
    found, places = numbers(hasher, x), x @ hasher.weights_.T.astype(np.float64) + hasher.bias_
    assert np.array_equal(found[places >= 7], np.full((places >= 7).sum(), 15))
    assert np.array_equal(found[places < -7], np.zeros((places < -7).sum()))
    assert (found == np.clip(np.floor(places), -8, 7) + 8).mean() > 0.99


# -- what an index looks into ------------------------------------------------------------------------------------------


def probe_order(index: LSHIndex, query) -> list[tuple[float, int, tuple[int, ...]]]:
    """(cost, table, key as values of its hashes) of all there are: the plain keys, then the cheapest first."""
    cost = costs(index.hasher, query[np.newaxis])[0]
    hashes = index.positions[:, :: index.hasher.hash_bits_] // index.hasher.hash_bits_
    plain, rest = [], []
    for table, mine in enumerate(hashes):
        own = tuple(int(i) for i in numbers(index.hasher, query[np.newaxis])[0][mine])
        for key in itertools.product(range(cost.shape[1]), repeat=len(mine)):
            entry = (sum(cost[h, value] for h, value in zip(mine, key, strict=True)), table, key)
            (plain if key == own else rest).append(entry)
    return plain + sorted(rest)


def buckets(index: LSHIndex, x, ids) -> dict[tuple, set[int]]:
    """Ids by table and key."""
    filed: dict[tuple, set[int]] = {}
    hashes = index.positions[:, :: index.hasher.hash_bits_] // index.hasher.hash_bits_
    for values, id_ in zip(numbers(index.hasher, x), ids, strict=True):
        for table, mine in enumerate(hashes):
            filed.setdefault((table, *values[mine].tolist()), set()).add(int(id_))
    return filed


SMALL = [
    (CrossPolytope(6, dim=4, random_state=1), 3, 2, "blocks"),
    (CrossPolytope(4, random_state=2), 4, 1, "blocks"),
    (CrossPolytope(5, dim=2, random_state=3), 3, 3, "sample"),
    (PStable(6, cell_bits=3, random_state=1), 3, 2, "blocks"),
    (PStable(3, cell_bits=6, width=0.7, random_state=2), 3, 1, "blocks"),
    (PStable(7, cell_bits=2, width=2.0, random_state=3), 4, 4, "sample"),
]


@pytest.mark.parametrize(("hasher", "n_tables", "hashes", "keys"), SMALL)
def test_candidates_and_hits_are_those_of_a_dict_of_buckets(features, queries, hasher, n_tables, hashes, keys) -> None:
    hasher = clone(hasher).fit(features)
    index = LSHIndex(hasher, n_tables, hashes * hasher.hash_bits_, keys=keys, vectors="float32", random_state=5)
    ids = np.random.default_rng(0).permutation(900)[:300]
    index.add(features[:170], ids[:170]).add(features[170:171], ids[170:171]).add(features[171:], ids[171:], n_jobs=3)
    filed = buckets(index, features, ids)
    asked = queries[:6]
    distances = {rank: reference.vector_distances(asked, features, rank) for rank in ("l2", "cosine")}
    n_keys = n_tables << index.key_bits
    checked = 0
    for row, query in enumerate(asked):
        order = probe_order(index, query)
        assert len(order) == n_keys
        found: set[int] = set()
        for n, (cost, table, key) in enumerate(order, start=1):
            found |= filed.get((table, *key), set())
            apart = n == n_keys or order[n][0] > cost * (1 + 1e-4) + 1e-9
            if n < n_tables or not (n == n_tables or apart) or (n > 60 and n % 37 and n != n_keys):
                continue
            for n_jobs in (1, 3):
                assert index.candidates(query, probes=n, n_jobs=n_jobs)[0].tolist() == sorted(found)
            checked += 1
            if n % 10:
                continue
            for rank, mine in distances.items():
                hits = index.search(query, k=7, probes=n, rank=rank)
                best = sorted((mine[row, np.flatnonzero(ids == i)[0]], i) for i in found)[:7]
                assert hits.n_candidates[0] == len(found)
                np.testing.assert_allclose(hits.distances[0][: len(best)], [d for d, _ in best], rtol=1e-4, atol=1e-5)
                assert (hits.ids[0][len(best) :] == -1).all()
        assert found == set(ids.tolist())  # every key there is
    assert checked > 6 * 20


@pytest.mark.parametrize("make", [CrossPolytope, PStable])
def test_threads_and_batches_change_nothing(features, queries, make) -> None:
    hasher = make(24).fit(features)
    whole = LSHIndex(hasher, 6, 3 * hasher.hash_bits_, vectors="float32").add(features)
    parts = LSHIndex(hasher, 6, 3 * hasher.hash_bits_, vectors="float32")
    for rows in np.array_split(features, 7):
        parts.add(rows, n_jobs=2)
    for probes in (6, 7, 40, 1000):
        wanted = whole.search(queries, k=9, probes=probes, n_jobs=1)
        for n_jobs in (1, 2, 8):
            found = parts.search(queries, k=9, probes=probes, n_jobs=n_jobs)
            assert found.ids.tobytes() == wanted.ids.tobytes()
            assert found.distances.tobytes() == wanted.distances.tobytes()
            assert np.array_equal(found.n_candidates, wanted.n_candidates)
        single = [parts.search(query, k=9, probes=probes) for query in queries]
        assert np.concatenate([found.ids for found in single]).tobytes() == wanted.ids.tobytes()


def test_wide_keys_find_equal_rows(features) -> None:
    """The last ten rows are copies of the first ten."""
    for hasher in (CrossPolytope(40).fit(features), PStable(32, cell_bits=16).fit(features)):
        for hashes in (8, 14, 16):
            index = LSHIndex(hasher, 2, hashes * hasher.hash_bits_, vectors="float32").add(features)
            for i, found in enumerate(index.candidates(features[:10])):
                assert {i, 290 + i} <= set(found.tolist())
            assert [sum(index.bucket_sizes(t)) for t in (0, 1)] == [300, 300]


def test_filters(features, queries) -> None:
    hasher = CrossPolytope(16).fit(features)
    index = LSHIndex(hasher, 8, 2 * hasher.hash_bits_, vectors="float32").add(features)
    kept = np.arange(0, 300, 3)
    for mine, all_ in zip(
        index.candidates(queries, probes=99, filter=kept), index.candidates(queries, probes=99), strict=True
    ):
        assert mine.tolist() == [i for i in all_.tolist() if i % 3 == 0]


@pytest.mark.parametrize("make", [CrossPolytope, PStable])
def test_recall_rises_with_probes(make) -> None:
    x, labels = load_digits(return_X_y=True)
    x = Preprocess(l2=True).fit_transform(x)
    gallery, asked = x[:1500], x[1500:]
    truth = FlatIndex().add(gallery).search(asked, k=10).ids
    hasher = make(32, random_state=4).fit(gallery)
    index = LSHIndex(hasher, 8, (2 if make is CrossPolytope else 4) * hasher.hash_bits_, vectors="float32").add(gallery)
    recalls, shares = [], []
    for probes in (8, 16, 64, 256, 1024):
        found = index.search(asked, k=10, probes=probes)
        recalls.append(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.ids, truth, strict=True)]))
        shares.append(found.n_candidates.mean() / 1500)
    assert recalls == sorted(recalls)
    assert recalls[-1] > 0.95
    # Nearer rows come first: far more of the true neighbours than of all rows.
    assert recalls[1] > 3 * shares[1]
    report = metrics.evaluate(index, asked, labels[1500:], labels[:1500], k=(10,), rank="l2", probes=64)
    assert report["n_queries"] == len(asked)


DIGEST = """
import hashlib, os
import numpy as np
from lshcore import LSHIndex, _core
from lshcore.hashers import CrossPolytope, PStable

n_jobs, batch = int(os.environ["JOBS"]), int(os.environ["BATCH"])
rng = np.random.default_rng(1)
x = (rng.normal(size=(900, 53)) * rng.exponential(size=53)).astype(np.float32)
q = x[:130] + 0.05 * rng.normal(size=(130, 53)).astype(np.float32)
digest = hashlib.sha256()
for hasher in (CrossPolytope(20), CrossPolytope(20, 2, 16), PStable(40), PStable(40, 2.5, 13)):
    hasher.fit(x)
    words = [hasher.encode(x[i : i + batch], n_jobs=n_jobs).words for i in range(0, len(x), batch)]
    digest.update(np.concatenate(words).tobytes())
    for hashes in (1, 2, 8):
        index = LSHIndex(hasher, 5, hashes * hasher.hash_bits_, vectors="float32", keys="sample")
        for i in range(0, len(x), batch):
            index.add(x[i : i + batch], n_jobs=n_jobs)
        for probes in (5, 6, 77, 2000):
            found = [index.search(q[i : i + batch], 9, probes=probes, n_jobs=n_jobs) for i in range(0, len(q), batch)]
            for parts in zip(*((f.ids, f.distances, f.n_candidates) for f in found)):
                digest.update(np.concatenate(parts).tobytes())
print(_core.kernel_set(), digest.hexdigest())
"""


def test_kernel_sets_threads_and_batches_give_the_same(run_python) -> None:
    def digest(kernels: str, n_jobs: int, batch: int) -> list[str]:
        return run_python(DIGEST, LSHCORE_KERNELS=kernels, JOBS=str(n_jobs), BATCH=str(batch)).split()

    name, wanted = digest("scalar", 1, 10_000)
    assert name == "scalar"
    for kernels in _core.kernel_sets():
        assert digest(kernels, 1, 10_000) == [kernels, wanted]
    for n_jobs, batch in ((2, 64), (8, 7), (8, 10_000)):
        assert digest(os.environ.get("LSHCORE_KERNELS", ""), n_jobs, batch)[1] == wanted


# -- an estimator ------------------------------------------------------------------------------------------------------


def test_they_are_estimators(features) -> None:
    for hasher, text in (
        (CrossPolytope(8), "CrossPolytope(n_hashes=8, rotations=3, dim=None, centre=True, random_state=0)"),
        (PStable(8, 1.5), "PStable(n_hashes=8, width=1.5, cell_bits=8, centre=True, random_state=0)"),
    ):
        copy = clone(hasher.fit(features))
        assert repr(copy) == text
        assert copy.get_params() == hasher.get_params()
        with pytest.raises(NotFittedError, match=rf"{type(hasher).__name__}\.encode: .* not fitted"):
            copy.encode(features)
        assert copy.fit(features).encode(features) == hasher.encode(features)
        copy.set_params(n_hashes=20)
        assert copy.encode(features) == hasher.encode(features)
        assert copy.fit(features).encode(features).n_bits == 20 * hasher.hash_bits_
        assert np.array_equal(numbers(copy, features)[:, :8], numbers(hasher, features))  # more keep the first
        other = clone(hasher).set_params(random_state=1).fit(features)
        assert other.encode(features) != hasher.encode(features)
        pipeline = make_pipeline(Preprocess(), clone(hasher))
        assert pipeline.fit_transform(features).shape == (300, hasher.n_bits_)
        for name, hash_class in registry.HASHERS.items():
            if hash_class.endswith(f":{type(hasher).__name__}"):
                assert registry.load(name) is type(hasher) is getattr(hashers, type(hasher).__name__)
                break
        else:
            pytest.fail("not registered")


@pytest.mark.parametrize(
    ("hasher", "error", "message"),
    [
        (CrossPolytope(0), ValueError, "n_hashes must be at least 1, got 0"),
        (CrossPolytope(683), ValueError, "n_hashes must be at most 682, for codes have up to 4096 bits and a hash 6"),
        (CrossPolytope(2.0), TypeError, "n_hashes must be an integer, got 2.0"),
        (CrossPolytope(rotations=0), ValueError, "rotations must be between 1 and 16, got 0"),
        (CrossPolytope(dim=64), ValueError, "dim must be between 1 and 32, got 64"),
        (CrossPolytope(dim=12), ValueError, "dim must be a power of two, got 12"),
        (CrossPolytope(random_state=-1), ValueError, "random_state must be between"),
        (
            PStable(513),
            ValueError,
            "n_hashes must be at most 512, for codes have up to 4096 bits and a hash 8, got 513",
        ),
        (PStable(width=0), ValueError, "width must be positive and finite, got 0"),
        (PStable(width=float("nan")), ValueError, "width must be positive and finite, got nan"),
        (PStable(width="4"), TypeError, "width must be a number, got '4'"),
        (PStable(width=1e-20), ValueError, "width must not be so small that directions over it pass 1e15, got 1e-20"),
        (PStable(cell_bits=1), ValueError, "cell_bits must be between 2 and 16, got 1"),
        (PStable(cell_bits=17), ValueError, "cell_bits must be between 2 and 16, got 17"),
    ],
)
def test_bad_options(features, hasher, error, message: str) -> None:
    name = type(hasher).__name__
    bad = hasher.get_params()
    kept = type(hasher)().fit(features)
    codes = kept.encode(features)
    kept.set_params(**bad)
    with pytest.raises(error, match=rf"{name}\.fit: " + message):
        kept.fit(features)
    assert kept.encode(features) == codes


@pytest.mark.parametrize("make", [CrossPolytope, PStable])
def test_there_are_no_margins_and_no_distances(features, queries, make) -> None:
    hasher = make(16).fit(features)
    name, bits = make.__name__, 2 * hasher.hash_bits_
    for method in (hasher.project, hasher.project_query):
        with pytest.raises(ValueError, match=rf"{name}\.project: codes of {name} number cells and have no margins"):
            method(features)
    index = LSHIndex(hasher, 8, bits, vectors="float32").add(features)
    bare = LSHIndex(hasher, 8, bits).add(features)
    refused = [
        (index, {"rank": "hamming"}, 'rank must be "cosine" or "l2"'),
        (index, {"rank": "margin"}, 'rank must be "cosine" or "l2"'),
        (index, {"shortlist": 5}, "shortlist must be None"),
        (index, {"radius": 1}, "radius must be None"),
        (index, {"probes": 7}, "probes must be at least 8"),
        (bare, {}, 'rank must be "cosine" or "l2", with vectors="float32" in the index'),
        (bare, {"rank": "l2"}, 'rank "l2" needs the vectors'),
        (FlatIndex(hasher).add(features), {"rank": "hamming"}, 'rank must be "cosine" or "l2"'),
        (KMeansIndex(5, codes=hasher).add(features), {"rank": "margin"}, 'rank must be "cosine" or "l2"'),
        (FlatIndex(hasher).add(features), {"shortlist": 5}, "shortlist must be None"),
    ]
    for each, options, message in refused:
        with pytest.raises(ValueError, match=rf"^{type(each).__name__}\.search: {message}"):
            each.search(queries, **options)
    # Without the vectors there are still candidates.
    for probes in (8, 50):
        for mine, others in zip(
            bare.candidates(queries, probes=probes), index.candidates(queries, probes=probes), strict=True
        ):
            assert mine.tolist() == others.tolist()
    assert index.search(queries).ids.shape == (len(queries), 10)
    assert LSHIndex(hasher, 8, bits, vectors="float32").search(queries, k=2, probes=30).ids.tolist() == [
        [-1, -1]
    ] * len(queries)
    assert all(len(ids) == 0 for ids in LSHIndex(hasher, 8, bits).candidates(queries, probes=30))


def test_keys_are_made_of_whole_hashes(features) -> None:
    hasher = CrossPolytope(16, dim=8).fit(features)  # 64 bits, 4 a hash
    assert np.array_equal(LSHIndex(hasher, 4, 16).positions, np.arange(64).reshape(4, 16))
    for keys in (None, "sample"):
        sampled = LSHIndex(hasher, 20, 12, keys=keys).positions
        starts = sampled.reshape(20, 3, 4)[:, :, 0]
        assert (starts % 4 == 0).all()
        assert (np.diff(starts, axis=1) > 0).all()
        assert len({tuple(mine) for mine in starts.tolist()}) > 15
        assert np.array_equal(sampled.reshape(20, 3, 4) - starts[:, :, np.newaxis], np.tile(np.arange(4), (20, 3, 1)))
    assert LSHIndex(hasher, keys=[[8, 9, 10, 11, 0, 1, 2, 3]]).key_bits == 8
    for options, message in (
        ({"key_bits": 10}, "key_bits must be a multiple of 4, the bits of a hash, got 10"),
        ({"key_bits": 16, "keys": "blocks"}, "take a hasher with n_hashes=32, fewer tables"),
        ({"keys": [[0, 1, 2]]}, "keys must be made of whole hashes, 4 bits in a row from a multiple of 4 on"),
        ({"keys": [[1, 2, 3, 4]]}, "keys must be made of whole hashes"),
        ({"keys": [[0, 1, 3, 2]]}, "keys must be made of whole hashes"),
        ({"keys": [[0, 1, 2, 7]]}, "keys must be made of whole hashes"),
    ):
        with pytest.raises(ValueError, match=f"^LSHIndex: .*{message}"):
            LSHIndex(hasher, **options)
