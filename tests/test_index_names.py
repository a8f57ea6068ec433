"""Ids that are texts, copies, pickles, and scikit-learn's form of a search."""

import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from lshcore import FlatIndex, KMeansIndex, LSHIndex, hashers, open_index
from lshcore.index.names import Names, as_texts


def named(n):
    return [f"a/{i}.jpg" for i in range(n)]


def makers(x):
    planes = hashers.RandomHyperplanes(24, random_state=1).fit(x)
    return {
        "flat": lambda: FlatIndex(planes),
        "lsh": lambda: LSHIndex(planes, 3, 8, vectors="float32"),
        "kmeans": lambda: KMeansIndex(5, codes=planes),
    }


@pytest.fixture(params=["flat", "lsh", "kmeans"])
def make(request, features):
    return makers(features)[request.param]


class Twins:
    """An index with texts beside one with the numbers of those texts, which is the oracle."""

    def __init__(self, make, x):
        self.texts, self.plain = make().add(x, named(len(x))), make().add(x)
        self.names = named(len(x))

    def same(self, queries, **options):
        k = options.pop("k", 7)
        mine, plain = self.texts.search(queries, k, **options), self.plain.search(queries, k, **options)
        assert np.array_equal(mine.distances, plain.distances)
        assert mine.ids.dtype == object
        expected = [[None if i < 0 else self.names[i] for i in row] for row in plain.ids.tolist()]
        assert mine.ids.tolist() == expected


def test_answers_are_the_names_of_the_numbers(make, features, queries):
    both = Twins(make, features)
    both.same(queries)
    both.same(queries, rank="hamming", k=299)  # more than there are candidates
    assert both.texts.ids.tolist() == both.names
    mine, plain = both.texts.range_search(queries, 0.2), both.plain.range_search(queries, 0.2)
    assert mine.ids.tolist() == [both.names[i] for i in plain.ids]
    assert mine[3][1].tolist() == [both.names[i] for i in plain[3][1]]
    mine, plain = both.texts.candidates(queries), both.plain.candidates(queries)
    assert mine[5].tolist() == [both.names[i] for i in plain[5]]


def test_filters_take_texts(make, features, queries):
    both = Twins(make, features)
    chosen = list(range(0, 300, 3))
    allowed = [both.names[i] for i in chosen]
    expected = both.plain.search(queries, filter=np.array(chosen)).distances
    for form in (allowed, tuple(allowed), np.array(allowed), np.array(allowed, object)):
        assert np.array_equal(both.texts.search(queries, filter=form).distances, expected)
    mask = np.isin(np.arange(300), chosen)
    for form in (mask, mask.tolist()):
        assert np.array_equal(both.texts.search(queries, filter=form).distances, expected)
    lists = [[both.names[i], both.names[i + 1]] for i in range(len(queries))]
    numbers = [np.array([i, i + 1]) for i in range(len(queries))]
    found = both.texts.search(queries, filter=lists).distances
    assert np.array_equal(found, both.plain.search(queries, filter=numbers).distances)
    assert both.texts.search(queries, filter=[]).n_candidates.sum() == 0
    for wrong, error, message in [
        (["nothing"], ValueError, "filter must be in the index, got 'nothing', which is not"),
        ([1, 2], TypeError, "filter must be texts, as those that the index was begun with"),
        (["a/1.jpg", 2], TypeError, "filter must be all texts or all integers, got texts and 2"),
    ]:
        with pytest.raises(error, match=message):
            both.texts.search(queries, filter=wrong)
    with pytest.raises(TypeError, match=r"search: filter must be integers, .* got 'a/1.jpg'"):
        both.plain.search(queries, filter=["a/1.jpg"])


def test_changes_by_text(make, features, queries):
    both = Twins(make, features)
    both.texts.remove(["a/3.jpg", "a/8.jpg"]).remove("a/9.jpg")
    both.plain.remove([3, 8, 9])
    both.same(queries)
    both.texts.update(features[:2], ["a/5.jpg", "a/6.jpg"])
    both.plain.update(features[:2], [5, 6])
    both.same(queries)
    assert "a/3.jpg" not in both.texts
    assert "a/5.jpg" in both.texts
    assert 5 not in both.texts
    assert "a/5.jpg" not in both.plain
    assert np.array_equal(both.texts.reconstruct(["a/5.jpg", "a/0.jpg"]), both.plain.reconstruct([5, 0]))
    assert np.array_equal(both.texts.codes("a/5.jpg").words, both.plain.codes(5).words)
    both.texts.add(features[3:4], ["a/3.jpg"]).compact()  # a name may come again
    both.plain.add(features[3:4], [3]).compact()
    both.same(queries)
    assert both.texts.ids.tolist() == [both.names[i] for i in both.plain.ids]


