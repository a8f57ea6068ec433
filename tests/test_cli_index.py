"""Indexes on disk as a user of the command line meets them: built, searched, changed, checked, described."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from lshcore import Collection, FlatIndex, Preprocess, hamming, hashers, open_index
from lshcore.cli.main import app

DIGITS = load_digits().data.astype(np.float32)


def lshcore(*arguments):
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments, code=1):
    done = subprocess.run(
        [sys.executable, "-m", "lshcore.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "300"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    if code == 1:
        assert len(done.stderr.splitlines()) == 1
    return done.stderr


def hits(*arguments):
    return [json.loads(line) for line in lshcore("search", *arguments, "--json").splitlines()]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """An index of the digits that no test changes."""
    folder = tmp_path_factory.mktemp("kept") / "digits.lsh"
    said = lshcore("build", "--dataset", "digits", "--out", folder)
    assert said.startswith("LSHIndex(1,797 rows, 8 tables x 12 bits, 96-bit codes, vectors float16, ")
    stages = [line.split()[0] for line in said.splitlines()[1:8]]
    assert stages == ["stage", "features", "preprocess", "hasher", "index", "save", "total"]
    assert "bytes an item in memory: 227.6 (codes 16.0, vectors 132.0, tables 79.6)" in said
    return folder


@pytest.fixture
def queries(tmp_path):
    np.save(tmp_path / "queries.npy", DIGITS[:5])
    return tmp_path / "queries.npy"


@pytest.fixture
def features(tmp_path):
    np.save(tmp_path / "features.npy", DIGITS)
    return tmp_path / "features.npy"


def test_a_search_is_that_of_the_library(kept, queries):
    x = Preprocess().fit_transform(DIGITS)
    exact = FlatIndex(vectors="float16").add(x).search(x[:5], 4)
    found = hits(kept, queries, "-k", "4", "--probes", "500")
    assert [hit["id"] for hit in found] == exact.ids.ravel().tolist()
    assert np.allclose([hit["distance"] for hit in found], exact.distances.ravel(), atol=1e-6)
    assert [(hit["query"], hit["rank"]) for hit in found] == [(q, r) for q in range(5) for r in range(1, 5)]
    table = [line.split() for line in lshcore("search", kept, queries, "-k", "4", "--probes", "500").splitlines()]
    assert table[0] == ["query", "rank", "id", "distance"]
    assert [int(row[2]) for row in table[1:]] == exact.ids.ravel().tolist()
    near = hits(kept, queries, "-k", "1", "--rank", "hamming")
    assert [(hit["id"], hit["distance"]) for hit in near] == [(i, 0) for i in range(5)]


def test_images_of_one_size_are_searched_by_images(kept, tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(DIGITS[7].reshape(8, 8).astype(np.uint8)).save(tmp_path / "seven.png")
    (hit,) = hits(kept, tmp_path / "seven.png", "-k", "1")
    assert (hit["query"], hit["id"]) == (str(tmp_path / "seven.png"), 7)
    assert hit["distance"] < 1e-3
    image.new("L", (9, 8)).save(tmp_path / "wide.png")
    assert "must have 8 x 8 pixels, as those of the index, got 9 x 8" in refused("search", kept, tmp_path / "wide.png")


def test_rows_come_and_go(features, queries, tmp_path):
    out = tmp_path / "ix"
    lshcore("build", "--dataset", features, "--out", out, "--tables", "4", "--key-bits", "8")
    assert lshcore("add", out, queries) == f"5 added: 1,802 rows in {out}\n"
    assert [hit["id"] for hit in hits(out, queries, "-k", "2")][:4] == [0, 1797, 1, 1798]
    assert lshcore("add", out, queries, "--update") == f"0 added, 5 updated: 1,802 rows in {out}\n"
    assert lshcore("remove", out, "1797", "0") == f"2 removed: 1,800 rows in {out}\n"
    (tmp_path / "list").write_text("1\n2\n\n")
    lshcore("remove", out, "3", "--from", tmp_path / "list")
    index = open_index(out)
    assert len(index) == 1797
    assert not {0, 1, 2, 3, 1797} & set(index.ids.tolist())
    before = hits(out, queries, "-k", "5")
    said = lshcore("compact", out)
    assert "segments to 1, 10 removed rows dropped," in said  # 5 of them were replaced
    assert hits(out, queries, "-k", "5") == before
    assert lshcore("verify", out) == f"whole: 1,797 rows in {out}\n"


def test_kinds(features, queries, tmp_path):
    for name, options, cls in [
        ("kmeans", ["--clusters", "12"], "KMeansIndex(1,797 rows, 12 clusters, vectors float16"),
        ("flat", ["--flat", "--vectors", "float32"], "FlatIndex(1,797 rows, vectors float32"),
        ("codes", ["--flat", "--method", "itq", "--bits", "32", "--vectors", "none"], "FlatIndex(1,797 rows, 32-bit"),
        ("sample", ["--bits", "16", "--tables", "3"], "LSHIndex(1,797 rows, 3 tables x 12 bits, 16-bit codes"),
        ("set", ["--method", "itq", "--set", "n_iterations=2", "--bits", "20"], "LSHIndex(1,797 rows, 8 tables"),
    ]:
        said = lshcore("build", "--dataset", features, "--out", tmp_path / name, *options)
        assert said.startswith(cls)
        assert hits(tmp_path / name, queries, "-k", "1")[0]["id"] == 0
    lshcore("build", "--dataset", "digits", "--method", "sdh", "--bits", "32", "--out", tmp_path / "labels")
    assert type(open_index(tmp_path / "labels").hasher).__name__ == "SDH"


def test_a_model_is_built_with(queries, tmp_path):
    lshcore("train", "--method", "itq", "--bits", "48", "--out", tmp_path / "model")
    lshcore("build", "--dataset", "digits", "--model", tmp_path / "model", "--tables", "4", "--out", tmp_path / "ix")
    opened, model = Collection.open(tmp_path / "ix"), hashers.load(tmp_path / "model")
    x = Preprocess.load(tmp_path / "model").transform(DIGITS)
    assert np.array_equal(opened.index.codes(range(1797)).words, model.encode(x).words)
    message = refused("build", "--dataset", "digits", "--out", "x", "--model", tmp_path, "--bits", "3", code=2)
    assert "expected it alone, without --method, --bits and --set" in message


def test_described(kept, features, tmp_path):
    said = dict(line.split("  ", 1) for line in lshcore("describe", kept).splitlines())
    said = {name: value.strip() for name, value in said.items()}
    sizes = open_index(kept)
    buckets = np.concatenate([sizes.bucket_sizes(table) for table in range(8)])
    assert said["index"] == "LSHIndex, 8 tables x 12 bits, vectors float16"
    assert said["hasher"] == "RandomHyperplanes, 96 bits"
    assert (said["rows"], said["removed"], said["segments"]) == ("1,797", "0", "1")
    assert (said["generation"], said["ids"]) == ("1", "integers")
    expected = (
        f"{len(buckets):,}, rows: mean {buckets.mean():,.1f}, median {np.median(buckets):.0f}, most {buckets.max()}"
    )
    assert said["buckets"] == expected
    assert said["made of"] == "digits, pixels"
    total = sum(file.stat().st_size for file in kept.iterdir()) / 1797
    assert said["bytes an item on disk"].startswith(f"{total:,.1f} (codes 16.0, vectors 132.0, tables 79.6, other")
    x = DIGITS[:100]
    FlatIndex().add(x, [f"{i}" for i in range(100)]).remove("4").save(tmp_path / "plain")
    said = lshcore("describe", tmp_path / "plain")
    assert "texts" in said
    assert "made of" not in said


def test_an_index_of_the_library_is_searched_by_features(queries, tmp_path):
    FlatIndex().add(DIGITS, [f"digit {i}" for i in range(len(DIGITS))]).save(tmp_path / "ix")
    assert [hit["id"] for hit in hits(tmp_path / "ix", queries, "-k", "1")] == [f"digit {i}" for i in range(5)]
    assert "does not say what makes features of images" in refused("search", tmp_path / "ix", queries.parent)
    assert "has row numbers: give the ids of its rows" in refused("add", tmp_path / "ix", queries)
    (tmp_path / "list").write_text("digit 0\na\nb\nc\nd\n")
    said = lshcore("add", tmp_path / "ix", queries, "--ids", tmp_path / "list")
    assert said == f"4 added, 1 there already: 1,801 rows in {tmp_path / 'ix'}\n"
    assert [hit["id"] for hit in hits(tmp_path / "ix", queries, "-k", "2")][2:4] == ["digit 1", "a"]
    lshcore("remove", tmp_path / "ix", "digit 3")
    assert "digit 3" not in open_index(tmp_path / "ix")


def test_names_that_no_terminal_can_show(queries, tmp_path):
    names = [os.fsdecode(b"\xff.png"), "a\nb.png", "ü.png", "c", "d"]
    FlatIndex().add(DIGITS[:5], names).save(tmp_path / "ix")
    found = lshcore("search", tmp_path / "ix", queries, "-k", "1").splitlines()
    assert [line.split()[2] for line in found[1:]] == ["\\udcff.png", "a\\nb.png", "ü.png", "c", "d"]
    assert [hit["id"] for hit in hits(tmp_path / "ix", queries, "-k", "1")] == names


def test_damage_is_named(kept, tmp_path):
    for file in sorted(kept.iterdir()):
        if file.name == ".lock":
            continue
        copy = tmp_path / file.name / "ix"
        copy.mkdir(parents=True)
        for each in kept.iterdir():
            (copy / each.name).write_bytes(each.read_bytes())
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        (copy / file.name).write_bytes(content)
        assert file.name.partition(".")[0] in refused("verify", copy), file.name
        (copy / file.name).unlink()
        if file.name != "recipe.json":  # an index can do without
            assert file.name.partition(".")[0] in refused("verify", copy), file.name


def test_what_is_refused(kept, queries, features, tmp_path):
    out = tmp_path / "new"
    for arguments, message in [
        (["build", "--dataset", "digits", "--out", kept], "holds an index already"),
        (["build", "--dataset", features, "--out", out, "--clusters", "2000"], "at least n_clusters = 2000 rows"),
        (["build", "--dataset", features, "--out", out, "--method", "sdh"], "give their labels with --labels FILE.npy"),
        (["build", "--dataset", features, "--out", out, "--backbone", "resnet18"], "holds features, not images"),
        (["build", "--dataset", "folder:nowhere", "--out", out], "dataset folder nowhere was not found"),
        (["search", tmp_path / "nothing", queries], "must be there to load an index"),
        (["search", kept, "nothing.png"], "image nothing.png was not found"),
        (["search", kept, "nothing.npy"], "dataset file nothing.npy was not found"),
        (["search", kept, queries, "--probes", "3"], "probes must be at least 8"),
        (["remove", kept, "99999"], "ids must be in the index, got 99999, which is not"),
        (["remove", kept, "one"], "ids of this index are integers, got 'one'"),
        (["remove", kept, "--from", tmp_path / "list"], "No such file"),
        (["add", kept, "nothing.npy"], "dataset file nothing.npy was not found"),
        (["compact", tmp_path], "must be there to load an index"),
        (["verify", tmp_path], "must be there to load an index"),
        (["describe", tmp_path], "must be there to load an index"),
        (["dedup", features, "--radius", "3", "--against", queries, "--method", "sdh"], "give their labels"),
        (["dedup", "digits", "--radius", "3", "--model", "nowhere"], "model nowhere was not found"),
    ]:
        assert message in refused(*arguments), arguments
    assert not out.exists()
    for arguments, message in [
        (["build", "--dataset", "nothing", "--out", out], "dataset must be one of digits"),
        (["build", "--dataset", features, "--out", out, "--flat", "--tables", "3"], "got several of them"),
        (["build", "--dataset", features, "--out", out, "--flat", "--vectors", "none"], "to rank by codes"),
        (["build", "--dataset", features, "--out", out, "--vectors", "int8"], "vectors must be one of"),
        (["build", "--dataset", features, "--out", out, "--method", "k-means"], "method must be one of"),
        (["build", "--dataset", features, "--out", out, "--bits", "4"], "expected at most the 4 bits of a code"),
        (["build", "--dataset", features, "--out", out, "--set", "x=1"], "x"),
        (["search", kept, queries, "--rank", "nearest"], "rank must be one of"),
        (["search", kept, queries, "b.png"], "expected images, or one file of features"),
        (["remove", kept], "expected ids, or --from FILE"),
        (["dedup", "nothing", "--radius", "3"], "dataset must be one of"),
        (["dedup", features, "--radius", "-1"], "radius"),
    ]:
        assert message in refused(*arguments, code=2), arguments
    assert len(open_index(kept)) == 1797


class TestDedup:
    def codes(self, rows=slice(None), bits=64):
        x = Preprocess().fit(DIGITS).transform(DIGITS)
        return hashers.RandomHyperplanes(bits, random_state=0).fit(x).encode(x[rows])

    def test_groups(self, features, tmp_path):
        out = tmp_path / "deep" / "groups.jsonl"
        lshcore("dedup", features, "--radius", "3", "--out", out)
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        codes = self.codes()
        apart = hamming.distances(codes, codes).astype(int)
        near = apart <= 3
        members = {item["id"] for line in lines for item in line["items"]}
        assert members == set(np.flatnonzero(near.sum(axis=1) > 1).tolist())
        for number, line in enumerate(lines):
            ids = [item["id"] for item in line["items"]]
            assert line["group"] == number
            assert [item["distance"] for item in line["items"]] == apart[ids[0], ids].tolist()
            assert set(np.flatnonzero(near[ids].any(axis=0)).tolist()) == set(ids)  # nothing near is outside
        assert [len(line["items"]) for line in lines] == sorted((len(line["items"]) for line in lines), reverse=True)
        assert [json.loads(line) for line in lshcore("dedup", features, "--radius", "3").splitlines()[:1]] == lines[:1]

    def test_pairs(self, features, queries):
        lines = [json.loads(line) for line in refused_or_said("dedup", features, "--radius", "5", "--against", queries)]
        apart = hamming.distances(self.codes(), self.codes(slice(0, 5))).astype(int)
        expected = [{"id": i, "against": j, "distance": apart[i, j]} for i, j in np.argwhere(apart <= 5).tolist()]
        assert lines == expected

    def test_methods(self, features, tmp_path):
        lshcore("train", "--method", "itq", "--bits", "32", "--out", tmp_path / "model")
        for options in (["--model", tmp_path / "model"], ["--method", "itq", "--bits", "24"]):
            assert lshcore("dedup", features, "--radius", "0", *options)

    def test_columns_must_agree(self, features, tmp_path):
        np.save(tmp_path / "narrow.npy", DIGITS[:5, :9])
        message = refused("dedup", features, "--radius", "0", "--against", tmp_path / "narrow.npy")
        assert "must have features of 64 columns" in message


def refused_or_said(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "lshcore.cli.main", *map(str, arguments)], capture_output=True, text=True, check=True
    )
    assert done.stderr.startswith("lshcore: 1,797 items against 5: ")
    return done.stdout.splitlines()


def test_nothing_found_is_said(tmp_path):
    x = np.eye(8, dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "q.npy", -x[:2])
    lshcore("build", "--dataset", tmp_path / "x.npy", "--out", tmp_path / "ix", "--tables", "1", "--key-bits", "40")
    done = CliRunner().invoke(app, ["search", str(tmp_path / "ix"), str(tmp_path / "q.npy")])
    assert done.exit_code == 0
    assert done.stdout.split() == ["query", "rank", "id", "distance"]
    assert done.stderr == "lshcore: nothing near 0 and 1 others was found; more --probes look further\n"


def test_help_has_an_example():
    for name in ("build", "add", "remove", "search", "compact", "verify", "describe", "dedup"):
        said = lshcore(name, "--help")
        assert f"Example: lshcore {name}" in " ".join(said.split())


def test_many_rows_are_prepared_in_a_file_that_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Collection.build("digits", tmp_path / "small", index="flat")
    monkeypatch.setattr("lshcore.collection._LARGE", 0)
    large = Collection.build("digits", tmp_path / "large", index="flat")
    assert np.array_equal(small.index.reconstruct(small.index.ids), large.index.reconstruct(large.index.ids))
    assert {path.suffix for path in (tmp_path / "large").iterdir()} == {
        path.suffix for path in (tmp_path / "small").iterdir()
    }


def test_the_collection_in_python(tmp_path: Path) -> None:
    built = Collection.build("digits", tmp_path / "ix", index="kmeans", n_clusters=9, vectors="float32")
    assert len(built) == 1797
    assert 5 in built
    assert list(built.seconds) == ["features", "preprocess", "hasher", "index: train", "index: file", "save"]
    opened = Collection.open(tmp_path / "ix")
    found = opened.search(DIGITS[3], 2, probes=9)
    assert found.ids[0, 0] == 3
    assert opened.add(DIGITS[:2]).added == 2
    done = opened.add(DIGITS[:3], ids=[0, 1, 5000], update=True)
    assert (done.added, done.updated, done.left) == (1, 2, 0)
    done = opened.add(DIGITS[:2], ids=[0, 6000])
    assert (done.added, done.updated, done.left) == (1, 0, 1)
    for wrong, ids, error in [
        (DIGITS[:2], [0], ValueError),
        (DIGITS[:2], [7000, 7000], ValueError),
        (DIGITS[:2, :5], None, ValueError),
        (DIGITS[:2], ["a", "b"], TypeError),
    ]:
        with pytest.raises(error):
            opened.add(wrong, ids)
    assert len(opened) == 1801
    assert len(Collection.open(tmp_path / "ix")) == 1797
    opened.save()
    assert len(Collection.open(tmp_path / "ix")) == 1801
    with pytest.raises(ValueError, match="holds an index already"):
        Collection.build("digits", tmp_path / "ix")
    with pytest.raises(ValueError, match="index must be one of 'lsh', 'flat', 'kmeans', got 'tree'"):
        Collection.build("digits", tmp_path / "other", index="tree")
