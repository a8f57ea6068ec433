"""Backbones trained together with a head: what they learn, that it is the same in every run, and how they are kept."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lshcore
from lshcore import hashers
from lshcore.data.images import ArrayImages, FileImages
from lshcore.features import Backbone, backbone, open_backbone, save_backbone
from lshcore.neural import finetuning, fitting
from lshcore.neural.finetuning import finetune

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

from lshcore.features.dsh_cnn import Prepare  # noqa: E402
from lshcore.features.weights import checksum  # noqa: E402
from lshcore.neural import checkpoints, heads, learners, losses  # noqa: E402
from lshcore.neural.pictures import Part, Pictures, augmented  # noqa: E402

SIZE = 16


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Images this small are not worth two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def patterns(n, noise=20):
    """Waves of any phase and colour; their direction and length are the class, which a shift or a mirror keeps."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, n)
    y, x = np.mgrid[:SIZE, :SIZE]
    places = np.stack([x, y])[labels % 2] * np.array([2, 4])[labels // 2][:, None, None]
    waves = np.sin(2 * np.pi * (places / SIZE + rng.random((n, 1, 1))))
    pixels = 128 + 70 * waves[..., None] * rng.uniform(-1, 1, (n, 1, 1, 3)) + rng.normal(0, noise, (n, SIZE, SIZE, 3))
    return ArrayImages(pixels.clip(0, 255).astype(np.uint8)), labels


def small(**changes):
    """A network with batch normalisation and dropout."""
    nn = torch.nn
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    module = nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(32, 12))
    return Backbone.of(module, Prepare(SIZE), name="small", transform="as they are", **changes)


def features(network, images):
    with torch.inference_mode():
        return network.module(torch.stack([network.prepare(image) for image in images])).numpy()


def short(**changes):
    arguments = {"n_bits": 8, "epochs": 3, "batch_size": 16, "validation": 0.2, "device": "cpu", "random_state": 5}
    return hashers.OrthoHash(**(arguments | changes))


def run(folder=None, hasher=None, tell=None, **changes):
    """A short fine-tuning of the network with batch normalisation and dropout."""
    images, labels = patterns(80)
    hasher = hasher or short()
    arguments = {"learning_rate": 1e-3, "workers": 0} | changes
    made = finetune(hasher, images, labels, small(), checkpoint=folder, progress=tell, **arguments)
    return hasher, made


def killed(folder):
    """The same, ended by SIGKILL in the second of three epochs."""
    torch.set_num_threads(1)
    checkpoints.INTERVAL_SECONDS = 0
    calls = []

    def tell(share, text):
        calls.append(text)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGKILL)

    run(Path(folder), tell=tell)


def same(first, second):
    """Whether hashers and backbones are equal to the last bit."""
    pairs = zip(first[0].layers_, second[0].layers_, strict=True)
    layers = all(np.array_equal(a.weight, b.weight) and np.array_equal(a.bias, b.bias) for a, b in pairs)
    return layers and first[1].checksum == second[1].checksum and first[0].history_ == second[0].history_


