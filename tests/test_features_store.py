"""The feature store by itself, without torch: what is kept when, what is refused, and what is left after a crash."""

import contextlib
import importlib.metadata
import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import lshcore
from lshcore import data
from lshcore.data import Extraction, ImageSet, Source
from lshcore.data.images import ArrayImages
from lshcore.data.parquet_images import ParquetImages
from lshcore.features import FeatureStore, Skipped, default_directory
from lshcore.features import files as store_files
from lshcore.features import writer as writer_module
from lshcore.features.fingerprint import fingerprint
from lshcore.features.store import read_skipped

N, D = 10, 3


@pytest.fixture
def images():
    pixels = np.random.RandomState(0).randint(0, 256, (N, 4, 4)).astype(np.uint8)
    split = np.arange(7), np.arange(7, N)
    return ImageSet("tiny", "ten images", ArrayImages(pixels), np.arange(N) % 2, Source("here"), "official", split)


@pytest.fixture
def configuration(images):
    return {
        "dataset": images.name,
        "images": N,
        "fingerprint": fingerprint(images),
        "backbone": "own",
        "weights": "given",
        "checksum": "c" * 64,
        "transform": "none",
        "image_size": None,
        "dim": D,
        "dtype": "float32",
        "device": "cpu",
        "bf16": False,
    }


ROWS = np.random.RandomState(1).normal(size=(N, D)).astype(np.float32)


def fill(folder, configuration, images, skip=(), batch=4):
    with FeatureStore.create_or_resume(folder, configuration) as writer:
        while writer.done < N:
            batch_images = range(writer.done, min(writer.done + batch, N))
            skipped = [Skipped(i, str(i), "broken") for i in batch_images if i in skip]
            writer.append(ROWS[[i for i in batch_images if i not in skip]], skipped, seconds=1.0, network_seconds=0.75)
        return writer.finish(images)


