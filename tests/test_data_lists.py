"""List files of NUS-WIDE and of 100 classes of ImageNet, with every kind of path that repositories wrote into them."""

import numpy as np
import pytest

from lshcore import data
from lshcore.data.images import FileImages
from lshcore.data.lists import leading_parts, read_list

PREFIXES = ("", "./", "./data/nuswide_21/", "/home/author/datasets/nus/")


@pytest.fixture(autouse=True)
def _no_data_dir(monkeypatch):
    monkeypatch.delenv("LSHCORE_DATA_DIR", raising=False)


def flags(rows, n):
    out = np.zeros((len(rows), n), int)
    for i, labels in enumerate(rows):
        out[i, list(labels)] = 1
    return out


def write_list(path, names, values, prefix=""):
    lines = [f"{prefix}{name} {' '.join(map(str, row))}\n" for name, row in zip(names, values, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))


def nuswide(root, n=21, prefixes=("", "", ""), missing=()):
    """Six images: two train, one query, and a gallery of four with one of the train part in it."""
    labels = flags([(0,), (0, 1), (1, 20), (2,), (0, 20), (3,)], n)
    parts = {"train.txt": [4, 1], "test.txt": [3], "database.txt": [5, 1, 0, 2]}
    for (name, rows), prefix in zip(parts.items(), prefixes, strict=True):
        write_list(root / name, [f"images/{i}_m.jpg" for i in rows], labels[rows], prefix)
    (root / "images").mkdir()
    for i in set(range(6)) - set(missing):
        (root / f"images/{i}_m.jpg").write_bytes(bytes(i + 1))
    return labels


class TestNusWide:
    @pytest.mark.parametrize("prefix", PREFIXES)
    @pytest.mark.parametrize("other", PREFIXES)
    def test_parts_and_labels_whatever_the_paths(self, tmp_path, prefix, other):
        labels = nuswide(tmp_path / "nuswide_21", prefixes=(prefix, other, prefix))
        images = data.load_images("nuswide-21", tmp_path)
        order = [4, 1, 3, 5, 0, 2]  # train, queries, then what is only in the gallery
        assert [images.images.name(i) for i in range(6)] == [f"images/{i}_m.jpg" for i in order]
        assert images.labels.dtype == np.bool_
        np.testing.assert_array_equal(images.labels, labels[order] == 1)
        assert [part.tolist() for part in images.official_split] == [[0, 1], [2]]
        assert images.official_gallery.tolist() == [1, 3, 4, 5]
        assert images.official_gallery.dtype == np.int64
        assert images.protocol == "nuswide-21"
        assert {"train.txt", "test.txt", "database.txt"} < set(images.source.files)

    def test_lists_that_windows_wrote(self, tmp_path):
        nuswide(tmp_path / "nuswide_21")
        expected = data.load_images("nuswide-21", tmp_path)
        for path in (tmp_path / "nuswide_21").glob("*.txt"):
            lines = path.read_text().splitlines()
            path.write_bytes(("\ufeff" + "  \r\n".join([*lines, lines[0]]) + " \r\n\r\n").encode())
        images = data.load_images("nuswide-21", tmp_path)
        assert list(images.images.paths) == list(expected.images.paths)
        np.testing.assert_array_equal(images.labels, expected.labels)
        for mine, other in zip(images.official_split, expected.official_split, strict=True):
            np.testing.assert_array_equal(mine, other)  # an image that is listed twice is one

    def test_81_labels(self, tmp_path):
        nuswide(tmp_path / "nuswide_81", 81)
        assert data.load_images("nuswide-81", tmp_path).labels.shape == (6, 81)

    def test_missing_images_are_counted(self, tmp_path):
        nuswide(tmp_path / "nuswide_21", missing=(1, 2))
        with pytest.raises(data.DatasetNotFound, match=r"2 of the 6 listed images .* first images/1_m\.jpg") as raised:
            data.load_images("nuswide-21", tmp_path)
        assert "\n" not in str(raised.value)

    def test_missing_list(self, tmp_path):
        nuswide(tmp_path / "nuswide_21")
        (tmp_path / "nuswide_21/database.txt").unlink()
        with pytest.raises(data.DatasetNotFound, match=r"nuswide_21 lacks database\.txt"):
            data.load_images("nuswide-21", tmp_path)

    def test_labels_must_agree(self, tmp_path):
        nuswide(tmp_path / "nuswide_21")
        write_list(tmp_path / "nuswide_21/database.txt", ["images/1_m.jpg"], flags([(5,)], 21))
        with pytest.raises(ValueError, match=r"database\.txt must give images/1_m\.jpg the labels that another list"):
            data.load_images("nuswide-21", tmp_path)

    def test_the_gallery_follows_the_images_that_gave_features(self, tmp_path):
        nuswide(tmp_path / "nuswide_21")
        images = data.load_images("nuswide-21", tmp_path)
        rows = np.array([0, 2, 3, 5])
        dataset = images.with_features(np.zeros((4, 2), np.float32), rows=rows)
        assert [part.tolist() for part in dataset.official_split] == [[0], [1]]
        assert dataset.official_gallery.tolist() == [2, 3]
        whole = images.with_features(np.zeros((6, 2), np.float32))
        assert whole.official_gallery.tolist() == images.official_gallery.tolist()


