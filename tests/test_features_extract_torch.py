"""Extraction from real image files: what it gives, what it skips, and that it can be stopped at any moment."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lshcore.cli.extract import extract_command
from lshcore.data import ImageSet, Source
from lshcore.data.images import ArrayImages, FileImages
from lshcore.features import Backbone, FeatureStore, backbone, cached, extract, network

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
Image = pytest.importorskip("PIL.Image")

STORED = ("features.npy", "labels.npy", "rows.npy", "names.txt", "skipped.jsonl")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Images this small are not worth two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """80 images of many kinds in two folders, five of which are broken."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.RandomState(0)
    for i in range(80):
        path = root / f"class{i % 2}" / f"{i:03}.JPEG"
        path.parent.mkdir(exist_ok=True)
        coarse = Image.fromarray(rng.randint(0, 256, (4, 5, 3)).astype(np.uint8))
        image = coarse.resize((60 + i % 7, 50), Image.Resampling.BICUBIC)
        if i == 6:
            image.save(path, format="PNG")
        elif i == 13:
            image.convert("CMYK").save(path)
        elif i == 20:
            Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257).save(path, format="PNG")
        elif i == 27:
            image.quantize(8).save(path, format="PNG", transparency=1)
        elif i == 34:
            image.convert("LA").save(path, format="PNG")
        else:
            (image.convert("L") if i == 41 else image).save(path)
    for i, content in ((9, b""), (10, b"no picture"), (11, b"\xff\xd8\xff\xe0" + bytes(90))):
        (root / f"class{i % 2}" / f"{i:03}.JPEG").write_bytes(content)
    for i in (50, 79):
        path = root / f"class{i % 2}" / f"{i:03}.JPEG"
        path.write_bytes(path.read_bytes()[:-200])
    return root


BROKEN = [9, 10, 11, 50, 79]
KEPT = [i for i in range(80) if i not in BROKEN]


def image_set(root, n=80):
    paths = [f"class{i % 2}/{i:03}.JPEG" for i in range(n)]
    return ImageSet("tree", "made up", FileImages(root, paths), np.arange(n) % 2, Source(str(root)))


@pytest.fixture(scope="module")
def resnet():
    return backbone("resnet18", "random", 32)


@pytest.fixture(scope="module")
def whole(tree, resnet, tmp_path_factory):
    return extract(image_set(tree), resnet, tmp_path_factory.mktemp("whole") / "s", batch_size=16, workers=1)


