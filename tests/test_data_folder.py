"""Folders of image files: ImageNet's tree, and any folder of one's own."""

import os
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lshcore import data
from lshcore.data.folder import load_folder
from lshcore.data.listing import Listing, image_files

Image = pytest.importorskip("PIL.Image")

WNIDS = ("n01440764", "n01443537", "n02999410")


def draw(path, seed=0, mode="RGB", format=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (9, 7, 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, format)


def imagenet(root, wnids=WNIDS, train=3, val=2):
    for c, wnid in enumerate(reversed(wnids)):  # made in another order than theirs
        for i in range(train):
            draw(root / f"train/{wnid}/{wnid}_{i}.JPEG", 10 * c + i)
        for i in range(val):
            draw(root / f"val/{wnid}/ILSVRC2012_val_{i:08}.JPEG", 100 + 10 * c + i)


class TestImageNet:
    @pytest.mark.parametrize("folder", ["imagenet", "ILSVRC2012", "."])
    def test_classes_are_wnids_in_order(self, tmp_path, folder):
        imagenet(tmp_path / folder)
        images = data.load_images("imagenet", tmp_path)
        assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 1, 1, 2, 2]
        assert images.labels.dtype == np.int64
        assert [part.tolist() for part in images.official_split] == [list(range(9)), list(range(9, 15))]
        assert images.class_names == WNIDS
        assert (images.protocol, images.backbone) == ("official", "resnet18")
        for i, label in enumerate(images.labels):
            assert images.images.name(i).split("/")[1] == WNIDS[label]
            with images.images[i] as image:
                assert image.size == (7, 9)
        assert data.locate("imagenet", tmp_path) == str(tmp_path / folder) == images.source.where

    def test_odd_files_of_the_real_one(self, tmp_path):
        imagenet(tmp_path)
        draw(tmp_path / f"train/{WNIDS[0]}/a_cmyk.JPEG", mode="CMYK", format="JPEG")
        draw(tmp_path / f"train/{WNIDS[0]}/b_png.JPEG", format="PNG")
        images = data.load_images("imagenet", tmp_path).images
        assert [images.name(i) for i in (0, 1)] == [f"train/{WNIDS[0]}/{name}.JPEG" for name in ("a_cmyk", "b_png")]
        for i, kind in enumerate((("CMYK", "JPEG"), ("RGB", "PNG"))):
            with images[i] as image:
                assert (image.mode, image.format) == kind

    def test_readable_names(self, tmp_path):
        imagenet(tmp_path)
        (tmp_path / "LOC_synset_mapping.txt").write_text(f"{WNIDS[0]} tench, Tinca tinca\n{WNIDS[2]} chain\n")
        assert data.load_images("imagenet", tmp_path).class_names == ("tench, Tinca tinca", WNIDS[1], "chain")

    @pytest.mark.parametrize(("part", "other"), [("train", "val"), ("val", "train")])
    def test_both_parts_must_have_the_same_classes(self, tmp_path, part, other):
        imagenet(tmp_path)
        for path in (tmp_path / part / WNIDS[1]).iterdir():
            path.unlink()
        with pytest.raises(ValueError, match=rf"{part} must .* as .*{other}, but lacks 1, first '{WNIDS[1]}'"):
            data.load_images("imagenet", tmp_path)

    def test_pixels_are_refused(self, tmp_path):
        imagenet(tmp_path)
        with pytest.raises(ValueError, match=r"made by a network \(--backbone resnet18\)"):
            data.load("imagenet", tmp_path)

    def test_a_flat_validation_part_is_not_found(self, tmp_path):
        imagenet(tmp_path / "imagenet", val=0)
        draw(tmp_path / "imagenet/val/ILSVRC2012_val_00000001.JPEG")
        with pytest.raises(data.DatasetNotFound, match=r"imagenet lacks val/n\[0-9\]\*/"):
            data.load_images("imagenet", tmp_path)


