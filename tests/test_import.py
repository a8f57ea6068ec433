"""What importing lshcore costs and gives."""

import importlib.metadata
import json

import pytest

import lshcore
from lshcore import registry


def test_importing_is_quick_and_brings_nothing_heavy(run_python) -> None:
    script = """
import sys, time
start = time.perf_counter()
import lshcore
seconds = time.perf_counter() - start
import json
print(json.dumps([seconds, [m for m in ("torch", "sklearn", "scipy", "importlib.metadata") if m in sys.modules]]))
"""
    runs = [json.loads(run_python(script)) for _ in range(3)]
    assert min(seconds for seconds, _ in runs) < 0.15
    assert [heavy for _, heavy in runs] == [[]] * 3


def test_using_everything_but_the_optional_parts_needs_neither_torch_nor_sklearn(run_python) -> None:
    script = """
import sys
import numpy as np, lshcore
for name in lshcore.__all__:
    getattr(lshcore, name)
x = np.random.default_rng(0).normal(size=(50, 8))
x = lshcore.Preprocess(standardise=True).fit_transform(x)
index = lshcore.LSHIndex(lshcore.hashers.RandomHyperplanes(16).fit(x), 2, 8, vectors="float32").add(x)
lshcore.metrics.evaluate(index, x, np.arange(50) % 2, np.arange(50) % 2)
lshcore.KMeansIndex(3).add(x).search(x)
print([m for m in ("torch", "sklearn", "scipy") if m in sys.modules])
"""
    assert run_python(script).strip() == "[]"


def test_names() -> None:
    for name in lshcore.__all__:
        assert getattr(lshcore, name) is not None
        assert name in dir(lshcore)
    assert lshcore.__version__ == importlib.metadata.version("lshcore")
    with pytest.raises(AttributeError, match="module 'lshcore' has no attribute 'nothing'"):
        lshcore.nothing


def test_a_missing_core_says_how_to_build(run_python) -> None:
    script = """
import sys
class Hide:
    def find_spec(self, name, path, target=None):
        if name == "lshcore._core":
            raise ModuleNotFoundError("No module named 'lshcore._core'", name=name)
sys.meta_path.insert(0, Hide())
try:
    import lshcore
except ImportError as error:
    print(type(error).__name__, error)
"""
    printed = run_python(script)
    assert printed.startswith("ImportError lshcore: the compiled core lshcore._core is missing")
    assert "pip install ." in printed


def test_registered_names_load() -> None:
    for table in (registry.HASHERS, registry.INDEXES):
        for name, target in table.items():
            assert name == name.lower().replace("_", "-")
            assert registry.load(name).__name__ == target.partition(":")[2]
            assert registry.load(name, table) is registry.load(name)
    with pytest.raises(ValueError, match=r"registry\.load: name must be one of random-hyperplanes, .* got 'nothing'"):
        registry.load("nothing")
    with pytest.raises(ValueError, match=r"registry\.load: name must be one of .* got 'flat'"):
        registry.load("flat", registry.HASHERS)
