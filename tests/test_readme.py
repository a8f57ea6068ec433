"""The README: its example runs, its commands exist, and the names it uses are ours."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lshcore.cli.main import app
from lshcore.evaluation.methods import METHODS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_library_example_runs():
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    run = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    ids, quality = run.stdout.strip().splitlines()
    assert re.fullmatch(r"\[[\d ]+\]", ids)
    assert re.fullmatch(r"map 0\.\d+, p@10 0\.\d+, recall 0\.\d+", quality)


def test_set_up_is_two_commands():
    shell = "\n".join(blocks("sh"))
    for command in ('pip install ".[all]" && lshcore eval', 'pip install ".[test]" && pytest'):
        assert command in shell
    assert "python3 -m venv .venv && . .venv/bin/activate" in shell


@pytest.mark.parametrize("line", [line for block in blocks("sh") for line in block.splitlines() if "lshcore " in line])
def test_commands_exist(line):
    command = re.search(r"lshcore ([a-z]+)([^#&]*)", line)
    shown = CliRunner().invoke(app, [command[1], "--help"], env={"COLUMNS": "300", "TERM": "dumb"}).stdout
    for option in re.findall(r"--[a-z-]+", command[2]):
        assert option in shown


def test_result_table_has_every_method():
    rows = [line for line in README.splitlines() if line.startswith("| ")]
    for method in METHODS:
        assert any(line.startswith(f"| {method}") for line in rows)
