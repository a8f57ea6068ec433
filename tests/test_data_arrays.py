"""Features of one's own: .npy, .npz and Parquet files, whole and broken."""

import numpy as np
import pytest

from lshcore import data
from lshcore.data import checks
from lshcore.data.checks import as_features, as_labels


@pytest.fixture
def features():
    return np.random.RandomState(0).normal(size=(6, 3)).astype(np.float32)


LABELS = np.array([0, 1, 2, 0, 1, 2])


class TestNpy:
    def test_features_and_labels(self, tmp_path, features):
        np.save(tmp_path / "x.npy", features)
        np.save(tmp_path / "y.npy", LABELS)
        dataset = data.load(str(tmp_path / "x.npy"), labels=tmp_path / "y.npy")
        np.testing.assert_array_equal(dataset.features, features)
        np.testing.assert_array_equal(dataset.labels, LABELS)
        assert (dataset.name, dataset.protocol) == ("x", "holdout")
        assert set(dataset.source.files) == {"x.npy", "y.npy"}

    def test_labels_are_needed(self, tmp_path, features):
        np.save(tmp_path / "x.npy", features)
        with pytest.raises(ValueError, match=r"--labels FILE\.npy"):
            data.load(str(tmp_path / "x.npy"))

    def test_missing_file(self, tmp_path):
        with pytest.raises(data.DatasetNotFound, match=r"x\.npy was not found"):
            data.load(str(tmp_path / "x.npy"))

    def test_pickles_are_refused(self, tmp_path, features):
        np.save(tmp_path / "x.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
        np.save(tmp_path / "y.npy", LABELS)
        with pytest.raises(ValueError, match=r"x\.npy must be a whole \.npy file"):
            data.load(str(tmp_path / "x.npy"), labels=tmp_path / "y.npy")

    def test_cut_short(self, tmp_path, features):
        np.save(tmp_path / "x.npy", features)
        np.save(tmp_path / "y.npy", LABELS)
        whole = (tmp_path / "x.npy").read_bytes()
        for length in (0, 5, 40, len(whole) - 1):
            (tmp_path / "x.npy").write_bytes(whole[:length])
            with pytest.raises(ValueError, match=r"x\.npy must be a whole \.npy file"):
                data.load(str(tmp_path / "x.npy"), labels=tmp_path / "y.npy")

    def test_half_precision_stays_on_disk(self, tmp_path, features):
        np.save(tmp_path / "x.npy", features.astype(np.float16))
        np.save(tmp_path / "y.npy", LABELS)
        dataset = data.load(str(tmp_path / "x.npy"), labels=tmp_path / "y.npy")
        assert dataset.features.dtype == np.float16
        assert isinstance(dataset.features, np.memmap)

    def test_features_alone(self, tmp_path, features):
        np.save(tmp_path / "x.npy", features)
        np.savez(tmp_path / "x.npz", X=features)
        np.savez(tmp_path / "split.npz", train_features=features[:4], query_features=features[4:])
        for file in ("x.npy", "x.npz", "split.npz"):
            values, source = data.load_features(str(tmp_path / file))
            np.testing.assert_array_equal(values, features)
            assert set(source.files) == {file}


class TestFolder:
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path, features):
        self.folder = tmp_path / "mine"
        self.folder.mkdir()
        np.save(self.folder / "features.npy", features)
        np.save(self.folder / "labels.npy", LABELS)

    def test_features_and_labels(self, features):
        dataset = data.load(str(self.folder))
        np.testing.assert_array_equal(dataset.features, features)
        np.testing.assert_array_equal(dataset.labels, LABELS)
        assert (dataset.name, dataset.protocol, dataset.official_split) == ("mine", "holdout", None)
        assert isinstance(dataset.features, np.memmap)

    @pytest.mark.parametrize("query", [np.array([4, 1]), np.array([0, 1, 0, 0, 1, 0], bool)])
    def test_queries(self, query):
        np.save(self.folder / "query.npy", query)
        dataset = data.load(str(self.folder))
        assert [part.tolist() for part in dataset.official_split] == [[0, 2, 3, 5], [1, 4]]
        assert [part.dtype for part in dataset.official_split] == [np.int64, np.int64]
        assert dataset.protocol == "official"
        assert set(dataset.source.files) == {"features.npy", "labels.npy", "query.npy"}

    @pytest.mark.parametrize(
        "query", [np.array([6]), np.array([-1]), np.array([True]), np.zeros((6, 1), bool), np.array([1.0])]
    )
    def test_wrong_queries(self, query):
        np.save(self.folder / "query.npy", query)
        with pytest.raises(ValueError, match=r"query\.npy must be bool \(6,\), or row numbers from 0 to 5, got"):
            data.load(str(self.folder))

    def test_labels_of_another_file(self, tmp_path):
        np.save(tmp_path / "other.npy", LABELS[::-1])
        assert data.load(str(self.folder), labels=tmp_path / "other.npy").labels.tolist() == LABELS[::-1].tolist()

    def test_missing(self):
        (self.folder / "labels.npy").unlink()
        with pytest.raises(ValueError, match="holds features only"):
            data.load(str(self.folder))
        (self.folder / "features.npy").unlink()
        with pytest.raises(data.DatasetNotFound, match=r"got no features\.npy; a folder of images is given as folder:"):
            data.load(str(self.folder))