class TestOwnFolder:
    def load(self, path):
        return data.load_images(f"folder:{path}")

    def test_a_folder_a_class(self, tmp_path):
        for name in ("dog/b.jpg", "cat/2.PNG", "cat/10.webp", "dog/deep/a.bmp", "notes/readme.txt", "cat/.hidden.jpg"):
            if name.endswith("txt"):
                (tmp_path / "notes").mkdir()
                (tmp_path / name).write_text("no image")
            else:
                draw(tmp_path / name)
        images = self.load(tmp_path)
        assert [images.images.name(i) for i in range(4)] == ["cat/10.webp", "cat/2.PNG", "dog/b.jpg", "dog/deep/a.bmp"]
        assert (images.labels.tolist(), images.class_names) == ([0, 0, 1, 1], ("cat", "dog"))
        assert (images.name, images.protocol, images.official_split) == (tmp_path.name, "holdout", None)

    @pytest.mark.parametrize("query", ["val", "test"])
    def test_train_and_query_parts(self, tmp_path, query):
        for name in ("train/b/0.jpg", "train/a/1.jpg", "train/c/2.jpg", f"{query}/b/3.jpg", f"{query}/c/4.jpg"):
            draw(tmp_path / name)
        images = self.load(tmp_path)
        assert (images.labels.tolist(), images.class_names) == ([0, 1, 2, 1, 2], ("a", "b", "c"))
        assert [part.tolist() for part in images.official_split] == [[0, 1, 2], [3, 4]]
        assert images.protocol == "official"

    def test_queries_of_unknown_classes(self, tmp_path):
        for name in ("train/a/0.jpg", "test/b/1.jpg"):
            draw(tmp_path / name)
        with pytest.raises(ValueError, match=r"train must have images .* but lacks 1, first 'b'"):
            self.load(tmp_path)

    def test_train_alone_is_a_class_like_another(self, tmp_path):
        for name in ("train/0.jpg", "plane/1.jpg"):
            draw(tmp_path / name)
        assert self.load(tmp_path).class_names == ("plane", "train")

    def test_images_without_folders_have_no_labels(self, tmp_path):
        for name in ("b.jpg", "a.gif"):
            draw(tmp_path / name)
        images = self.load(tmp_path)
        assert images.labels is None
        assert [images.images.name(i) for i in range(2)] == ["a.gif", "b.jpg"]
        with pytest.raises(ValueError, match="made by a network"):
            data.load(f"folder:{tmp_path}")
        with pytest.raises(ValueError, match="has no labels"):
            images.with_features(np.zeros((2, 3), np.float32))

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ((), r"must hold images \(\.jpg, .*\), got none"),
            (("a/0.jpg", "1.jpg"), "got 1 directly, first '1.jpg', beside 1 folders, first 'a'"),
        ],
    )
    def test_wrong_folders(self, tmp_path, names, message):
        for name in names:
            draw(tmp_path / name)
        with pytest.raises(ValueError, match=message):
            self.load(tmp_path)

    def test_missing(self, tmp_path):
        with pytest.raises(data.DatasetNotFound, match=r"dataset folder .*gone was not found"):
            self.load(tmp_path / "gone")

    def test_links_are_followed_but_not_in_circles(self, tmp_path):
        draw(tmp_path / "store/0.jpg")
        (tmp_path / "mine/a").mkdir(parents=True)
        (tmp_path / "mine/b").symlink_to(tmp_path / "store")
        (tmp_path / "mine/a/1.jpg").symlink_to(tmp_path / "store/0.jpg")
        (tmp_path / "mine/a/2.jpg").symlink_to(tmp_path / "gone.jpg")
        (tmp_path / "mine/a/loop").symlink_to(tmp_path / "mine")
        images = load_folder(tmp_path / "mine")
        names = [images.images.name(i) for i in range(len(images))]
        assert names == ["a/1.jpg", "a/2.jpg", "a/loop/b/0.jpg", "b/0.jpg"]
        with pytest.raises(FileNotFoundError):
            images.images[1]

    def test_links_that_lead_nowhere_are_images_that_cannot_be_opened(self, tmp_path):
        draw(tmp_path / "mine/a/0.jpg")
        for name in ("mine/a/1.jpg", "mine/b"):  # to themselves
            (tmp_path / name).symlink_to(tmp_path / name)
        os.mkfifo(tmp_path / "pipe")
        for name in ("2.jpg", "3.jpg"):  # opening one would wait for ever
            (tmp_path / "mine/a" / name).symlink_to(tmp_path / "pipe")
        images = load_folder(tmp_path / "mine")
        assert [images.images.name(i) for i in range(len(images))] == ["a/0.jpg", "a/1.jpg"]
        with pytest.raises(OSError, match="symbolic links"):
            images.images[1]

    def test_without_pillow(self, tmp_path, monkeypatch):
        draw(tmp_path / "0.jpg")
        images = load_folder(tmp_path)
        for name in ("PIL", "PIL.Image"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=r'images need Pillow, .* pip install "lshcore\[vision\]"'):
            images.images[0]

    def test_home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        draw(tmp_path / "photos/0.jpg")
        assert len(data.load_images("folder:~/photos")) == 1

    def test_the_checksum_sees_what_changed(self, tmp_path):
        for name in ("a/0.jpg", "b/1.jpg"):
            draw(tmp_path / name)
        before = load_folder(tmp_path).source.checksum
        assert load_folder(tmp_path).source.checksum == before
        with (tmp_path / "a/0.jpg").open("ab") as file:
            file.write(b"!")
        larger = load_folder(tmp_path).source.checksum
        (tmp_path / "a/0.jpg").rename(tmp_path / "a/2.jpg")
        assert len({before, larger, load_folder(tmp_path).source.checksum}) == 3

    def test_names_that_are_no_unicode(self, tmp_path):
        draw(tmp_path / "a/0.jpg")
        os.rename(tmp_path / "a/0.jpg", os.fsencode(tmp_path / "a") + b"/\xff.jpg")
        images = load_folder(tmp_path)
        with images.images[0] as image:
            assert image.size == (7, 9)

    def test_images_go_to_workers(self, tmp_path):
        draw(tmp_path / "a/0.jpg")
        images = pickle.loads(pickle.dumps(load_folder(tmp_path).images))
        with images[0] as image, Image.open(tmp_path / "a/0.jpg") as same:
            np.testing.assert_array_equal(np.asarray(image), np.asarray(same))


class TestListing:
    @given(st.lists(st.tuples(st.text(), st.integers(-1, 2**40))))
    def test_is_a_sequence_of_the_paths(self, files):
        files = [(path.encode("utf-8", "ignore").decode(), size) for path, size in files]
        listing, paths = Listing(files), [path for path, _ in files]
        assert list(listing) == paths
        assert listing[1:] == paths[1:]
        assert (len(paths) == 0) or (listing[-1] == paths[-1])
        with pytest.raises(IndexError):
            listing[len(paths)]

    def test_flat(self, tmp_path):
        for name in ("a/0.jpg", "1.tiff"):
            draw(tmp_path / name)
        assert [path for path, _ in image_files(tmp_path, deep=False)] == ["1.tiff"]
        assert [path for path, _ in image_files(tmp_path)] == ["1.tiff", "a/0.jpg"]
