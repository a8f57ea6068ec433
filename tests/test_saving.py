"""Saving and loading: what comes back is what was saved, whatever happens to the files or to the writer."""

import copy
import hashlib
import json
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lshcore import Preprocess, _state, hashers, registry
from lshcore._state import read_state, write_state
from lshcore._validation import NotFittedError
from lshcore.hashers import GRH, ITQ, SDH, Hasher, LinearHasher, RandomHyperplanes, SpectralHashing

# Arguments that make a fit quick, by registered name.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "itq": {"n_bits": 12, "n_iterations": 5},
    "itq-cca": {"n_bits": 12, "n_iterations": 5},
    "sdh": {"n_bits": 12, "n_anchors": 30, "penalty": np.float32(0.1)},
    "grh": {"n_bits": 12, "kernel": "rbf", "n_anchors": 20, "initial": ITQ(12, 3)},
    "cross-polytope": {"n_hashes": 5, "dim": 8},
    "p-stable": {"n_hashes": 5},
}
LATTICES = ("cross-polytope", "p-stable")

_RNG = np.random.default_rng(7)
X = (_RNG.normal(size=(8, 24))[_RNG.integers(0, 8, 200)] + 0.3 * _RNG.normal(size=(200, 24))).astype(np.float32)
Y = (X[:, 0] > 0) + 2 * (X[:, 1] > 0)
NEW = (_RNG.normal(size=(50, 24))).astype(np.float32)


@cache
def _fitted(name: str) -> Hasher:
    cls = registry.load(name, registry.HASHERS)
    arguments = ARGUMENTS.get(name, {"n_bits": 12, "epochs": 1, "hidden": (16,), "validation": 0.0})
    return cls(**{key: value for key, value in arguments.items() if key in cls._parameter_names()}).fit(X, Y)


def make(name: str) -> Hasher:
    try:
        return copy.deepcopy(_fitted(name))
    except ImportError as error:
        pytest.skip(f"{name} needs what is not installed: {error}")


def codes(hasher: Hasher) -> bytes:
    return hasher.encode(NEW).words.tobytes() + hasher.encode_query(NEW).words.tobytes()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def arrays_file(folder: Path, stem: str = "hasher") -> Path:
    (found,) = folder.glob(f"{stem}-*.safetensors")
    return found


def forge(folder: Path, change: Callable[[dict[str, Any]], None], content: bytes | None = None) -> None:
    """Change the JSON (and the arrays) as one would who knows the format: every checksum holds."""
    path = folder / "hasher.json"
    document = json.loads(path.read_text())
    del document["checksum"]
    if content is not None:
        arrays_file(folder).unlink()
        digest = hashlib.sha256(content).hexdigest()
        document["arrays"] = {"file": f"hasher-{digest[:16]}.safetensors", "bytes": len(content), "sha256": digest}
        (folder / document["arrays"]["file"]).write_bytes(content)
    change(document)
    checksum = hashlib.sha256((json.dumps(document, indent=1) + "\n").encode()).hexdigest()
    path.write_text(json.dumps({**document, "checksum": checksum}, indent=1) + "\n")


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that write hundreds of times and pull no plug."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Toy(LinearHasher):
    """What no hasher of the registry has (yet): state and arguments of every kind."""

    def __init__(self, n_bits: int = 4, shape: Any = (1, 2.5), options: Any = None, random_state: Any = None) -> None:
        self.n_bits = n_bits
        self.shape = shape
        self.options = options
        self.random_state = random_state

    def _make_weights(self, x, y, n_bits):
        self.layers_ = [{"weights": x[:3].T, "name": "é\n"}, {"weights": np.array(2.5), "steps": 2**70}]
        self.pair_ = (1, (0.1, None), [True])
        self._scratch_ = object()
        return x[:n_bits], x[:n_bits, 0]


class Unregistered(Toy):
    pass


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setitem(registry.HASHERS, "toy", f"{__name__}:Toy")
    return Toy(options={"a": [1, None], "b": np.arange(3)}).fit(X)