class TestMat:
    @pytest.fixture(autouse=True)
    def _scipy(self):
        self.savemat = pytest.importorskip("scipy.io").savemat

    @pytest.mark.parametrize("compressed", [False, True])
    def test_gist_of_cifar10(self, tmp_path, features, compressed):
        path = tmp_path / "Gist512CIFAR10.mat"
        self.savemat(
            path, {"X": features.astype(float), "X_class": LABELS[None].astype(float)}, do_compression=compressed
        )
        dataset = data.load(str(path))
        np.testing.assert_array_equal(dataset.features, features)
        assert dataset.features.dtype == np.float32
        assert (dataset.labels.tolist(), dataset.labels.dtype) == (LABELS.tolist(), np.int64)

    def test_train_and_test(self, tmp_path, features):
        path = tmp_path / "cifar10-gist.mat"
        arrays = {"traindata": features[:4], "testdata": features[4:]}
        self.savemat(path, {**arrays, "traingnd": LABELS[:4, None] + 1, "testgnd": LABELS[4:, None] + 1})
        dataset = data.load(str(path))
        np.testing.assert_array_equal(dataset.features, features)
        np.testing.assert_array_equal(dataset.labels, LABELS + 1)
        assert [part.tolist() for part in dataset.official_split] == [[0, 1, 2, 3], [4, 5]]

    def test_several_labels(self, tmp_path, features):
        several = (np.arange(24).reshape(6, 4) % 3 == 0).astype(float)
        self.savemat(tmp_path / "mine.mat", {"features": features, "labels": several})
        np.testing.assert_array_equal(data.load(str(tmp_path / "mine.mat")).labels, several == 1)

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"X": np.zeros((6, 3))}, "must hold labels under one of the names labels, label, y, X_class, got X"),
            ({"X": np.zeros((6, 3)), "y": np.arange(5)}, r"one entry an item \(6\), got 5"),
            ({"X": np.zeros((6, 3)), "y": np.arange(6) + 0.5}, "labels must be integers or names"),
            ({"X": np.array(["text"]), "y": LABELS}, "array 'X' must be plain numbers"),
            ({"traindata": np.zeros((6, 3))}, "got no traingnd, testdata, testgnd"),
        ],
    )
    def test_wrong_contents(self, tmp_path, arrays, message):
        self.savemat(tmp_path / "mine.mat", arrays)
        with pytest.raises(ValueError, match=message):
            data.load(str(tmp_path / "mine.mat"))

    def test_hdf5(self, tmp_path):
        header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
        (tmp_path / "mine.mat").write_bytes(header + bytes(384) + b"\x89HDF\r\n\x1a\n" + bytes(100))
        with pytest.raises(ValueError, match=r"version before 7\.3, got one that is HDF5: save it .* '-v7'\)"):
            data.load(str(tmp_path / "mine.mat"))

    @pytest.mark.parametrize("length", [0, 3, 50, 200, -1])
    def test_cut_short(self, tmp_path, features, length):
        path = tmp_path / "mine.mat"
        self.savemat(path, {"X": features, "y": LABELS})
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(ValueError, match=r"mine\.mat must (be a whole \.mat file|hold)"):
            data.load(str(path))


