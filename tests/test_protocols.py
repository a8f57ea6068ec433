"""Splits: disjoint, stratified, drawn by seed, the same everywhere, and saved whole or not at all."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from lshcore.data import Dataset, Source
from lshcore.evaluation.protocols import PROTOCOLS, Split, draw

PINNED_QUERIES = [4, 7, 11, 16]
PINNED_DIGEST = "08558cfd812e5e1c"


# Of `drawable`, with seed 3.
PINNED = {
    "official": "9122a5c482f4fdf5",
    "holdout": "70e056c3881075fe",
    "cifar10-1": "e0fe415f8fd9281f",
    "cifar10-disjoint": "fd1da2677da7f673",
    "cifar10-2": "9122a5c482f4fdf5",
    "nuswide-21": "319b025f06e48142",
    "nuswide-81": "fe0cfec7305a5187",
    "imagenet100": "b975f24b1d0a039f",
    "grh-tutorial": "bf1d0092fa3c29df",
}


def dataset(labels, official_split=None, official_gallery=None):
    labels = np.asarray(labels)
    return Dataset(
        "made",
        "",
        np.zeros((len(labels), 2), np.uint8),
        labels,
        Source("here"),
        official_split=official_split,
        official_gallery=official_gallery,
    )


def drawable(name):
    """A small data set that a protocol can divide: three classes, some items of no known one."""
    labels = np.random.RandomState(0).randint(-1, 3, 3000)
    given = np.arange(500, 3000), np.arange(500)
    if name == "nuswide-21":
        return dataset(np.random.RandomState(0).rand(3000, 3) < 0.5)
    return dataset(labels, given, np.arange(400, 2600, 2) + 100 if name == "nuswide-81" else None)


def several(n, n_labels, seed=0):
    return np.random.RandomState(seed).rand(n, n_labels) < 0.3


def sizes(split):
    return len(split.queries), len(split.train), len(split.gallery)


def indices(*values):
    return np.array(values, dtype=np.int64)


class TestHoldout:
    @settings(max_examples=60, deadline=None)
    @given(labels=st.lists(st.integers(0, 5), min_size=7, max_size=80), seed=st.integers(0, 2**32 - 1))
    def test_divides_every_label(self, labels, seed):
        labels = np.array(labels)
        split = draw(dataset(labels), "holdout", seed)
        assert sorted([*split.queries, *split.gallery]) == list(range(len(labels)))
        np.testing.assert_array_equal(split.train, split.gallery)
        for label in np.unique(labels):
            n = np.count_nonzero(labels == label)
            queries = np.count_nonzero(labels[split.queries] == label)
            assert abs(queries - 0.2 * n) < 1
            assert queries < n

    def test_is_a_fifth(self):
        labels = np.arange(1797) % 10
        assert len(draw(dataset(labels), "holdout").queries) == 359

    def test_depends_on_the_seed_alone(self):
        made = dataset(np.arange(100) % 3)
        assert draw(made, "holdout", 4).digest == draw(made, "holdout", 4).digest
        assert draw(made, "holdout", 4).digest != draw(made, "holdout", 5).digest

    def test_is_pinned(self):
        split = draw(dataset(np.arange(20) % 2), "holdout", 0)
        assert split.queries.tolist() == PINNED_QUERIES
        assert split.digest == PINNED_DIGEST

    def test_several_labels_are_drawn_alike(self):
        split = draw(dataset(np.eye(10, dtype=bool)), "holdout", 0)
        assert (len(split.queries), len(split.gallery)) == (2, 8)

    def test_labels_that_nobody_shares(self):
        with pytest.raises(ValueError, match="must have labels that several items share, got none among 5"):
            draw(dataset(np.arange(5)), "holdout")

    def test_no_items(self):
        with pytest.raises(ValueError, match="got none among 0"):
            draw(dataset(np.zeros(0, np.int64)), "holdout")


class TestOfficial:
    def test_is_the_data_sets_own(self):
        split = draw(dataset(np.zeros(5, np.int64), (indices(0, 1, 2), indices(3, 4))), "official")
        assert (split.queries.tolist(), split.train.tolist(), split.gallery.tolist()) == ([3, 4], [0, 1, 2], [0, 1, 2])
        assert split.train_in_gallery

    def test_needs_one(self):
        with pytest.raises(ValueError, match="'made' must come with a split of its own, got none; use 'holdout'"):
            draw(dataset(np.zeros(5, np.int64)), "official")

    def test_a_gallery_of_its_own(self):
        split = draw(dataset(np.zeros(7, np.int64), (indices(2, 0), indices(4, 3)), indices(6, 0, 5)), "official")
        assert (split.queries.tolist(), split.train.tolist(), split.gallery.tolist()) == ([3, 4], [0, 2], [0, 5, 6])

    def test_items_of_unknown_label_take_no_part(self):
        labels = np.array([0, -1, 0, 0, -1, 0, -1])
        split = draw(dataset(labels, (indices(0, 1), indices(2, 3, 4)), indices(0, 5, 6)), "official")
        assert (split.queries.tolist(), split.train.tolist(), split.gallery.tolist()) == ([2, 3], [0], [0, 5])


class TestCifar:
    """The three settings of CIFAR-10, on labels of its shape and of others."""

    LABELS = np.random.RandomState(1).permutation(np.arange(60_000) % 10)

    def each(self, items, labels):
        return np.unique(labels[items], return_counts=True)[1].tolist()

    def test_setting_1(self):
        split = draw(dataset(self.LABELS), "cifar10-1", 7)
        assert sizes(split) == (1000, 5000, 59_000)
        assert self.each(split.queries, self.LABELS) == [100] * 10
        assert self.each(split.train, self.LABELS) == [500] * 10
        assert np.isin(split.train, split.gallery).all()
        assert split.train_in_gallery

    def test_disjoint(self):
        split = draw(dataset(self.LABELS), "cifar10-disjoint", 7)
        assert sizes(split) == (1000, 5000, 54_000)
        assert not split.train_in_gallery
        setting_1 = draw(dataset(self.LABELS), "cifar10-1", 7)
        np.testing.assert_array_equal(split.queries, setting_1.queries)
        np.testing.assert_array_equal(split.train, setting_1.train)

    def test_setting_2(self):
        parts = np.arange(50_000), np.arange(50_000, 60_000)
        split = draw(dataset(self.LABELS, parts, np.arange(10)), "cifar10-2")
        assert sizes(split) == (10_000, 50_000, 50_000)
        np.testing.assert_array_equal(split.train, split.gallery)
        with pytest.raises(ValueError, match="protocol 'cifar10-2': dataset 'made' must come with a split of its own"):
            draw(dataset(self.LABELS), "cifar10-2")

    @settings(max_examples=30)
    @given(
        extra=st.lists(st.integers(1, 90), min_size=1, max_size=4), unknown=st.integers(0, 40), seed=st.integers(0, 99)
    )
    @pytest.mark.parametrize("name", ["cifar10-1", "cifar10-disjoint"])
    def test_any_labels_with_enough_items(self, name, extra, unknown, seed):
        labels = np.repeat([-1, *range(5, 5 + len(extra))], [unknown, *(600 + n for n in extra)])
        labels = np.random.RandomState(seed).permutation(labels)
        split = draw(dataset(labels), name, seed)
        assert self.each(split.queries, labels) == [100] * len(extra)
        assert self.each(split.train, labels) == [500] * len(extra)
        searched = [split.gallery] if name == "cifar10-1" else [split.gallery, split.train]
        np.testing.assert_array_equal(np.sort(np.concatenate([split.queries, *searched])), np.flatnonzero(labels != -1))
        assert len(np.unique(labels[split.gallery])) == len(extra)

    @pytest.mark.parametrize(("name", "needed"), [("cifar10-1", 600), ("cifar10-disjoint", 601)])
    def test_too_few_of_a_class(self, name, needed):
        labels = np.repeat([4, 9], [700, needed - 1])
        message = f"protocol '{name}': dataset 'made' must have at least {needed} items of each class, "
        with pytest.raises(ValueError, match=f"^{message}got {needed - 1} of class 9$"):
            draw(dataset(labels), name)
        with pytest.raises(ValueError, match="queries must hold at least one item"):
            draw(dataset(np.full(10, -1)), name)


class TestNusWide:
    def test_drawn(self):
        labels = several(16_000, 21)
        labels[:40] = False
        split = draw(dataset(labels), "nuswide-21", 5)
        assert sizes(split) == (2100, 10_500, np.count_nonzero(labels.any(axis=1)) - 2100)
        assert split.queries[0] >= 40
        assert np.isin(split.train, split.gallery).all()
        assert (labels[split.queries].sum(axis=0) >= 100).all()
        assert (labels[split.train].sum(axis=0) >= 500).all()

    @settings(max_examples=20)
    @given(seed=st.integers(0, 2**32 - 1), n_labels=st.integers(1, 3))
    def test_nothing_is_drawn_twice(self, seed, n_labels):
        labels = several(6000, n_labels, seed % 100)
        split = draw(dataset(labels), "nuswide-21", seed)
        assert (len(split.queries), len(split.train)) == (100 * n_labels, 500 * n_labels)
        np.testing.assert_array_equal(np.union1d(split.queries, split.gallery), np.flatnonzero(labels.any(axis=1)))

    def test_too_few(self):
        labels = np.ones((900, 2), bool)
        message = "at least 600 items of each class that no class before drew, got 300 of class 1"
        with pytest.raises(ValueError, match=message):
            draw(dataset(labels), "nuswide-21")

    @pytest.mark.parametrize("name", ["nuswide-21", "nuswide-81", "imagenet100"])
    def test_lists_of_its_own(self, name):
        made = dataset(several(30, 4), (indices(3, 4), indices(20, 1)), indices(9, 3))
        for seed in (0, 1):
            split = draw(made, name, seed)
            assert (split.name, split.seed) == (name, seed)
            assert (split.queries.tolist(), split.train.tolist(), split.gallery.tolist()) == ([1, 20], [3, 4], [3, 9])

    def test_lists_are_needed(self):
        message = "dataset 'made' must come with lists of its queries, train part and gallery, got none"
        for made in (dataset(several(30, 4)), dataset(several(30, 4), (indices(3), indices(2)))):
            with pytest.raises(ValueError, match=f"protocol 'nuswide-81': {message}"):
                draw(made, "nuswide-81")


class TestImageNet:
    def test_drawn_from_the_train_part(self):
        labels = np.concatenate([np.repeat(np.arange(100), 50), np.random.RandomState(0).permutation(18_000) % 100])
        split = draw(dataset(labels, (np.arange(5000, 23_000), np.arange(5000))), "imagenet100", 2)
        assert sizes(split) == (5000, 13_000, 18_000)
        assert (np.bincount(labels[split.train]) == 130).all()
        assert np.isin(split.train, split.gallery).all()

    def test_errors(self):
        with pytest.raises(ValueError, match=r"protocol 'imagenet100': .* must come with a split of its own, got none"):
            draw(dataset(np.zeros(500, np.int64)), "imagenet100")
        made = dataset(np.zeros(500, np.int64), (np.arange(129), np.arange(129, 500)))
        with pytest.raises(ValueError, match="must have at least 130 items of each class, got 129 of class 0"):
            draw(made, "imagenet100")


class TestGrhTutorial:
    def test_counts_of_the_tutorial(self):
        assert sizes(draw(dataset(np.arange(60_000) % 10), "grh-tutorial", 42)) == (120, 1198, 58_682)

    @settings(max_examples=30)
    @given(n=st.integers(100, 3000), seed=st.integers(0, 2**32 - 1))
    def test_draws_what_scikit_learn_draws(self, n, seed):
        split = draw(dataset(np.zeros(n, np.int64)), "grh-tutorial", seed)
        rest, queries = train_test_split(np.arange(n), test_size=0.002, random_state=seed)
        gallery, train = train_test_split(rest, test_size=0.02, random_state=seed)
        for found, wanted in ((split.queries, queries), (split.train, train), (split.gallery, gallery)):
            np.testing.assert_array_equal(found, np.sort(wanted))

    def test_too_few(self):
        with pytest.raises(ValueError, match="protocol 'grh-tutorial': gallery must hold at least one item, got none"):
            draw(dataset(np.zeros(2, np.int64)), "grh-tutorial")


class TestEveryProtocol:
    @pytest.mark.parametrize("name", PROTOCOLS)
    def test_is_pinned(self, name):
        assert draw(drawable(name), name, 3).digest == PINNED[name]

    @pytest.mark.parametrize("name", PROTOCOLS)
    def test_invariants(self, name):
        made = drawable(name)
        split = draw(made, name, 4)
        assert (split.name, split.seed) == (name, 4)
        assert split.digest == draw(made, name, 4).digest
        by_lists = name in ("official", "cifar10-2", "nuswide-81")
        assert (split.digest == draw(made, name, 5).digest) == by_lists
        assert not np.isin(split.queries, np.concatenate([split.train, split.gallery])).any()
        for part in (split.queries, split.train, split.gallery):
            assert part.dtype == np.int64
            assert (made.labels[part].any(axis=1) if made.multi_label else made.labels[part] >= 0).all()

    def test_headlines(self):
        assert {name: protocol.headline[0] for name, protocol in PROTOCOLS.items()} == {
            "official": "map",
            "holdout": "map",
            "cifar10-1": "map",
            "cifar10-disjoint": "map",
            "cifar10-2": "map",
            "nuswide-21": "map_retrieved@5000",
            "nuswide-81": "map_retrieved@5000",
            "imagenet100": "map_retrieved@1000",
            "grh-tutorial": "p@10",
        }
        for protocol in PROTOCOLS.values():
            assert all(re.fullmatch(r"(map|map_retrieved|p)(@\d+)?", name) for name in protocol.headline)


class TestSplit:
    def test_parts_are_ascending(self):
        for wrong, came in (
            (indices(1, 0), "0 at position 1"),
            (indices(1, 1), "1 at position 1"),
            (indices(-2, 0), "-2"),
        ):
            with pytest.raises(ValueError, match=f"train must be ascending indices from 0 on, got {came}"):
                Split("made", 0, queries=indices(8), train=wrong, gallery=indices(3))

    def test_no_query_may_leak(self):
        with pytest.raises(ValueError, match="no query may be in the gallery, got 1 such, first 2"):
            Split("made", 0, queries=indices(1, 2), train=indices(0), gallery=indices(2, 3))
        with pytest.raises(ValueError, match="no query may be in the train part, got 2 such, first 1"):
            Split("made", 0, queries=indices(1, 2), train=indices(0, 1, 2), gallery=indices(3))

    def test_no_part_may_be_empty(self):
        with pytest.raises(ValueError, match="train must hold at least one item"):
            Split("made", 0, queries=indices(1), train=indices(), gallery=indices(3))

    def test_digest_tells_the_parts_apart(self):
        one = Split("made", 0, queries=indices(1), train=indices(2), gallery=indices(3))
        other = Split("made", 0, queries=indices(1), train=indices(3), gallery=indices(2))
        assert one.digest != other.digest
        assert len(one.digest) == 16
        assert not one.train_in_gallery


class TestSaved:
    @pytest.mark.parametrize("name", PROTOCOLS)
    def test_comes_back(self, name, tmp_path):
        split = draw(drawable(name), name, 3)
        split.save(tmp_path / "split.json")
        found = Split.load(str(tmp_path / "split.json"), 3000)
        assert (found.name, found.seed, found.digest) == (name, 3, split.digest)
        assert found.gallery.dtype == np.int64
        assert [path.name for path in tmp_path.iterdir()] == ["split.json"]

    @pytest.fixture
    def saved(self, tmp_path):
        path = tmp_path / "split.json"
        Split("made", 0, queries=indices(1, 2), train=indices(0), gallery=indices(3, 9)).save(path)
        return path

    def test_of_a_larger_data_set(self, saved):
        assert Split.load(saved, 10).gallery[-1] == 9
        with pytest.raises(ValueError, match=r"Split\.load: .*split\.json must divide 9 items, got item 9$"):
            Split.load(saved, 9)

    def test_that_was_changed(self, saved):
        saved.write_text(saved.read_text().replace("[3, 9]", "[3, 8]"))
        with pytest.raises(ValueError, match=r"must have the digest \w{16} that it names, got \w{16}$"):
            Split.load(saved, 10)

    @pytest.mark.parametrize(
        "change",
        [
            {"schema": "other"},
            {"queries": ["one"]},
            {"queries": []},
            {"queries": 3},
            {"train": [1]},
            {"train": None},
            {"gallery": [2**70]},
            {"gallery": [9, 3]},
            {"seed": None},
        ],
    )
    def test_that_is_broken(self, saved, change):
        saved.write_text(json.dumps(json.loads(saved.read_text()) | change))
        with pytest.raises(ValueError, match=r"split\.json must be a saved split, got \w+Error: "):
            Split.load(saved, 10)

    @pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"3", b"\xff", b"[" * 100_000])
    def test_that_is_none(self, saved, content):
        saved.write_bytes(content)
        with pytest.raises(ValueError, match=r"split\.json must be a saved split, got \w+Error: "):
            Split.load(saved, 10)

    def test_that_is_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            Split.load(tmp_path / "none.json", 10)

    def test_half_written_leaves_the_old(self, saved, monkeypatch):
        before = saved.read_bytes()

        def fail(number):
            raise OSError("disk full")

        monkeypatch.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            Split("made", 1, queries=indices(1), train=indices(0), gallery=indices(3)).save(saved)
        assert saved.read_bytes() == before
        assert [path.name for path in saved.parent.iterdir()] == ["split.json"]


def test_unknown_protocol_lists_the_known():
    with pytest.raises(ValueError, match=r"protocol must be one of official, holdout, cifar10-1, .*, got 'loo'"):
        draw(dataset(np.arange(20) % 2), "loo")


def test_default_is_the_data_sets():
    assert draw(dataset(np.arange(20) % 2)).name == "holdout"
