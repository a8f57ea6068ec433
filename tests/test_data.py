"""Data: every reader on files in the real formats, whole and broken, and the one error for what is missing."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from lshcore import data
from lshcore.data.dataset import Dataset, Source
from lshcore.data.idx import QUERY, TRAIN, read_idx

FASHION = Path("/usr/share/datasets/fashion-mnist")


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def images(n, seed, side=4):
    random = np.random.RandomState(seed)
    return random.randint(0, 256, (n, side, side)).astype(np.uint8), random.randint(0, 3, n).astype(np.uint8)


def write_mnist(folder, suffix=".gz", n_train=12, n_query=5):
    for names, n, seed in ((TRAIN, n_train, 0), (QUERY, n_query, 1)):
        for name, array in zip(names, images(n, seed), strict=True):
            write_idx(folder / f"{name}{suffix}", array)


@pytest.fixture(autouse=True)
def _no_data_dir(monkeypatch):
    monkeypatch.delenv("LSHCORE_DATA_DIR", raising=False)


class TestIdx:
    @pytest.mark.parametrize("name", ["a-ubyte", "a-ubyte.gz"])
    @pytest.mark.parametrize("shape", [(5,), (3, 2), (4, 3, 2), (0,)])
    def test_reads_what_was_written(self, tmp_path, name, shape):
        array = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
        write_idx(tmp_path / name, array)
        read = read_idx(tmp_path / name)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, array)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", r"magic .* got an empty file"),
            (b"\x00\x00\x08", r"magic .* got 00 00 08"),
            (b"\x00\x00\x0d\x01" + bytes(8), r"magic .* got 00 00 0d 01"),
            (b"\x00\x00\x08\x00", r"magic .* got 00 00 08 00"),
            (b"\x1f\x8b\x08\x00", r"magic .* got 1f 8b 08 00"),
            (b"\x00\x00\x08\x03\x00\x00", r"must state 3 sizes, got a file that ends inside its header"),
            (idx_bytes(np.zeros((3, 4)))[:-1], r"states 3 x 4 values, got 11 values"),
            (idx_bytes(np.zeros((3, 4))) + b"!", r"states 3 x 4 values, got bytes after the last"),
            (b"\x00\x00\x08\x04" + b"\xff" * 16, r"states 4294967295 x .* too short"),
        ],
    )
    def test_broken_file_is_named(self, tmp_path, content, message):
        path = tmp_path / "broken-ubyte"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as raised:
            read_idx(path)
        assert str(path) in str(raised.value)

    def test_broken_gzip_is_named(self, tmp_path):
        whole = gzip.compress(idx_bytes(images(50, 0)[0]))
        for number, content in enumerate(
            (whole[:-20], whole[: len(whole) // 2], b"no gzip at all", whole[:-8] + bytes(8))
        ):
            path = tmp_path / f"{number}-ubyte.gz"
            path.write_bytes(content)
            with pytest.raises(ValueError, match=r"must be a whole gzip file") as raised:
                read_idx(path)
            assert str(path) in str(raised.value)

    def test_small_gzip_that_claims_a_huge_array_is_refused_before_it_is_allocated(self, tmp_path):
        path = tmp_path / "huge-ubyte.gz"
        path.write_bytes(gzip.compress(b"\x00\x00\x08\x02" + struct.pack(">2I", 2**31, 2**20)))
        with pytest.raises(ValueError, match="too short"):
            read_idx(path)


class TestMnist:
    @pytest.mark.parametrize("suffix", ["", ".gz"])
    @pytest.mark.parametrize(
        ("name", "folder"), [("mnist", "MNIST/raw"), ("mnist", "."), ("fashion-mnist", "FashionMNIST/raw")]
    )
    def test_loads_the_four_files(self, tmp_path, name, folder, suffix):
        write_mnist(tmp_path / folder, suffix)
        dataset = data.load(name, tmp_path)
        train, query = images(12, 0), images(5, 1)
        assert dataset.features.dtype == np.uint8
        np.testing.assert_array_equal(dataset.features, np.concatenate([train[0], query[0]]).reshape(17, 16))
        np.testing.assert_array_equal(dataset.labels, np.concatenate([train[1], query[1]]))
        assert dataset.labels.dtype == np.int64
        np.testing.assert_array_equal(dataset.official_split[0], np.arange(12))
        np.testing.assert_array_equal(dataset.official_split[1], np.arange(12, 17))
        assert dataset.protocol == "official"
        assert len(dataset.class_names) == 10
        assert data.locate(name, tmp_path) == dataset.source.where == str(tmp_path / folder)
        for file, digest in dataset.source.files.items():
            assert hashlib.sha256((tmp_path / folder / file).read_bytes()).hexdigest() == digest

    def test_data_directory_from_the_environment(self, tmp_path, monkeypatch):
        write_mnist(tmp_path / "MNIST/raw")
        monkeypatch.setenv("LSHCORE_DATA_DIR", str(tmp_path))
        assert len(data.load("mnist")) == 17

    def test_named_directory_is_the_only_one(self, tmp_path, monkeypatch):
        write_mnist(tmp_path / "here/MNIST/raw")
        monkeypatch.setenv("LSHCORE_DATA_DIR", str(tmp_path / "here"))
        with pytest.raises(data.DatasetNotFound):
            data.load("mnist", tmp_path / "elsewhere")
        with pytest.raises(data.DatasetNotFound):
            data.load("fashion-mnist", tmp_path / "elsewhere")

    def test_raw_file_is_preferred_and_mixtures_are_fine(self, tmp_path):
        write_mnist(tmp_path, ".gz")
        (tmp_path / f"{TRAIN[0]}.gz").rename(tmp_path / "aside")
        write_idx(tmp_path / TRAIN[0], images(12, 0)[0])
        assert TRAIN[0] in data.load("mnist", tmp_path).source.files

    def test_missing_says_what_to_put_where(self, tmp_path):
        with pytest.raises(data.DatasetNotFound) as raised:
            data.load("fashion-mnist", tmp_path)
        message = str(raised.value)
        for part in ("FashionMNIST/raw", "--data-dir", "apt install dataset-fashion-mnist", "31 MB", *TRAIN, *QUERY):
            assert part in message
        assert "\n" not in message
        assert isinstance(raised.value, FileNotFoundError)

    def test_missing_names_the_files_that_lack(self, tmp_path):
        write_mnist(tmp_path / "MNIST/raw")
        (tmp_path / f"MNIST/raw/{QUERY[1]}.gz").unlink()
        with pytest.raises(data.DatasetNotFound, match=rf"MNIST/raw lacks {QUERY[1]}\)"):
            data.load("mnist", tmp_path)

    def test_no_directory_at_all(self):
        with pytest.raises(data.DatasetNotFound, match="LSHCORE_DATA_DIR is set"):
            data.load("mnist")
        assert data.locate("mnist") is None

    def test_images_and_labels_must_match(self, tmp_path):
        write_mnist(tmp_path)
        write_idx(tmp_path / f"{TRAIN[1]}.gz", np.zeros(11))
        with pytest.raises(ValueError, match=r"n images of two dimensions and n labels, got shapes \(12, 4, 4\)"):
            data.load("mnist", tmp_path)

    def test_parts_must_have_the_same_pixels(self, tmp_path):
        write_mnist(tmp_path)
        write_idx(tmp_path / f"{QUERY[0]}.gz", images(5, 1, side=3)[0])
        with pytest.raises(ValueError, match=r"same size, got \(4, 4\) and \(3, 3\)"):
            data.load("mnist", tmp_path)

    @pytest.mark.skipif(not FASHION.is_dir(), reason="package dataset-fashion-mnist is not installed")
    def test_real_fashion_mnist_is_found_by_itself(self):
        dataset = data.load("fashion-mnist")
        assert dataset.features.shape == (70_000, 784)
        assert [len(part) for part in dataset.official_split] == [60_000, 10_000]
        np.testing.assert_array_equal(np.bincount(dataset.labels), [7000] * 10)
        assert dataset.source.where == str(FASHION)


class TestCatalogue:
    def test_digits(self):
        dataset = data.load("digits")
        assert dataset.features.shape == (1797, 64)
        assert (dataset.features.dtype, dataset.features.max()) == (np.uint8, 16)
        assert dataset.protocol == "holdout"
        assert dataset.official_split is None
        assert dataset.n_classes == 10
        assert data.locate("digits").startswith("scikit-learn")
        assert dataset.source.checksum == data.load("digits").source.checksum

    def test_unknown_name_lists_the_known(self):
        with pytest.raises(ValueError, match=r"digits, mnist, .*, folder:PATH, or a file .*; got 'imagenette'"):
            data.load("imagenette")

    def test_labels_belong_to_files(self, tmp_path):
        with pytest.raises(ValueError, match="labels can be given only with"):
            data.load("digits", labels=tmp_path / "y.npy")

    def test_every_entry_can_be_located(self):
        for name in data.CATALOGUE:
            assert data.locate(name) is None or isinstance(data.locate(name), str)


class TestFind:
    def test_images_stay_images_and_features_features(self, tmp_path):
        assert isinstance(data.find("digits"), data.ImageSet)
        assert isinstance(data.load("digits"), Dataset)
        np.savez(tmp_path / "mine.npz", x=np.zeros((2, 3)), y=[0, 1])
        assert isinstance(data.find(str(tmp_path / "mine.npz")), Dataset)
        with pytest.raises(ValueError, match="holds features, not images"):
            data.load_images(str(tmp_path / "mine.npz"))

    def test_every_entry_says_how_to_get_it(self, tmp_path):
        for name, entry in data.CATALOGUE.items():
            if name == "digits":
                continue
            with pytest.raises(data.DatasetNotFound) as raised:
                data.find(name, tmp_path / "nothing")
            message = str(raised.value)
            assert "\n" not in message
            for part in (name, entry.size, entry.obtain, "--data-dir DIR", "LSHCORE_DATA_DIR"):
                assert part in message
            for layout in entry.layouts:
                assert f"DIR/{layout.folders[0]}" in message
                assert str(tmp_path / "nothing" / layout.folders[0]) in message

    def test_importing_brings_nothing_heavy(self, run_python):
        script = """
import sys, lshcore.data
heavy = ("torch", "torchvision", "PIL", "pyarrow", "scipy.io", "sklearn", "huggingface_hub")
print([name for name in heavy if name in sys.modules])
"""
        assert run_python(script).strip() == "[]"


class TestDataset:
    def test_lengths_must_match(self):
        with pytest.raises(ValueError, match=r"one entry an item \(3\), got 2"):
            Dataset("d", "", np.zeros((3, 2), np.uint8), np.zeros(2, np.int64), Source("here"))

    def test_features_are_a_matrix(self):
        with pytest.raises(ValueError, match=r"must be \(n, d\), got shape \(3,\)"):
            Dataset("d", "", np.zeros(3, np.uint8), np.zeros(3, np.int64), Source("here"))

    def test_checksum_of_several_files_is_that_of_their_listing(self):
        listing = hashlib.sha256(b"11  a\n22  b\n").hexdigest()
        assert Source("here", {"b": "22", "a": "11"}).checksum == listing
        assert Source("here", {"a": "11"}).checksum == "11"
