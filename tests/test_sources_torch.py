"""From images on disk to a table: the whole chain of `lshcore eval`, with a network whose weights are random."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("torchvision")

from PIL import Image
from typer.testing import CliRunner

from lshcore.cli.main import app
from lshcore.data import DatasetNotFound
from lshcore.evaluation import Sources, gather

CLASSES, TRAIN, VAL = 5, 8, 3
NETWORK = ("--backbone", "resnet18", "--weights", "random", "--image-size", "32")


def picture(random, label):
    """Noise around a colour of the class."""
    return np.clip(40 * label + random.normal(0, 10, (24, 30, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """ImageNet's layout: real JPEGs, three of them corrupt, one CMYK, one PNG with a JPEG name."""
    root = tmp_path_factory.mktemp("data") / "imagenet"
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        for part, n in (("train", TRAIN), ("val", VAL)):
            folder = root / part / f"n{label:08d}"
            folder.mkdir(parents=True)
            for i in range(n):
                Image.fromarray(picture(random, label)).save(folder / f"{i}.JPEG")
    first = root / "train/n00000000"
    (first / "0.JPEG").write_bytes((first / "5.JPEG").read_bytes()[:200])
    (first / "1.JPEG").write_bytes(b"")
    (root / "val/n00000001/0.JPEG").write_bytes(b"no image")
    Image.fromarray(picture(random, 0)).convert("CMYK").save(first / "2.JPEG")
    Image.fromarray(picture(random, 0)).save(first / "3.JPEG", format="PNG")
    return root.parent


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LSHCORE_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "lshcore-cache"))


def evaluate(*arguments):
    command = ["eval", "--clusters", "4", "--method", "k-means", "--json", *map(str, arguments)]
    return CliRunner().invoke(app, command, env={"COLUMNS": "300", "TERM": "dumb"})


def test_a_tree_of_images_becomes_a_table(tree):
    result = evaluate("--dataset", "imagenet", "--data-dir", tree, *NETWORK)
    assert result.exit_code == 0, result.output
    whole = json.loads(result.stdout)
    (features,) = whole["features"]
    assert (features["name"], features["weights"], features["dim"], features["skipped"]) == (
        "resnet18",
        "random",
        512,
        3,
    )
    assert (features["train"], features["queries"]) == (CLASSES * TRAIN - 2, CLASSES * VAL - 1)
    assert features["extract_ms"] > 0
    assert len(features["weights_checksum"]) == 64
    assert whole["results"][0]["metrics"]["map"] > 0.9  # one colour a class


def test_networks_and_given_features_stand_side_by_side(tree, tmp_path):
    n = CLASSES * (TRAIN + VAL)
    np.save(tmp_path / "noise.npy", np.random.default_rng(1).normal(size=(n, 6)).astype(np.float32))
    result = evaluate("--dataset", "imagenet", "--data-dir", tree, *NETWORK, "--features", tmp_path / "noise.npy")
    assert result.exit_code == 0, result.output
    whole = json.loads(result.stdout)
    assert [each["name"] for each in whole["features"]] == ["noise.npy", "resnet18"]
    assert whole["features"][0]["extract_ms"] is None
    noise, colours = (row["metrics"]["map"] for row in whole["results"] if row["method"] == "exhaustive")
    assert colours > noise + 0.3


def test_features_of_another_number_of_images_are_refused(tree, tmp_path):
    np.save(tmp_path / "few.npy", np.zeros((3, 6), np.float32))
    with pytest.raises(
        ValueError, match=r"few\.npy must hold one row an image of dataset 'imagenet' \(55\), got 3 rows"
    ):
        gather(Sources("imagenet", tree, features=(str(tmp_path / "few.npy"),)))