class TestImageNet100:
    def write(self, root, rows):
        values = flags(rows, 100)
        for i, name in enumerate(("train.txt", "test.txt", "database.txt")):
            path = f"{'val' if i == 1 else 'train'}/{i}.JPEG"
            write_list(root / name, [path], values[[i]], "/data/imagenet/")
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_bytes(b"x")

    def test_one_label_an_image(self, tmp_path):
        self.write(tmp_path / "imagenet100", [(7,), (99,), (0,)])
        images = data.load_images("imagenet100", tmp_path)
        assert (images.labels.tolist(), images.labels.dtype) == ([7, 99, 0], np.int64)
        assert (images.official_gallery.tolist(), images.protocol) == ([2], "imagenet100")

    @pytest.mark.parametrize(("odd", "known"), [(None, True), ("n00000050/1", False), ("elsewhere/7", False)])
    def test_classes_are_called_as_the_paths_call_them(self, tmp_path, odd, known):
        root = tmp_path / "imagenet100"
        paths = [f"train/n{label:08}/{label}" for label in range(100)] + ["train/n00000005/x", "val/y"]
        if odd is not None:
            paths[7] = f"train/{odd}"
        values = flags([(label,) for label in range(100)] + [(5,), (6,)], 100)
        for name, rows in (("train.txt", [100]), ("test.txt", [101]), ("database.txt", [*range(101)])):
            write_list(root / name, [f"{paths[i]}.JPEG" for i in rows], values[rows])
        for path in paths:
            (root / f"{path}.JPEG").parent.mkdir(parents=True, exist_ok=True)
            (root / f"{path}.JPEG").write_bytes(b"x")
        expected = tuple(f"n{label:08}" for label in range(100)) if known else None
        assert data.load_images("imagenet100", tmp_path).class_names == expected

    @pytest.mark.parametrize(("labels", "count"), [((1, 2), 2), ((), 0)])
    def test_not_one_label(self, tmp_path, labels, count):
        self.write(tmp_path / "imagenet100", [(7,), labels, (0,)])
        with pytest.raises(ValueError, match=rf"every image must have one label, got {count} at val/1\.JPEG"):
            data.load_images("imagenet100", tmp_path)


class TestReading:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "must list at least one image"),
            ("a.jpg 1 0\n\nb.jpg 1\n", r"line 3: must be a path and 2 flags of 0 or 1, got 'b\.jpg 1'"),
            ("a.jpg 1 0 1\n", "line 1: must be"),
            ("a.jpg 1 2\n", "line 1: must be"),
            ("a.jpg 3\n", "line 1: must be"),
            ("a.jpg 10\n", "line 1: must be"),
        ],
    )
    def test_broken_lists_are_named_with_the_line(self, tmp_path, text, message):
        path = tmp_path / "train.txt"
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as raised:
            read_list(path, 2)
        assert str(path) in str(raised.value)

    def test_absolute_paths_that_exist_stay(self, tmp_path):
        (tmp_path / "far").mkdir()
        (tmp_path / "far/0.jpg").write_bytes(b"x")
        root = tmp_path / "root"
        root.mkdir()
        path = str(tmp_path / "far/0.jpg")
        assert leading_parts(root, [path]) == 0
        assert FileImages(root, [path]).root / path == tmp_path / "far/0.jpg"

    def test_a_missing_first_image_does_not_decide(self, tmp_path):
        (tmp_path / "1.jpg").write_bytes(b"x")
        assert leading_parts(tmp_path, ["a/b/0.jpg", "a/b/1.jpg"]) == 2
        assert leading_parts(tmp_path, ["a/b/0.jpg"]) == 0