class TestWhole:
    def test_nothing_is_copied(self, tmp_path, configuration, images):
        store = fill(tmp_path / "s", configuration, images)
        assert isinstance(store.features, np.memmap)
        np.testing.assert_array_equal(store.features, ROWS)
        dataset = store.to_dataset(images)
        assert dataset.features is store.features
        assert dataset.extraction == Extraction("own", "given", "c" * 64, "none", 1000 * 3 / N, 0)
        assert dataset.source.where == str(tmp_path / "s")
        assert dataset.source.files == {"features.npy": data.dataset.sha256_of(tmp_path / "s" / "features.npy")}
        assert (store.rows, store.skipped) == (None, [])
        assert store.figures["network_share"] == 0.75

    def test_skipped_images_have_no_rows(self, tmp_path, configuration, images):
        store = fill(tmp_path, configuration, images, skip=(0, 5, 9))
        kept = [1, 2, 3, 4, 6, 7, 8]
        assert isinstance(store.features, np.memmap)
        np.testing.assert_array_equal(store.features, ROWS[kept])
        np.testing.assert_array_equal(store.rows, kept)
        assert store.skipped == [Skipped(i, str(i), "broken") for i in (0, 5, 9)]
        dataset = store.to_dataset(images)
        assert dataset.features is store.features
        np.testing.assert_array_equal(dataset.labels, images.labels[kept])
        assert [part.tolist() for part in dataset.official_split] == [[0, 1, 2, 3, 4], [5, 6]]
        assert dataset.extraction.skipped == 3

    def test_the_files_stand_by_themselves(self, tmp_path, configuration, images):
        fill(tmp_path, configuration, images, skip=(5,))
        dataset = data.load(str(tmp_path / "features.npy"), labels=tmp_path / "labels.npy")
        np.testing.assert_array_equal(dataset.features, np.delete(ROWS, 5, axis=0))
        np.testing.assert_array_equal(dataset.labels, np.delete(images.labels, 5))
        assert (tmp_path / "names.txt").read_text().split() == [str(i) for i in range(N) if i != 5]

    def test_the_folder_stands_by_itself(self, tmp_path, configuration, images, monkeypatch):
        named = replace(images, class_names=("even", "odd"))
        store = fill(tmp_path, configuration, named, skip=(0, 5, 9))
        monkeypatch.setattr(data.arrays, "sha256_of", None)  # nothing is read for the checksum
        monkeypatch.setattr(data.checks, "_check_finite", None)
        dataset = data.load(f"{tmp_path}/")
        np.testing.assert_array_equal(dataset.features, store.features)
        np.testing.assert_array_equal(dataset.labels, images.labels[[1, 2, 3, 4, 6, 7, 8]])
        assert (dataset.name, dataset.features_name, dataset.protocol) == ("tiny", "own", "official")
        assert (dataset.class_names, dataset.extraction) == (("even", "odd"), store.extraction)
        assert [part.tolist() for part in dataset.official_split] == [[0, 1, 2, 3, 4], [5, 6]]
        assert dataset.source == store.source == data.load_features(str(tmp_path))[1]
        other = np.arange(7) % 3
        np.save(tmp_path / "other.npy", other)
        relabelled = data.load(str(tmp_path), labels=tmp_path / "other.npy")
        assert (relabelled.labels.tolist(), relabelled.class_names) == (other.tolist(), None)

    def test_a_gallery_of_its_own_is_no_train_part_and_queries(self, tmp_path, configuration, images):
        lists = replace(images, official_gallery=np.arange(3))
        fill(tmp_path, configuration, lists)
        assert data.load(str(tmp_path)).official_split is None

    def test_rows_of_the_same_images(self, tmp_path, configuration, images):
        whole = fill(tmp_path / "a", configuration, images, skip=(5,))
        assert whole.has_rows_of(fill(tmp_path / "b", configuration | {"backbone": "other"}, images, skip=(5,)))
        assert not whole.has_rows_of(fill(tmp_path / "c", configuration, images, skip=(6,)))
        assert not whole.has_rows_of(fill(tmp_path / "d", configuration | {"fingerprint": "e"}, images, skip=(5,)))

    def test_images_without_labels(self, tmp_path, configuration, images):
        fill(tmp_path, configuration, replace(images, labels=None))
        with pytest.raises(ValueError, match="holds features only: give their labels"):
            data.load(str(tmp_path))

    def test_a_meta_file_of_something_else_is_no_store(self, tmp_path):
        for content in ("[1]", "{}", "no json"):
            (tmp_path / "meta.json").write_text(content)
            assert FeatureStore.find(tmp_path) is None

    def test_versions_are_kept(self, tmp_path, configuration, images):
        fill(tmp_path, configuration, images)
        versions = json.loads((tmp_path / "meta.json").read_text())["versions"]
        assert versions["lshcore"] == lshcore.__version__
        assert versions["pillow"] == importlib.metadata.version("pillow")
        assert {"torch", "torchvision"} < set(versions)

    def test_all_skipped(self, tmp_path, configuration, images):
        with pytest.raises(ValueError, match=r"none of the 10 images could be decoded \(0: broken\)"):
            fill(tmp_path, configuration, images, skip=range(N))
        assert len(fill(tmp_path, configuration, images)) == N  # they are tried again

    def test_other_images_are_refused(self, tmp_path, configuration, images):
        store = fill(tmp_path, configuration, images)
        other = ImageSet("other", "", ArrayImages(images.images.pixels[::-1]), images.labels, images.source)
        with pytest.raises(ValueError, match=r"are of other images \('tiny', 10 images\) than 'other'"):
            store.to_dataset(other)

    def test_fingerprint(self, images):
        relabelled = ImageSet("tiny", "", images.images, 1 - images.labels, images.source)
        bare = ImageSet("tiny", "", images.images, None, images.source)
        assert len({fingerprint(each) for each in (images, relabelled, bare)}) == 3

    def test_fingerprint_of_rows_in_files(self, images, tmp_path):
        rows = ParquetImages(tmp_path, ["train.parquet"], "image", np.zeros((1, 3), np.int64), N)
        sources = (Source("here", {"train.parquet": digest}) for digest in ("a", "b"))
        assert len({fingerprint(replace(images, images=rows, source=each)) for each in sources}) == 2


