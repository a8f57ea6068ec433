"""Collision formulas against simulation, and plans against what their index then does."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lshcore
from lshcore import data
from lshcore.collisions import any_table, cheapest_sets, probed_keys, same_key, same_sampled_key
from lshcore.hashers import PStable, RandomHyperplanes


class TestFormulas:
    def test_values_of_the_literature(self):
        # (1 - theta / pi) at cosine 0.9 is 0.8564; 8 bits and 10 tables give 0.9672, 16 bits 0.5831.
        angles = np.arccos([0.9, 0.8, 0.5, 0.0])
        np.testing.assert_allclose(any_table(same_key(angles, 8), 10), [0.9672, 0.8248, 0.3283, 0.0384], atol=5e-5)
        np.testing.assert_allclose(any_table(same_key(angles[:2], 16), 10), [0.5831, 0.2280], atol=5e-5)

    def test_bits_of_random_hyperplanes_collide_as_often(self):
        random = np.random.default_rng(0)
        hasher = RandomHyperplanes(4096, centre=False)
        for angle in (0.1, 0.7, 1.5, 2.9):
            x = np.array([[1, 0, 0], [np.cos(angle), np.sin(angle), 0]]) @ np.linalg.qr(random.normal(size=(3, 3)))[0]
            a, b = hasher.fit(x).transform(x)
            for key_bits in (1, 4, 8):
                p, n_keys = same_key(angle, key_bits), 4096 // key_bits
                same = (a == b).reshape(n_keys, key_bits).all(axis=1).mean()
                assert abs(same - p) < 5 * np.sqrt(p * (1 - p) / n_keys) + 1 / n_keys

    @given(st.integers(1, 40), st.data())
    def test_sampled_keys_are_hypergeometric(self, n_bits, drawn):
        key_bits = drawn.draw(st.integers(1, min(n_bits, 4)))
        h = drawn.draw(st.integers(0, n_bits))
        differ = np.arange(n_bits) < h
        keys = list(itertools.islice(itertools.combinations(range(n_bits), key_bits), 100_000))
        same = np.mean([not differ[list(key)].any() for key in keys])
        assert same_sampled_key(h, n_bits, key_bits) == pytest.approx(same, abs=1e-12)

    @given(st.integers(1, 3), st.integers(1, 6), st.integers(0, 10_000))
    def test_the_cheapest_sets_come_in_order_and_each_once(self, tables, items, seed):
        costs = np.sort(np.random.default_rng(seed).integers(0, 9, (tables, items)).astype(float), axis=1)
        found = cheapest_sets(costs, tables * 2**items + 5)
        assert sorted(found) == sorted(
            (t, bits)
            for t in range(tables)
            for r in range(items + 1)
            for bits in itertools.combinations(range(items), r)
        )
        assert found[:tables] == [(t, ()) for t in range(tables)]
        totals = [costs[t, list(bits)].sum() for t, bits in found]
        assert (np.diff(totals[tables:]) >= 0).all()

    def test_one_probe_a_table_is_the_plain_formula(self):
        angles = np.linspace(0.05, 3.0, 20)
        found = probed_keys(angles, 4, 6, 4, seed=1)
        for tables in (1, 4):
            expected = any_table(same_key(angles, 6), tables)
            np.testing.assert_allclose(found[tables - 1], expected, atol=0.1)  # over sixteen draws
        assert (np.diff(found, axis=0) >= -1e-12).all()

    def test_all_keys_find_everything(self):
        np.testing.assert_allclose(probed_keys([0.3, 1.0, 2.0, 3.1], 2, 4, 32)[-1], 1, atol=1e-6)

    def test_probing_matches_an_index(self):
        """Pairs at one angle, under one index: how many are found with more and more probes."""
        random = np.random.default_rng(3)
        angle, n, d = 0.6, 3000, 40
        q = random.normal(size=(n, d))
        q /= np.linalg.norm(q, axis=1, keepdims=True)
        aside = random.normal(size=(n, d))
        aside -= (aside * q).sum(axis=1, keepdims=True) * q
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        x = np.cos(angle) * q + np.sin(angle) * aside
        shares = {3: [], 12: [], 60: []}
        for seed in range(5):
            hasher = RandomHyperplanes(30, centre=False, random_state=seed).fit(x)
            index = lshcore.LSHIndex(hasher, 3, 10).add(x)
            for probes, share in shares.items():
                found = index.candidates(q, probes=probes)
                share.append(np.mean([i in set(found[i].tolist()) for i in range(n)]))
        expected = probed_keys([angle], 3, 10, 60)[:, 0]
        for probes, share in shares.items():
            assert np.mean(share) == pytest.approx(expected[probes - 1], abs=0.05)


@pytest.fixture(scope="module")
def clusters():
    random = np.random.default_rng(0)
    centres = random.normal(size=(60, 24))
    x = (centres[random.integers(0, 60, 6000)] + 0.6 * random.normal(size=(6000, 24))).astype(np.float32)
    return x[500:], x[:500]


class TestPlan:
    @pytest.mark.parametrize("recall", [0.5, 0.8, 0.95])
    def test_what_is_expected_is_measured(self, clusters, recall):
        x, queries = clusters
        plan = lshcore.plan(x, recall, queries=queries)
        measured, exhaustive = plan.measure()
        assert plan.expected.recall >= recall
        assert measured.recall == pytest.approx(plan.expected.recall, abs=0.06)
        assert measured.candidates == pytest.approx(plan.expected.candidates, rel=0.3)
        assert measured.bytes_per_item == pytest.approx(plan.expected.bytes_per_item, rel=0.25)
        assert (exhaustive.recall, exhaustive.candidates) == (1.0, len(x))
        assert (plan.n_items, plan.dim, plan.n_bits) == (5500, 24, plan.n_tables * plan.key_bits)

    def test_codes_of_a_given_hasher_are_sampled(self, clusters):
        x, queries = clusters
        hasher = RandomHyperplanes(48, random_state=3).fit(x)
        plan = lshcore.plan(x, 0.8, hasher=hasher, queries=queries)
        assert (plan.n_bits, plan.keys) == (48, "sample")
        assert plan.measure()[0].recall == pytest.approx(plan.expected.recall, abs=0.08)
        assert plan.make_index().hasher.weights_ is hasher.weights_

    def test_a_higher_target_costs_more(self, clusters):
        x, queries = clusters
        plans = [lshcore.plan(x, recall, queries=queries) for recall in (0.3, 0.6, 0.9)]
        assert sorted(plans, key=lambda plan: plan.expected.seconds) == plans

    def test_queries_are_left_out_of_the_gallery(self, clusters):
        plan = lshcore.plan(clusters[0], 0.7)
        assert plan.n_items == 5500 - 300
        assert len(plan.make_index()) == 5200

    def test_the_same_seed_plans_the_same(self, clusters):
        one, two = (lshcore.plan(clusters[0], 0.7, random_state=4) for _ in range(2))
        assert repr(one) == repr(two)

    def test_a_target_out_of_reach_is_said(self, clusters):
        x = np.random.default_rng(1).normal(size=(4000, 300)).astype(np.float32)
        hasher = RandomHyperplanes(64).fit(x)  # keys of a given hasher's bits, one probe a table
        plan = lshcore.plan(x, 0.999, hasher=hasher, max_tables=1)
        assert plan.expected.recall < 0.999
        assert any("no plan within the limits is expected to reach recall 0.999" in text for text in plan.warnings)
        assert plan.n_tables == 1

    def test_few_rows_are_quicker_looked_at(self):
        digits = data.load("digits")
        plan = lshcore.plan(digits.features[:100], 0.95)
        assert any("looking at all 90 rows is expected to be faster" in text for text in plan.warnings)
        assert any("of the rows: more bits a key would be faster" in text for text in plan.warnings)

    def test_constant_bits_are_said(self, clusters):
        class Blind(RandomHyperplanes):
            def _make_weights(self, x, y, n_bits):
                weights, bias = super()._make_weights(x, y, n_bits)
                bias[:5] = 1e6
                return weights, bias

        plan = lshcore.plan(clusters[0], 0.5, hasher=Blind(32).fit(clusters[0]))
        assert any("5 bits of the hasher are the same in every row" in text for text in plan.warnings)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"recall": 1.0}, "plan: recall must be between 0 and 1, got 1.0"),
            ({"k": 0}, "plan: k must be"),
            ({"rank": "hamming"}, "plan: rank must be one of"),
            ({"max_tables": 100}, "plan: max_tables must be"),
            ({"X": np.zeros((3, 4))}, "plan: X must have at least 20 rows, got 3"),
            ({"queries": np.zeros((3, 4))}, "plan: queries must have 24 columns, got 4"),
        ],
    )
    def test_bad_arguments(self, clusters, changed, message):
        with pytest.raises(ValueError, match=message):
            lshcore.plan(**({"X": clusters[0]} | changed))

    @pytest.mark.parametrize(
        ("changed", "error", "message"),
        [
            ({"recall": "0.9"}, TypeError, "plan: recall must be a number, got '0.9'"),
            ({"recall": True}, TypeError, "plan: recall must be a number, got True"),
            ({"hasher": "itq"}, TypeError, "plan: hasher must be a fitted Hasher or None, got str"),
            ({"hasher": RandomHyperplanes(8)}, ValueError, "plan: this RandomHyperplanes is not fitted"),
            (
                {"hasher": RandomHyperplanes(8).fit(np.eye(3))},
                ValueError,
                "plan: X must have the hasher's 3 columns, got 24",
            ),
        ],
    )
    def test_arguments_of_the_wrong_kind(self, clusters, changed, error, message):
        with pytest.raises(error, match=message):
            lshcore.plan(clusters[0], **changed)

    @pytest.mark.parametrize(
        "x",
        [
            np.ones((200, 8)),
            np.zeros((200, 8)),
            np.linspace(-1, 1, 200)[:, None],
            np.repeat(np.eye(6), 40, axis=0),
            100 + 0.01 * np.random.default_rng(0).normal(size=(200, 12)),
        ],
        ids=["equal", "zero", "line", "duplicates", "far cluster"],
    )
    @pytest.mark.parametrize("rank", ["cosine", "l2"])
    def test_odd_rows_are_planned_for(self, x, rank):
        plan = lshcore.plan(x, 0.9, 5, rank=rank)
        assert plan.expected.recall >= 0.9
        assert plan.measure()[0].recall > 0.75
        assert any("looking at all" in text for text in plan.warnings)

    def test_hashers_whose_bits_are_no_signs_are_refused(self, clusters):
        with pytest.raises(TypeError, match="hasher must be one whose bits are signs, got PStable"):
            lshcore.plan(clusters[0], hasher=PStable(4).fit(clusters[0]))
