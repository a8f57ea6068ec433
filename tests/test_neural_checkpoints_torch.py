"""Training that is killed and goes on: to the same weights, or not at all."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import RunPython
from neural_cases import check_refused, clusters, make, maps, weights

torch = pytest.importorskip("torch")
checkpoints = pytest.importorskip("lshcore.neural.checkpoints")

X, Y = clusters()
OPTIONS = {"epochs": 4, "learning_rate": 0.03, "weight_decay": 1e-3, "validation": 0.2, "hidden": (6,)}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSHCORE_NUM_THREADS", "1")


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every step."""
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0)


# When a run kills itself, as shares of it: some steps after its last checkpoint. Stages of RelevanceLSH are halves;
# DSH is best at first, and must not forget that.
KILLS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "OrthoHash": (OPTIONS, [0.1, 0.4, 0.8]),
    "GreedyHash": (OPTIONS, [0.02, 0.5]),
    "DSH": ({**OPTIONS, "learning_rate": 0.3, "hidden": ()}, [0.3, 0.6]),
    "RelevanceLSH": (OPTIONS, [0.2, 0.6, 0.85]),
}

# A process that has imported torch, and has no threads of it, forks those that train: they start at once, and do not
# collect the garbage of the first, which would copy all of its memory.
SCRIPT = """
import gc, json, os, shutil, signal, sys, time
sys.path.insert(0, {tests!r})
import numpy as np
import safetensors.numpy
import torch
import lshcore.neural.hashers
from neural_cases import clusters, make, weights
from lshcore.neural import checkpoints, fitting, learners, training, validation

parameter = torch.nn.Parameter(torch.zeros(2))
parameter.grad = torch.zeros(2)
torch.optim.Adam([parameter]).step()  # imports half of torch
x, y = clusters()
rng = np.random.default_rng(1)
gc.collect()
gc.freeze()

def train(name, options, run, last=None):
    # Writes after every step up to share `last`, and kills itself some steps later.
    process = os.fork()
    if process:
        return process
    checkpoints.INTERVAL_SECONDS = 0
    shares = []
    def tell(share, text):
        shares.append(share)
        if last is not None and share >= last:
            checkpoints.INTERVAL_SECONDS = 1e9
        if last is not None and share >= last + 0.06:
            with open(run + ".share", "w") as file:
                file.write(str(shares[0]))
            os.kill(os.getpid(), signal.SIGKILL)
    code = 1
    try:
        hasher = make(name, **options).fit(x, y, checkpoint=run, progress=tell)
        found = [[part.hex() for part in weights(hasher)], hasher.history_, hasher.constant_bits_]
        with open(run + ".result", "w") as file:
            json.dump([shares[:1], found], file)
        code = 0
    finally:
        os._exit(code)

def ended(process):
    status = os.waitpid(process, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status == 0

def result(run):
    with open(run + ".result") as file:
        return json.load(file)

def case(name, options, kills, folder):
    started = time.monotonic()
    assert ended(train(name, options, folder + "/whole"))
    took, shares = time.monotonic() - started, []
    for last in kills:
        assert not ended(train(name, options, folder + "/known", last))
        with open(folder + "/known.share") as file:
            shares.append(float(file.read()))
    assert ended(train(name, options, folder + "/known"))
    # At any moment, also while a file is written.
    n_kills = 0
    for _ in range(30):
        process = train(name, options, folder + "/any")
        time.sleep(rng.uniform(0.1, 0.6) * took)
        os.kill(process, signal.SIGKILL)
        if not ended(process):
            n_kills += 1
            if n_kills == 3:
                break
        else:  # too late: again
            shutil.rmtree(folder + "/any")
    assert ended(train(name, options, folder + "/any"))
    whole, known, other = (result(folder + "/" + run) for run in ("whole", "known", "any"))
    return [*shares, *known[0]], n_kills, whole[1], known[1], other[1]

print(json.dumps({{name: case(name, *rest, {folder!r} + "/" + name) for name, rest in {kills!r}.items()}}))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, run_python: RunPython) -> Any:
    """For each method: the first share told by each run, kills, and what was learned without a kill and with them."""
    folder, tests = tmp_path_factory.mktemp("killed"), str(Path(__file__).parent)
    for name in KILLS:
        (folder / name).mkdir()
    script = SCRIPT.format(tests=tests, folder=str(folder), kills=KILLS)
    return json.loads(run_python(script, timeout=240, LSHCORE_NUM_THREADS="1", OMP_NUM_THREADS="1"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", KILLS)
def test_a_run_that_was_killed_goes_on(name: str, killed: Any) -> None:
    shares, n_kills, whole, known, other = killed[name]
    options, kills = KILLS[name]
    hasher: Any = make(name, **options).fit(X, Y)
    assert whole == [[part.hex() for part in weights(hasher)], hasher.history_, hasher.constant_bits_]
    assert known == whole
    assert other == whole
    assert n_kills == 3
    # Each went on with the step after its checkpoint: it neither began anew nor knew what the killed one had lost.
    step = shares[0]
    wanted = [np.ceil(last / step - 1e-9) * step + step for last in kills]
    np.testing.assert_allclose(shares[1:], wanted, atol=1e-9)
    if name == "DSH":
        scores = maps(hasher)
        assert max(scores[:2]) > max(scores[2:])


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", ["OrthoHash", "RelevanceLSH"])
def test_a_run_that_has_ended_is_not_done_again(name: str, tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    first: Any = make(name, **OPTIONS).fit(X, Y, checkpoint=tmp_path)
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir())
    again: Any = make(name, **OPTIONS).fit(X, Y, checkpoint=str(tmp_path), progress=lambda *args: told.append(args))
    assert weights(again) == weights(first)
    assert again.history_ == first.history_
    assert told == [(1.0, "trained")]
    assert before == sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir())
    assert len(before) == 2  # no file of a former step is left


def test_checkpoints_are_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkpoints.INTERVAL_SECONDS == 10
    seen: list[str | None] = []
    path = tmp_path / "run" / "training.json"

    def look(share: float, text: str) -> None:
        seen.append(path.read_text() if path.exists() else None)

    make("CSQ", **OPTIONS).fit(X, Y, checkpoint=path.parent, progress=look)
    assert set(seen[:-1]) == {None}  # it took less than that
    assert seen[-1] == path.read_text()  # before it says that it is done
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0)
    seen.clear()
    path = tmp_path / "third" / "training.json"
    make("CSQ", **OPTIONS, random_state=2).fit(X, Y, checkpoint=path.parent, progress=look)
    assert len(set(seen)) == len(seen) == 16 + 1
    assert None not in seen


def test_it_changes_nothing_to_keep_checkpoints(tmp_path: Path) -> None:
    kept, without = make("DSH", **OPTIONS).fit(X, Y, checkpoint=tmp_path), make("DSH", **OPTIONS).fit(X, Y)
    assert weights(kept) == weights(without)


@pytest.mark.parametrize("state", [lambda: np.random.default_rng(5), lambda: np.random.RandomState(5)])
def test_generators_of_the_same_state_are_the_same_run(state: Any, tmp_path: Path) -> None:
    first = make("DSH", **OPTIONS, random_state=state()).fit(X, Y, checkpoint=tmp_path)
    assert weights(make("DSH", **OPTIONS, random_state=state()).fit(X, Y, checkpoint=tmp_path)) == weights(first)


CHANGES: dict[str, tuple[Any, np.ndarray, Any, str]] = {
    "class": (make("GreedyHash", **OPTIONS), X, Y, r"method is 'DSH' there and 'GreedyHash' here"),
    "bits": (make("DSH", 20, **OPTIONS), X, Y, r"arguments\.n_bits is 16 there and 20 here"),
    "argument": (make("DSH", **OPTIONS, penalty=0.5), X, Y, r"arguments\.penalty is 0\.01 there and 0\.5 here"),
    "epochs": (make("DSH", **{**OPTIONS, "epochs": 5}), X, Y, r"arguments\.epochs is 4 there and 5 here"),
    "hidden": (make("DSH", **{**OPTIONS, "hidden": (7,)}), X, Y, r"arguments\.hidden is \[6\] there and \[7\] here"),
    "seed": (make("DSH", **OPTIONS, random_state=1), X, Y, r"arguments\.random_state is 0 there and 1 here"),
    "dimension": (make("DSH", **OPTIONS), X[:, :13], Y, r"dim is 14 there and 13 here"),
    "rows": (make("DSH", **OPTIONS), X[:239], Y[:239], r"rows is 240 there and 239 here"),
    "data": (make("DSH", **OPTIONS), X + 1e-3, Y, r"data is '[0-9a-f]{64}' there and '[0-9a-f]{64}' here"),
    "labels": (make("DSH", **OPTIONS), X, np.where(np.arange(240) == 7, (Y + 1) % 6, Y), r"data is "),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSHCORE_NUM_THREADS", "1")
        make("DSH", **OPTIONS).fit(X, Y, checkpoint=folder)
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_another_training_is_refused(change: str, trained: Path) -> None:
    hasher, x, y, message = CHANGES[change]
    before = (trained / "training.json").read_bytes()
    with pytest.raises(ValueError, match=rf"^the checkpoint in \S+ is of another training: .*{message}") as raised:
        hasher.fit(x, y, checkpoint=trained)
    assert str(raised.value).endswith("; go on with what it was begun with, or name another folder")
    assert not hasattr(hasher, "layers_")
    assert (trained / "training.json").read_bytes() == before


def test_labels_by_another_name_are_the_same_training(trained: Path) -> None:
    first = make("DSH", **OPTIONS).fit(X, Y)
    again = make("DSH", **{**OPTIONS, "hidden": [6]}).fit(X, 3 * Y - 5, checkpoint=trained)
    assert weights(again) == weights(first)


@pytest.mark.parametrize("damage", ["json", "arrays", "missing", "cut", "format"])
def test_a_damaged_checkpoint_is_refused(damage: str, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    (arrays,) = folder.glob("*.safetensors")
    text = folder / "training.json"
    if damage == "json":
        text.write_text(text.read_text().replace('"finished": true', '"finished": false'))
    elif damage == "arrays":
        content = bytearray(arrays.read_bytes())
        content[-3] ^= 1
        arrays.write_bytes(content)
    elif damage == "missing":
        arrays.unlink()
    elif damage == "cut":
        text.write_bytes(text.read_bytes()[:-40])
    else:
        text.write_text("{}")
    with pytest.raises((ValueError, FileNotFoundError), match=r"training") as raised:
        make("DSH", **OPTIONS).fit(X, Y, checkpoint=folder)
    assert "\n" not in str(raised.value)
    assert not hasattr(raised.value, "__notes__")


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({"n_bits": np.int64(16)}, {"n_bits": 16}),
        ({"learning_rate": np.float32(0.25)}, {"learning_rate": 0.25}),
        ({"hidden": (np.int64(6),)}, {"hidden": [6]}),
        ({"validation": np.float64(0.2)}, {}),
        ({"epochs": np.int64(4)}, {}),
        ({"patience": np.int64(3)}, {"patience": 3}),
        ({"bf16": np.bool_(False)}, {}),
    ],
)
def test_numbers_of_numpy(options: dict[str, Any], plain: dict[str, Any], tmp_path: Path) -> None:
    first = make("DSH", **{**OPTIONS, **options}).fit(X, Y, checkpoint=tmp_path)
    told: list[float] = []
    again = make("DSH", **{**OPTIONS, **plain}).fit(X, Y, checkpoint=tmp_path, progress=lambda s, _: told.append(s))
    assert told == [1.0]
    assert weights(again) == weights(first)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    check_refused(make("DSH", **OPTIONS), X, Y[:5], r"DSH\.fit: y must have length 240")
    with pytest.raises(OSError, match="file"):
        make("DSH", **OPTIONS).fit(X, Y, checkpoint=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