class TestRefused:
    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="there are no features in"):
            FeatureStore.open(tmp_path / "nowhere")

    def test_unfinished(self, tmp_path, configuration):
        with FeatureStore.create_or_resume(tmp_path, configuration) as writer:
            writer.append(ROWS[:4], [])
        with pytest.raises(ValueError, match=r"are unfinished \(4 of 10 images\): run the same extraction again"):
            FeatureStore.open(tmp_path)
        for load in (data.load, data.load_features):  # as a data set or beside one, no rows that are still zeros
            with pytest.raises(ValueError, match=r"are unfinished \(4 of 10 images\)"):
                load(str(tmp_path))
        assert not (tmp_path / "features.npy").exists()

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("backbone", "other", "backbone was own, now other"),
            ("checksum", "d" * 64, r"weights was given \(c+\), now given \(d+\)"),
            ("dtype", "float16", "dtype was float32, now float16"),
            ("bf16", True, "bf16 was False, now True"),
            ("device", "cuda", "device was cpu, now cuda"),
            ("fingerprint", "e" * 64, r"features of other images or labels \('tiny' is not what it was then\)"),
        ],
    )
    def test_another_configuration(self, tmp_path, configuration, key, value, message):
        FeatureStore.create_or_resume(tmp_path, configuration).close()
        with pytest.raises(ValueError, match=message):
            FeatureStore.create_or_resume(tmp_path, configuration | {key: value})

    def test_a_folder_of_something_else(self, tmp_path, configuration):
        np.save(tmp_path / "features.npy", ROWS)
        with pytest.raises(ValueError, match="holds files that are no features of lshcore"):
            FeatureStore.create_or_resume(tmp_path, configuration)
        np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), ROWS)

    @pytest.mark.parametrize("name", ["meta.json", "features.npy"])
    @pytest.mark.parametrize("keep", [0, 0.5, 0.99])
    def test_damaged(self, tmp_path, configuration, images, name, keep):
        fill(tmp_path, configuration, images)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: int(keep * len(whole))])
        with pytest.raises(ValueError, match=r"are damaged: .* remove the folder and extract again"):
            FeatureStore.open(tmp_path)

    def test_damaged_half_way(self, tmp_path, configuration):
        with FeatureStore.create_or_resume(tmp_path, configuration) as writer:
            writer.append(ROWS[:4], [])
        os.truncate(tmp_path / "features.npy.part", 140)
        with pytest.raises(ValueError, match="shorter than what was written"):
            FeatureStore.create_or_resume(tmp_path, configuration)

    def test_newer_version(self, tmp_path, configuration, images):
        fill(tmp_path, configuration, images)
        meta = json.loads((tmp_path / "meta.json").read_text())
        (tmp_path / "meta.json").write_text(json.dumps(meta | {"version": 2}))
        with pytest.raises(ValueError, match="format version 2, and this lshcore reads 1"):
            FeatureStore.open(tmp_path)

    def test_two_writers(self, tmp_path, configuration):
        writer = FeatureStore.create_or_resume(tmp_path, configuration)
        script = (
            "import json, sys; from lshcore.features import FeatureStore\n"
            "try: FeatureStore.create_or_resume(sys.argv[1], json.loads(sys.argv[2]))\n"
            "except RuntimeError as error: print(error)"
        )
        command = [sys.executable, "-c", script, str(tmp_path), json.dumps(configuration)]
        with writer:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.startswith("another process is extracting features into")

    def test_a_writer_that_began_in_between(self, tmp_path, configuration, monkeypatch):
        """Whoever sees an empty folder, and has to wait for the lock, meets what the other has made of it."""
        lock = writer_module.StoreWriter._lock

        def slow(self):
            monkeypatch.setattr(writer_module.StoreWriter, "_lock", lock)
            with FeatureStore.create_or_resume(tmp_path, configuration | {"backbone": "other"}) as first:
                first.append(ROWS[:4], [])
            lock(self)

        monkeypatch.setattr(writer_module.StoreWriter, "_lock", slow)
        with pytest.raises(ValueError, match="backbone was other, now own"):
            FeatureStore.create_or_resume(tmp_path, configuration)

    def test_unwritable(self, tmp_path, configuration):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="there is a file where a folder is needed; choose another"):
            FeatureStore.create_or_resume(tmp_path / "file", configuration)

    def test_no_permission(self, tmp_path, configuration):
        user = os.geteuid()
        tmp_path.chmod(0o500)
        if user == 0:  # to whom nothing is forbidden
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError, match="cannot be written into this folder; mend its permissions, or"):
                FeatureStore.create_or_resume(tmp_path / "s", configuration)
        finally:
            os.seteuid(user)


class Fails:
    """Fails the n-th write, sync or replacement with an error number, as a full or vanished disk does."""

    def __init__(self, monkeypatch, n, number=28):
        self.left, self.number = n, number
        for name in ("write_at", "sync", "allocate"):
            monkeypatch.setattr(store_files, name, self.wrap(getattr(store_files, name)))

    def wrap(self, function):
        def counted(*arguments):
            self.left -= 1
            if self.left == 0:
                raise OSError(self.number, os.strerror(self.number))
            return function(*arguments)

        return counted


class DiskFull(Exception):
    """The one sentence that a full disk is told in."""


def fill_or_fail(folder, configuration, images):
    try:
        fill(folder, configuration, images, skip=(5,))
    except OSError as error:
        if str(error).startswith(
            "[Errno 28] the disk is full; make room and run the same command again to go on, or choose"
        ):
            raise DiskFull from error
        raise