@pytest.mark.parametrize("name", registry.HASHERS)
@pytest.mark.usefixtures("no_fsync")
def test_what_is_loaded_is_what_was_saved(name: str, tmp_path: Path) -> None:
    saved = make(name)
    assert saved.save(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    loaded = hashers.load(str(tmp_path / "a" / "b"))
    assert type(loaded) is type(saved)
    assert codes(loaded) == codes(saved)
    if name not in LATTICES:
        assert loaded.project(NEW).tobytes() == saved.project(NEW).tobytes()
        assert loaded.project_query(NEW).tobytes() == saved.project_query(NEW).tobytes()
    ours, theirs = saved.get_params(), loaded.get_params()
    assert {**ours, "initial": None} == {**theirs, "initial": None}
    assert repr(ours.get("initial")) == repr(theirs.get("initial"))
    kinds = [{attribute: type(value) for attribute, value in vars(hasher).items()} for hasher in (saved, loaded)]
    assert {**kinds[0], **dict.fromkeys(ours)} == {**kinds[1], **dict.fromkeys(ours)}
    for attribute, array in saved._state_arrays().items():
        np.testing.assert_array_equal(loaded._state_arrays()[attribute], array, strict=True)
    loaded.save(tmp_path / "again")
    assert files(tmp_path / "again") == files(tmp_path / "a" / "b")
    assert codes(loaded.fit(X, Y)) == codes(saved)


@pytest.mark.usefixtures("no_fsync")
def test_another_process_needs_no_class(tmp_path: Path, run_python) -> None:
    names = [name for name, target in registry.HASHERS.items() if target.startswith("lshcore.hashers.")]
    np.save(tmp_path / "new.npy", NEW)
    saved = {name: make(name) for name in names}
    for name, hasher in saved.items():
        hasher.save(tmp_path / name)
    script = f"""
import json, sys
from pathlib import Path
import numpy as np
from lshcore import hashers, registry
folder, names = Path({str(tmp_path)!r}), {names!r}
modules = {{registry.HASHERS[name].partition(":")[0] for name in names}}
assert not modules & set(sys.modules), modules & set(sys.modules)
new = np.load(folder / "new.npy")
print(json.dumps({{name: hashers.load(folder / name).encode(new).words.tolist() for name in names}}))
"""
    found = json.loads(run_python(script))
    assert found == {name: hasher.encode(NEW).words.tolist() for name, hasher in saved.items()}


@pytest.mark.parametrize(
    "options",
    [{}, {"pca": 5, "standardise": True}, {"pca": 0.9, "centre": False}, {"centre": False, "l2": False}],
    ids=str,
)
def test_preprocess(options: dict[str, Any], tmp_path: Path) -> None:
    saved = Preprocess(**options).fit(X)
    RandomHyperplanes(8).fit(X).save(tmp_path)
    saved.save(tmp_path)
    loaded = Preprocess.load(tmp_path)
    assert loaded.transform(NEW).tobytes() == saved.transform(NEW).tobytes()
    assert loaded.get_params() == saved.get_params()
    assert vars(loaded).keys() == vars(saved).keys()
    before = files(tmp_path)
    loaded.save(tmp_path)
    assert files(tmp_path) == before
    assert len(before) == 4
    assert hashers.load(tmp_path).n_bits == 8
    with pytest.raises(NotFittedError, match=r"Preprocess.save: this Preprocess is not fitted"):
        Preprocess().save(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean_", np.zeros(1, np.float32)),
        ("mean_", np.zeros(24)),
        ("scale_", np.full(24, np.nan, np.float32)),
        ("scale_", np.ones((24, 24), np.float32)),
        ("components_", np.ones((5, 23), np.float32)),
        ("components_", None),
        ("offset_", np.ones(1, np.float32)),
        ("offset_", None),
        ("n_features_in_", 1 << 40),
        ("n_features_out_", 6),
        ("n_features_out_", "5"),
    ],
)
def test_preprocess_that_cannot_be(name: str, value: Any, tmp_path: Path) -> None:
    saved = Preprocess(pca=5, standardise=True).fit(X)
    setattr(saved, name, value)
    saved.save(tmp_path)
    with pytest.raises(
        ValueError, match=r"must describe a fitted preprocess of this lshcore, got one that fails: \w+_ "
    ):
        Preprocess.load(tmp_path)


