"""Hostile files: thousands of mutations of saved indexes are refused, or change nothing; see hostile.py."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import hostile
from lshcore import FlatIndex, open_index
from stored import DIM, KINDS, sample, vectors


def _check(found: dict, count: int) -> None:
    print(json.dumps(found, indent=1))
    assert found["wrong"] == []
    assert sum(found["total"].values()) == count
    assert {key.partition(":")[0] for key in found["by kind"]} == set(hostile.MUTATIONS)
    # Mutations that are not refused are none at all, or make another index with checksums of its own.
    for kind in ("bit flips", "truncations", "appended bytes", "half copied", "versions", "special files", "structure"):
        assert f"{kind}: right" not in found["by kind"]
    assert found["by kind"]["bit flips: refused late"] > 0.01 * count
    for kind in set(hostile.MUTATIONS) - hostile.OTHER_INDEX:
        assert f"{kind}: other index" not in found["by kind"]
    assert found["by kind"]["structure: refused late"] > 0.05 * count


def test_mutated_files_are_refused_or_change_nothing() -> None:
    _check(hostile.parent(3000), 3000)


@pytest.mark.long
def test_a_hundred_thousand_mutations() -> None:
    _check(hostile.parent(100_000, seed=1, processes=2), 100_000)


def _saved(path: Path, kind: str = "lsh") -> hostile.Folder:
    return hostile.Folder(path / kind, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_when_it_is_met_or_at_once(kind: str, tmp_path: Path) -> None:
    """A bit in the last array of a segment: "lazy" opens, and no search that reads it answers."""
    folder = _saved(tmp_path, kind)
    name = folder.segments[0]
    content = bytearray(folder.whole[name])
    content[-1] ^= 1
    folder.put(name, bytes(content))
    with pytest.raises(ValueError, match=rf"{name}.*damaged"):
        open_index(folder.path, verify="full")


def test_damage_is_never_copied_under_new_checksums(tmp_path: Path) -> None:
    """What was opened lazily, and is damaged beyond the first block, can neither be saved elsewhere nor compacted."""
    rows = vectors(np.random.default_rng(0), 3 * (1 << 20) // (4 * DIM))
    FlatIndex().add(rows).save(tmp_path / "a")
    (path,) = (tmp_path / "a").glob("segment-*")
    content = bytearray(path.read_bytes())
    content[2 << 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged"):
        open_index(tmp_path / "a", verify="full")
    opened = open_index(tmp_path / "a")
    assert opened.reconstruct([0]).shape == (1, DIM)
    for change in (lambda: opened.save(tmp_path / "b"), lambda: opened.remove([1]).compact()):
        with pytest.raises(ValueError, match=rf"^{path}: array 'vectors' is damaged: block 2"):
            change()
    with pytest.raises(FileNotFoundError):
        open_index(tmp_path / "b")


def test_what_is_written_over_is_never_written_through(tmp_path: Path) -> None:
    """Links and pipes in the way of the files that a save makes."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "a"
    folder.mkdir()
    for name in (f".segment.{os.getpid()}", f".index.json.{os.getpid()}"):
        (folder / name).symlink_to(victim)
    sample("lsh").save(folder)
    assert victim.read_text() == "mine"
    os.mkfifo(folder / f".segment.{os.getpid()}")
    sample("flat").save(folder)
    assert len(open_index(folder)) == 54
    assert sorted(path.name.partition("-")[0] for path in folder.iterdir()) == [
        ".lock", "index", "index.json", "segment", "segment", "segment",
    ]  # fmt: skip


def test_not_a_directory_and_not_an_index(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"must be a directory"):
        open_index(tmp_path / "file")
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"index.json must be there to load an index"):
            open_index(path)


def test_an_index_that_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    """It may be of a newer lshcore, or one flipped bit from whole."""
    folder = _saved(tmp_path)
    document = json.loads(folder.whole["index.json"])
    del document["checksum"]
    document["version"] = 2
    checksum = hostile._state.hashlib.sha256(hostile._state._render(document)).hexdigest()
    newer = hostile._state._render({**document, "checksum": checksum})
    flipped = folder.whole["index.json"].replace(b'"rows": 54', b'"rows": 55')
    for content, said in ((newer, "version 2"), (flipped, "checksum")):
        folder.put("index.json", content)
        with pytest.raises(ValueError, match=rf"LSHIndex.save: .*would be lost: .*{said}.*save elsewhere"):
            sample("lsh").save(folder.path)
        assert (folder.path / "index.json").read_bytes() == content
        assert {name for name in folder.whole if (folder.path / name).exists()} == set(folder.whole)