class TestFailure:
    def test_every_write_may_fail(self, tmp_path, configuration, images, monkeypatch):
        failures = 0
        for n in range(1, 200):
            folder = tmp_path / str(n)
            with monkeypatch.context() as patch:
                fails = Fails(patch, n)
                with contextlib.suppress(DiskFull):
                    fill_or_fail(folder, configuration, images)
            if fails.left > 0:
                break
            failures += 1
            store = fill(folder, configuration, images, skip=(5,))
            np.testing.assert_array_equal(store.features, np.delete(ROWS, 5, axis=0))
            assert [each.index for each in store.skipped] == [5]
            shutil.rmtree(folder)
        assert failures == n - 1 > 30

    def test_what_was_counted_is_kept(self, tmp_path, configuration, images, monkeypatch):
        with FeatureStore.create_or_resume(tmp_path, configuration) as writer:
            writer.append(ROWS[:4], [])
            with monkeypatch.context() as patch:
                Fails(patch, 3, 5)
                with pytest.raises(OSError, match="Input/output error"):
                    writer.append(ROWS[4:8], [])
        with FeatureStore.create_or_resume(tmp_path, configuration) as writer:
            assert writer.done == 4

    def test_half_a_line_is_no_skipped_image(self, tmp_path, configuration):
        with FeatureStore.create_or_resume(tmp_path, configuration) as writer:
            writer.append(ROWS[:3], [Skipped(3, "3", "broken")])
        with (tmp_path / "skipped.jsonl").open("ab") as file:
            file.write(b'{"index": 4, "na')
        assert [each.index for each in read_skipped(tmp_path)] == [3]
        with FeatureStore.create_or_resume(tmp_path, configuration) as writer:
            assert [each.index for each in writer.skipped] == [3]

    def test_too_little_room_is_told_at_the_start(self, tmp_path, configuration):
        script = (
            "import json, resource, sys; from lshcore.features import FeatureStore\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
            "try: FeatureStore.create_or_resume(sys.argv[1], json.loads(sys.argv[2]))\n"
            "except OSError as error: print(error)"
        )
        large = configuration | {"images": 100_000}
        command = [sys.executable, "-c", script, str(tmp_path), json.dumps(large)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "files may not grow that large here" in done.stdout
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000

    @pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a small file system")
    def test_full_and_read_only_disks(self, tmp_path, configuration):
        script = (
            "import json, sys; from lshcore.features import FeatureStore\n"
            "try: FeatureStore.create_or_resume(sys.argv[1] + '/s', json.loads(sys.argv[2]))\n"
            "except OSError as error: print(error)"
        )
        large = json.dumps(configuration | {"images": 1_000_000})
        for option, message in (("size=1m", "the disk is full"), ("ro", "the file system is read-only")):
            inside = 'mount -t tmpfs -o "$1" none "$2" || exit 77; exec "$3" -c "$4" "$2" "$5"'
            command = ["unshare", "-m", "sh", "-c", inside, "sh", option, str(tmp_path), sys.executable, script, large]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode != 0:
                pytest.skip(f"cannot mount here: {done.stderr}")
            assert message in done.stdout


class TestDefaultDirectory:
    def test_name_and_place(self, images, tmp_path, monkeypatch):
        monkeypatch.setenv("LSHCORE_CACHE_DIR", str(tmp_path))
        path = default_directory(images, "timm:vit/x")
        assert path.parent == tmp_path / "features"
        assert path.name.startswith("tiny-timm-vit-x-")
        assert len(path.name) == len("tiny-timm-vit-x-") + 8

    def test_whatever_changes_features_changes_it(self, images, tmp_path):
        (tmp_path / "w").write_bytes(b"1")
        others = [
            default_directory(images, "a", cache_dir=tmp_path),
            default_directory(images, "b", cache_dir=tmp_path),
            default_directory(images, "a", image_size=3, cache_dir=tmp_path),
            default_directory(images, "a", weights="random", cache_dir=tmp_path),
            default_directory(images, "a", weights="IMAGENET1K_V1", cache_dir=tmp_path),
            default_directory(images, "a", weights=tmp_path / "w", cache_dir=tmp_path),
            default_directory(images, "a", dtype="float32", cache_dir=tmp_path),
            default_directory(images, "a", bf16=True, cache_dir=tmp_path),
        ]
        assert len(set(others)) == len(others)

    def test_a_file_that_is_not_there(self, images, tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            default_directory(images, "a", weights=tmp_path / "none", cache_dir=tmp_path)
