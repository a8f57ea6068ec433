"""Mutated files of saved indexes, by the thousand: each is refused in one line, or answers exactly as before.

Run it alone for a long dose: ``python tests/hostile.py --count 100000 --processes 2``. What kills a process (a crash, a
call of more than five seconds, an allocation of more than 256 MiB) is counted by its parent, with the number of the
mutation: ``--start NUMBER --count 1`` repeats it.
"""

import argparse
import collections
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lshcore import _core, _state, open_index
from lshcore.index import segment_file, storage
from stored import KINDS, NAMED, answers, files, same, sample

SECONDS = 5
# Small, so that small files have many blocks, most of them verified only when they are met.
BLOCK_BYTES = 256
MEMORY = 256 << 20

# (verify, mmap)
MODES = [("lazy", True), ("lazy", False), ("full", True), ("full", False)]

# Numbers that end, begin and overflow things.
EXTREME = [0, 1, 2, 7, 63, 64, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1]
STRANGE = [
    None,
    True,
    -1,
    0,
    1,
    2,
    3,
    41,
    10**6,
    2**31,
    2**40,
    2**62,
    2**63,
    2**64,
    10**30,
    0.5,
    "",
    "x",
    "1",
    "é\n",
    [],
    {},
    [1],
]

Draw = random.Random
State = dict[str, Any]