class TestLearning:
    @pytest.mark.parametrize(("name", "gain"), [("DSH", 0.2), ("OrthoHash", 0.1)])
    def test_better_than_the_head_alone(self, name, gain):
        images, labels = patterns(240)
        network = backbone("dsh-cnn", image_size=SIZE)
        arguments = {"n_bits": 16, "epochs": 16, "batch_size": 32, "validation": 0.3, "device": "cpu"}
        alone, hasher = (getattr(hashers, name)(**arguments) for _ in range(2))
        alone.fit(features(network, images), labels)
        before = network.checksum
        tuned = finetune(hasher, images, labels, network, learning_rate=1e-3, workers=0)
        assert best(hasher) > best(alone) + gain
        assert (tuned.name, tuned.weights, tuned.dim, tuned.transform) == (
            "dsh-cnn",
            "finetuned",
            500,
            network.transform,
        )
        assert tuned.checksum == checksum(tuned.module) != before == checksum(network.module)
        assert not tuned.module.training
        # new images, through the features of what was returned
        codes = hasher.encode(features(tuned, images))
        assert (codes.n_bits, len(codes)) == (16, 240)
        found = lshcore.metrics.hamming_ranking(codes, codes, labels, labels)["map"]
        assert found > best(alone) + gain

    def test_rates_of_their_own(self):
        _, made = run(learning_rate=0)
        before, after = small().module.state_dict(), made.module.state_dict()
        for name, parameter in small().module.named_parameters():
            assert torch.equal(parameter, after[name]), name
        assert not torch.equal(before["1.running_mean"], after["1.running_mean"])
        moved = dict(run(learning_rate=1e-3)[1].module.named_parameters())
        assert all(not torch.equal(before[name], parameter) for name, parameter in moved.items() if name != "0.bias")

    def test_what_is_frozen_stays_so(self):
        images, labels = patterns(60)
        network = small()
        network.module[0].requires_grad_(False)
        for hasher in (short(), hashers.RelevanceLSH(8, embedding=8, epochs=1, batch_size=16, device="cpu")):
            made = finetune(hasher, images, labels, network, learning_rate=1e-2, workers=0)
            assert torch.equal(made.module[0].weight, network.module[0].weight)
            assert not torch.equal(made.module[6].weight, network.module[6].weight)
            flags = [[each.requires_grad for each in net.module.parameters()] for net in (network, made)]
            assert flags[0] == flags[1]

    @pytest.mark.parametrize("name", ["NeuralLSH", "HashNet", "CSQ", "GreedyHash", "BiHalf", "CIBHash"])
    def test_every_method(self, name):
        images, labels = patterns(60)
        hasher = getattr(hashers, name)(n_bits=8, epochs=1, batch_size=16, device="cpu")
        labels = None if name in ("BiHalf", "CIBHash") else labels
        made = finetune(hasher, images, labels, small(), learning_rate=1e-3, workers=0)
        assert hasher.encode(features(made, images)).n_bits == 8
        assert np.isfinite(hasher.history_[0]["map"])

    def test_only_the_rows_asked_for(self):
        images, labels = patterns(80)
        rows = np.arange(0, 80, 2)
        part = ArrayImages(images.pixels[rows])
        expected, hasher = short(epochs=1), short(epochs=1)
        labels[1::2] = -7
        first = finetune(expected, part, labels[rows], small(), workers=0)
        second = finetune(hasher, images, labels, small(), rows=rows, workers=0)
        assert same((expected, first), (hasher, second))

    @pytest.mark.parametrize("name", ["resnet18", "alexnet"])
    def test_networks_of_torchvision(self, name):
        pytest.importorskip("torchvision")
        images, labels = patterns(24)
        network = backbone(name, "random", {"resnet18": 32, "alexnet": 64}[name])
        hasher = short(epochs=1, batch_size=12)
        made = finetune(hasher, images, labels, network, workers=0)
        assert made.checksum != network.checksum
        assert hasher.n_features_in_ == network.dim

    def test_bf16(self):
        hasher, _ = run(hasher=short(bf16=True, epochs=1))
        assert np.isfinite(hasher.history_[0]["terms"]["classes"])


def best(hasher):
    return max(each["map"] for each in hasher.history_)


class TestAgain:
    def test_the_same_after_a_kill_and_with_workers(self, tmp_path):
        script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        script += f"import test_finetuning_torch as tests; tests.killed({str(tmp_path)!r})"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        progress = json.loads((tmp_path / "training.json").read_text())["meta"]["progress"]
        assert (progress["epoch"], progress["finished"]) == (1, False)
        assert progress["step"] > 0
        whole, again, resumed = run(), run(workers=1), run(tmp_path, workers=1)
        assert same(whole, again)
        assert same(whole, resumed)
        assert same(whole, run(tmp_path))  # nothing is left to do
        with pytest.raises(ValueError, match=r"is of another training: finetune.learning_rate is 0.001 there and 0.1"):
            run(tmp_path, learning_rate=0.1)
        with pytest.raises(ValueError, match=r"is of another training: finetune.augment is True there and False here"):
            run(tmp_path, augment=False)

    def test_without_labels_after_a_stop(self, tmp_path, monkeypatch):
        # What should be found goes by the features of the backbone as it came.
        monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0)

        def tell(share, text):
            if text.startswith("epoch 2"):
                raise KeyboardInterrupt

        def method():
            return hashers.BiHalf(8, epochs=3, batch_size=16, validation=0.2, device="cpu")

        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, method(), tell)
        assert same(run(None, method()), run(tmp_path, method()))

    def test_other_seeds_give_others(self):
        assert run(hasher=short(epochs=1))[1].checksum != run(hasher=short(epochs=1, random_state=6))[1].checksum


