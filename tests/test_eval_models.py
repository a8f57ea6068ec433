"""Saved hashers in an evaluation: they give what the hasher gives that was fitted in the run, and nothing is fitted."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from lshcore import hashers
from lshcore.cli.main import app
from lshcore.data import Dataset, Source, load
from lshcore.evaluation import draw, run
from lshcore.evaluation.configurations import Options, preprocessing
from lshcore.evaluation.methods import configure
from lshcore.evaluation.models import open_models
from lshcore.evaluation.prepare import prepare
from lshcore.preprocess import Preprocess

FORMS = Options(
    ("itq",), bits=(16,), keys=("sample",), tables=(2, 4), key_bits=(6,), radius=(2,), rank=("cosine", "margin")
)


def fitted(split, digits, pca=None):
    preprocess = Preprocess(**preprocessing(pca)).fit(digits.features, rows=split.train)
    return preprocess, hashers.ITQ(16, random_state=0).fit(preprocess.transform(digits.features, rows=split.train))


def evaluate(dataset, split, options, paths, **more):
    models = open_models([str(path) for path in paths])
    configurations, notes = configure(options, len(split.gallery), len(split.train), dim=dataset.dim, models=models)
    return run(dataset, split, configurations, **more), notes


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def split(digits):
    return draw(digits)


@pytest.fixture(scope="module")
def saved(digits, split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    preprocess, hasher = fitted(split, digits)
    hasher.save(folder / "bare")
    hasher.save(folder / "whole")
    preprocess.save(folder / "whole")
    preprocess, hasher = fitted(split, digits, pca=20)
    hasher.save(folder / "reduced")
    preprocess.save(folder / "reduced")
    return folder


class TestRun:
    @pytest.mark.parametrize("name", ["bare", "whole"])
    def test_same_metrics_as_what_is_fitted_in_the_run(self, digits, split, saved, name, monkeypatch):
        fits = []
        real = hashers.ITQ.fit
        monkeypatch.setattr(hashers.ITQ, "fit", lambda self, *data: fits.append(self) or real(self, *data))
        results, notes = evaluate(digits, split, FORMS, [saved / name])
        ours = [result for result in results if "model" not in result.settings][1:]
        theirs = [result for result in results if "model" in result.settings]
        assert len(ours) == len(theirs) == 2 * 2 + 2 + 2
        for one, other in zip(ours, theirs, strict=True):
            assert other.metrics == one.metrics
            assert other.configuration.parameters == one.configuration.parameters
            assert other.configuration.method == "itq"
            assert other.label == f"{one.label}, model {name}"
            assert (other.seconds["train"], other.settings["model"]) == (0.0, str(saved / name))
        assert one.seconds["train"] > 0
        assert (len(fits), notes) == (1, [])

    def test_a_preprocessing_of_its_own_makes_its_matrices(self, digits, split, saved):
        options = Options(("itq",), bits=(16,), pca=(20,))
        (_, expected), _ = evaluate(digits, split, options, [])
        (baseline, result), _ = evaluate(digits, split, Options(("exhaustive",)), [saved / "reduced"])
        assert result.metrics == expected.metrics
        assert (baseline.configuration.preprocess["pca"], result.configuration.preprocess["pca"]) == (None, 20)
        times = [each.times_ms["total"]["mean"] for each in (baseline, result)]
        assert result.speed_up == pytest.approx(times[0] / times[1])

    def test_the_number_of_bits_is_the_models(self, digits, split, saved):
        options = Options(("exhaustive",), bits=(8, 64), pca=(None, 64))
        results, notes = evaluate(digits, split, options, [saved / "bare", saved / "whole"])
        models = [result for result in results if "model" in result.settings]
        # The bare one in both preparations, the other one once.
        assert [(each.configuration.preprocess["pca"], each.settings["model"]) for each in models] == [
            (None, str(saved / "bare")),
            (64, str(saved / "bare")),
            (None, str(saved / "whole")),
        ]
        assert all(each.configuration.parameters == {"bits": 16, "rank": "hamming"} for each in models)
        assert notes == []

    def test_published_leaks_are_not_a_models(self, digits, split, saved):
        models = open_models([str(saved / "bare"), str(saved / "whole")])
        configurations, _ = configure(Options(("exhaustive",)), 100, 100, leak=True, models=models)
        assert [(each.model is None, each.leak) for each in configurations] == [
            (True, False),
            (False, False),
            (True, True),
            (False, False),
        ]

    def test_another_number_of_columns_names_both(self, digits, split, saved):
        wide = Dataset("wide", "", np.ones((20, 65), np.float32), np.arange(20) % 2, Source("made"))
        for name in ("bare", "whole"):
            with pytest.raises(ValueError, match=rf"model .*{name} was fitted on features of 64 columns, got 65"):
                evaluate(wide, draw(wide), Options(("exhaustive",)), [saved / name])
        with pytest.raises(ValueError, match=r"bare was fitted on features of 64 columns, got 20"):
            evaluate(digits, split, Options(("exhaustive",), pca=(20,)), [saved / "bare"])


class TestOpen:
    def test_what_it_is(self, saved):
        (model,) = open_models([str(saved / "whole")])
        assert (model.method, model.name, model.hasher.n_bits_) == ("itq", "whole", 16)
        assert model.preprocess.n_features_in_ == 64
        assert open_models([str(saved / "bare")])[0].preprocess is None

    def test_same_name_twice_is_told_apart(self, saved, tmp_path):
        other = tmp_path / "bare"
        open_models([str(saved / "bare")])[0].hasher.save(other)
        paths = [str(saved / "bare"), str(other), str(saved / "whole")]
        assert [model.name for model in open_models(paths)] == [*paths[:2], "whole"]

    def test_what_cannot_be_opened(self, saved, digits, tmp_path):
        with pytest.raises(FileNotFoundError, match="model gone was not found: expected a directory"):
            open_models(["gone"])
        with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
            open_models([str(tmp_path)])
        hashers.PStable(4).fit(digits.features).save(tmp_path / "lattice")
        with pytest.raises(ValueError, match="whose codes have a Hamming distance, got p-stable"):
            open_models([str(tmp_path / "lattice")])
        open_models([str(saved / "bare")])[0].hasher.save(tmp_path / "mixed")
        (tmp_path / "mixed" / "trained.json").write_text("{}")
        with pytest.raises(ValueError, match=r"mixed/trained.json must say what a model was trained on, got KeyError"):
            open_models([str(tmp_path / "mixed")])
        Preprocess(pca=20).fit(digits.features).save(tmp_path / "mixed")
        with pytest.raises(ValueError, match="must give the 64 columns that its hasher takes, got 20"):
            open_models([str(tmp_path / "mixed")])


class TestCommand:
    def invoke(self, *arguments):
        result = CliRunner().invoke(app, ["eval", *map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.stdout

    def test_alone_it_is_compared_with_the_baseline_only(self, saved):
        whole = json.loads(self.invoke("--model", f"{saved / 'whole'},{saved / 'reduced'}", "--json"))
        rows = [(row["method"], row["label"], row["parameters"].get("model")) for row in whole["results"]]
        assert rows == [
            ("exhaustive", "cosine", None),
            ("itq", "16-bit codes, model whole", str(saved / "whole")),
            ("itq", "16-bit codes, model reduced", str(saved / "reduced")),
        ]
        assert whole["results"][1]["parameters"]["random_state"] == 0

    def test_beside_methods(self, saved):
        text = self.invoke("--model", saved / "whole", "--method", "itq", "--bits", 16)
        lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
        ours, theirs = lines[2:]
        places = [lines[0].index(name) for name in ("p@10", "p@50", "map", "recall")]
        assert [theirs[i] for i in places] == [ours[i] for i in places]
        assert f"model={saved / 'whole'}" in theirs[1]
        assert f"# not known to have been trained without these queries: {saved / 'whole'}\n" in text

    def test_what_was_trained_on_the_same_split_has_not_seen_the_queries(self, saved, split, tmp_path):
        (model,) = open_models([str(saved / "bare")])
        model.hasher.save(tmp_path)
        (tmp_path / "trained.json").write_text(json.dumps({"split": split.digest}))
        warning = f"# not known to have been trained without these queries: {tmp_path}"
        assert warning not in self.invoke("--model", tmp_path)
        assert warning in self.invoke("--model", tmp_path, "--seed", 1)
        assert warning in self.invoke("--model", tmp_path, "--seed", "0,1")


def test_matrices_of_a_fitted_preprocessing_are_not_fitted_again(digits, split):
    preprocess, _ = fitted(split, digits)
    ours, theirs = prepare(digits, split, preprocess), prepare(digits, split, preprocessing(None))
    np.testing.assert_array_equal(ours.queries, theirs.queries)
    assert ours.gallery is ours.train