class TestExtract:
    def test_every_image_but_the_broken_ones(self, whole, tree, resnet):
        assert whole.features.shape == (75, 512)
        assert whole.features.dtype == np.float16
        assert [(each.index, each.name) for each in whole.skipped] == [(i, f"class{i % 2}/{i:03}.JPEG") for i in BROKEN]
        assert all(each.reason for each in whole.skipped)
        np.testing.assert_array_equal(whole.rows, KEPT)
        with torch.inference_mode(), Image.open(tree / "class1/001.JPEG") as image:
            expected = resnet.module(resnet.prepare(image).unsqueeze(0)).numpy()[0]
        np.testing.assert_allclose(whole.features[1], expected, rtol=2e-3, atol=1e-4)

    def test_as_a_data_set(self, whole, tree):
        dataset = whole.to_dataset(image_set(tree))
        assert (dataset.features_name, dataset.extraction.skipped, len(dataset)) == ("resnet18", 5, 75)
        np.testing.assert_array_equal(dataset.labels, [i % 2 for i in KEPT])
        assert 0 < whole.figures["network_share"] < 1

    @pytest.mark.parametrize("workers", [0, 2])
    def test_workers_change_nothing(self, whole, tree, resnet, tmp_path, workers):
        store = extract(image_set(tree), resnet, tmp_path, batch_size=16, workers=workers)
        for name in STORED:
            assert (tmp_path / name).read_bytes() == (whole.path / name).read_bytes()
        assert store.checksums == whole.checksums

    def test_finished_is_finished(self, whole, tree, resnet):
        before = {path.name: path.stat().st_mtime_ns for path in whole.path.iterdir()}
        asked = []
        again = extract(image_set(tree), resnet, whole.path, batch_size=16, progress=lambda *told: asked.append(told))
        assert {path.name: path.stat().st_mtime_ns for path in whole.path.iterdir()} == before
        assert (asked, again.checksums) == ([], whole.checksums)

    def test_another_configuration(self, whole, tree, resnet):
        with pytest.raises(ValueError, match="dtype was float16, now float32"):
            extract(image_set(tree), resnet, whole.path, dtype="float32")
        with pytest.raises(ValueError, match="bf16 was False, now True"):
            extract(image_set(tree), resnet, whole.path, bf16=True)
        with pytest.raises(ValueError, match="image_size was 32, now 40"):
            extract(image_set(tree), backbone("resnet18", "random", 40), whole.path)
        with pytest.raises(ValueError, match="images was 80, now 70"):
            extract(image_set(tree, 70), resnet, whole.path)

    def test_strict(self, whole, tree, resnet, tmp_path):
        with pytest.raises(
            ValueError, match=r"image class1/009\.JPEG cannot be decoded .*strict extraction skips none"
        ):
            extract(image_set(tree), resnet, tmp_path, strict=True, workers=0)
        with pytest.raises(ValueError, match=r"image class1/009\.JPEG cannot be decoded"):
            extract(image_set(tree), resnet, whole.path, strict=True)

    def test_progress(self, tree, resnet, tmp_path):
        told = []
        extract(image_set(tree), resnet, tmp_path, batch_size=32, progress=lambda *each: told.append(each), workers=0)
        assert [share for share, _ in told] == [0.4, 0.8, 1.0]
        assert re.fullmatch(r"32 of 80 images, [\d.,]+ images/s", told[0][1])

    def test_bfloat16(self, whole, tree, resnet, tmp_path):
        store = extract(image_set(tree, 9), resnet, tmp_path, bf16=True, workers=0)
        assert 0.99 < store.figures["bf16_cosine"] < 1.0001
        assert store.figures["bf16_speedup"] > 0
        assert store.configuration["bf16"]
        difference = store.features.astype(np.float32) - whole.features[:9]
        assert 0 < np.abs(difference).max() < 0.2
        extract(image_set(tree, 9), resnet, tmp_path)  # the precision of a store stays what it was

    @pytest.mark.parametrize(("speedup", "chosen"), [(1.1, False), (1.3, True)])
    def test_bfloat16_where_a_cpu_gains(self, tree, resnet, tmp_path, monkeypatch, speedup, chosen):
        seconds = iter([speedup, 1.0])
        monkeypatch.setattr(network, "_TRY_FROM", 9)
        monkeypatch.setattr(network, "_timed", lambda network, images: (network(images), next(seconds)))
        store = extract(image_set(tree, 9), resnet, tmp_path, workers=0, device="cpu")
        assert store.configuration["bf16"] is chosen
        assert store.figures["bf16_speedup"] == speedup

    def test_features_of_another_device_are_still_features(self, whole, tree, resnet, tmp_path):
        shutil.copytree(whole.path, tmp_path / "s")
        meta = json.loads((tmp_path / "s" / "meta.json").read_text())
        meta["configuration"]["device"] = "cuda"
        (tmp_path / "s" / "meta.json").write_text(json.dumps(meta))
        assert len(extract(image_set(tree), resnet, tmp_path / "s")) == 75
        with pytest.raises(ValueError, match="device was cuda, now cpu"):
            extract(image_set(tree), resnet, tmp_path / "s", device="cpu")

    def test_arrays(self, resnet, tmp_path):
        pixels = np.random.RandomState(0).randint(0, 256, (5, 28, 28)).astype(np.uint8)
        images = ImageSet("digits", "", ArrayImages(pixels), None, Source("memory"))
        store = extract(images, resnet, tmp_path, dtype="float32", workers=1)
        assert (store.features.shape, store.features.dtype) == ((5, 512), np.float32)
        assert not (tmp_path / "labels.npy").exists()

    def test_a_disk_that_is_gone(self, tree, resnet, tmp_path):
        paths = [f"class{i % 2}/{i:03}.JPEG" for i in range(16)] + [f"gone/{i}" for i in range(40)]
        images = ImageSet("tree", "", FileImages(tree, paths), None, Source("here"))
        with pytest.raises(OSError, match=r"16 images in a row could not be read, the last of them gone/15 \(No such"):
            extract(images, resnet, tmp_path, batch_size=16, workers=0)

    def test_features_that_are_no_numbers(self, tree, tmp_path):
        class Scaled(torch.nn.Module):
            def forward(self, images):
                return images.flatten(1)[:, :4] * self.scale

        def prepare(image):
            return torch.ones(3, 2, 2)

        module = Scaled()
        module.scale = 1e5
        made = Backbone.of(module, prepare, transform="ones")
        with pytest.raises(
            ValueError, match="features of image 0 are too large for float16: extract with --dtype float32"
        ):
            extract(image_set(tree), made, tmp_path / "a", workers=0)
        module.scale = float("nan")
        with pytest.raises(ValueError, match="no finite features for image 0"):
            extract(image_set(tree), made, tmp_path / "b", workers=0)

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_transform_that_fails_is_one_line(self, tree, tmp_path, workers):
        def prepare(image):
            if image.width == 63:
                raise ValueError("not so wide")
            return torch.zeros(3, 2, 2)

        made = Backbone.of(torch.nn.Flatten(), prepare)
        with pytest.raises(RuntimeError) as raised:
            extract(image_set(tree), made, tmp_path, workers=workers)
        assert str(raised.value) == "the transform failed on image 'class1/003.JPEG': not so wide"

    def test_a_worker_that_dies(self, tree, tmp_path):
        parent = os.getpid()

        def prepare(image):
            if image.width == 63 and os.getpid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)
            return torch.zeros(3, 2, 2)

        made = Backbone.of(torch.nn.Flatten(), prepare, transform="zeros")
        with pytest.raises(
            RuntimeError, match=r"a process that decodes images was ended by the system.*fewer --workers"
        ):
            extract(image_set(tree), made, tmp_path, workers=1, batch_size=8)
        assert len(extract(image_set(tree), made, tmp_path, workers=0, batch_size=8)) == 75

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"dtype": "float64"}, "dtype must be one of 'float16', 'float32'"),
            ({"device": "tpu"}, "device must be one of 'cpu', 'cuda'"),
            ({"batch_size": 0}, "batch_size must be at least 1"),
            ({"workers": -1}, "workers must be between 0 and 1024"),
        ],
    )
    def test_arguments(self, tree, resnet, tmp_path, options, message):
        with pytest.raises(ValueError, match=message):
            extract(image_set(tree), resnet, tmp_path, **options)


