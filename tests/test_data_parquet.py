"""Folders of Parquet shards as Hugging Face writes them: images, and features that others made."""

import hashlib
import io
import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lshcore import data
from lshcore.data import parquet_images

arrow = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
Image = pytest.importorskip("PIL.Image")


def pixels(seed, size=(32, 32)):
    return np.random.RandomState(seed).randint(0, 256, (*size, 3)).astype(np.uint8)


def encoded(seed, size=(32, 32)):
    out = io.BytesIO()
    Image.fromarray(pixels(seed, size)).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": f"{seed}.png"}


def write(path, columns, names=None, group=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = arrow.table(columns)
    if names is not None:
        features = {column: {"names": names, "_type": "ClassLabel"} for column in columns if "label" in column}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=group)


def write_images(folder, parts, image="image", label="label", names=None, suffix="", group=3, plain=False):
    """Shards of each part: `parts` is {"train": [5, 4]} for two shards of 5 and 4 rows; returns all labels in order."""
    labels, seed = [], 0
    for split, sizes in parts.items():
        for i, n in enumerate(sizes):
            values = [encoded(seed + j) for j in range(n)]
            own = [(seed + j) % 3 for j in range(n)]
            columns = {image: [value["bytes"] for value in values] if plain else values, label: own}
            write(folder / f"{split}-{i:05}-of-{len(sizes):05}{suffix}.parquet", columns, names, group)
            labels += own
            seed += n
    return labels