def test_kinds_do_not_mix(make, features):
    texts, plain = make().add(features, named(300)), make().add(features)
    row = features[:1]
    for call, error, message in [
        (lambda: texts.add(row), ValueError, "add: ids must be given, as the index was begun with texts, got none"),
        (lambda: texts.add(row, [7]), TypeError, "add: ids must be texts, as those that the index was begun with"),
        (lambda: texts.remove([7]), TypeError, "remove: ids must be texts"),
        (lambda: texts.remove([7, "a/1.jpg"]), TypeError, "remove: ids must be all texts or all integers"),
        (lambda: texts.remove("b"), ValueError, "remove: ids must be in the index, got 'b', which is not"),
        (lambda: texts.add(row, ["a/7.jpg"]), ValueError, "ids must be new, got 'a/7.jpg', which the index holds"),
        (lambda: texts.add(features[:2], ["b", "b"]), ValueError, "ids must differ, got 'b' twice"),
        (lambda: texts.add(features[:2], ["b"]), ValueError, r"shape \(2,\), one for each row, got \(1,\)"),
        (lambda: texts.add(row, [""]), ValueError, "ids must not be empty texts, got one at 0"),
        (lambda: texts.add(row, np.array([["b"]])), ValueError, r"ids must be 1-d, got shape \(1, 1\)"),
        (lambda: plain.add(row, ["b"]), TypeError, "add: ids must be integers, .* begun with, got 'b'"),
        (lambda: plain.update(row, ["b"]), TypeError, "update: ids must be integers"),
        (lambda: plain.codes(["b"]), TypeError, "codes: ids must be integers"),
        (lambda: texts.reconstruct(3), TypeError, "reconstruct: ids must be texts"),
        (lambda: make().remove("b"), ValueError, "ids must be in the index, got 'b', which is not"),
    ]:
        with pytest.raises(error, match=message):
            call()
    texts.remove("a/1.jpg")
    with pytest.raises(ValueError, match=r"ids must be in the index, got 'a/1\.jpg', which is not"):
        texts.remove(["a/2.jpg", "a/1.jpg"])
    assert len(texts) == 299
    assert "a/2.jpg" in texts
    assert len(texts.add(features[:0]).add(features[:0], [])) == 299


def test_a_failed_add_leaves_the_names(features, tmp_path):
    index = FlatIndex(vectors="float16").add(features[:3], ["a", "b", "c"])
    for wrong in (np.full((2, 24), 1e6), np.full((2, 24), np.nan), np.zeros((2, 23))):
        with pytest.raises(ValueError, match=r"must|finite"):
            index.add(wrong, ["d", "e"])
    with pytest.raises(ValueError, match="ids must be new, got 'b'"):
        index.add(features[:2], ["d", "b"])
    assert len(index._names) == 3
    assert "d" not in index
    kmeans = KMeansIndex(5)
    with pytest.raises(ValueError, match="at least n_clusters = 5 rows, got 2"):
        kmeans.add(features[:2], ["a", "b"])
    kmeans.add(features)  # nothing was begun
    assert kmeans.ids.dtype == np.int64


def test_saved_and_opened(make, features, queries, tmp_path):
    both = Twins(make, features)
    odd = ["ü/\udcff\x00 \ud83d", "\U0001f600", "line\nbreak"]
    both.names += odd
    both.texts.add(features[:3], odd)
    both.plain.add(features[:3])
    both.texts.remove(both.names[4])
    both.plain.remove(4)
    both.texts.save(tmp_path)
    for mmap in (True, False):
        both.texts = open_index(tmp_path, mmap=mmap, verify="full")
        both.same(queries)
        assert both.texts.ids.tolist() == [both.names[i] for i in both.plain.ids]
        assert all(name in both.texts for name in odd)
        assert both.names[4] not in both.texts
    both.texts.add(features[4:5], ["new"]).save(tmp_path)
    both.plain.add(features[4:5])
    both.names.append("new")
    both.texts = open_index(tmp_path)
    both.same(queries)
    assert b"a/4.jpg" not in next(tmp_path.glob("index-*.safetensors")).read_bytes()  # gone is gone


def test_an_empty_index_keeps_that_it_has_texts(features, tmp_path):
    index = FlatIndex().add(features[:2], ["a", "b"]).remove(["a", "b"])
    index.save(tmp_path)
    again = open_index(tmp_path)
    with pytest.raises(ValueError, match="ids must be given"):
        again.add(features[:1])
    assert again.add(features[:1], ["a"]).ids.tolist() == ["a"]


def test_names_that_do_not_fit_are_refused():
    whole = Names()
    whole.add(["a", "bc"])
    content, offsets = whole.to_arrays(np.arange(2)).values()
    for bad in ([0, 2, 1], [1, 1, 3], [0, 1], []):
        with pytest.raises(ValueError, match=r"offsets of names must rise|from 0"):
            Names.from_arrays(content, np.array(bad, np.uint64))
    with pytest.raises(ValueError, match="bytes with offsets"):
        Names.from_arrays(content.astype(np.int8), offsets)
    short = Names.from_arrays(content[:1], np.array([0, 1, 1], np.uint64))
    for number in (1, 2):
        with pytest.raises(ValueError, match=f"got none for row {number}: it is damaged"):
            short.check(np.array([0, number]))
    with pytest.raises(ValueError, match="names that differ, got one twice"):
        Names.from_arrays(np.frombuffer(b"aa", np.uint8), np.array([0, 1, 2], np.uint64)).check(np.arange(2))


