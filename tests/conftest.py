"""Fixtures shared by the tests of the library."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

# Tests run side by side, a process a core: threads of BLAS and torch would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("lshcore", deadline=None, max_examples=50)
settings.load_profile("lshcore")

# A shell that starts the tests in the background lets them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

RunPython = Callable[..., str]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)


@pytest.fixture
def features(rng: np.random.Generator) -> NDArray[np.float32]:
    """300 rows of 24 columns in loose clusters: neighbours exist, and some rows are equal."""
    centres = rng.normal(size=(12, 24))
    rows = centres[rng.integers(0, 12, 300)] + 0.3 * rng.normal(size=(300, 24))
    rows[290:] = rows[:10]
    return rows.astype(np.float32)


@pytest.fixture
def queries(features: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    return (features[::7] + 0.1 * rng.normal(size=features[::7].shape)).astype(np.float32)


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Runs a script in a fresh interpreter, with extra environment variables, and gives what it printed."""

    def run(script: str, timeout: float = 60, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **environment},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