def test_state_of_every_kind(toy: Toy, tmp_path: Path) -> None:
    loaded = hashers.load(toy.save(tmp_path))
    assert isinstance(loaded, Toy)
    assert (loaded.shape, loaded.options["a"]) == ((1, 2.5), [1, None])
    assert loaded.options["b"].tolist() == [0, 1, 2]
    assert loaded.pair_ == toy.pair_ == (1, (0.1, None), [True])
    np.testing.assert_array_equal(loaded.layers_[0]["weights"], X[:3].T)
    assert (loaded.layers_[0]["name"], loaded.layers_[1]) == ("é\n", {"weights": np.array(2.5), "steps": 2**70})
    assert not hasattr(loaded, "_scratch_")


def test_a_fitted_initial_hasher_and_generators(tmp_path: Path) -> None:
    initial = ITQ(6, 3, random_state=np.random.default_rng(0)).fit(X)
    saved = GRH(6, initial=initial, random_state=np.random.RandomState(0)).fit(X, Y)
    loaded = hashers.load(saved.save(tmp_path))
    assert isinstance(loaded, GRH)
    assert (loaded.random_state, loaded.initial.random_state) == (None, None)
    assert codes(loaded.initial) == codes(initial)
    assert codes(loaded) == codes(saved)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("options", object(), TypeError),
        ("options", {1: 2}, ValueError),
        ("options", {"array": 2}, ValueError),
        ("options", [1, {"deep": float("nan")}], ValueError),
        ("layers_", [np.array([object()])], TypeError),
        ("layers_", {1, 2}, TypeError),
        ("layers_", np.ma.masked_array([1]), TypeError),
        ("layers_", [Unregistered()], ValueError),
    ],
)
@pytest.mark.usefixtures("no_fsync")
def test_what_cannot_be_kept_is_refused(toy: Toy, tmp_path: Path, name: str, value: Any, error: type) -> None:
    toy.save(tmp_path)
    before = files(tmp_path)
    setattr(toy, name, value)
    with pytest.raises(error, match=r"Toy.save: |safetensors"):
        toy.save(tmp_path)
    assert files(tmp_path) == before


def test_saving_again_leaves_two_files_and_what_else_there_is(tmp_path: Path) -> None:
    others = ["hasher-notes.safetensors", "x-hasher.json", ".hasher.json.backup", "other-0123456789abcdef.safetensors"]
    for other in others:
        (tmp_path / other).write_text("mine")
    (tmp_path / ".hasher.json.77").write_text("of a writer that was killed")
    (tmp_path / "hasher-0123456789abcdef.safetensors").write_text("of a writer that was killed")
    for seed in range(3):
        saved = RandomHyperplanes(8, random_state=seed).fit(X)
        saved.save(tmp_path)
        assert codes(hashers.load(tmp_path)) == codes(saved)
        assert len(files(tmp_path)) == 2 + len(others)
    assert all(files(tmp_path)[other] == b"mine" for other in others)


def test_not_there_not_fitted_not_registered(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match=r"RandomHyperplanes.save: this RandomHyperplanes is not fitted"):
        RandomHyperplanes().save(tmp_path / "x")
    with pytest.raises(ValueError, match=r"registry.HASHERS, from which it is loaded, got .*:Unregistered"):
        Unregistered().fit(X).save(tmp_path / "x")
    assert not (tmp_path / "x").exists()
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "x", tmp_path / "file"):
        with pytest.raises(FileNotFoundError, match="must be there to load a hasher, got no such file"):
            hashers.load(path)
    RandomHyperplanes(8).fit(X).save(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"preprocess.json must be there to load a preprocess"):
        Preprocess.load(tmp_path)