class TestImages:
    @pytest.mark.parametrize("suffix", ["", "-0f1e2d3c4b5a6978"])
    @pytest.mark.parametrize(
        ("folder", "query"),
        [
            ("evanarlian/imagenet_1k_resized_256/data", "val"),
            ("imagenet_1k_resized_256/data", "val"),
            ("ILSVRC/imagenet-1k/data", "validation"),
            ("imagenet-1k", "validation"),
        ],
    )
    @pytest.mark.parametrize("plain", [False, True])
    def test_imagenet(self, tmp_path, folder, query, suffix, plain):
        parts = {"train": [5, 4], query: [3]}
        labels = write_images(tmp_path / folder, parts, suffix=suffix, plain=plain)
        write(tmp_path / folder / f"test-00000-of-00001{suffix}.parquet", {"image": [encoded(99)], "label": [-1]})
        images = data.load_images("imagenet", tmp_path)
        assert (images.labels.tolist(), images.labels.dtype) == (labels, np.int64)
        assert [part.tolist() for part in images.official_split] == [list(range(9)), [9, 10, 11]]
        assert (images.protocol, images.backbone) == ("official", "resnet18")
        for i in (*range(12), 11, 0, -1):
            np.testing.assert_array_equal(np.asarray(images.images[i]), pixels(i % 12))
        assert images.images.name(0).endswith(f"train-00000-of-00002{suffix}.parquet, row 0")
        assert images.images.name(8).endswith(f"train-00001-of-00002{suffix}.parquet, row 3")
        with pytest.raises(IndexError):
            images.images[12]

    @pytest.mark.parametrize(
        ("name", "folder", "label"),
        [("cifar10", "uoft-cs/cifar10/plain_text", "label"), ("cifar100", "uoft-cs/cifar100/cifar100", "fine_label")],
    )
    def test_cifar_becomes_pixels(self, tmp_path, name, folder, label):
        names = ["a", "b", "c"]
        labels = write_images(tmp_path / folder, {"train": [4], "test": [2]}, "img", label, names)
        dataset = data.load(name, tmp_path)
        np.testing.assert_array_equal(dataset.features, np.array([pixels(i).reshape(-1) for i in range(6)]))
        assert (dataset.labels.tolist(), dataset.class_names) == (labels, tuple(names))
        assert [part.tolist() for part in dataset.official_split] == [[0, 1, 2, 3], [4, 5]]
        file = f"{folder.rpartition('/')[2]}/test-00000-of-00001.parquet"
        whole = (tmp_path / folder / "test-00000-of-00001.parquet").read_bytes()
        assert dataset.source.files[file] == hashlib.sha256(whole).hexdigest()

    def test_pixels_must_have_one_size(self, tmp_path):
        folder = tmp_path / "uoft-cs/cifar10"
        write_images(folder, {"train": [2]}, "img")
        write(folder / "test-00000-of-00001.parquet", {"img": [encoded(0, (32, 31))], "label": [0]})
        with pytest.raises(ValueError, match=r"test-.*, row 0: images must be of .* \(32, 32\), got \(32, 31\)"):
            data.load("cifar10", tmp_path)

    def test_labels_are_read_without_the_images(self, tmp_path):
        parts = {"train": ["not an image"] * 3, "validation": ["nor this"]}
        for split, values in parts.items():
            columns = {"image": [value.encode() for value in values], "label": list(range(len(values)))}
            write(tmp_path / f"imagenet-1k/data/{split}-00000-of-00001.parquet", columns)
        images = data.load_images("imagenet", tmp_path)
        assert images.labels.tolist() == [0, 1, 2, 0]
        with pytest.raises(OSError, match="cannot identify image"):
            images.images[0]

    @given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4), group=st.integers(1, 4), seed=st.integers(0, 99))
    def test_every_row_is_found_in_any_order(self, tmp_path_factory, sizes, group, seed):
        folder = tmp_path_factory.mktemp("rows")
        n, groups = 0, []
        for i, size in enumerate(sizes):
            values = [b"%d" % (n + j) for j in range(size)]
            pq.write_table(arrow.table({"image": values}), folder / str(i), row_group_size=group)
            groups += [(n + number * group, i, number) for number in range(-(-size // group))]
            n += size
        files = [str(i) for i in range(len(sizes))]
        images = parquet_images.ParquetImages(folder, files, "image", np.array(groups), n)
        starts = np.cumsum([0, *sizes])
        for i in np.random.RandomState(seed).permutation(n).tolist():
            where, row = images._place(i)
            assert images._column(where)[row].as_py() == b"%d" % i
            file = int(np.searchsorted(starts, i, side="right")) - 1
            assert images.name(i) == f"{file}, row {i - starts[file]}"

    def test_a_row_group_is_read_once_and_workers_get_none(self, tmp_path, monkeypatch):
        write_images(tmp_path / "imagenet-1k", {"train": [6], "validation": [1]})
        images = data.load_images("imagenet", tmp_path).images
        opened, calls = parquet_images.opened, []
        monkeypatch.setattr(parquet_images, "opened", lambda path: calls.append(path) or opened(path))
        for i in range(6):
            images[i]
        assert len(calls) == 2
        assert len(images._last) == 1
        copy = pickle.loads(pickle.dumps(images))
        assert copy._last == {}
        np.testing.assert_array_equal(np.asarray(copy[4]), pixels(4))

    def test_images_open_in_a_forked_process(self, tmp_path):
        write_images(tmp_path / "imagenet-1k", {"train": [6], "validation": [1]})
        images = data.load_images("imagenet", tmp_path).images
        images[0]
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(np.asarray(images[5]), pixels(5)) else 1)
        assert os.waitpid(child, 0)[1] == 0
        np.testing.assert_array_equal(np.asarray(images[3]), pixels(3))

    def test_the_checksum_sees_what_changed(self, tmp_path):
        seen = set()
        for parts in ({"train": [3], "validation": [1]}, {"train": [3], "validation": [2]}):
            write_images(tmp_path / "imagenet-1k", parts)
            seen |= {data.load_images("imagenet", tmp_path).source.checksum for _ in range(2)}
        assert len(seen) == 2

    def test_missing_shards(self, tmp_path):
        folder = tmp_path / "imagenet-1k/data"
        write_images(folder, {"train": [1, 1, 1], "validation": [1]})
        (folder / "train-00001-of-00003.parquet").unlink()
        with pytest.raises(ValueError, match=r"all shards of its train part, 00003, got 2: get the others"):
            data.load_images("imagenet", tmp_path)

    def test_two_configurations(self, tmp_path):
        for name in ("one", "two"):
            write_images(tmp_path / "imagenet-1k" / name, {"train": [1], "validation": [1]})
        with pytest.raises(ValueError, match=r"shards in one folder, got .*one, .*two"):
            data.load_images("imagenet", tmp_path)

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"label": [0]}, "must hold images in one of the columns img, image, got label"),
            ({"image": [b"x"]}, "must hold labels in one of the columns fine_label, label, labels, got image"),
            ({"image": [b"x"], "label": [-1]}, "must hold a label of 0 or more in every row, got -1"),
            ({"image": [b"x"], "label": ["cat"]}, "must hold a label of 0 or more in every row, got"),
            ({"image": [b"x", b"y"], "label": [0, None]}, "'label' must have a value in every row, got 1 nulls"),
        ],
    )
    def test_wrong_columns(self, tmp_path, columns, message):
        for split in ("train", "validation"):
            write(tmp_path / f"imagenet-1k/{split}-00000-of-00001.parquet", columns)
        with pytest.raises(ValueError, match=message):
            data.load_images("imagenet", tmp_path)

    def test_an_image_that_is_not_in_the_file(self, tmp_path):
        values = [{"bytes": None, "path": "/elsewhere/0.png"}]
        for split in ("train", "validation"):
            columns = {"image": arrow.array(values, arrow.struct({"bytes": arrow.binary(), "path": arrow.string()}))}
            write(tmp_path / f"imagenet-1k/{split}-00000-of-00001.parquet", {**columns, "label": [0]})
        with pytest.raises(ValueError, match=r"train-.*, row 0: the column 'image' holds no bytes"):
            data.load_images("imagenet", tmp_path).images[0]

    def test_cut_short(self, tmp_path):
        write_images(tmp_path / "imagenet-1k", {"train": [3], "validation": [1]})
        path = tmp_path / "imagenet-1k/train-00000-of-00001.parquet"
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(ValueError, match=r"train-.* must be a whole Parquet file"):
            data.load_images("imagenet", tmp_path)

    def test_without_pyarrow(self, tmp_path, monkeypatch):
        write_images(tmp_path / "imagenet-1k", {"train": [3], "validation": [1]})
        monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
        with pytest.raises(ImportError, match=r"needs pyarrow, which is not installed: pip install pyarrow"):
            data.load_images("imagenet", tmp_path)


