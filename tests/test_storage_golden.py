"""Every index that any version ever wrote opens, and answers as it did then; see golden/make.py."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lshcore import open_index
from stored import answers, files, same, vectors

HERE = Path(__file__).parent / "golden"
GOLDEN = sorted(path.parent for path in HERE.glob("v*/*/*/index.json"))


def test_there_are_golden_files_of_every_class() -> None:
    assert {path.parent.name for path in GOLDEN} == {"flat", "lsh", "kmeans"}
    assert len(GOLDEN) >= 12
    assert sum(len(content) for path in GOLDEN for content in files(path).values()) < 200_000


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: "-".join(path.relative_to(HERE).parts))
def test_golden_files_answer_as_they_did(path: Path, tmp_path: Path) -> None:
    with np.load(path / "answers.npz", allow_pickle=False) as kept:
        expected = {name: kept[name] for name in kept.files}
    queries = expected.pop("queries")
    shutil.copytree(path, tmp_path / "copy")
    (tmp_path / "copy" / "answers.npz").unlink()
    for verify, mmap in (("full", True), ("lazy", False), ("lazy", True)):
        index = open_index(path, verify=verify, mmap=mmap)
        found = answers(index, queries)
        assert same(found, expected)
    # What changes it goes on in the format of today.
    index = open_index(tmp_path / "copy")
    texts = ["new", "newer", "newest"] if expected["ids"].dtype.kind == "U" else None
    index.add(vectors(np.random.default_rng(0), 3), ids=texts).remove(index.ids[:1]).save(tmp_path / "copy")
    again = open_index(tmp_path / "copy", verify="full")
    assert same(answers(again), answers(index))
    assert not (path / ".lock").exists()