class TestNpz:
    @pytest.mark.parametrize("feature_name", ["features", "X", "x"])
    @pytest.mark.parametrize("label_name", ["labels", "label", "y"])
    def test_names(self, tmp_path, features, feature_name, label_name):
        path = tmp_path / "mine.npz"
        np.savez(path, **{feature_name: features, label_name: LABELS})
        dataset = data.load(str(path))
        np.testing.assert_array_equal(dataset.features, features)
        np.testing.assert_array_equal(dataset.labels, LABELS)

    def test_train_and_query(self, tmp_path, features):
        path = tmp_path / "mine.npz"
        np.savez_compressed(
            path,
            train_features=features[:4],
            train_labels=LABELS[:4],
            query_features=features[4:],
            query_labels=LABELS[4:],
        )
        dataset = data.load(str(path))
        np.testing.assert_array_equal(dataset.features, features)
        assert [part.tolist() for part in dataset.official_split] == [[0, 1, 2, 3], [4, 5]]
        assert dataset.protocol == "official"

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"features": np.zeros((6, 3))}, "must hold labels under one of the names labels, label, y, got features"),
            ({"y": LABELS}, "must hold features under one of the names features, X, x, got y"),
            ({"x": np.zeros((6, 3)), "X": np.zeros((6, 3)), "y": LABELS}, "must hold features under one of the names"),
            ({"x": np.zeros((6, 3)), "y": LABELS[:5]}, r"one entry an item \(6\), got 5"),
            ({"x": np.zeros(6), "y": LABELS}, r"must be \(n, d\), got shape \(6,\)"),
            ({"x": np.float32(3), "y": LABELS}, "'x' must have one entry an item, got a single value"),
            ({"train_features": np.zeros((6, 3)), "train_labels": LABELS}, "got no query_features, query_labels"),
            (
                {
                    "train_features": np.zeros((6, 3)),
                    "train_labels": LABELS,
                    "query_features": np.zeros((6, 2)),
                    "query_labels": LABELS,
                },
                "same shape but for their first",
            ),
            (
                {
                    "train_features": np.zeros((6, 3)),
                    "train_labels": LABELS,
                    "query_features": np.zeros((5, 3)),
                    "query_labels": LABELS,
                },
                "query_labels must have 5 entries, got 6",
            ),
        ],
    )
    def test_wrong_contents(self, tmp_path, arrays, message):
        path = tmp_path / "mine.npz"
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=message):
            data.load(str(path))

    def test_pickles_are_refused(self, tmp_path, features):
        path = tmp_path / "mine.npz"
        np.savez(path, features=features, labels=np.array([None] * 6, dtype=object))
        with pytest.raises(ValueError, match=r"'labels' must be plain numbers"):
            data.load(str(path))

    def test_cut_short(self, tmp_path, features):
        path = tmp_path / "mine.npz"
        np.savez(path, features=features, labels=LABELS)
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(ValueError, match=r"must be a whole \.npz file"):
            data.load(str(path))

    def test_damaged_member(self, tmp_path, features):
        path = tmp_path / "mine.npz"
        np.savez(path, features=features, labels=LABELS)
        content = bytearray(path.read_bytes())
        content[140] ^= 0xFF
        path.write_bytes(bytes(content))
        with pytest.raises(ValueError, match=r"cannot be read"):
            data.load(str(path))


class TestParquet:
    @pytest.fixture(autouse=True)
    def _arrow(self):
        self.arrow = pytest.importorskip("pyarrow")
        self.parquet = pytest.importorskip("pyarrow.parquet")

    def write(self, path, **columns):
        self.parquet.write_table(self.arrow.table(columns), path, row_group_size=4)
        return str(path)

    @pytest.mark.parametrize("feature_name", ["features", "feature", "embedding"])
    @pytest.mark.parametrize("kind", ["list", "large_list", "fixed"])
    def test_list_columns(self, tmp_path, features, feature_name, kind):
        value = self.arrow.float32()
        types = {
            "list": self.arrow.list_(value),
            "large_list": self.arrow.large_list(value),
            "fixed": self.arrow.list_(value, 3),
        }
        column = self.arrow.array(features.tolist(), type=types[kind])
        name = self.write(tmp_path / "mine.parquet", **{feature_name: column, "label": LABELS})
        dataset = data.load(name)
        np.testing.assert_array_equal(dataset.features, features)
        np.testing.assert_array_equal(dataset.labels, LABELS)

    @pytest.mark.parametrize("encoded", [False, True])
    def test_names_as_labels(self, tmp_path, features, encoded):
        names = self.arrow.array(["cat", "ant", "dog"] * 2)
        name = self.write(
            tmp_path / "mine.pq", features=features.tolist(), y=names.dictionary_encode() if encoded else names
        )
        dataset = data.load(name)
        assert dataset.class_names == ("ant", "cat", "dog")
        assert dataset.labels.tolist() == [1, 0, 2] * 2

    def test_several_labels(self, tmp_path, features):
        several = np.random.RandomState(1).rand(6, 4) < 0.5
        dataset = data.load(self.write(tmp_path / "mine.parquet", features=features.tolist(), labels=several.tolist()))
        np.testing.assert_array_equal(dataset.labels, several)
        assert dataset.multi_label

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"features": [[1.0, 2.0], [3.0]], "label": [0, 1]}, "lists of one length, got lengths from 1 to 2"),
            ({"features": [[1.0], None], "label": [0, 1]}, "a value in every row, got 1 nulls"),
            ({"features": [[1.0], [None]], "label": [0, 1]}, "features must be finite"),
            ({"features": [[1.0], [2.0]], "label": [0, None]}, "'label' must have a value in every row"),
            ({"features": [1.0, 2.0], "label": [0, 1]}, r"must be \(n, d\), got shape \(2,\)"),
            ({"features": [["a"], ["b"]], "label": [0, 1]}, "features must be real numbers"),
            ({"features": [[1.0], [2.0]]}, "must hold labels under one of the names"),
            ({"pixels": [[1.0], [2.0]], "label": [0, 1]}, "must hold features under one of the names"),
            ({"features": [[1.0], [2.0]], "label": [0.5, 1.0]}, "labels must be integers or names"),
        ],
    )
    def test_wrong_contents(self, tmp_path, columns, message):
        with pytest.raises(ValueError, match=message):
            data.load(self.write(tmp_path / "mine.parquet", **columns))

    def test_not_a_parquet_file(self, tmp_path):
        path = tmp_path / "mine.parquet"
        path.write_bytes(b"PAR1 but not really PAR1")
        with pytest.raises(ValueError, match=r"mine\.parquet must be a whole Parquet file"):
            data.load(str(path))


