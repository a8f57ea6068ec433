"""CIFAR's official batches, written by the tests as Python 2 wrote them, and what must not be read from a pickle."""

import hashlib
import importlib.util
import io
import pickle
import re
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from lshcore import data
from lshcore.data import cifar

FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


class Python2Pickler(pickle._Pickler):
    """Protocol 2 with byte strings and the module names of the NumPy of then, as cPickle of Python 2.7 wrote it."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        raw = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(
            b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else pickle.BINSTRING + struct.pack("<i", len(raw)) + raw
        )
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string

    def save_global(self, value, name=None):
        module = value.__module__.replace("numpy._core", "numpy.core")
        self.write(b"c" + f"{module}\n{name or value.__name__}\n".encode())
        self.memoize(value)

    dispatch[type] = dispatch[type(np.empty(0).__reduce__()[0])] = dispatch[type(len)] = save_global


def python2(value):
    out = io.BytesIO()
    Python2Pickler(out, 2).dump(value)
    return out.getvalue()


def write(root, name, monkeypatch, sizes=3):
    """A whole data set of `sizes` images a file, with the table of checksums made to fit; returns images and labels."""
    random = np.random.RandomState(0)
    batches, folder = cifar.BATCHES[name], root / FOLDERS[name]
    folder.mkdir()
    planes, labels, sums = [], [], {}
    for file in (*batches.train, *batches.query):
        n = sizes if isinstance(sizes, int) else sizes[file]
        planes.append(random.randint(0, 256, (n, 3072)).astype(np.uint8))
        labels.append(random.randint(0, 10, n))
        coarse = {"coarse_labels": [0] * n} if name == "cifar100" else {}
        batch = {"batch_label": "a batch", batches.labels: labels[-1].tolist(), "data": planes[-1], **coarse}
        (folder / file).write_bytes(python2({**batch, "filenames": [f"image_{i}.png" for i in range(n)]}))
    (file,) = batches.meta
    (folder / file).write_bytes(python2({batches.names: [f"class {i}" for i in range(10)], "num_vis": 3072}))
    for file in batches.files:
        sums[file] = hashlib.md5((folder / file).read_bytes()).hexdigest()
    official(monkeypatch, name, sums)
    return np.concatenate(planes), np.concatenate(labels)


def official(monkeypatch, name, sums):
    """Make these the official checksums."""
    was = cifar.BATCHES[name]
    parts = {part: {file: sums[file] for file in getattr(was, part)} for part in ("train", "query", "meta")}
    monkeypatch.setitem(cifar.BATCHES, name, cifar.Batches(**parts, labels=was.labels, names=was.names))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
class TestBatches:
    def test_images_labels_and_split(self, tmp_path, monkeypatch, name):
        planes, labels = write(tmp_path, name, monkeypatch)
        dataset = data.load(name, tmp_path)
        assert dataset.features.dtype == np.uint8
        pixels = dataset.features.reshape(-1, 32, 32, 3)
        for channel in range(3):  # the file has all of a channel before the next
            np.testing.assert_array_equal(
                pixels[..., channel].reshape(len(pixels), -1), planes[:, 1024 * channel : 1024 * (channel + 1)]
            )
        np.testing.assert_array_equal(dataset.labels, labels)
        n_query = 3
        assert dataset.official_split[0].tolist() == list(range(len(labels) - n_query))
        assert dataset.official_split[1].tolist() == list(range(len(labels) - n_query, len(labels)))
        assert (dataset.protocol, dataset.class_names[1]) == ("official", "class 1")
        assert data.locate(name, tmp_path) == dataset.source.where == str(tmp_path / FOLDERS[name])
        for file, digest in dataset.source.files.items():
            assert hashlib.sha256((tmp_path / FOLDERS[name] / file).read_bytes()).hexdigest() == digest

    def test_another_checksum_is_refused_before_anything_is_unpickled(self, tmp_path, monkeypatch, name):
        write(tmp_path, name, monkeypatch)
        file = next(iter(cifar.BATCHES[name].query))
        with (tmp_path / FOLDERS[name] / file).open("ab") as out:
            out.write(b"!")
        monkeypatch.setattr(cifar, "_Unpickler", None)
        with pytest.raises(ValueError, match=r"must be the official file, MD5 \w{32}, got MD5 \w{32}") as raised:
            cifar.read_batch(tmp_path / FOLDERS[name] / file, cifar.BATCHES[name].query[file])
        assert file in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_missing_file_is_named_with_every_way_to_get_it(self, tmp_path, monkeypatch, name):
        write(tmp_path, name, monkeypatch)
        file = next(iter(cifar.BATCHES[name].train))
        (tmp_path / FOLDERS[name] / file).unlink()
        with pytest.raises(data.DatasetNotFound, match=rf"{FOLDERS[name]} lacks {file}[;)]") as raised:
            data.load(name, tmp_path)
        for part in ("torchvision.datasets.CIFAR10", "hf download uoft-cs/cifar10", "--revision", "180 MB"):
            assert part in str(raised.value)
        assert "\n" not in str(raised.value)


class Bomb:
    def __reduce__(self):
        return print, ("a pickle ran",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Bomb(), 2), r"it asks for __builtin__\.print"),
        (b"cos\nsystem\n(S'echo ran'\ntR.", r"it asks for os\.system"),
        (pickle.dumps(np.random.RandomState, 2), "it asks for numpy"),
        (b"", "must be a pickle of plain values and arrays"),
        (python2({"data": np.zeros((2, 3072), np.uint8)})[:-400], "must be a pickle of plain values and arrays"),
        (python2([1, 2]), "must hold a dictionary, got list"),
    ],
)
def test_what_a_pickle_may_not_be_even_with_the_right_checksum(tmp_path, capsys, content, message):
    path = tmp_path / "batch"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        cifar.read_batch(path, hashlib.md5(content).hexdigest())
    assert str(path) in str(raised.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"labels": [1, 2]}, "must hold 'data', got labels"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "must hold 'labels', got data"),
        ({"data": np.zeros((2, 3071), np.uint8), "labels": [1, 2]}, r"shape \(2, 3071\) and 2 labels"),
        ({"data": np.zeros((2, 3072), np.float32), "labels": [1, 2]}, "got float32"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, r"shape \(2, 3072\) and 1 labels"),
    ],
)
def test_wrong_contents(tmp_path, monkeypatch, batch, message):
    write(tmp_path, "cifar10", monkeypatch)
    path = tmp_path / FOLDERS["cifar10"] / "data_batch_3"
    path.write_bytes(python2(batch))
    sums = {
        file: md5
        for part in ("train", "query", "meta")
        for file, md5 in getattr(cifar.BATCHES["cifar10"], part).items()
    }
    official(monkeypatch, "cifar10", {**sums, "data_batch_3": hashlib.md5(path.read_bytes()).hexdigest()})
    with pytest.raises(ValueError, match=message) as raised:
        data.load("cifar10", tmp_path)
    assert "data_batch_3" in str(raised.value)


def test_the_official_checksums_are_those_of_torchvision():
    found = importlib.util.find_spec("torchvision")
    if found is None:
        pytest.skip("torchvision is not installed")
    source = (Path(found.origin).parent / "datasets/cifar.py").read_text()  # importing it takes seconds
    published = dict(re.findall(r'\["(\w+)", "(\w{32})"\]', source))
    published |= dict(re.findall(r'"filename": "([\w.]+)",\s+"key": "\w+",\s+"md5": "(\w{32})"', source))
    ours = {}
    for batches in cifar.BATCHES.values():
        ours |= {**batches.train, **batches.query, **batches.meta}
    assert ours == published