class TestAugmentation:
    def test_by_seed_epoch_and_row_alone(self):
        images = patterns(12)[0]
        source = Pictures(images, Prepare(SIZE), "cpu", 0, augment=True, views=2)

        def at(parts, seed=1, epoch=0):
            found = list(source.batches([torch.tensor(part) for part in parts], seed, epoch))
            rows = torch.cat([rows for rows, _ in found])
            views = [torch.cat(each)[rows.argsort()] for each in zip(*(views for _, views in found), strict=True)]
            return torch.stack(views)

        once = at([range(6), range(6, 12)])
        assert once.shape == (2, 12, 3, SIZE, SIZE)
        assert torch.equal(once, at([[11, 3, 5], [0, 1, 2, 4], [6, 7, 8, 9, 10]]))
        for other in (at([range(12)], seed=2), at([range(12)], epoch=1), once.flip(0)):
            assert (once != other).flatten(2).any(2).float().mean() > 0.9
        plain = source.read(torch.arange(12))
        assert torch.equal(plain, torch.stack([Prepare(SIZE)(image) for image in images]))
        assert (once != plain).flatten(2).any(2).float().mean() > 0.9

    def test_shifts_and_mirrors(self):
        pixels = np.random.default_rng(1).integers(1, 256, (16, 24, 3)).astype(np.uint8)
        padded = np.pad(pixels, ((2, 2), (3, 3), (0, 0)))
        allowed = {}
        for mirrored in (0, 1):
            base = padded[:, ::-1] if mirrored else padded
            for y in range(5):
                for x in range(7):
                    allowed[base[y : y + 16, x : x + 24].tobytes()] = (mirrored, y, x)
        seen = [allowed[augmented(Image.fromarray(pixels), 3, i).tobytes()] for i in range(300)]
        assert [{each[k] for each in seen} for k in range(3)] == [{0, 1}, set(range(5)), set(range(7))]
        assert 100 < sum(each[0] for each in seen) < 200

    def test_tiny(self):
        assert augmented(Image.new("RGB", (1, 7)), 0).size == (1, 7)


class TestTwoViews:
    """CIBHash compares two augmentations of each image, which others see once."""

    @pytest.mark.parametrize(
        ("hasher", "augment", "passes"),
        [(hashers.CIBHash, True, 2), (hashers.CIBHash, False, 1), (hashers.DSH, True, 1)],
    )
    def test_every_image_is_prepared_so_often(self, monkeypatch, hasher, augment, passes):
        monkeypatch.setattr(fitting, "_ADAPT_ROWS", 24)
        monkeypatch.setattr(finetuning, "MOST_QUERIES", 5)
        monkeypatch.setattr(finetuning, "MOST_GALLERY", 7)
        images, labels = patterns(40)
        counted = Counted()
        network = Backbone.of(torch.nn.Flatten(), counted)
        counted.calls = 0
        made = hasher(8, epochs=3, validation=0.25, batch_size=16, device="cpu")
        finetune(made, images, labels, network, augment=augment, workers=0)
        # Without labels the queries are compared with the gallery before.
        compared = 0 if hasher is hashers.DSH else 5 + 7
        assert counted.calls == 24 + compared + 3 * (35 * passes + 5 + 7) + 7

    def test_nothing_is_left_out_of_them(self):
        task = learners.Task(dim=5, n_bits=8, rows=torch.arange(6), read=None, labels=None, seed=0, whole=False)
        learner = learners.CIBHash(task, hashers.CIBHash().get_params())
        x, other = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1))
        found = learner(learners.Batch(x, torch.arange(6), 0, None, other))
        first, second = (torch.sigmoid(learner.head(each)) for each in (x, other))
        expected = losses.nt_xent(heads.sign(first - 0.5), heads.sign(second - 0.5), 0.3)
        assert torch.equal(found["views"], expected)


class Counted:
    """A transform that counts the images it is given."""

    calls = 0

    def __call__(self, image):
        self.calls += 1
        return Prepare(SIZE)(image.resize((SIZE, SIZE)))