@given(st.lists(st.text(st.characters(codec=None), min_size=1), unique=True), st.data())
def test_every_text_comes_back(texts, data):
    first = data.draw(st.integers(0, len(texts)))
    names = Names()
    names.add(texts[:first])
    numbers = names.add(texts)
    assert numbers.tolist() == list(range(len(texts)))
    again = Names.from_arrays(*names.to_arrays(numbers).values())
    again.check(numbers)
    assert again.names(numbers).tolist() == texts
    assert again.find([*texts, "".join(texts) + "x"]).tolist() == [*numbers.tolist(), -1]
    assert again.add(["".join(texts) + "x"]).tolist() == [len(texts)]
    assert as_texts(texts, "") == texts


def test_searches_beside_adds_never_see_a_row_without_its_name(features):
    index = FlatIndex()
    wrong, stop = [], threading.Event()

    def search():
        while not stop.is_set():
            found = index.search(features[:2], 5)
            try:
                assert found.ids.dtype == object or (found.ids == -1).all()
            except Exception as error:
                wrong.append(error)

    thread = threading.Thread(target=search)
    thread.start()
    try:
        for i in range(0, 300, 3):
            index.add(features[i : i + 3], [f"{j}" for j in range(i, i + 3)])
    finally:
        stop.set()
        thread.join()
    assert wrong == []


def test_a_copy_is_independent_and_shares_segments(make, features, queries):
    for ids in (None, named(300)):
        index = make().add(features[:200], None if ids is None else ids[:200])
        before = index.search(queries)
        for duplicate in (copy.copy, copy.deepcopy):
            other = duplicate(index)
            assert type(other) is type(index)
            shared = [segment.arrays()["codes"].ctypes.data for segment, _ in index._core.state()[0]]
            assert [segment.arrays()["codes"].ctypes.data for segment, _ in other._core.state()[0]] == shared
            other.add(features[200:], None if ids is None else ids[200:]).remove(index.ids[:50])
            assert len(index) == 200
            assert index.search(queries).ids.tolist() == before.ids.tolist()
            index.remove(index.ids[:1])
            assert len(other) == 250
            index.add(index.reconstruct(index.ids[:0]), [] if ids else None)
            index = make().add(features[:200], None if ids is None else ids[:200])
    assert len(copy.copy(make())) == 0


def test_a_pickle_is_a_place(make, features, queries, tmp_path):
    index = make().add(features, named(300))
    with pytest.raises(ValueError, match=r"Index: a pickle keeps only where .* was never saved; call save\(path\)"):
        pickle.dumps(index)
    index.save(tmp_path)
    sent = pickle.dumps(index)
    assert len(sent) < 500
    assert np.array_equal(pickle.loads(sent).search(queries).ids, index.search(queries).ids)
    opened = open_index(tmp_path)
    again = pickle.loads(pickle.dumps(opened))
    for change in (
        lambda one: one.remove("a/1.jpg"),
        lambda one: one.update(features[:1], ["a/2.jpg"]),
        lambda one: one.add(features[:1], ["b"]),
        lambda one: one.compact(),
    ):
        changed = copy.copy(again)
        pickle.dumps(changed)
        change(changed)
        with pytest.raises(ValueError, match="has changed since it was saved"):
            pickle.dumps(changed)
    again.remove("a/1.jpg").save(tmp_path)
    with pytest.raises(ValueError, match="must hold the index that was pickled, got another, at generation 2"):
        pickle.loads(sent)
    assert "a/1.jpg" not in pickle.loads(pickle.dumps(again))


def test_training_alone_is_a_change(features, tmp_path):
    index = KMeansIndex(5)
    index.save(tmp_path)
    index.fit(features)
    with pytest.raises(ValueError, match="has changed"):
        pickle.dumps(index)


@pytest.mark.parametrize(("rank", "metric"), [("l2", "euclidean"), ("cosine", "cosine")])
def test_the_form_of_scikit_learn(features, queries, rank, metric):
    index = FlatIndex().add(features)
    theirs = NearestNeighbors(metric=metric).fit(features)
    distances, ids = index.kneighbors(queries, 4, rank=rank)
    expected, rows = theirs.kneighbors(queries, 4)
    assert np.allclose(distances, expected, atol=1e-5)
    assert (ids == rows).mean() > 0.9  # some rows are equal
    assert np.array_equal(index.kneighbors(queries, return_distance=False, rank=rank)[:, :4], ids)
    radius = float(np.median(expected[:, 2]))
    near, ids = index.radius_neighbors(queries, radius, rank=rank)
    expected, rows = theirs.radius_neighbors(queries, radius, sort_results=True)
    for i in range(len(queries)):
        assert np.allclose(near[i], expected[i], atol=1e-5)
        assert sorted(ids[i].tolist()) == sorted(rows[i].tolist())
    assert len(index.radius_neighbors(queries, radius, return_distance=False, rank=rank)) == len(queries)
    assert index.kneighbors(queries)[0].shape == (len(queries), 5)
