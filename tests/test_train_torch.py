"""`lshcore train`: models that are fitted, taken up again after a kill, and evaluated, from features and images."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from lshcore import Preprocess, data, evaluation, hashers, metrics
from lshcore.cli.main import app

pytest.importorskip("torch")

runner = CliRunner()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSHCORE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def lshcore(*arguments: str | Path) -> str:
    done = runner.invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lshcore.cli.main", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode in (1, 2), done.stdout
    return " ".join(done.stderr.split())


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "results.json").read_text())["results"]


def test_a_model_is_trained_on_the_train_part_and_evaluated(tmp_path: Path) -> None:
    said = lshcore("train", "--method", "dsh", "--bits", "16", "--set", "epochs=4", "--out", tmp_path / "model")
    assert said.startswith("dsh, 16 bits, 1,438 rows,")
    assert "4 epochs, map 0." in said
    lshcore("eval", "--model", tmp_path / "model", "--out", tmp_path / "results")
    row = rows_of(tmp_path / "results")[1]
    digits = data.load("digits")
    split = evaluation.draw(digits, seed=0)
    step = Preprocess().fit(digits.features[split.train])
    gallery, queries = (step.transform(digits.features[part]) for part in (split.gallery, split.queries))
    fitted = hashers.DSH(16, epochs=4).fit(gallery, digits.labels[split.train])  # the gallery is the train part
    expected = metrics.hamming_ranking(
        fitted.encode(queries), fitted.encode(gallery), digits.labels[split.queries], digits.labels[split.gallery]
    )
    assert row["metrics"]["map"] == pytest.approx(expected["map"], abs=1e-9)
    assert json.loads((tmp_path / "model" / "trained.json").read_text())["split"] == split.digest
    assert not list((tmp_path / "model").glob("training*"))


def test_other_hashers_are_kept_too(tmp_path: Path) -> None:
    said = lshcore("train", "--method", "itq", "--bits", "8", "--set", "n_iterations=3", "--out", tmp_path / "model")
    assert said.startswith("itq, 8 bits, 1,438 rows,")
    assert hashers.load(tmp_path / "model").get_params()["n_iterations"] == 3


def test_a_killed_training_goes_on_to_the_same_model(tmp_path: Path) -> None:
    script = (
        "import sys; from lshcore.neural import checkpoints; checkpoints.INTERVAL_SECONDS = 0;"
        "from lshcore.cli.main import main; main()"
    )
    command = [sys.executable, "-c", script, "train", "--method", "orthohash", "--bits", "16", "--set", "epochs=6"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], env=environment)
    checkpoint = tmp_path / "killed" / "training.json"
    for _ in range(1200):
        if checkpoint.exists() and json.loads(checkpoint.read_text())["meta"]["progress"]["epoch"] >= 2:
            break
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "hasher.json").exists()
    other = refused("train", "--method", "orthohash", "--bits", "16", "--set", "epochs=7", "--out", tmp_path / "killed")
    assert "epochs" in other
    assert "6 there and 7 here" in other
    for name in ("killed", "whole"):
        subprocess.run(
            [*command, "--out", str(tmp_path / name)], env=environment, check=True, stdout=subprocess.DEVNULL
        )
    for name in ("hasher.json", "preprocess.json", "trained.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_network_is_trained_with_its_hasher_from_images(tmp_path: Path) -> None:
    x, y = load_digits(return_X_y=True)
    for i in range(240):
        path = tmp_path / "photos" / str(y[i] % 4) / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((x[i].reshape(8, 8) * 15.9).astype(np.uint8)).resize((16, 16)).save(path)
    images = ("--dataset", f"folder:{tmp_path / 'photos'}")
    network = ("--backbone", "dsh-cnn", "--image-size", "16", "--finetune", "--no-augment")
    rate = ("--backbone-learning-rate", "1e-3", "--set", "epochs=8")
    lshcore("train", *images, "--method", "dsh", "--bits", "16", *network, *rate, "--out", tmp_path / "model")
    for out in ("first", "again"):  # the second time the features are there
        lshcore("eval", *images, "--model", tmp_path / "model", "--out", tmp_path / out)
    first, again = rows_of(tmp_path / "first"), rows_of(tmp_path / "again")
    assert [row["method"] for row in first] == ["exhaustive", "dsh"]
    assert [row["metrics"]["map"] for row in first] == [row["metrics"]["map"] for row in again]
    assert first[1]["metrics"]["map"] > 0.5  # a quarter, if it had learnt nothing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "k-means"), "method must be one of random-hyperplanes"),
        (("--method", "cross-polytope"), "method must be one of random-hyperplanes"),
        (("--set", "alpha=1"), "alpha"),
        (("--method", "itq", "--finetune"), "cannot be trained together with a network"),
        (("--dataset", "nothing"), "nothing"),
    ],
)
def test_wrong_use_is_said(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("train", "--out", tmp_path / "model", *arguments)


def test_a_model_is_not_overwritten(tmp_path: Path) -> None:
    lshcore("train", "--method", "pca-hashing", "--bits", "8", "--out", tmp_path)
    assert "holds a trained model already" in refused("train", "--method", "itq", "--bits", "8", "--out", tmp_path)