class TestRefusals:
    @pytest.mark.parametrize(
        ("hasher", "changes", "error", "message"),
        [
            (hashers.NeuralLSH(8, negatives="hard"), {}, ValueError, "NeuralLSH.negatives='hard'. needs .*'all'"),
            (hashers.RelevanceLSH(8, positives="similarity"), {}, ValueError, "set positives='label', or extract"),
            (hashers.NeuralLSH(8), {"labels": None}, ValueError, "give labels, take BiHalf or CIBHash, or extract"),
            (hashers.DSH(8), {"labels": None}, ValueError, "finetune: DSH learns from labels, got None"),
            (hashers.DSH(8), {"labels": [1, 2]}, ValueError, "labels must have length 40"),
            (hashers.DSH(0), {}, ValueError, "n_bits"),
            (hashers.DSH(8, epochs=0), {}, ValueError, "finetune: epochs"),
            (hashers.ITQ(8), {}, TypeError, "hasher must be one that is trained"),
            (hashers.DSH(8), {"learning_rate": -1}, ValueError, "learning_rate must be from 0 to 1000, got -1"),
            (hashers.DSH(8), {"learning_rate": "1"}, TypeError, "learning_rate must be a number, got '1'"),
            (hashers.DSH(8), {"rows": [0, 40]}, ValueError, "rows must be from 0 to 39, got 0 to 40"),
            (hashers.DSH(8), {"rows": [0, 3, 3]}, ValueError, "rows must differ, got 1 twice"),
            (hashers.DSH(8), {"rows": [0.5]}, TypeError, "rows must be integers"),
            (hashers.DSH(8), {"rows": [1]}, ValueError, "at least 2 rows"),
            (hashers.DSH(8), {"workers": -1}, ValueError, "workers"),
        ],
    )
    def test_arguments(self, hasher, changes, error, message):
        images, labels = patterns(40)
        with pytest.raises(error, match=message):
            finetune(hasher, images, **({"labels": labels, "backbone": small()} | changes))
        assert not hasattr(hasher, "layers_")

    @pytest.mark.parametrize("workers", [0, 1])
    def test_an_image_that_cannot_be_decoded(self, tmp_path, workers):
        pixels, labels = patterns(30)
        names = [f"{i}.png" for i in range(30)]
        for image, name in zip(pixels, names, strict=True):
            image.save(tmp_path / name)
        (tmp_path / names[7]).write_bytes(b"no image")
        images, hasher = FileImages(tmp_path, names), short(epochs=1)
        with pytest.raises(ValueError, match=r"image 7\.png cannot be decoded \(not an image .*leave it out of rows"):
            finetune(hasher, images, labels, small(), workers=workers)
        assert not hasattr(hasher, "layers_")
        rows = np.delete(np.arange(30), 7)
        made = finetune(hasher, images, labels, small(), rows=rows, workers=workers)
        part = ArrayImages(pixels.pixels[rows])
        expected = short(epochs=1)
        assert same((expected, finetune(expected, part, labels[rows], small(), workers=0)), (hasher, made))

    def test_images_are_told_apart(self, tmp_path):
        images = FileImages(tmp_path, ["a", "b", "c"])
        sums = {Part(images, np.array(rows)).checksum() for rows in ([0, 1], [1, 0], [0, 2], [0, 1, 2])}
        assert len(sums) == 4