class TestFeatures:
    FOLDER = "aaaakash001/cifar10_Vit_large"

    def columns(self, n, seed, feature="features", label="label", dtype="float32"):
        values = np.random.RandomState(seed).normal(size=(n, 4)).astype(dtype)
        column = arrow.array(list(values), arrow.list_(arrow.from_numpy_dtype(values.dtype)))
        return values, {"index": list(range(n)), "img": [b"never read"] * n, feature: column, label: [seed] * n}

    @pytest.mark.parametrize("feature", ["features", "feature", "embedding"])
    @pytest.mark.parametrize("label", ["label", "labels", "fine_label"])
    @pytest.mark.parametrize(("dtype", "kept"), [("float16", "f2"), ("float32", "f4"), ("float64", "f4")])
    def test_with_parts(self, tmp_path, feature, label, dtype, kept):
        every = []
        for seed, (file, n) in enumerate(
            (("train-00000-of-00002", 3), ("train-00001-of-00002", 2), ("test-00000-of-00001", 2))
        ):
            values, columns = self.columns(n, seed, feature, label, dtype)
            every.append(values)
            write(tmp_path / self.FOLDER / f"data/{file}.parquet", columns)
        dataset = data.load("cifar10-vit-large", tmp_path)
        assert dataset.features.dtype == np.dtype(kept)
        np.testing.assert_array_equal(dataset.features, np.concatenate(every).astype(kept))
        assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 2, 2]
        assert [part.tolist() for part in dataset.official_split] == [[0, 1, 2, 3, 4], [5, 6]]
        assert dataset.protocol == "official"
        assert len(dataset.source.files) == 3

    @pytest.mark.parametrize("file", ["train-00000-of-00001.parquet", "everything.parquet"])
    def test_without_parts(self, tmp_path, file):
        values, columns = self.columns(5, 1)
        write(tmp_path / "cifar100_Vit_large" / file, {**columns, "fine_label": [9, 8, 7, 6, 5]})
        dataset = data.load("cifar100-vit-large", tmp_path)
        np.testing.assert_array_equal(dataset.features, values)
        assert (dataset.labels.tolist(), dataset.official_split) == ([9, 8, 7, 6, 5], None)
        assert dataset.protocol == "holdout"

    def test_features_must_have_one_length(self, tmp_path):
        for i, row in enumerate(([1.0, 2.0], [1.0, 2.0, 3.0])):
            write(tmp_path / self.FOLDER / f"train-{i:05}-of-00002.parquet", {"features": [row], "label": [0]})
        with pytest.raises(ValueError, match="must hold features of one length, got 2 lengths"):
            data.load("cifar10-vit-large", tmp_path)