# Runs extractions in children of its own, so that torch is imported once for all of them.
SERVER = """
import os, sys, traceback
from pathlib import Path
import numpy as np
import torch
from lshcore.data import ImageSet, Source
from lshcore.data.images import FileImages
from lshcore.features import Backbone, extract

torch.set_num_threads(1)

def prepare(image):
    return torch.from_numpy(np.array(image.resize((64, 64)))).permute(2, 0, 1) / 255

def work(root, folder, workers):
    paths = [f"class{i % 2}/{i:03}.JPEG" for i in range(80)] * 3
    images = ImageSet("tree", "made up", FileImages(Path(root), paths), np.arange(240) % 2, Source(root))
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 5, 2), torch.nn.ReLU(), torch.nn.Conv2d(32, 48, 3, 2), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(),
    )
    own = Backbone.of(module, prepare, transform="resize 64")
    extract(images, own, folder, batch_size=4, workers=int(workers))

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.setsid()
        sys.stderr = open(line.split()[1] + ".stderr", "w")
        try:
            work(*line.split())
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Server:
    """Extractions of the tree in processes that can be killed."""

    def __init__(self, tree):
        self.tree = tree
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder, workers, chance=None, number=None):
        """Begin or go on; if a signal is given, send it at a random moment. Returns the exit code."""
        before = images_done(folder)
        self.process.stdin.write(f"{self.tree} {folder} {workers}\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if number is not None:
            deadline = time.monotonic() + 30
            while images_done(folder) == before and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.03))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, number)
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def images_done(folder):
    with contextlib.suppress(FileNotFoundError):
        return json.loads((folder / "progress.json").read_text())["images"]
    return 0


@pytest.fixture(scope="module")
def server(tree):
    made = Server(tree)
    yield made
    made.close()


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "s"
    assert server.run(folder, 0) == 0
    return folder


class TestStopped:
    @pytest.mark.parametrize(
        ("kills", "workers"), [(10, 1), (4, 0), pytest.param(60, 2, marks=pytest.mark.long)], ids=str
    )
    def test_killed_and_gone_on_with(self, server, undisturbed, tmp_path, kills, workers):
        folder, chance, killed = tmp_path / "s", random.Random(kills + workers), 0
        for _ in range(kills):
            before = images_done(folder)
            if before == 240:
                break
            killed += server.run(folder, workers, chance, signal.SIGKILL) == -signal.SIGKILL
            assert images_done(folder) >= before
            assert images_done(folder) % 4 == 0
        assert killed > 1
        assert server.run(folder, workers) == 0
        for name in STORED:
            assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name
        assert len(FeatureStore.open(folder)) == 225

    def test_interrupted(self, server, undisturbed, tmp_path):
        folder = tmp_path / "s"
        assert server.run(folder, 1, random.Random(0), signal.SIGINT) == 1
        # The processes that decode say nothing.
        assert "\nKeyboardInterrupt\n" in (tmp_path / "s.stderr").read_text()  # what its workers say may come after it
        assert (tmp_path / "s.stderr").read_text().count("Traceback") == 1
        with pytest.raises(ValueError, match="unfinished"):
            FeatureStore.open(folder)
        assert server.run(folder, 1) == 0
        assert (folder / "features.npy").read_bytes() == (undisturbed / "features.npy").read_bytes()


class TestCached:
    def test_made_once(self, tree, tmp_path):
        asked = {"weights": "random", "image_size": 32, "cache_dir": tmp_path, "workers": 0}
        store = cached(image_set(tree), "resnet18", **asked)
        assert store.path.parent == tmp_path / "features"
        before = (store.path / "meta.json").stat().st_mtime_ns
        assert cached(image_set(tree), "resnet18", **asked).path == store.path
        assert (store.path / "meta.json").stat().st_mtime_ns == before
        with pytest.raises(ValueError, match="strict extraction skips none"):
            cached(image_set(tree), "resnet18", **asked, strict=True)

    def test_whole_features_need_no_torch(self, tree, tmp_path, run_python):
        paths = [f"class{i % 2}/{i:03}.JPEG" for i in range(8)]
        images = ImageSet("tree", "", FileImages(tree, paths), None, Source("here"))
        cached(images, "resnet18", weights="random", image_size=32, cache_dir=tmp_path, workers=0)
        said = run_python(
            "import sys\nfrom pathlib import Path\nfrom lshcore.data import ImageSet, Source\n"
            "from lshcore.data.images import FileImages\nfrom lshcore.features import cached\n"
            f"images = ImageSet('tree', '', FileImages(Path({str(tree)!r}), {paths!r}), None, Source('here'))\n"
            f"cached(images, 'resnet18', weights='random', image_size=32, cache_dir={str(tmp_path)!r})\n"
            "print('torch' in sys.modules)"
        )
        assert said == "False\n"


class TestCommand:
    @pytest.fixture
    def call(self, monkeypatch, tmp_path):
        monkeypatch.setenv("LSHCORE_CACHE_DIR", str(tmp_path / "cache"))
        app = typer.Typer()
        app.command("extract")(extract_command)

        def run(*arguments):
            return CliRunner().invoke(app, [str(each) for each in arguments])

        return run

    def test_a_folder(self, call, tree, tmp_path):
        small = ("--backbone", "resnet18", "--weights", "random", "--image-size", 32, "--workers", 0)
        done = call("--dataset", f"folder:{tree}", "--out", tmp_path / "out", *small)
        assert done.exit_code == 0, done.output
        assert re.fullmatch(
            rf"80 images, 5 skipped \(skipped.jsonl lists them\), [\d.,]+ images/s, {tmp_path / 'out'}\n", done.stdout
        )
        done = call("--dataset", f"folder:{tree}", *small)
        assert done.exit_code == 0, done.output
        assert str(tmp_path / "cache" / "features") in done.stdout
        done = call("--dataset", f"folder:{tree}", "--strict", *small)
        assert "strict extraction skips none" in str(done.exception)

    def test_what_bfloat16_costs_is_said(self, call, tree, tmp_path):
        small = ("--backbone", "resnet18", "--weights", "random", "--image-size", 32, "--workers", 0)
        done = call("--dataset", f"folder:{tree}", "--out", tmp_path / "out", "--bf16", *small)
        assert done.exit_code == 0, done.output
        assert re.search(r"bfloat16 \(cosine to float32 at least 0\.99\d+\)", done.stdout)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--dataset", "nothing"), "dataset must be one of"),
            (("--dataset", "digits", "--dtype", "int8"), "dtype must be one of"),
            (("--dataset", "digits", "--device", "tpu"), "device must be one of"),
            (("--dataset", "digits"), "pixels need no extraction; expected a network, such as resnet18"),
            (("--dataset", "digits", "--batch-size", "0"), "Invalid value for '--batch-size'"),
        ],
    )
    def test_usage(self, call, arguments, message):
        done = call(*arguments)
        assert done.exit_code == 2
        assert message in " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.output).split())
