"""A folder of images as an index: built by a network, searched by images, added to."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lshcore import Collection, data, features, open_index
from test_cli_index import hits, lshcore, refused

pytest.importorskip("torch")

NETWORK = ["--backbone", "dsh-cnn", "--weights", "random"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSHCORE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)


def paint(folder: Path, names: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((40, 40)).save(folder / name)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    paint(folder, [f"{i:02}.png" for i in range(30)], 0)
    (folder / "broken.png").write_text("no image")
    return folder


def test_a_folder_from_beginning_to_end(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "photos.lsh"
    said = lshcore("build", "--dataset", f"folder:{photos}", "--out", out, *NETWORK, "--tables", "4", "--key-bits", "4")
    assert said.startswith("LSHIndex(30 rows, 4 tables x 4 bits")
    assert f"1 skipped: {out}" in said
    assert sorted(open_index(out).ids) == [f"{i:02}.png" for i in range(30)]
    found = hits(out, photos / "03.png", photos / "17.png", "-k", "1")
    assert [(hit["id"], hit["distance"] < 1e-5) for hit in found] == [("03.png", True), ("17.png", True)]

    paint(photos, ["new/a.png"], 1)  # in a folder: no image of this one
    (photos / "new" / "a.png").rename(photos / "a.png")
    (photos / "new").rmdir()
    assert lshcore("add", out, f"folder:{photos}") == f"1 added, 30 there already, 1 skipped: 31 rows in {out}\n"
    assert lshcore("add", out, f"folder:{photos}") == f"0 added, 31 there already, 1 skipped: 31 rows in {out}\n"
    assert open_index(out)._origin.generation == 2  # nothing new, nothing written
    Image.open(photos / "05.png").save(photos / "04.png")
    said = lshcore("add", out, f"folder:{photos}", "--update")
    assert said == f"0 added, 31 updated, 1 skipped: 31 rows in {out}\n"
    assert [hit["id"] for hit in hits(out, photos / "05.png", "-k", "2")] == ["04.png", "05.png"]  # a tie
    lshcore("remove", out, "05.png", "04.png")
    assert hits(out, photos / "05.png", "-k", "1", "--probes", "60")[0]["id"] != "05.png"
    lshcore("compact", out)
    assert "whole: 29 rows" in lshcore("verify", out)
    assert "dsh-cnn, weights random" in lshcore("describe", out)
    assert "cannot be decoded (not an image of any known format)" in refused("search", out, photos / "broken.png")


def test_the_vectors_are_those_of_the_features(photos: Path, tmp_path: Path) -> None:
    built = Collection.build(f"folder:{photos}", tmp_path / "ix", index="flat", backbone="dsh-cnn", vectors="float32")
    store = features.cached(data.load_images(f"folder:{photos}"), "dsh-cnn")
    x = built.preprocess.transform(store.features)
    assert np.array_equal(built.index.reconstruct(built.index.ids), x)
    paths = [photos / f"{i:02}.png" for i in range(30)]
    opened = Collection.open(tmp_path / "ix")
    for queries in (paths, [str(path) for path in paths], [Image.open(path) for path in paths]):
        found = opened.search(queries, 1)
        assert found.ids.ravel().tolist() == [path.name for path in paths]
        assert found.distances.max() < 1e-5
    assert np.array_equal(opened.search(store.features, 3).ids, opened.search(paths, 3).ids)
    done = opened.add([photos / "03.png"], ids=["again"])
    assert (done.added, len(opened)) == (1, 31)
    assert opened.search(photos / "03.png", 2).ids.tolist() == [["03.png", "again"]]
    assert opened.add(str(photos / "03.png")).added == 1
    assert str(photos / "03.png") in opened


def test_features_that_were_extracted_are_built_of(photos: Path, tmp_path: Path) -> None:
    lshcore("extract", "--dataset", f"folder:{photos}", "--backbone", "dsh-cnn", "--out", tmp_path / "features")
    lshcore("build", "--dataset", tmp_path / "features", "--out", tmp_path / "ix", "--flat")
    assert hits(tmp_path / "ix", photos / "08.png", "-k", "1")[0]["id"] == "08.png"


def test_weights_of_a_file_must_be_the_same(photos: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    network = features.backbone("dsh-cnn").module
    for name, shift in (("mine.pt", 1.1), ("other.pt", 0.9)):
        torch.save({key: value * shift for key, value in network.state_dict().items()}, tmp_path / name)
    mine = ["--backbone", "dsh-cnn", "--weights", "mine.pt"]
    lshcore("build", "--dataset", "folder:photos", "--out", "ix", "--flat", *mine)
    assert Collection.open("ix").recipe.weights == str(tmp_path / "mine.pt")
    assert hits("ix", "photos/08.png", "-k", "1")[0]["id"] == "08.png"
    Path("mine.pt").rename("moved.pt")
    assert "mine.pt" in refused("search", "ix", "photos/08.png")
    assert hits("ix", "photos/08.png", "-k", "1", "--weights", "moved.pt")[0]["id"] == "08.png"
    assert "must be those that the index was made with" in refused(
        "search", "ix", "photos/08.png", "--weights", "other.pt"
    )
    paint(photos, ["new.png"], 4)
    assert "features of folder:photos must be made by the weights of the index" in refused(
        "add", "ix", "folder:photos", "--weights", "other.pt"
    )


def test_a_network_of_a_model_lies_in_the_index(tmp_path: Path) -> None:
    for label in "ab":
        paint(tmp_path / "classes", [f"{label}/{i}.png" for i in range(12)], ord(label))
    options = ["--finetune", "--backbone", "dsh-cnn", "--set", "epochs=1", "--bits", "12", "--method", "dsh"]
    lshcore("train", "--dataset", "folder:classes", *options, "--out", "model")
    lshcore(
        "build", "--dataset", "folder:classes", "--model", "model", "--out", "ix", "--tables", "2", "--key-bits", "6"
    )
    (tmp_path / "model").rename(tmp_path / "gone")
    assert hits("ix", "classes/a/3.png", "-k", "1", "--rank", "l2")[0]["distance"] < 1e-6
    paint(tmp_path / "classes", ["b/new.png"], 9)
    assert lshcore("add", "ix", "folder:classes").startswith("1 added, 24 there already")
    assert "whole: 25 rows" in lshcore("verify", "ix")
    message = refused(
        "build", "--dataset", "folder:classes", "--model", "gone", "--backbone", "resnet18", "--out", "x", code=2
    )
    assert "has a network of its own; expected no other" in message


def test_duplicates_among_images(photos: Path, tmp_path: Path) -> None:
    (photos / "copy.png").write_bytes((photos / "11.png").read_bytes())
    said = lshcore("dedup", f"folder:{photos}", "--radius", "0", "--backbone", "dsh-cnn")
    ids = [item["id"] for line in said.splitlines()[:1] for item in json.loads(line)["items"]]
    assert ids == ["11.png", "copy.png"]
    paint(tmp_path / "more", ["x.png"], 6)
    (tmp_path / "more" / "y.png").write_bytes((photos / "02.png").read_bytes())
    arguments = ["--against", f"folder:{tmp_path / 'more'}", "--backbone", "dsh-cnn"]
    said = lshcore("dedup", f"folder:{photos}", "--radius", "0", *arguments)
    assert json.loads(said.splitlines()[0]) == {"id": "02.png", "against": "y.png", "distance": 0}