class Folder:
    """A saved index, as it is and as a mutation leaves it."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind
        sample(kind).save(path)
        self.whole = files(path)
        arrays, self.meta = _state.read_state(path, storage.STEM, "an index")
        self.arrays = arrays
        self.segments = [entry["name"] for entry in self.meta["segments"]]
        self.expected = answers(open_index(path, verify="full"))
        self.touched: set[str] = set()

    def put(self, name: str, content: bytes | None) -> None:
        self.touched.add(name)
        path = self.path / name
        _remove(path)
        if content is not None:
            path.write_bytes(content)

    def mend(self) -> None:
        for name in self.touched:
            self.put(name, self.whole.get(name))
        self.touched.clear()

    def commit(self, arrays: dict[str, Any], meta: dict[str, Any], sign: bool = True) -> None:
        """A manifest as one would write it who knows the format: every checksum holds."""
        meta = {key: value for key, value in meta.items() if key != "commit"} if sign else meta
        if sign:
            meta["commit"] = storage._digest(arrays, meta)
        content = _state._encode_arrays(arrays)
        digest = _state.hashlib.sha256(content).hexdigest()
        name = f"index-{digest[:16]}.safetensors"
        self.put(name, content)
        self.put(
            "index.json", _state._encode_json("index", meta, {"file": name, "bytes": len(content), "sha256": digest})
        )

    def put_segment(self, number: int, content: bytes) -> None:
        """Change a segment and repair its checksums and size."""
        name = self.segments[number]
        self.put(name, content)
        arrays, meta = dict(self.arrays), json.loads(json.dumps(self.meta))
        meta["segments"][number]["n_bytes"] = len(content)
        arrays[f"crcs.{number}"] = _core.block_crcs(np.frombuffer(content, np.uint8), BLOCK_BYTES)
        self.commit(arrays, meta)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _any_file(folder: Folder, draw: Draw) -> str:
    return draw.choice(sorted(folder.whole))


def flip(folder: Folder, draw: Draw) -> None:
    name = _any_file(folder, draw)
    content = bytearray(folder.whole[name])
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    folder.put(name, bytes(content))


def truncate(folder: Folder, draw: Draw) -> None:
    name = _any_file(folder, draw)
    folder.put(name, folder.whole[name][: draw.randrange(len(folder.whole[name]))])


def append(folder: Folder, draw: Draw) -> None:
    name = _any_file(folder, draw)
    folder.put(name, folder.whole[name] + draw.choice([draw.randbytes(draw.randrange(1, 65)), bytes(8), b"\n", b" "]))


def overwrite(folder: Folder, draw: Draw) -> None:
    name = _any_file(folder, draw)
    content = bytearray(folder.whole[name])
    at = draw.randrange(len(content))
    new = draw.choice([bytes(8), b"\xff" * 8, draw.randbytes(8), draw.choice(EXTREME).to_bytes(8, "little")])
    content[at : at + 8] = new[: len(content) - at]
    folder.put(name, bytes(content))


def swap(folder: Folder, draw: Draw) -> None:
    a, b = _any_file(folder, draw), _any_file(folder, draw)
    folder.put(a, folder.whole[b])
    folder.put(b, folder.whole[a])


def counts(folder: Folder, draw: Draw) -> None:
    meta = json.loads(json.dumps(folder.meta))
    where = draw.choice([meta, *meta["segments"]])
    name = draw.choice(["rows", "generation", "commit"] if where is meta else ["n_rows", "n_bytes", "name"])
    if name == "generation":
        where[name] = draw.choice([None, -1, 0.5, "1", [], 2**63, 2**64])
    elif name == "name":
        where[name] = draw.choice([*folder.whole, *STRANGE])
    elif name == "commit":
        meta[name] = draw.choice(["0" * 16, *STRANGE])
    else:
        where[name] = draw.choice([where[name] - 1, where[name] + 1, *EXTREME, *STRANGE])
    folder.commit(folder.arrays, meta, sign=name != "commit")


def entries(folder: Folder, draw: Draw) -> None:
    meta = json.loads(json.dumps(folder.meta))
    segments = meta["segments"]
    how = draw.randrange(6)
    if how == 0:
        segments.pop(draw.randrange(len(segments)))
    elif how == 1:
        segments.append(draw.choice([*segments, *STRANGE]))
    elif how == 2:
        meta.pop(draw.choice(sorted(meta)))
    elif how == 3:
        draw.choice(segments).pop(draw.choice(sorted(segments[0])))
    elif how == 4:
        meta["segments"] = draw.choice([{}, None, 1, "x", [[]], [None], {"a": 1}])
    else:
        draw.choice(segments)[draw.choice(["extra", "folder"])] = draw.choice(STRANGE)
    folder.commit(folder.arrays, meta)


def forged(folder: Folder, draw: Draw) -> None:
    meta = json.loads(json.dumps(folder.meta))
    where, name = meta, draw.choice(["class", "arguments", "hasher", "next_id", "first_id", "argument"])
    if name == "first_id":
        where = draw.choice(meta["segments"])
    elif name == "argument":
        where = meta["arguments"]
        name = draw.choice([*sorted(where), "codes", "hasher", "extra"])
        if where.get("tuned") and draw.random() < 0.2:  # or a part of it
            where, name = where["tuned"], draw.choice([*sorted(where["tuned"]), "extra"])
    where[name] = draw.choice([*STRANGE, *EXTREME, "flat", "lsh", "kmeans", "os:system", "float32", "float16"])
    folder.commit(folder.arrays, meta)


def forged_arrays(folder: Folder, draw: Draw) -> None:
    arrays = dict(folder.arrays)
    name = draw.choice(sorted(arrays))
    a = arrays[name]
    fill = np.full_like(a, np.nan if a.dtype.kind == "f" else draw.choice([0, 1, 127]))
    changed = a.copy()
    changed.flat[draw.randrange(a.size)] = draw.choice([0, 1, 100])
    arrays[name] = draw.choice(
        [a[:-1], a[:0], np.concatenate([a, a]), a.astype(np.float64), a.astype(np.int64), a[None], fill, changed, a.T]
    )
    if draw.random() < 0.2:
        del arrays[name]
    if draw.random() < 0.2:
        arrays["removed.0"] = np.frombuffer(draw.randbytes(draw.choice([1, 5, 8])), np.uint8)
    folder.commit(arrays, folder.meta)


def header(folder: Folder, draw: Draw) -> None:
    number = draw.randrange(len(folder.segments))
    content = folder.whole[folder.segments[number]]
    length = int.from_bytes(content[:8], "little")
    how = draw.randrange(8)
    if how == 0:
        new = draw.choice([*EXTREME, length - 1, length + 1, len(content) - 8, len(content) - 7, 1 << 20, 1 << 22])
        folder.put_segment(number, (new % 2**64).to_bytes(8, "little") + content[8:])
        return
    said = json.loads(content[8 : 8 + length])
    name = draw.choice(sorted(said))
    entry = said[name]
    if how == 1:
        entry["dtype"] = draw.choice([*STRANGE, "F32", "F64", "U8", "I64", "U32", "U64", "F16", "BOOL"])
    elif how == 2:
        entry["shape"] = draw.choice(
            [*STRANGE, entry["shape"] + [1], [1, *entry["shape"]], [2**32, 2**32], [-1], [2**64]]
        )
    elif how == 3:
        entry["data_offsets"][draw.randrange(2)] = draw.choice([*STRANGE, *EXTREME])
    elif how == 4:
        said[draw.choice([*said, "vectors", "halves", "keys.9", "offsets.1", "x\ny", "é", "__metadata__"])] = said.pop(
            name
        )
    elif how == 5:
        del said[name]
    elif how == 6:
        text = draw.choice(
            [b"", b"[]", b"null", b"{" * 5000, b"[" * 100_000, b"\xff\xfe", b'{"a":' * 2000, b"1" * 5000]
        )
        folder.put_segment(number, len(text).to_bytes(8, "little") + text + content[8 + length :])
        return
    else:
        entry["shape"] = draw.choice([[9] * 400_000, [0] * 9, [10**4000] * 200, [1] * 100_000])
    text = json.dumps(said).encode()
    text += b" " * (-(8 + len(text)) % 64)
    folder.put_segment(number, len(text).to_bytes(8, "little") + text + content[8 + length :])


def _array(content: bytes, name: str) -> tuple[int, int, np.dtype[Any]]:
    length = int.from_bytes(content[:8], "little")
    entry = json.loads(content[8 : 8 + length])[name]
    kinds = {"U8": "u1", "U64": "<u8", "I64": "<i8", "U32": "<u4", "F32": "<f4", "F16": "<f2"}
    start, stop = entry["data_offsets"]
    return 8 + length + start, 8 + length + stop, np.dtype(kinds[entry["dtype"]])


def _names(content: bytes, *starts: str) -> list[str]:
    said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return sorted(name for name in said if name.startswith(starts))


def structure(folder: Folder, draw: Draw) -> None:
    """Offsets that fall or overflow, rows and orders out of bounds or met twice, keys that do not ascend."""
    number = draw.randrange(len(folder.segments))
    content = bytearray(folder.whole[folder.segments[number]])
    choices = _names(bytes(content), "offsets", "rows", "keys", "ids_order")
    if not choices:
        return flip(folder, draw)
    name = draw.choice(choices)
    start, stop, dtype = _array(bytes(content), name)
    values = np.frombuffer(bytes(content[start:stop]), dtype).copy()
    at = draw.randrange(len(values))
    if name.startswith("keys"):
        at = draw.randrange(1, len(values)) if len(values) > 1 else 0
        if values[at - 1] == 0 or at == 0:
            return flip(folder, draw)
        values[at] = values[at - 1] - 1
    elif name.startswith("offsets"):  # some that rise file rows elsewhere, and are another index
        fall = int(values[at - 1]) - 1 if at > 0 and values[at - 1] > 0 else 2**31
        values[at] = draw.choice([2**32 - 1, 2**31, int(values[-1]) + 1, fall])
    else:
        values[at] = draw.choice(
            [2**32 - 1, 2**31, len(values), values[at - 1] if len(values) > 1 else 1, 2**32 - 1 - at]
        )
    content[start:stop] = values.tobytes()
    return folder.put_segment(number, bytes(content))


def values(folder: Folder, draw: Draw) -> None:
    """Other content, right in form: another index, which no check can tell from one that was meant."""
    number = draw.randrange(len(folder.segments))
    content = bytearray(folder.whole[folder.segments[number]])
    name = draw.choice(_names(bytes(content), "codes", "vectors", "halves", "inverse_norms", "ids", "residual"))
    start, stop, dtype = _array(bytes(content), name)
    for _ in range(draw.choice([1, 1, 9])):
        at = start + draw.randrange((stop - start) // dtype.itemsize) * dtype.itemsize
        new = draw.choice(
            [bytes(8), b"\xff" * 8, draw.randbytes(8), struct.pack("<d", 1e300), struct.pack("<f", np.nan) * 2]
        )
        content[at : at + dtype.itemsize] = new[: dtype.itemsize]
    folder.put_segment(number, bytes(content))


def paths(folder: Folder, draw: Draw) -> None:
    name = draw.choice(folder.segments)
    bad = [
        *(
            f"../{folder.path.name}/{name}",
            f"./{name}",
            str(folder.path / name),
            f"segment-/../{name}",
            name + "\0",
            "a" * 5000,
        ),
        *(
            "segment-" + "a" * 300 + ".safetensors",
            "segment-0123456789abcdef.safetensors",
            "..",
            ".",
            "",
            "/etc/passwd",
        ),
        *("/dev/zero", "segment-\ud800", name.upper(), name + "\n", " " + name),
    ]
    meta = json.loads(json.dumps(folder.meta))
    if draw.random() < 0.3:
        meta["hasher"] = draw.choice(
            [*bad, f"../{folder.path.name}/{meta['hasher']}", "hasher_/../x", f"{meta['hasher']}\n"]
        )
    else:
        draw.choice(meta["segments"])["name"] = draw.choice(bad)
    folder.commit(folder.arrays, meta)


def special(folder: Folder, draw: Draw) -> None:
    name = _any_file(folder, draw)
    path = folder.path / name
    folder.put(name, None)
    how = draw.randrange(6)
    if how == 0:
        target = folder.path.parent / f"{folder.path.name}.copy"
        target.write_bytes(folder.whole[name])
        path.symlink_to(target)
    elif how == 1:
        path.symlink_to(draw.choice([name, "/dev/zero", "/nowhere", "..", "/dev/tty"]))
    elif how == 2:
        os.mkfifo(path)
    elif how == 3:
        path.mkdir()
    elif how == 4:
        (path / "x").mkdir(parents=True)
    else:
        with socket.socket(socket.AF_UNIX) as one:
            here = os.getcwd()
            os.chdir(folder.path)
            one.bind(name)
            os.chdir(here)


def half(folder: Folder, draw: Draw) -> None:
    names = sorted(folder.whole)
    for name in draw.sample(names, draw.randrange(1, len(names) + 1)):
        folder.put(name, draw.choice([None, None, b"", folder.whole[name][: len(folder.whole[name]) // 2]]))


def version(folder: Folder, draw: Draw) -> None:
    names = [name for name in folder.whole if name.endswith(".json")]
    name = draw.choice(names)
    document = json.loads(folder.whole[name])
    del document["checksum"]
    key = draw.choice(["version", "version", "format", "meta", "arrays"])
    document[key] = draw.choice([v for v in (*STRANGE, 2, "lshcore.hasher") if type(v) is not int or v != 1])
    document["checksum"] = _state.hashlib.sha256(_state._render(document)).hexdigest()
    folder.put(name, _state._render(document))


def text(folder: Folder, draw: Draw) -> None:
    """JSON that says the same in other words, or is made to cost time or memory."""
    name = draw.choice([name for name in folder.whole if name.endswith(".json")])
    whole = folder.whole[name]
    document = json.loads(whole)
    again = json.dumps(document).encode()
    size = _state._MAX_JSON_BYTES
    folder.put(
        name,
        draw.choice(
            [
                *(again, whole.rstrip(), whole + b"\n", b"\xef\xbb\xbf" + whole, whole.replace(b": 1", b": 1.0", 1)),
                *(whole.replace(b"{", b'{"format": "x",', 1), whole.replace(b'"version": 1', b'"version": 01')),
                *(
                    whole.replace(b'"rows":', b'"rows": NaN, "rows":'),
                    b"[" * 10**6,
                    b"{}" * 10,
                    b"",
                    b"null",
                    b"1" * 10**5,
                ),
                *(
                    b"[" + b"{}," * (size // 3 - 9) + b"{}]",
                    b"[" * 500 + b"{}," * (size // 3 - 999) + b"{}" + b"]" * 500,
                ),
                *(b"[" * 900 + b"1," * (size // 2 - 999) + b"1" + b"]" * 900, bytes(size + 1)),
            ]
        ),
    )


MUTATIONS: dict[str, tuple[Callable[[Folder, Draw], None], int]] = {
    "bit flips": (flip, 12),
    "truncations": (truncate, 8),
    "appended bytes": (append, 6),
    "overwritten": (overwrite, 8),
    "files swapped": (swap, 4),
    "counts": (counts, 8),
    "entries": (entries, 6),
    "forged manifest": (forged, 8),
    "forged arrays": (forged_arrays, 8),
    "headers": (header, 8),
    "structure": (structure, 14),
    "values": (values, 8),
    "paths": (paths, 6),
    "special files": (special, 6),
    "half copied": (half, 4),
    "versions": (version, 4),
    "JSON text": (text, 1),
}
# Who repairs every checksum may write another index; it must be a safe one.
OTHER_INDEX = {"entries", "forged manifest", "forged arrays", "values"}

ORDER = ["refused", "refused late", "right", "other index"]


def attempt(folder: Folder, verify: str, mmap: bool, strict: bool) -> str:
    """One word for what came of it."""
    opened = False
    try:
        index = open_index(folder.path, verify=verify, mmap=mmap)
        opened = True
        found = answers(index)
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
        if "\n" in said or len(said) > 2000 or not said:
            return "WRONG: a message of many lines"
        if isinstance(error, UnicodeError):
            return f"WRONG: {error!r}"
        # What another index lacks is no damage, and a search that wants it names no file.
        if str(folder.path) not in said and (strict or not opened):
            return f"WRONG: no file named: {said}"
        return "refused late" if opened else "refused"
    except TypeError as error:  # by the index, of options that it has not
        return f"WRONG: {error!r}" if strict or not opened else "other index"
    except Exception as error:
        return f"WRONG: {error!r}"
    if same(found, folder.expected):
        return "right"
    return "WRONG: other answers" if strict else "other index"


def run(start: int, count: int, step: int, seed: int, progress: str | None) -> dict[str, Any]:
    """Try mutations start, start + step, ... and count what comes of them."""
    segment_file.BLOCK_BYTES = BLOCK_BYTES
    weights = [weight for _, weight in MUTATIONS.values()]
    tally: collections.Counter[str] = collections.Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as where:
        folders = [Folder(Path(where) / kind, kind) for kind in (*KINDS, *NAMED)]
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for number in range(start, start + count, step):
            draw = random.Random(f"{seed}.{number}")
            (kind,) = draw.choices(list(MUTATIONS), weights)
            folder = draw.choice(folders)
            if progress is not None:
                Path(progress).write_text(f"{number} {kind} {folder.kind}")
            MUTATIONS[kind][0](folder, draw)
            outcomes = []
            for verify, mmap in MODES:
                signal.alarm(SECONDS)
                outcomes.append(attempt(folder, verify, mmap, kind not in OTHER_INDEX))
                signal.alarm(0)
            if "refused late" in outcomes[2:] and kind not in OTHER_INDEX:  # a search may want what another index lacks
                outcomes.append("WRONG: verify full let it pass")
            kinds = {"refused" if word.startswith("refused") else word for word in outcomes}
            if len(kinds) > 1 and kind not in OTHER_INDEX:
                outcomes.append("WRONG: modes differ")
            worst = max(outcomes, key=lambda word: ORDER.index(word) if word in ORDER else len(ORDER))
            tally[f"{kind}: {worst.partition(':')[0]}"] += 1
            if worst.startswith("WRONG"):
                wrong.append(f"{number} {kind} {folder.kind}: {outcomes}")
            folder.mend()
        for folder in folders:
            assert same(answers(open_index(folder.path, verify="full")), folder.expected)
    return {"tally": dict(tally), "wrong": wrong, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def _limit_memory() -> None:
    """What is reserved now, and MEMORY more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--no-limit", action="store_true", help="of memory: AddressSanitizer reserves terabytes")
    parser.add_argument("--step", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--progress", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        if not given.no_limit:
            _limit_memory()
        print(json.dumps(run(given.start, given.count, given.step, given.seed, given.progress)))
        return
    print(json.dumps(parent(given.count, given.start, given.seed, given.processes, not given.no_limit), indent=1))


def parent(count: int, start: int = 0, seed: int = 0, processes: int = 1, limit: bool = True) -> dict[str, Any]:
    """Run the mutations in child processes, which may die, and add up what they say."""
    with tempfile.TemporaryDirectory() as where:
        children = []
        for part in range(processes):
            note = Path(where) / str(part)
            command = [sys.executable, __file__, f"--start={start + part}", f"--count={count - part}", f"--seed={seed}"]
            command += [f"--step={processes}", f"--progress={note}"] + [] * limit + ["--no-limit"] * (not limit)
            children.append(
                (note, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
            )
        tally: collections.Counter[str] = collections.Counter()
        wrong: list[str] = []
        rss = 0
        for note, child in children:
            out, error = child.communicate()
            if child.returncode != 0:
                at = note.read_text() if note.exists() else "?"
                wrong.append(f"{at}: died with {child.returncode}: {error[-3000:]}")
                continue
            said = json.loads(out)
            tally.update(said["tally"])
            wrong += said["wrong"]
            rss = max(rss, said["rss"])
    total: collections.Counter[str] = collections.Counter()
    for key, n in tally.items():
        total[key.partition(": ")[2]] += n
    return {"total": dict(total), "by kind": dict(sorted(tally.items())), "wrong": wrong, "peak RSS MiB": rss >> 10}


if __name__ == "__main__":
    main()