class TestDshCnn:
    def test_layers(self):
        network = backbone("dsh-cnn")
        assert (network.name, network.weights, network.dim, network.image_size) == ("dsh-cnn", "random", 500, None)
        shapes = [tuple(each.shape) for each in network.module.parameters() if each.ndim > 1]
        assert shapes == [(32, 3, 5, 5), (32, 32, 5, 5), (64, 32, 5, 5), (500, 64 * 4 * 4)]
        assert features(network, patterns(3)[0]).min() == 0  # after the ReLU
        assert backbone("dsh-cnn", "random").checksum == network.checksum

    @pytest.mark.parametrize("size", [8, 15, 17, 64])
    def test_sizes(self, size):
        network = backbone("dsh-cnn", image_size=size)
        assert network.prepare(Image.new("RGB", (40, 30), "white")).shape == (3, size, size)
        assert torch.equal(network.prepare(Image.new("RGB", (40, 30), "white")), torch.full((3, size, size), 2.0))

    def test_too_small(self):
        with pytest.raises(ValueError, match="backbone 'dsh-cnn' does not run at image size 4"):
            backbone("dsh-cnn", image_size=4)

    def test_weights(self, tmp_path):
        network = backbone("dsh-cnn")
        with torch.no_grad():
            network.module[0].bias += 1
        torch.save(network.module.state_dict(), tmp_path / "a.pth")
        made = backbone("dsh-cnn", tmp_path / "a.pth")
        assert (made.weights, made.checksum) == ("a.pth", checksum(network.module))
        with pytest.raises(ValueError, match=r"weights of dsh-cnn must be a file or 'random' .none are published."):
            backbone("dsh-cnn", "IMAGENET1K_V1")

    def test_without_torchvision(self, run_python):
        said = run_python(
            "import sys; sys.modules['torchvision'] = None\n"
            "from lshcore.features import backbone\n"
            "print(backbone('dsh-cnn').dim)"
        )
        assert said == "500\n"

    def test_unknown_names_list_it(self):
        pytest.importorskip("torchvision")
        with pytest.raises(
            ValueError, match=r"must be a classifier of torchvision, dsh-cnn or .*did you mean .*dsh-cnn"
        ):
            backbone("dsh-cn")


class TestSaved:
    def test_a_folder_that_encodes_new_images(self, tmp_path):
        images, labels = patterns(60)
        hasher = short(epochs=1)
        tuned = finetune(hasher, images, labels, backbone("dsh-cnn", image_size=SIZE), workers=0)
        hasher.save(tmp_path)
        assert save_backbone(tuned, tmp_path) == tmp_path
        again, loaded = open_backbone(tmp_path), hashers.load(tmp_path)
        for name in ("name", "weights", "checksum", "dim", "transform", "image_size", "prepare"):
            assert getattr(again, name) == getattr(tuned, name)
        x = features(again, images)
        np.testing.assert_array_equal(x, features(tuned, images))
        assert loaded.encode(x) == hasher.encode(features(tuned, images))
        assert not again.module.training

    def test_networks_of_ones_own(self, tmp_path):
        made = run(hasher=short(epochs=1))[1]
        save_backbone(made, tmp_path)
        like = small()
        before = like.checksum
        again = open_backbone(tmp_path, like)
        assert again.checksum == made.checksum != before == checksum(like.module)
        np.testing.assert_array_equal(features(again, patterns(9)[0]), features(made, patterns(9)[0]))
        with pytest.raises(ValueError, match=r"transform 'resize 32 x 32 .*|dim 500"):
            open_backbone(tmp_path, backbone("dsh-cnn"))
        other = Backbone.of(torch.nn.Linear(SIZE, 12), lambda image: torch.zeros(SIZE), transform="as they are")
        with pytest.raises(ValueError, match="must hold weights of the network, got others"):
            open_backbone(tmp_path, other)
        pytest.importorskip("torchvision")
        with pytest.raises(
            ValueError, match=r"holds backbone 'small', which cannot be made by that name .*pass one like"
        ):
            open_backbone(tmp_path)

    def test_a_checksum_that_is_not_that_of_the_weights(self, tmp_path):
        network = small()
        with torch.no_grad():
            network.module[0].bias += 1
        save_backbone(network, tmp_path)
        with pytest.raises(ValueError, match="must hold weights of checksum"):
            open_backbone(tmp_path, small())

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"backbone\.json must be there to load a backbone"):
            open_backbone(tmp_path)

    def test_the_transform_of_the_weights_that_it_began_with(self, tmp_path, monkeypatch):
        models = pytest.importorskip("torchvision.models")
        from lshcore.features import backbones

        def published(url, what, offline):
            torch.save(models.mobilenet_v2(weights=None).state_dict(), tmp_path / "w.pth")
            return tmp_path / "w.pth"

        monkeypatch.setattr(backbones.weights_files, "published", published)
        first, second = (backbone("mobilenet_v2", f"IMAGENET1K_V{i}", 32) for i in (1, 2))
        assert first.transform != second.transform
        for made in (first, second):
            save_backbone(made, tmp_path / "saved")
            again = open_backbone(tmp_path / "saved")
            assert (again.transform, again.checksum, again.weights) == (made.transform, made.checksum, made.weights)
            assert repr(again.prepare) == repr(made.prepare)