def test_a_store_as_a_data_set_or_beside_the_images(tree, tmp_path):
    """The images that were left out are left out of the labels and the split too."""
    store = str(tmp_path / "store")
    command = ["extract", "--dataset", "imagenet", "--data-dir", str(tree), "--out", store, *NETWORK, "--workers", "0"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "3 skipped (skipped.jsonl lists them)" in result.stdout
    network = {"backbones": ("resnet18",), "weights": "random", "image_size": 32}
    given, made = gather(Sources("imagenet", tree, features=(f"{store}/",), **network))
    alone, again = gather(Sources(store, features=(f"{store}/",)))
    assert [each.features_name for each in (given, made, alone, again)] == ["store", "resnet18", "resnet18", "store"]
    for each in (given, alone, again):
        assert np.array_equal(each.features, made.features)
        assert np.array_equal(each.labels, made.labels)
        assert all(map(np.array_equal, each.official_split, made.official_split))
        assert (each.class_names, each.protocol) == (made.class_names, "official")
        assert each.extraction.skipped == 3


def test_a_store_of_other_images_is_refused(tree, tmp_path):
    stores = {}
    for part in ("train", "val"):
        stores[part] = str(tmp_path / part)
        command = ["extract", "--dataset", f"folder:{tree}/imagenet/{part}", "--out", stores[part], *NETWORK]
        assert CliRunner().invoke(app, [*command, "--workers", "0"]).exit_code == 0
    with pytest.raises(ValueError, match=r"are of other images \('train', 40 images\) than 'imagenet' \(55 images\)"):
        gather(Sources("imagenet", tree, features=(stores["train"],)))
    meta = tmp_path / "val/meta.json"
    rows = CLASSES * TRAIN - 2
    whole = json.loads(meta.read_text())
    whole["figures"] |= {"images": rows, "skipped": 0}
    meta.write_text(json.dumps(whole))
    np.save(tmp_path / "val/features.npy", np.zeros((rows, 512), np.float16))
    with pytest.raises(ValueError, match=r"val must hold features of the same images as .*train, got those of others"):
        gather(Sources(stores["train"], features=(stores["val"],)))


def test_extraction_is_used_again(tree):
    sources = Sources("imagenet", tree, backbones=("resnet18",), weights="random", image_size=32)
    first, second = (gather(sources)[0] for _ in range(2))
    assert first.extraction == second.extraction  # the time it took included
    assert np.array_equal(first.features, second.features)


def test_pixels_need_images_of_one_size(tree):
    with pytest.raises(ValueError, match="holds image files of any size: features are made by a network"):
        gather(Sources("imagenet", tree, backbones=("pixels",)))


def test_networks_take_arrays_too():
    pixels, network = gather(Sources("digits", backbones=("pixels", "resnet18"), weights="random", image_size=32))
    assert (pixels.features_name, pixels.dim) == ("pixels", 64)
    assert (network.features_name, network.dim) == ("resnet18", 512)
    assert np.array_equal(pixels.labels, network.labels)


def test_images_without_labels_are_refused_before_any_work(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="has no labels, and nothing can be evaluated without them"):
        gather(Sources(f"folder:{tmp_path}"))


def test_without_the_data_there_is_a_recipe_and_no_trace(tmp_path):
    result = CliRunner().invoke(app, ["eval", "--dataset", "imagenet", "--data-dir", str(tmp_path)])
    assert isinstance(result.exception, DatasetNotFound)
    for part in ("train/WNID/*.JPEG", "150 GB", "hf download evanarlian/imagenet_1k_resized_256", "--data-dir DIR"):
        assert part in str(result.exception)
    assert not list(tmp_path.iterdir())  # nothing was fetched


def test_features_have_no_images_for_a_network(tmp_path):
    np.savez(tmp_path / "x.npz", features=np.eye(40, dtype=np.float32), labels=np.arange(40) % 2)
    with pytest.raises(ValueError, match="holds features, not images: no backbone can be run on it, got resnet18"):
        gather(Sources(str(tmp_path / "x.npz"), backbones=("resnet18",)))
