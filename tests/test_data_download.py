"""Downloads: never offline, and one line for everything that can go wrong. No test leaves the machine."""

import errno
import hashlib
import os
import sys
import types
from pathlib import Path

import pytest

from lshcore import data
from lshcore.data import download
from test_data import write_mnist


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    for name in ("LSHCORE_DATA_DIR", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def torchvision(monkeypatch):
    """A torchvision whose data sets do what the test says."""
    module = types.ModuleType("torchvision.datasets")
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    return module


@pytest.fixture
def hub(monkeypatch):
    """A huggingface_hub that records its calls and does what the test says."""
    module = types.ModuleType("huggingface_hub")
    module.calls = []
    module.snapshot_download = lambda *args, **options: module.calls.append((args, options))
    module.siblings = None
    module.HfApi = lambda: types.SimpleNamespace(
        dataset_info=lambda name, **options: types.SimpleNamespace(sha="c0ffee", siblings=module.siblings)
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


def failing(error):
    def dataset(*args, **options):
        raise error

    return dataset


class TestOffline:
    @pytest.fixture(autouse=True)
    def _no_way(self, monkeypatch):
        def touched(*args):
            raise AssertionError("the network was touched")

        monkeypatch.setattr(download, "_WAYS", {"torchvision": touched, "hub": touched})

    @pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100-vit-large", "imagenet"])
    @pytest.mark.parametrize("variable", [None, "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
    def test_nothing_is_downloaded(self, tmp_path, monkeypatch, name, variable):
        if variable:
            monkeypatch.setenv(variable, "1")
        with pytest.raises(
            data.DatasetNotFound, match=rf"nothing was downloaded, as {variable or 'offline'} is set"
        ) as raised:
            data.fetch(name, tmp_path / "new", offline=variable is None)
        message = str(raised.value)
        assert data.CATALOGUE[name].obtain in message
        assert "\n" not in message
        assert not (tmp_path / "new").exists()

    def test_zero_is_online(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        with pytest.raises(data.DatasetNotFound, match="the network was touched"):
            data.fetch("mnist", tmp_path)

    def test_what_is_there_is_not_fetched(self, tmp_path):
        write_mnist(tmp_path / "MNIST/raw")
        assert data.fetch("mnist", tmp_path) == str(tmp_path / "MNIST/raw")

    @pytest.mark.parametrize("name", ["nuswide-21", "nuswide-81", "imagenet100", "digits", "folder:x", "x.npz"])
    def test_what_nobody_offers(self, tmp_path, name):
        assert data.fetch(name, tmp_path) is None

    def test_unknown_name(self):
        with pytest.raises(ValueError, match="got 'imagenette'"):
            data.fetch("imagenette")

    def test_no_directory(self):
        with pytest.raises(data.DatasetNotFound, match="neither --data-dir nor LSHCORE_DATA_DIR is set"):
            data.fetch("mnist")


class TestTorchvision:
    def test_fetches_into_the_data_directory(self, tmp_path, monkeypatch, torchvision):
        torchvision.MNIST = lambda root, train, download: write_mnist(Path(root) / "MNIST/raw", "")
        monkeypatch.setenv("LSHCORE_DATA_DIR", str(tmp_path / "new/data"))
        assert data.fetch("mnist") == str(tmp_path / "new/data/MNIST/raw")
        assert len(data.load("mnist")) == 17

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (RuntimeError("File not found or corrupted."), r"torchvision:MNIST: File not found or corrupted\."),
            (RuntimeError("Error downloading:\nTried a\nTried b\n"), "Error downloading: Tried a Tried b"),
            (ConnectionError("refused"), "torchvision:MNIST: refused"),
            (OSError(), "torchvision:MNIST: OSError"),
        ],
    )
    def test_a_failure_is_one_line_with_the_recipe(self, tmp_path, torchvision, error, message):
        torchvision.MNIST = failing(error)
        with pytest.raises(data.DatasetNotFound, match=message) as raised:
            data.fetch("mnist", tmp_path)
        said = str(raised.value)
        assert said.startswith("dataset 'mnist' was not found")
        assert data.CATALOGUE["mnist"].obtain in said
        assert "\n" not in said

    def test_other_files_than_expected(self, tmp_path, torchvision):
        torchvision.MNIST = lambda *args, **options: None
        with pytest.raises(data.DatasetNotFound, match="it brought other files than expected"):
            data.fetch("mnist", tmp_path)

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_full_disk(self, tmp_path, torchvision, number):
        torchvision.CIFAR10 = failing(OSError(number, os.strerror(number)))
        with pytest.raises(OSError, match=r"no space is left in .*, and it takes 180 MB .*: give another") as raised:
            data.fetch("cifar10", tmp_path)
        assert not isinstance(raised.value, data.DatasetNotFound)
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
    def test_read_only(self, tmp_path, torchvision, number):
        torchvision.CIFAR10 = failing(OSError(number, os.strerror(number)))
        with pytest.raises(OSError, match=r"nothing can be written into .*: give another directory with --data-dir"):
            data.fetch("cifar10", tmp_path)

    @pytest.mark.parametrize("below", ["", "below"])
    def test_a_file_in_the_place_of_the_directory(self, tmp_path, torchvision, below):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="nothing can be written into"):
            data.fetch("cifar10", tmp_path / "file" / below)

    def test_no_torchvision(self, tmp_path, monkeypatch):
        for name in ("torchvision", "torchvision.datasets", "huggingface_hub"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(data.DatasetNotFound) as raised:
            data.fetch("cifar10", tmp_path)
        for part in ("a torchvision that fits the installed torch", "huggingface_hub, which is not installed: pip"):
            assert part in str(raised.value)


class TestHub:
    NAME, REPOSITORY = "cifar10", "uoft-cs/cifar10"

    def test_the_second_source_is_tried_at_its_commit(self, tmp_path, torchvision, hub):
        torchvision.CIFAR10 = failing(ConnectionError("refused"))

        def snapshot(*args, **options):
            hub.calls.append((args, options))
            for split in ("train", "test"):
                path = options["local_dir"] / f"plain_text/{split}-00000-of-00001.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"")

        hub.snapshot_download = snapshot
        folder = tmp_path / self.REPOSITORY
        assert data.fetch(self.NAME, tmp_path) == str(folder)
        ((repository,), options) = hub.calls[0]
        assert (repository, options["repo_type"]) == (self.REPOSITORY, "dataset")
        assert options["revision"] == "0b2714987fa478483af9968de7c934580d0bb9a2"
        assert "*/train-*.parquet" in options["allow_patterns"]
        assert (folder / ".lshcore-revision").read_text() == f"{self.REPOSITORY} {options['revision']}\n"

    def test_no_commit_is_the_newest_which_is_written_down(self, tmp_path, hub):
        folder = tmp_path / "aaaakash001/cifar10_Vit_large"

        def snapshot(*args, **options):
            hub.calls.append(options)
            (folder / "train-00000-of-00001.parquet").write_bytes(b"")

        hub.snapshot_download = snapshot
        assert data.fetch("cifar10-vit-large", tmp_path) == str(folder)
        assert hub.calls[0]["revision"] == "c0ffee"
        assert (folder / ".lshcore-revision").read_text() == "aaaakash001/cifar10_Vit_large c0ffee\n"

    def test_what_was_interrupted_is_gone_on_with(self, tmp_path, hub):
        folder = tmp_path / "aaaakash001/cifar10_Vit_large"

        def snapshot(*args, **options):
            hub.calls.append(options)
            (folder / f"train-{len(hub.calls) - 1:05}-of-00002.parquet").write_bytes(b"")
            if len(hub.calls) == 1:
                raise KeyboardInterrupt

        hub.snapshot_download = snapshot
        with pytest.raises(KeyboardInterrupt):
            data.fetch("cifar10-vit-large", tmp_path)
        for _ in range(2):
            assert data.fetch("cifar10-vit-large", tmp_path) == str(folder)
        assert len(hub.calls) == 2

    def test_wrong_checksum(self, tmp_path, hub):
        folder = tmp_path / "aaaakash001/cifar10_Vit_large"
        path = folder / "train-00000-of-00001.parquet"

        def snapshot(*args, **options):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"right" if hub.calls else b"wrong")
            hub.calls.append(options)

        def sibling(name, lfs):
            return types.SimpleNamespace(rfilename=name, lfs=lfs)

        digest = types.SimpleNamespace(sha256=hashlib.sha256(b"right").hexdigest())
        hub.siblings = [sibling("README.md", None), sibling("other.bin", digest), sibling(path.name, digest)]
        hub.snapshot_download = snapshot
        with pytest.raises(data.DatasetNotFound, match=r"train-00000-of-00001.parquet came with a wrong SHA-256"):
            data.fetch("cifar10-vit-large", tmp_path)
        assert not path.exists()
        assert data.fetch("cifar10-vit-large", tmp_path) == str(folder)

    def test_gated_sets_are_left_to_their_users(self, tmp_path, hub):
        hub.snapshot_download = lambda *args, **options: hub.calls.append(args) or failing(ConnectionError("refused"))()
        with pytest.raises(data.DatasetNotFound, match="hub:evanarlian/"):
            data.fetch("imagenet", tmp_path)
        assert hub.calls == [("evanarlian/imagenet_1k_resized_256",)]

    def test_the_real_hub_unreachable(self, tmp_path, run_python):
        pytest.importorskip("huggingface_hub")
        script = f"""
from lshcore import data
try:
    data.fetch("cifar100-vit-large", {str(tmp_path)!r})
except data.DatasetNotFound as error:
    print(error)
"""
        said = run_python(script, HF_ENDPOINT="http://127.0.0.1:9", NO_PROXY="127.0.0.1")
        assert said.count("\n") == 1
        assert "downloading it failed (hub:aaaakash001/cifar100_Vit_large@: " in said


def test_the_real_torchvision_from_a_server_on_this_machine(tmp_path, run_python):
    """Right and wrong checksums, and a server without the file, through torchvision's own code."""
    pytest.importorskip("torchvision", exc_type=Exception)
    write_mnist(tmp_path / "served")
    resources = [[p.name, hashlib.md5(p.read_bytes()).hexdigest()] for p in sorted((tmp_path / "served").iterdir())]
    script = f"""
import http.server, threading, functools
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass
handler = functools.partial(Quiet, directory={str(tmp_path / "served")!r})
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
from torchvision.datasets import MNIST
from lshcore import data
resources = {resources!r}
MNIST.mirrors = [f"http://127.0.0.1:{{server.server_port}}/"]
wrong = [[file, "0" * 32] for file, _ in resources]
for folder, wanted in (("right", resources), ("wrong", wrong), ("none", [["x.gz", None]])):
    MNIST.resources = wanted
    try:
        print(data.fetch("mnist", {str(tmp_path)!r} + "/" + folder), flush=True)
    except data.DatasetNotFound as error:
        print(error, flush=True)
"""
    right, wrong, none = run_python(script, NO_PROXY="127.0.0.1").splitlines()
    assert right == str(tmp_path / "right/MNIST/raw")
    assert len(data.load("mnist", tmp_path / "right")) == 17
    assert "File not found or corrupted" in wrong
    assert "404" in none