def _set(*keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = to

    return change


_ATTRIBUTES = ("meta", "attributes")
FORGERIES = {
    "newer": (_set("version", to=2), r"version 1, the one that this lshcore reads, got version 2"),
    "version": (_set("version", to=True), "got version True"),
    "format": (_set("format", to="lshcore.index"), r"format 'lshcore.hasher'.* got format 'lshcore.index'"),
    "preprocess": (_set("meta", "class", to="preprocess"), r"class must be one of .*itq.*, got 'preprocess'"),
    "class": (_set("meta", "class", to="os:system"), r"class must be one of .*itq.*, got 'os:system'"),
    "list": (_set("meta", "class", to=["itq"]), "class must be one of"),
    "parameter": (_set("meta", "parameters", "speed", to=3), r"parameters of ITQ must be among .*got 'speed'"),
    "meta": (_set("meta", to=[]), "must hold 'meta' and 'arrays'"),
    "empty": (_set("meta", to={}), "must describe a fitted hasher"),
    "arrays": (_set("arrays", to="x"), "must hold 'meta' and 'arrays'"),
    "up": (_set("arrays", "file", to="../hasher-0123456789abcdef.safetensors"), "must name the size and checksum"),
    "absolute": (_set("arrays", "file", to="/etc/passwd"), "must name the size and checksum"),
    "other name": (_set("arrays", "file", to="hasher-0123456789abcdef.safetensors"), "must name the size"),
    "pattern": (_set("arrays", "sha256", to="." * 64), "must name the size and checksum"),
    "huge": (_set("arrays", "bytes", to=1 << 62), r"must have 4611686018427387904 bytes, got \d+"),
    "negative": (_set("arrays", "bytes", to=-1), r"must have -1 bytes"),
    "text": (_set("arrays", "bytes", to="9"), "must name the size and checksum"),
    "digest": (_set("arrays", "sha256", to=None), "must name the size and checksum"),
    "method": (_set(*_ATTRIBUTES, "fit", to=1), "must end in an underscore, got 'fit'"),
    "dunder": (_set(*_ATTRIBUTES, "__class__", to=1), "must end in an underscore"),
    "private": (_set(*_ATTRIBUTES, "_x_", to=1), "must end in an underscore"),
    "bits": (_set(*_ATTRIBUTES, "n_bits_", to=13), r"weights_ must have shape \(13, 24\), got \(12, 24\)"),
    "many bits": (_set(*_ATTRIBUTES, "n_bits_", to=1 << 40), "n_bits_ must be between 1 and 4096"),
    "float bits": (_set(*_ATTRIBUTES, "n_bits_", to=12.0), "n_bits_ must be there as the class declares it"),
    "columns": (_set(*_ATTRIBUTES, "n_features_in_", to=1 << 50), "n_features_in_ must be a size of one of its arrays"),
    "no columns": (_set("meta", "n_features_in", to=23), "n_features_in must be 24, got 23"),
    "unfitted": (_set("meta", "attributes", to=None), "arrays must all be in use"),
    "number": (_set(*_ATTRIBUTES, "weights_", to=1.5), "weights_ must be there as the class declares it"),
    "swapped": (_set(*_ATTRIBUTES, "weights_", to={"array": "rotation_"}), "must be there|taken"),
    "absent": (_set(*_ATTRIBUTES, "weights_", to={"array": "w"}), "every array must be there once, got 'w'"),
    "unhashable": (_set(*_ATTRIBUTES, "weights_", to={"array": {}}), "must describe a fitted hasher"),
    "tuple": (_set(*_ATTRIBUTES, "weights_", to={"tuple": 5}), "must describe a fitted hasher"),
    "estimator": (_set("meta", "parameters", "n_bits", to={"estimator": 1}), "must describe a fitted hasher"),
    "deep": (_set("meta", "parameters", "n_bits", to=eval("[" * 90 + "]" * 90)), None),
}


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.usefixtures("no_fsync")
def test_forged_json(name: str, tmp_path: Path) -> None:
    change, message = FORGERIES[name]
    saved = ITQ(12, 3).fit(X)
    saved.save(tmp_path)
    forge(tmp_path, change)
    if message is None:
        assert codes(hashers.load(tmp_path)) == codes(saved)
        return
    with pytest.raises(ValueError, match=message) as caught:
        hashers.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def _tensor(dtype: str, shape: list[int], end: int, data: bytes = b"", key: str = "weights_") -> bytes:
    header = json.dumps({key: {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


_STRANGE = _tensor("F32", [2], 8, bytes(8))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 1 << 20) + b"{}",
        struct.pack("<Q", 100_000) + b'{"a":' + b"[" * 99_995,
        _tensor("F32", [2**62, 2**62], 8, bytes(8)),
        _tensor("F32", [1 << 40], 4 << 40, bytes(8)),
        _tensor("F32", [0, 2**63], 0),
        _tensor("F64", [0, 2**60], 0),
        _tensor("F32", [1] * 200, 4, bytes(4)),
        _tensor("F32", [-1], 8, bytes(8)),
        _tensor("F32", [2], 8, bytes(9)),
        _tensor("BF16", [2], 4, bytes(4)),
        _tensor("BOOL", [2], 2, b"\x01\x02"),
        _tensor("F32", [2], 8, bytes(8), "../x"),
        _STRANGE,
    ],
)
@pytest.mark.usefixtures("no_fsync")
def test_forged_arrays(content: bytes, tmp_path: Path) -> None:
    ITQ(12, 3).fit(X).save(tmp_path)
    forge(tmp_path, lambda document: None, content)
    with pytest.raises(ValueError, match=str(tmp_path)):
        hashers.load(tmp_path)
    if content != _STRANGE:  # which is a good file, of another hasher
        with pytest.raises(ValueError, match=r"hasher-\w+.safetensors must (hold|name)"):
            read_state(tmp_path, "hasher", "a hasher")


def test_files_of_no_use(tmp_path: Path) -> None:
    """JSON too deep, too large or with a key twice; links, a pipe and directories where files should be."""
    saved = tmp_path / "saved"
    RandomHyperplanes(8).fit(X).save(saved)
    document, arrays = saved / "hasher.json", arrays_file(saved)
    text, content = document.read_bytes(), arrays.read_bytes()
    twice = text.replace(b' "version": 1,', b' "version": 1,\n "version": 1,')
    for wrong in (b"", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b" " * (1 << 25), twice, text + b"\n"):
        document.write_bytes(wrong)
        with pytest.raises(ValueError, match=str(document)):
            hashers.load(saved)
    document.write_bytes(text)
    for path, whole in ((document, text), (arrays, content)):
        elsewhere = tmp_path / path.name
        elsewhere.write_bytes(whole)
        for put in (lambda p, e=elsewhere: p.symlink_to(e), os.mkfifo, os.mkdir):
            path.unlink()
            put(path)
            with pytest.raises(ValueError, match="must be a file, got"):
                hashers.load(saved)
            shutil.rmtree(path) if stat.S_ISDIR(path.lstat().st_mode) else None
            path.write_bytes(whole) if not path.exists() else (path.unlink(), path.write_bytes(whole))
        path.unlink()
        with pytest.raises(FileNotFoundError, match=path.name):
            hashers.load(saved)
        path.write_bytes(whole)
    hashers.load(saved)


@pytest.mark.parametrize("name", ["random-hyperplanes", "sdh", "cross-polytope"])
@pytest.mark.usefixtures("no_fsync")
def test_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    """200 seeded mutations each: bits, cuts, appended and overwritten bytes, files of another state."""
    saved, other = make(name), RandomHyperplanes(9).fit(X)
    saved.save(tmp_path / "a")
    other.save(tmp_path / "b")
    document, arrays = tmp_path / "a" / "hasher.json", arrays_file(tmp_path / "a")
    whole = {document: document.read_bytes(), arrays: arrays.read_bytes()}
    strange = {
        document: (tmp_path / "b" / "hasher.json").read_bytes(),
        arrays: arrays_file(tmp_path / "b").read_bytes(),
    }
    draw = random.Random(name)
    expected = codes(saved)
    accepted = 0
    for _ in range(200):
        path = draw.choice([document, arrays])
        content = bytearray(whole[path])
        where = draw.randrange(len(content))
        kind = draw.randrange(6)
        if kind <= 1:
            content[where] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del content[where:]
        elif kind == 3:
            content += draw.randbytes(draw.randrange(1, 65))
        elif kind == 4:
            content[where : where + 8] = draw.choice([bytes(8), b"\xff" * 8, draw.randbytes(8)])
        else:
            content = bytearray(draw.choice([strange[path], whole[arrays if path == document else document]]))
        path.write_bytes(content)
        try:
            accepted += bytes(content) != whole[path]
            assert codes(hashers.load(tmp_path / "a")) == expected
        except (ValueError, FileNotFoundError):
            accepted -= 1
        path.write_bytes(whole[path])
    # The goal is above what was asked: whatever differs from what was written is refused.
    assert accepted <= 0
    assert codes(hashers.load(tmp_path / "a")) == expected


@pytest.mark.parametrize("name", [*registry.HASHERS])
@pytest.mark.usefixtures("no_fsync")
def test_forged_states_never_crash(name: str, tmp_path: Path) -> None:
    """Arrays and attributes of other shapes, types and values, every checksum right: refused, or they encode."""
    saved = make(name)
    saved.save(tmp_path)
    arrays, meta = read_state(tmp_path, "hasher", "a hasher")
    draw = random.Random(name)
    refused = 0
    for _ in range(24):
        changed, attributes = dict(arrays), dict(meta["attributes"])
        victim = draw.choice(sorted({*arrays, *attributes}))
        if victim in arrays:
            a = arrays[victim]
            half = a[: len(a) // 2] if a.ndim else a
            nan = np.full_like(a, np.nan if a.dtype.kind == "f" else 127)
            changed[victim] = draw.choice([half, a.T[:1].T, a.astype(np.float16), a.ravel(), a[:0], nan, -a, a[None]])
        else:
            attributes[victim] = draw.choice([None, -1, 0, 1, 3, 17, 10**6, 2**31, 2**64, 0.5, "x", [], {}, True])
        write_state(tmp_path, "hasher", changed, {**meta, "attributes": attributes})
        try:
            loaded = hashers.load(tmp_path)
        except ValueError:
            refused += 1
            continue
        loaded.encode(NEW)
        loaded.encode_query(NEW)
    assert refused > 8


@pytest.mark.usefixtures("no_fsync")
def test_arrays_of_other_shapes_and_values(tmp_path: Path) -> None:
    for saved, name, value in (
        (ITQ(4, 3).fit(X), "errors_", np.array([1, np.nan, 1])),
        (ITQ(4, 3).fit(X), "bias_", np.full(4, -np.inf, np.float32)),
        (SpectralHashing(12).fit(X), "axis_of_bit_", np.full(12, 99)),
        (SpectralHashing(12).fit(X), "offset_", np.zeros(3, np.float32)),
        (SDH(4, n_anchors=9).fit(X, Y), "anchors_", np.zeros((8, 24), np.float32)),
        (SDH(4, n_anchors=9).fit(X, Y), "anchors_", np.zeros((9, 1), np.float32)),
        (GRH(4).fit(X, Y), "mean_", np.zeros(23, np.float32)),
        (make("cross-polytope"), "signs_", np.zeros((5, 3, 32), np.int8)),
        (make("p-stable"), "weights_", np.zeros((5, 23), np.float32)),
    ):
        setattr(saved, name, value)
        saved.save(tmp_path)
        # The last two, and spectral hashing, state no shapes: encoding finds them.
        said = r"\w+_ must" if isinstance(saved, ITQ | SDH | GRH) else ""
        with pytest.raises(
            ValueError, match=f"must describe a fitted hasher of this lshcore, got one that fails: {said}"
        ):
            hashers.load(tmp_path)


_KILLED = """
import os, signal, sys
import numpy as np
from lshcore import hashers
path, at = sys.argv[1], int(sys.argv[2])
x = np.random.default_rng(0).normal(size=(50, 24))
states = [hashers.RandomHyperplanes(8, random_state=seed).fit(x) for seed in (0, 1)]
def killing(call):
    def wrapped(*arguments, **options):
        global at
        at -= 1
        if at == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return wrapped
if at:
    os.fsync, os.replace, os.unlink = map(killing, (os.fsync, os.replace, os.unlink))
    states[1].save(path)
    print("saved")
else:
    print("ready", flush=True)
    while True:
        for state in states:
            state.save(path)
"""


def _start(path: Path, at: int) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", _KILLED, str(path), str(at)], stdout=subprocess.PIPE, text=True)


def _two_states() -> list[RandomHyperplanes]:
    x = np.random.default_rng(0).normal(size=(50, 24))
    return [RandomHyperplanes(8, random_state=seed).fit(x) for seed in (0, 1)]


def test_sigkill_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    old, new = _two_states()
    seen = []
    for at in range(1, 20):
        old.save(tmp_path)
        with _start(tmp_path, at) as process:
            printed = process.communicate(timeout=60)[0]
        found = codes(hashers.load(tmp_path))
        assert found in (codes(old), codes(new))
        seen.append(found == codes(new))
        if process.returncode == 0:
            assert (printed, seen[-1]) == ("saved\n", True)
            break
        assert process.returncode == -signal.SIGKILL
    # For either file fsync, replace, unlink (of nothing), fsync of the folder; then the old arrays are removed.
    assert seen == [False] * 6 + [True] * 4
    old.save(tmp_path)
    assert len(files(tmp_path)) == 2


def test_sigkill_at_any_time(tmp_path: Path) -> None:
    states = [codes(state) for state in _two_states()]
    _two_states()[0].save(tmp_path)
    draw = random.Random(0)
    for _ in range(10):
        with _start(tmp_path, 0) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            try:
                process.wait(draw.uniform(0.005, 0.06))
            except subprocess.TimeoutExpired:
                process.kill()
        assert process.returncode == -signal.SIGKILL
        assert codes(hashers.load(tmp_path)) in states
    _two_states()[0].save(tmp_path)
    assert len(files(tmp_path)) == 2


def test_a_failing_write_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full at the n-th fsync or replace, for every n; nothing of the new state stays."""
    old, new = _two_states()
    for n in range(1, 20):
        old.save(tmp_path)
        before, left = files(tmp_path), n

        def failing(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*arguments: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    raise OSError(28, "No space left on device")
                return call(*arguments)

            return wrapped

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing(os.fsync))
            patch.setattr(os, "replace", failing(os.replace))
            if n == 7:
                new.save(tmp_path)
                break
            with pytest.raises(OSError, match="No space left"):
                new.save(tmp_path)
        if n == 6:  # the new state stands, but perhaps not through a power cut: the old arrays stay
            assert codes(hashers.load(tmp_path)) == codes(new)
            assert before.keys() < files(tmp_path).keys()
            assert len(files(tmp_path)) == 3
        else:
            assert files(tmp_path) == before
    assert left == 1
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync))
        left = 1
        with pytest.raises(OSError, match="No space"):
            new.save(tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists() or files(tmp_path / "fresh") == {}


def test_order_of_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durable arrays, durable name of them, JSON, durable name of that; only then is anything removed."""
    old, new = _two_states()
    old.save(tmp_path)
    gone, order = arrays_file(tmp_path), []
    fsync, replace, unlink = os.fsync, os.replace, os.unlink

    def note_fsync(handle: int) -> None:
        order.append("fsync folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "fsync file")
        fsync(handle)

    def note_replace(source: Path, target: Path) -> None:
        order.append(f"replace {Path(target).suffix}")
        replace(source, target)

    def note_unlink(path: str) -> None:
        order.append(f"unlink {Path(path).name}")
        unlink(path)

    with monkeypatch.context() as patch:
        for name, note in (("fsync", note_fsync), ("replace", note_replace), ("unlink", note_unlink)):
            patch.setattr(os, name, note)
        new.save(tmp_path)
    written = [step for step in order if not step.startswith("unlink .")]
    assert written == [
        *("fsync file", "replace .safetensors", "fsync folder", "fsync file", "replace .json", "fsync folder"),
        f"unlink {gone.name}",
    ]


def test_a_reader_meets_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the JSON and the arrays that it names, another state was saved."""
    old, new = _two_states()
    old.save(tmp_path)
    read = _state._read

    def slow(path: Path, *arguments: Any, **options: Any) -> bytes:
        if path.suffix == ".safetensors" and codes_now:
            codes_now.pop()
            new.save(tmp_path)
        return read(path, *arguments, **options)

    codes_now = [True]
    monkeypatch.setattr(_state, "_read", slow)
    assert codes(hashers.load(tmp_path)) == codes(new)


def test_arrays_of_every_dtype_and_shape(tmp_path: Path) -> None:
    dtypes = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">f4", ">i8")
    values = _RNG.normal(scale=50, size=(3, 4, 5))
    arrays = {}
    for dtype in dtypes:
        whole = values.astype(np.int8).astype(dtype)
        for name, array in {
            "c": whole,
            "f": np.asfortranarray(whole),
            "strided": whole[::2, ::-1, 1::2],
            "empty": whole[:, :0],
            "zero_d": whole[1, 2, 3].reshape(()),
        }.items():
            arrays[f"layers.{dtype.strip('?>')}{dtype[0] == '>'}.{name}"] = array
    arrays["special"] = np.array([np.nan, np.inf, -0.0, 5e-324])
    meta = {"floats": [0.1, 1e300, -0.0, 5e-324], "text": "é\u2028\ud800", "none": None, "big": 10**30}
    for _ in range(2):
        write_state(tmp_path / "x", "checkpoint", arrays, meta)
        found, said = read_state(tmp_path / "x", "checkpoint", "a checkpoint")
        assert found.keys() == arrays.keys()
        for key, array in arrays.items():
            assert found[key].dtype == array.dtype.newbyteorder("=")
            assert found[key].tobytes() == array.astype(found[key].dtype).tobytes()
            assert found[key].shape == array.shape
            assert found[key].flags.writeable
        assert said == meta
        assert str(said["floats"]) == str(meta["floats"])
    write_state(tmp_path / "x", "checkpoint", {}, {})
    assert read_state(tmp_path / "x", "checkpoint", "a checkpoint") == ({}, {})
    assert len(files(tmp_path / "x")) == 2
    (tmp_path / "x" / "hasher.json").write_bytes((tmp_path / "x" / "checkpoint.json").read_bytes())
    with pytest.raises(ValueError, match=r"format 'lshcore.hasher', which holds a hasher, got format 'lshcore.check"):
        hashers.load(tmp_path / "x")


@pytest.mark.parametrize(
    ("arrays", "meta", "error", "message"),
    [
        ({"": np.ones(1)}, {}, ValueError, "keys of arrays must be words"),
        ({"a/b": np.ones(1)}, {}, ValueError, "keys of arrays must be words"),
        ({"a..b": np.ones(1)}, {}, ValueError, "keys of arrays must be words"),
        ({"__metadata__": np.ones(1)}, {}, ValueError, "keys of arrays must be words"),
        ({"a": np.array(["x"])}, {}, TypeError, "dtype that safetensors takes"),
        ({"a": np.array([None])}, {}, TypeError, "dtype that safetensors takes"),
        ({"a": np.ones(1, np.longdouble)}, {}, TypeError, "dtype that safetensors takes"),
        ({}, {"a": float("nan")}, ValueError, "meta must be what JSON can hold"),
        ({}, {"a": b"x"}, TypeError, "meta must be what JSON can hold"),
        ({}, {"a": "x" * (1 << 24)}, ValueError, "meta must take at most"),
    ],
)
def test_states_that_cannot_be_kept(arrays: Any, meta: Any, error: type, message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        write_state(tmp_path, "x", arrays, meta)
    assert not files(tmp_path)