class TestArrays:
    def test_pixels_stay_and_images_are_flattened(self):
        images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
        rows = as_features(images, "here")
        assert rows.dtype == np.uint8
        np.testing.assert_array_equal(rows, images.reshape(2, 12))

    @pytest.mark.parametrize("dtype", [np.float64, np.int32, np.bool_])
    def test_other_numbers_become_float32(self, dtype):
        rows = as_features(np.ones((2, 3), dtype), "here")
        assert (rows.dtype, rows.shape) == (np.float32, (2, 3))

    @pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
    def test_what_can_stay_is_not_copied(self, dtype):
        values = np.ones((4, 3, 2), dtype)
        rows = as_features(values, "here")
        assert (rows.dtype, rows.shape) == (dtype, (4, 6))
        assert np.shares_memory(rows, values)

    @pytest.mark.parametrize("row", [0, 1, 2, 3, 6])
    @pytest.mark.parametrize("block", [1, 3, 4, 100])
    def test_not_finite_in_any_block(self, monkeypatch, row, block):
        monkeypatch.setattr(checks, "BLOCK_VALUES", block)
        rows = np.zeros((7, 2), np.float16)
        as_features(rows, "here")
        rows[row, 1] = np.nan
        with pytest.raises(ValueError, match=f"got nan at row {row}, column 1"):
            as_features(rows, "here")

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
    def test_not_finite(self, value):
        rows = np.zeros((3, 2))
        rows[1, 1] = value
        with pytest.raises(ValueError, match=r"here: features must be finite, got (nan|inf) at row 1, column 1"):
            as_features(rows, "here")

    @pytest.mark.parametrize("values", [np.zeros((2, 2), complex), np.array([["a"]]), np.zeros((2, 2), "M8[s]")])
    def test_not_numbers(self, values):
        with pytest.raises(ValueError, match="features must be real numbers"):
            as_features(values, "here")

    @pytest.mark.parametrize("values", [[[0], [1], [1]], [["a"], ["b"], ["b"]]])
    def test_a_column_of_labels_is_one_label_an_item(self, values):
        labels, _ = as_labels(np.array(values), "here")
        assert labels.tolist() == [0, 1, 1]
        assert labels.dtype == np.int64

    def test_label_kinds(self):
        labels, names = as_labels(np.array([3, 1], np.uint8), "here")
        assert (labels.dtype, labels.tolist(), names) == (np.int64, [3, 1], None)
        labels, names = as_labels(np.array(["b", "a", "b"]), "here")
        assert (labels.tolist(), names) == ([1, 0, 1], ("a", "b"))
        labels, _ = as_labels(np.array([[0, 1], [1, 1]]), "here")
        assert (labels.dtype, labels.tolist()) == (np.bool_, [[False, True], [True, True]])

    @pytest.mark.parametrize(
        "values", [np.array([0.0, 1.0]), np.array([[0, 2]]), np.zeros((2, 2, 2), int), np.array([None]), np.array(3)]
    )
    def test_wrong_labels(self, values):
        with pytest.raises(ValueError, match="here: labels must be integers or names"):
            as_labels(values, "here")
