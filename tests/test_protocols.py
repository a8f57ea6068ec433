"""Splits: disjoint, stratified, drawn by seed, and the same everywhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lshcore.data import Dataset, Source
from lshcore.evaluation.protocols import PROTOCOLS, Split, draw

PINNED_QUERIES = [4, 7, 11, 16]
PINNED_DIGEST = "08558cfd812e5e1c"


def dataset(labels, official_split=None):
    labels = np.asarray(labels)
    return Dataset(
        "made", "", np.zeros((len(labels), 2), np.uint8), labels, Source("here"), official_split=official_split
    )


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


class TestSplit:
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


def test_unknown_protocol_lists_the_known():
    with pytest.raises(ValueError, match="protocol must be one of official, holdout, got 'loo'"):
        draw(dataset(np.arange(20) % 2), "loo")


def test_default_is_the_data_sets():
    assert draw(dataset(np.arange(20) % 2)).name == "holdout"


def test_every_protocol_has_a_headline():
    assert all(protocol.headline[0] == "map" for protocol in PROTOCOLS.values())
