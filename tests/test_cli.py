"""The command line as a user meets it: what it prints, where, and with which exit code."""

import csv
import importlib.util
import io
import json
import os
import pty
import re
import select
import signal
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

import lshcore
from lshcore import registry
from lshcore.cli.main import app
from lshcore.evaluation.methods import METHODS

COMMAND = [sys.executable, "-m", "lshcore.cli.main"]
QUICK = ["eval", "--method", "k-means", "--clusters", "8"]
NETWORKS = [name for name, target in registry.HASHERS.items() if target.startswith("lshcore.neural")]


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def call(*arguments, **environment):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200", **environment},
        check=False,
    )


def table(text):
    lines = [line.split() for line in text.splitlines() if line and not line.startswith(("#", "lshcore:"))]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


@pytest.fixture(scope="module")
def default_run(tmp_path_factory):
    """Without torch, wherever it runs: networks take a minute."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "torch.py").write_text("raise ImportError('hidden')")
    return call("eval", PYTHONPATH=str(folder))


class TestEval:
    def test_no_arguments_runs_every_method_on_digits(self, default_run):
        assert default_run.returncode == 0
        rows = table(default_run.stdout)
        several = {"k-means": 2, "k-means-residual": 2, "random-hyperplanes": 10, "cross-polytope": 6, "p-stable": 6}
        expected = [name for name in METHODS if name not in NETWORKS for _ in range(several.get(name, 1))]
        assert [row["method"] for row in rows] == expected
        assert {"p@10", "p@50", "map", "map_retrieved", "recall", "coverage", "candidates"} <= set(rows[0])
        assert {"encode_ms", "probe_ms", "union_ms", "rerank_ms", "total_ms", "speed_up"} <= set(rows[0])
        assert rows[0]["recall"] == "1.0000"

    def test_pipe_gets_neither_boxes_nor_colour_nor_progress(self, default_run):
        assert default_run.stdout.isascii()
        assert "\x1b" not in default_run.stdout + default_run.stderr

    def test_what_was_left_out_is_one_line_on_stderr(self, default_run):
        clusters, networks = default_run.stderr.splitlines()
        assert clusters.startswith("lshcore: k-means with 1000 clusters is left out: ")
        assert networks.startswith(f"lshcore: {', '.join(NETWORKS)} are left out: torch")

    @pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
    def test_networks_are_methods_like_any_other(self):
        whole = json.loads(
            call("eval", "--method", ",".join(NETWORKS), "--bits", 16, "--set", "epochs=2", "--json").stdout
        )
        assert [row["method"] for row in whole["results"]] == ["exhaustive", *NETWORKS]
        for row in whole["results"][1:]:
            assert row["parameters"]["epochs"] == 2
            assert row["metrics"]["map"] > 0.15  # a tenth without having learnt
            assert row["seconds"]["train"] > 0

    def test_json_is_all_there_is_on_stdout(self):
        whole = json.loads(call(*QUICK, "--json").stdout)
        assert whole["schema_version"] == 2
        assert [row["method"] for row in whole["results"]] == ["exhaustive", "k-means"]

    def test_out_writes_both_files(self, tmp_path):
        run = call(*QUICK, "--out", tmp_path / "results")
        assert run.returncode == 0
        whole = json.loads((tmp_path / "results/results.json").read_text())
        rows = list(csv.DictReader(io.StringIO((tmp_path / "results/results.csv").read_text())))
        assert len(rows) == len(whole["results"]) == 2
        assert "results.json" in run.stderr

    def test_plot_draws_beside_the_results(self, tmp_path):
        pytest.importorskip("matplotlib")
        run = call(*QUICK, "--out", tmp_path, "--plot")
        assert run.returncode == 0
        drawn = [f"{name}.{kind}" for name in ("quality-cost", "buckets", "pr-curve") for kind in ("png", "svg")]
        assert sorted(os.listdir(tmp_path)) == sorted([*drawn, "results.csv", "results.json"])
        assert run.stderr.splitlines()[-1] == f"lshcore: wrote {', '.join(str(tmp_path / name) for name in drawn)}"

    def test_plot_without_matplotlib_ends_before_the_work(self, tmp_path):
        (tmp_path / "matplotlib.py").write_text("raise ImportError")
        out = tmp_path / "out"
        run = call(*QUICK, "--out", out, "--plot", PYTHONPATH=str(tmp_path))
        assert (run.returncode, run.stdout) == (1, "")
        assert run.stderr == 'lshcore: plots need matplotlib: pip install "lshcore[plot]"\n'
        assert not out.exists()

    def test_preset_fills_what_is_not_given(self):
        result = invoke("eval", "--preset", "report-kmeans", "--clusters", "10,20", "--json")
        whole = json.loads(result.stdout)
        assert [(row["method"], row["parameters"].get("clusters")) for row in whole["results"]] == [
            ("exhaustive", None),
            ("k-means", 10),
            ("k-means", 20),
        ]
        assert whole["notes"] == ["PCA to 248 dimensions is left out: the features have 64"]

    def test_same_seed_same_metrics(self):
        def metrics(seed, jobs):
            result = invoke(*QUICK, "--json", "--seed", seed, "--jobs", jobs)
            return [row["metrics"] for row in json.loads(result.stdout)["results"]]

        assert metrics(3, 1) == metrics(3, 2) != metrics(4, 1)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--clusters", "4,8", "--probes", "1", "--probes", "2"),
            ("--sweep", "clusters=4,8", "--sweep", "probes=1,2"),
            ("--sweep=--clusters=4, 8", "--probes", "1,2,2"),
        ],
    )
    def test_lists_by_comma_by_repeat_and_by_sweep(self, arguments):
        result = invoke("eval", "--method", "k-means", "--json", *arguments)
        rows = [row["parameters"] for row in json.loads(result.stdout)["results"][1:]]
        assert [(row["clusters"], row["probes"]) for row in rows] == [(4, 1), (4, 2), (8, 1), (8, 2)]

    def test_sweep_takes_underscores_and_k(self):
        result = invoke(
            "eval", "--method", "random-hyperplanes", "--tables", 2, "--sweep", "key_bits=6", "--k", "5,20", "--json"
        )
        whole = json.loads(result.stdout)
        assert whole["k"] == [5, 20]
        expected = {
            "tables": 2,
            "key_bits": 6,
            "keys": "blocks",
            "bits": 12,
            "probes": 2,
            "rank": "cosine",
            "centre": True,
            "orthogonal": False,
        }
        assert whole["results"][1]["parameters"] == expected
        assert {"p@5", "map@20"} <= set(whole["results"][0]["metrics"])

    def test_pca_and_rank(self):
        result = invoke(*QUICK, "--pca", "none,8,0.9", "--rank", "hamming", "--bits", "32", "--json")
        rows = json.loads(result.stdout)["results"]
        assert [row["preprocess"]["pca"] for row in rows] == [None, None, 8, 8, 0.9, 0.9]
        assert rows[1]["parameters"]["rank"] == "hamming"
        assert "p@r<=2" in rows[1]["metrics"]

    def test_probes_and_shortlist(self):
        arguments = ("--method", "random-hyperplanes", "--tables", "2,4", "--key-bits", 6, "--probes", "2,8")
        run = call("eval", *arguments, "--shortlist", "none,20", "--bits", 32)
        keys = "tables={0},key_bits=6,keys=blocks,bits={1},probes={2},rank=cosine{3}"
        assert [row["parameters"] for row in table(run.stdout)[1:]] == [
            *(
                keys.format(tables, 6 * tables, probes, shortlist)
                for tables, probes in ((2, 2), (2, 8), (4, 8))
                for shortlist in ("", ",shortlist=20")
            ),
            "bits=32,rank=hamming",
            "bits=32,rank=cosine,shortlist=20",
        ]
        note = "random-hyperplanes with 4 tables and probes 2 is left out: it looks into at least one key a table"
        assert run.stderr == f"lshcore: {note}\n"

    def test_arguments_of_hashers(self):
        given = ("--set", "n_iterations=3", "--set", "initial=pca-hashing", "--set", "alpha=None")
        result = invoke("eval", "--method", "itq,grh,pca-hashing", "--bits", 8, *given, "--json")
        itq, grh, pca = (row["parameters"] for row in json.loads(result.stdout)["results"][1:])
        assert itq["n_iterations"] == grh["n_iterations"] == 3
        assert (grh["initial"], grh["alpha"]) == ("pca-hashing", None)
        assert not {"n_iterations", "initial", "alpha"} & set(pca)

    def test_several_seeds_are_rows_in_files_and_means_in_tables(self, tmp_path):
        seeds = [3, 1, 2]
        given = ("--method", "itq", "--bits", 8, "--set", "n_iterations=3", "--jobs", 1)
        run = call("eval", *given, "--seed", "3,1..2", "--out", tmp_path)
        rows = json.loads((tmp_path / "results.json").read_text())["results"]
        assert [(row["method"], row["seed"]) for row in rows] == [(m, s) for s in seeds for m in ("exhaustive", "itq")]
        for row in rows[1::2]:
            (alone,) = json.loads(invoke("eval", *given, "--seed", row["seed"], "--json").stdout)["results"][1:]
            assert alone["metrics"] == row["metrics"]
        written = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text())))
        assert [int(row["seed"]) for row in written] == [row["seed"] for row in rows]
        assert len({row["features.split_hash"] for row in written}) == 3
        exhaustive, itq = table(run.stdout)
        for shown, every in ((exhaustive, rows[::2]), (itq, rows[1::2])):
            for name in ("map", "p@10", "recall"):
                values = [row["metrics"][name] for row in every]
                assert float(shown[name]) == pytest.approx(sum(values) / 3, abs=5.1e-5)
                assert float(shown[f"{name}_sd"]) == pytest.approx(statistics.stdev(values), abs=5.1e-5)
        assert "# protocol holdout, means of 3 seeds (3, 1, 2) with sample deviations;" in run.stdout

    def test_one_seed_shows_no_deviation(self):
        shown = table(call(*QUICK, "--seed", 4).stdout)
        assert not any(name.endswith("_sd") for name in shown[0])

    def test_features_of_ones_own(self, tmp_path):
        random = np.random.RandomState(0)
        np.save(tmp_path / "x.npy", random.normal(size=(80, 6)))
        np.save(tmp_path / "y.npy", np.arange(80) % 2)
        result = invoke(*QUICK, "--dataset", tmp_path / "x.npy", "--labels", tmp_path / "y.npy", "--json")
        whole = json.loads(result.stdout)
        (features,) = whole["features"]
        assert (features["items"], whole["protocol"]["name"]) == (80, "holdout")
        assert (features["name"], features["where"]) == ("x.npy", str(tmp_path / "x.npy"))


class TestPlan:
    def test_says_what_to_expect_and_what_is(self):
        run = call("plan", "--dataset", "digits", "--recall", "0.8")
        assert run.returncode == 0
        assert re.search(
            r"digits: 1,438 items of 64 features, recall 0.8\nLSH: \d+ tables of \d+ bits, \d+ probes\n"
            r"k-means with residual codes: 8 clusters, \d probes, shortlist \d+\n",
            run.stdout,
        )
        row = next(line for line in run.stdout.splitlines() if line.startswith("recall of the 10 nearest"))
        expected, measured, clusters, exhaustive = map(float, row.split()[-4:])
        assert expected >= 0.8
        assert clusters >= 0.75
        assert abs(expected - measured) < 0.1
        assert exhaustive == 1
        assert "looking at all 1,438 rows is expected to be faster" in run.stderr


class TestTerminal:
    def run_on_terminal(self, *command, width=130):
        """Run under a pseudo-terminal; everything it showed, stdout and stderr together."""
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            list(command),
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={**os.environ, "COLUMNS": str(width), "TERM": "xterm"},
        )
        os.close(follower)
        shown = b""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if not select.select([leader], [], [], 1.0)[0]:
                continue
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        os.close(leader)
        assert process.wait(timeout=30) == 0
        return shown.decode()

    def test_terminal_gets_a_table(self):
        shown = self.run_on_terminal(*COMMAND, *QUICK)
        assert "\x1b[" in shown
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
        assert "speed-up" in plain
        assert "8 clusters" in plain

    @pytest.mark.parametrize(("seconds", "shows"), [(2.8, True), (0.5, False)])
    def test_progress_shows_what_takes_over_two_seconds(self, seconds, shows):
        code = "import time; from lshcore.cli.progress import Progress\n"
        code += f"with Progress() as progress: progress(0.0, 'ready'); progress(0.25, 'at work'); time.sleep({seconds})"
        shown = self.run_on_terminal(sys.executable, "-c", code)
        assert bool(re.search(r"25%.* 0:0\d left .*at work", re.sub(r"\x1b\[[0-9;?]*m", "", shown))) == shows
        assert bool(shown) == shows


class TestExitCodes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ("eval", "--sweep", "depth=3"),
                "key must be one of method, bits, tables, key-bits, hashes, clusters, algorithm",
            ),
            (("eval", "--sweep", "bits"), "expected key=a,b,c"),
            (("eval", "--sweep", "bits=32", "--bits", "64"), "bits is set twice"),
            (("eval", "--bits", "many"), "expected whole numbers"),
            (("eval", "--bits", "32,,64"), "expected values separated by commas"),
            (("eval", "--bits", "0"), "bits must be from 1 to 4096"),
            (("eval", "--shortlist", "some"), "expected whole numbers"),
            (("eval", "--shortlist", "0"), "shortlist must be none or at least 1"),
            (("eval", "--pca", "half"), "a share of the variance"),
            (
                ("eval", "--method", "annoy"),
                "method must be one of all, exhaustive, k-means, k-means-residual, random-hyperplanes",
            ),
            (("eval", "--dataset", "imagenette"), "dataset must be one of digits, mnist, fashion-mnist"),
            (("eval", "--protocol", "loo"), "protocol must be one of official, holdout"),
            (("eval", "--jobs", "0"), "n_jobs must be"),
            (("eval", "--seed", "-1"), "expected from 0 to 4294967295, got -1"),
            (("eval", "--seed", "0,x"), "--seed: expected whole numbers, got 'x'"),
            (("eval", "--set", "n_iterations"), "expected name=value, got 'n_iterations'"),
            (("eval", "--method", "itq", "--set", "n_bits=8"), "n_bits is set by --bits"),
            (("eval", "--method", "p-stable", "--set", "n_hashes=8"), "n_hashes is set by --hashes"),
            (("eval", "--set", "random_state=1"), "random_state is set by --seed"),
            (("eval", "--set", "width=1", "--set", "width=2"), "width is set twice"),
            (
                ("eval", "--method", "itq,p-stable", "--set", "penalty=1"),
                "got penalty, expected an argument of a chosen method "
                "(itq: n_iterations; p-stable: width, cell_bits, centre)",
            ),
            (
                ("eval", "--method", "k-means", "--set", "tol=1"),
                "got tol, expected an argument of a chosen method (they have none)",
            ),
            (("eval", "--depth", "3"), "--depth"),
            (("eval", "--radius", "-1"), "radius must be at least 0"),
            (("eval", "--keys", "own"), "keys must be one of blocks, sample"),
            (("eval", "--algorithm", "spectral"), "algorithm must be one of lloyd, spherical, minibatch"),
            (("eval", "--hashes", "0"), "hashes must be at least 1, got 0"),
            (("eval", "--preset", "report"), "preset must be one of report-kmeans, report-kmeans-cifar100"),
            (("eval", "--plot"), "expected --out DIR beside it"),
            (("plan", "--recall", "1"), "expected a number between 0 and 1, got 1"),
            (("extract", "--dataset", "imagenette"), "dataset must be one of digits, mnist, fashion-mnist"),
            (("datasets", "--download", "imagenette"), "expected one of digits, mnist, fashion-mnist"),
            (("datasets", "--download", "mnist"), "expected --data-dir DIR beside it"),
            (("evaluate",), "evaluate"),
        ],
    )
    def test_wrong_usage_is_2(self, arguments, message):
        result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300", "TERM": "dumb"})
        assert result.exit_code == 2
        said = " ".join(re.sub(r"[^\x20-\x7e]", " ", result.stderr).split())
        assert message in said
        assert result.stdout == ""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("eval", "--dataset", "mnist"), "lshcore: dataset 'mnist' was not found"),
            (("eval", "--dataset", "gone.npz"), "lshcore: dataset file gone.npz was not found"),
            (("eval", "--protocol", "official"), "lshcore: protocol 'official': dataset 'digits' must come with"),
            (("eval", "--pca", "65"), "lshcore: Preprocess.fit: "),
            (("eval", "--out", "/dev/null/results"), "/dev/null/results"),
            (("eval", "--model", "/nowhere/itq"), "lshcore: model /nowhere/itq was not found"),
            (("eval", "--method", "itq", "--set", "n_iterations=many"), "n_iterations must be"),
            (("extract", "--dataset", "mnist"), "lshcore: dataset 'mnist' was not found"),
            (("extract", "--dataset", "x.npz"), "holds features, not images: nothing can be extracted from it"),
            (("datasets", "--download", "nuswide-21", "--data-dir", "/tmp"), "nobody offers nuswide-21 for download"),
        ],
    )
    def test_failure_is_1_and_one_line(self, arguments, message):
        run = call(*arguments, LSHCORE_DATA_DIR="/nowhere")
        assert run.returncode == 1
        assert run.stdout == ""
        assert message in run.stderr
        assert run.stderr.count("\n") == 1

    def test_traceback_on_request(self):
        run = call("eval", "--dataset", "gone.npz", LSHCORE_DEBUG="1")
        assert run.returncode == 1
        assert "Traceback" in run.stderr

    def test_interrupted_is_130(self, tmp_path):
        random = np.random.RandomState(0)
        np.savez(tmp_path / "big.npz", x=random.normal(size=(30_000, 256)).astype(np.float32), y=np.arange(30_000) % 5)
        out = tmp_path / "out"
        process = subprocess.Popen(
            [*COMMAND, "eval", "--dataset", str(tmp_path / "big.npz"), "--clusters", "7000", "--out", str(out)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        while not out.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
        assert process.returncode == 130
        assert (stdout, stderr) == ("", "lshcore: interrupted\n")
        assert os.listdir(out) == []

    def test_closed_pipe_is_quiet(self):
        process = subprocess.Popen([*COMMAND, *QUICK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=60) == 1


class TestOtherCommands:
    def test_version(self):
        assert invoke("--version").stdout == f"lshcore {lshcore.__version__}\n"

    def test_info(self):
        result = invoke("info")
        assert result.exit_code == 0
        for part in ("lshcore", "numpy", "kernel set", "scalar", "threads", "cuda"):
            assert part in result.stdout

    def test_info_imports_none_of_the_extras(self):
        code = "import sys; from lshcore.cli.main import app; app(['info'], standalone_mode=False); "
        code += "print('LOADED', sorted({'torch', 'sklearn', 'matplotlib', 'pyarrow'} & set(sys.modules)))"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert run.stdout.endswith("LOADED []\n")

    def test_methods(self):
        result = invoke("methods")
        assert result.exit_code == 0
        for part in (
            "exhaustive",
            "k-means",
            "random-hyperplanes",
            "--clusters 10,100,1000",
            "--key-bits 8,12,16",
            "--hashes 1,2",
            "--set n_iterations=50",
        ):
            assert part in result.stdout

    def test_datasets(self, tmp_path):
        result = invoke("datasets", "--data-dir", tmp_path)
        assert result.exit_code == 0
        lines = {line.split()[0]: line for line in result.stdout.splitlines()}
        assert "scikit-learn" in lines["digits"]
        assert "not found" in lines["mnist"]
        assert "apt install dataset-fashion-mnist" in lines["fashion-mnist"]

    @pytest.mark.parametrize("command", ["eval", "info", "methods", "datasets"])
    def test_help_has_an_example(self, command):
        result = invoke(command, "--help")
        assert result.exit_code == 0
        assert f"lshcore {command}" in " ".join(result.stdout.split())

    def test_help_is_quick_to_import(self):
        code = "import sys; import lshcore.cli.main; heavy = {'sklearn', 'scipy', 'torch', 'pyarrow', 'matplotlib'}; "
        code += "print(sorted(heavy & set(sys.modules)))"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert run.stdout == "[]\n"
