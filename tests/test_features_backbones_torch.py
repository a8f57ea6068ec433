"""Networks by name and one's own: what they give, and what is said of weights that do not fit."""

import errno
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

from lshcore.data.dataset import sha256_of
from lshcore.features import Backbone, backbone, backbones
from lshcore.features.backbones import remove_classifier
from lshcore.features.timm_models import _token_means
from lshcore.features.weights import checksum, published

torch = pytest.importorskip("torch")
models = pytest.importorskip("torchvision.models")
Image = pytest.importorskip("PIL.Image")
save_file = pytest.importorskip("safetensors.torch").save_file

PICTURE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (80, 120, 3)).astype(np.uint8))


def features(network):
    with torch.inference_mode():
        return network.module(network.prepare(PICTURE).unsqueeze(0)).numpy()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Images this small are not worth two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def resnet():
    return backbone("resnet18", "random", 64)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(7)
    return models.resnet18(weights=None).state_dict()


class TestTorchvision:
    @pytest.mark.parametrize(
        ("name", "size", "dim"),
        [
            ("alexnet", 64, 4096),
            ("resnet18", None, 512),
            ("efficientnet_b0", 32, 1280),
            ("mobilenet_v3_small", 32, 1024),
            ("densenet121", 32, 1024),
            ("convnext_tiny", 32, 768),
            ("squeezenet1_1", 32, 512),
            ("shufflenet_v2_x0_5", 32, 1024),
            ("regnet_y_400mf", 32, 440),
            pytest.param("googlenet", 32, 1024, marks=pytest.mark.long),
            pytest.param("swin_t", 32, 768, marks=pytest.mark.long),
            pytest.param("vgg11", 32, 4096, marks=pytest.mark.long),
            pytest.param("vit_b_16", 32, 768, marks=pytest.mark.long),
            pytest.param("vit_l_32", None, 1024, marks=pytest.mark.long),
            pytest.param("inception_v3", None, 2048, marks=pytest.mark.long),
            pytest.param("maxvit_t", 64, 512, marks=pytest.mark.long),
            pytest.param("wide_resnet50_2", 64, 2048, marks=pytest.mark.long),
        ],
    )
    def test_pooled_features(self, name, size, dim):
        made = backbone(name, "random", size)
        assert (made.name, made.weights, made.dim, made.image_size) == (name, "random", dim, size)
        assert made.prepare(PICTURE).shape[-1] == (size or 224 if name != "inception_v3" else 299)
        assert np.isfinite(features(made)).all()

    def test_the_classifier_of_every_model_is_found(self):
        for name in models.list_models(module=models):
            if name.startswith("regnet"):  # cannot be made without memory
                continue
            with torch.device("meta"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = models.get_model(name, weights=None)
            if name.startswith("squeezenet"):
                continue
            whole = dict(module.named_modules())
            assert whole[remove_classifier(module)].out_features == 1000, name

    @pytest.mark.parametrize(("name", "layer"), [("resnet18", "fc"), ("alexnet", "classifier.6")])
    def test_features_are_the_input_of_the_last_layer(self, name, layer):
        made = backbone(name, "random", 64)
        torch.manual_seed(0)
        whole = models.get_model(name, weights=None).eval()
        seen = []
        whole.get_submodule(layer).register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach().numpy()))
        whole(made.prepare(PICTURE).unsqueeze(0))
        np.testing.assert_array_equal(features(made), seen[0])
        if name == "alexnet":
            assert seen[0].min() == 0  # after the second ReLU: fc7

    def test_random_weights_are_always_the_same(self, resnet):
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        again = backbone("resnet18", "random", 64)
        assert again.checksum == resnet.checksum
        assert torch.equal(torch.rand(3), expected)

    def test_transform(self, resnet):
        assert resnet.transform == "resize 73 (bilinear), crop 64, mean 0.485/0.456/0.406, std 0.229/0.224/0.225"

    def test_unknown_name(self):
        with pytest.raises(ValueError, match=r"got 'resnet81'; did you mean .*resnet18"):
            backbone("resnet81")

    def test_a_size_that_it_cannot_take(self):
        with pytest.raises(ValueError, match="backbone 'alexnet' does not run at image size 16"):
            backbone("alexnet", "random", 16)

    def test_without_network_or_cache(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        message = r"fetch https://\S+/resnet18-f37072fd\.pth and put it at \S+checkpoints/resnet18-f37072fd\.pth"
        with pytest.raises(FileNotFoundError, match=message):
            backbone("resnet18", offline=True)
        with monkeypatch.context() as patch:
            patch.setenv("HF_HUB_OFFLINE", "1")
            with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE is set: " + message):
                backbone("resnet18")

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(torch.hub, "download_url_to_file", full)
        with pytest.raises(OSError, match=r"No space left on device\): make room, or name another .* TORCH_HOME"):
            backbone("resnet18")

        def fails(*_, **__):
            raise OSError("no route to host")

        monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
        with pytest.raises(FileNotFoundError, match=r"could not be downloaded \(no route to host\): " + message):
            backbone("resnet18")
        (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(b"other")
        with pytest.raises(ValueError, match="is not the published file"):
            backbone("resnet18")

    def test_published_weights_in_the_cache(self, tmp_path, monkeypatch, resnet):
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        (tmp_path / "checkpoints").mkdir()
        state = models.resnet18(weights=None).state_dict()
        torch.save(state, tmp_path / "w.pth")
        name = f"resnet18-{sha256_of(tmp_path / 'w.pth')[:8]}.pth"
        (tmp_path / "w.pth").rename(tmp_path / "checkpoints" / name)
        path = published(f"https://example.invalid/{name}", "resnet18", offline=True)
        assert backbone("resnet18", path, 64).checksum != resnet.checksum

    @pytest.mark.parametrize(("asked", "name", "resize"), [(None, "V2", 232), ("IMAGENET1K_V1", "V1", 256)])
    def test_published_weights_by_name_with_their_transform(self, tmp_path, monkeypatch, asked, name, resize):
        state = models.resnet50(weights=None).state_dict()
        urls = []

        def published(url, what, offline):
            urls.append(url)
            torch.save(state, tmp_path / "w.pth")
            return tmp_path / "w.pth"

        monkeypatch.setattr(backbones.weights_files, "published", published)
        made = backbone("resnet50", asked)
        assert made.weights == f"IMAGENET1K_{name}"
        assert urls == [models.ResNet50_Weights[made.weights].url]
        assert made.transform.startswith(f"resize {resize} ")

    def test_published_weights_of_no_such_name(self):
        with pytest.raises(ValueError, match="weights of resnet50 must be IMAGENET1K_V1, IMAGENET1K_V2, a file or"):
            backbone("resnet50", "IMAGENET1K_V9")


class TestWeights:
    def test_every_kind_of_file_gives_the_same(self, tmp_path, state):
        bare = {key: value for key, value in state.items() if not key.startswith("fc.") and "num_batches" not in key}
        torch.save(state, tmp_path / "a.pth")
        torch.save(
            {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, tmp_path / "b.pt"
        )
        torch.save({"model": bare}, tmp_path / "c.pth")
        save_file(bare, tmp_path / "d.safetensors")
        made = [backbone("resnet18", tmp_path / name, 64) for name in ("a.pth", "b.pt", "c.pth", "d.safetensors")]
        assert len({each.checksum for each in made}) == 1
        assert [each.weights for each in made] == ["a.pth", "b.pt", "c.pth", "d.safetensors"]
        for each in made[1:]:
            np.testing.assert_array_equal(features(each), features(made[0]))

    def test_other_number_of_classes(self, tmp_path, state):
        torch.save(state | {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}, tmp_path / "a.pth")
        assert backbone("resnet18", tmp_path / "a.pth", 64).dim == 512

    def test_old_names_of_densenets(self, tmp_path):
        state = models.densenet121(weights=None).state_dict()
        old = {key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value for key, value in state.items()}
        assert old.keys() != state.keys()
        torch.save(old, tmp_path / "a.pth")
        assert backbone("densenet121", tmp_path / "a.pth", 32).dim == 1024

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda s: s.pop("layer1.0.conv1.weight"), "it holds no 'layer1.0.conv1.weight'"),
            (lambda s: s.update({"extra": torch.zeros(1)}), "it holds 'extra', which the backbone has not"),
            (lambda s: s.update({"bn1.bias": torch.zeros(3)}), r"'bn1.bias' has shape \(3,\) where \(64,\) is needed"),
            (lambda s: s.update({"bn1.bias": 3}), "must hold a state dict, tensors by name, got int at 'bn1.bias'"),
        ],
    )
    def test_what_does_not_fit(self, tmp_path, state, change, message):
        changed = dict(state)
        change(changed)
        torch.save(changed, tmp_path / "a.pth")
        with pytest.raises(ValueError, match=message):
            backbone("resnet18", tmp_path / "a.pth", 64)

    @pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
    def test_broken_files(self, tmp_path, state, name):
        save = torch.save if name == "a.pth" else save_file
        save(dict(state), tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        for cut in (0, 10, len(whole) // 2, len(whole) - 1):
            (tmp_path / name).write_bytes(whole[:cut])
            with pytest.raises(ValueError, match="must be a whole"):
                backbone("resnet18", tmp_path / name, 64)

    def test_nothing_but_tensors_is_unpickled(self, tmp_path):
        torch.save({"x": subprocess.Popen}, tmp_path / "a.pth")
        with pytest.raises(ValueError, match="holds tensors only; anything else in it is never run"):
            backbone("resnet18", tmp_path / "a.pth", 64)

    def test_missing_file(self):
        with pytest.raises(FileNotFoundError, match=r"there is no file 'nowhere\.pth'"):
            backbone("resnet18", "nowhere.pth")

    def test_checksum_sees_names_shapes_and_values(self):
        linear = torch.nn.Linear(3, 4)
        first = checksum(linear)
        assert checksum(torch.nn.Sequential(linear)) != first
        with torch.no_grad():
            linear.weight[0, 0] += 1
        assert checksum(linear) != first


class TestOwn:
    def test_a_module_and_a_transform(self):
        def prepare(image):
            return torch.from_numpy(np.array(image.resize((4, 4)))).float().flatten()

        own = Backbone.of(torch.nn.Linear(48, 5), prepare, name="mine", transform="resize 4")
        assert (own.name, own.weights, own.dim, own.transform) == ("mine", "given", 5, "resize 4")
        assert not own.module.training

    def test_the_words_for_a_function_are_the_same_in_every_process(self):
        def prepare(image):
            return torch.zeros(3)

        class Prepare:
            __call__ = staticmethod(prepare)

        for each in (prepare, Prepare()):
            words = Backbone.of(torch.nn.Identity(), each).transform
            assert "repare" in words
            assert "0x" not in words

    def test_what_is_no_matrix(self):
        with pytest.raises(ValueError, match=r"'own' must give a matrix \(images, features\), got \(1, 3, 8, 8\)"):
            Backbone.of(torch.nn.Identity(), lambda image: torch.zeros(3, 8, 8))


class TestImports:
    @pytest.mark.parametrize(
        ("broken", "message"),
        [
            (
                "raise RuntimeError('operator torchvision::nms does not exist')",
                r"torchvision \S+ does not fit torch \S+",
            ),
            ("raise OSError('undefined symbol: x')", r"torchvision \S+ does not fit torch \S+ \(undefined symbol: x\)"),
        ],
    )
    def test_a_torchvision_that_does_not_fit(self, tmp_path, run_python, broken, message):
        (tmp_path / "torchvision").mkdir()
        (tmp_path / "torchvision" / "__init__.py").write_text(broken)
        said = run_python(
            f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
            "from lshcore.features import backbone\n"
            "try: backbone('resnet18')\n"
            "except ImportError as error: print(error)"
        )
        assert said.count("\n") == 1
        assert re.search(message, said)
        assert "mend it with: pip install --force-reinstall torch torchvision" in said

    @pytest.mark.parametrize("name", ["torch", "torchvision"])
    def test_a_missing_extra(self, run_python, name):
        said = run_python(
            "import importlib\n"
            "real = importlib.import_module\n"
            "def without(name, *rest):\n"
            f"    if name == {name!r}: raise ModuleNotFoundError('none', name=name)\n"
            "    return real(name, *rest)\n"
            "from lshcore.features import imports, backbone\n"
            "imports.importlib.import_module = without\n"
            "try: backbone('resnet18')\n"
            "except ImportError as error: print(error)"
        )
        assert "which is not installed" in said
        assert 'pip install "lshcore[vision]"' in said

    def test_nothing_here_imports_torch_by_itself(self, run_python):
        said = run_python(
            "import sys; import lshcore.features as f\n"
            "f.extract, f.backbone, f.cached, f.FeatureStore, f.default_directory, f.Backbone\n"
            "print([name for name in ('torch', 'torchvision', 'PIL') if name in sys.modules])"
        )
        assert said == "[]\n"


class TestTimm:
    def test_not_installed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "timm", None)
        with pytest.raises(ImportError, match="needs timm, which is not installed: pip install timm"):
            backbone("timm:resnet18")

    def test_pooled_features(self):
        pytest.importorskip("timm")
        made = backbone("timm:mobilenetv3_small_050", "random", 32)
        assert (made.name, made.dim, made.image_size) == ("timm:mobilenetv3_small_050", 1024, 32)

    def test_token_means(self):
        timm = pytest.importorskip("timm")
        module = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32).eval()
        images = torch.rand(2, 3, 32, 32)
        with torch.inference_mode():
            tokens = module.forward_features(images)
            _token_means(module)
            np.testing.assert_array_equal(module(images), tokens.mean(dim=1))
        assert tokens.shape == (2, 5, 192)  # the class token is one of them

    def test_unknown_name(self):
        pytest.importorskip("timm")
        with pytest.raises(ValueError, match="is not known to timm"):
            backbone("timm:resnet_of_nobody")
