"""The C++ tests on 64-bit Arm: cross-compiled, and run under QEMU once with each kernel set it has."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("cmake", "ninja", "aarch64-linux-gnu-g++", "qemu-aarch64")
# QEMU's own limit: a fork of a process that runs threads dies in its child when that starts threads.
EXCLUDED = "parallel: a forked child*"


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.fixture(scope="module")
def arm_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for tool in TOOLS:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    header = Path("/usr/include/doctest/doctest.h")
    if not header.exists():
        pytest.skip(f"{header} is missing (Debian: doctest-dev)")
    folder = tmp_path_factory.mktemp("arm")
    # Copied: the folder it stands in holds the headers of this machine's own C library too.
    (folder / "include/doctest").mkdir(parents=True)
    shutil.copy(header, folder / "include/doctest")
    configured = run(
        "cmake", "-S", ROOT, "-B", folder / "build", "-G", "Ninja", "-DLSHCORE_TESTS=ON",
        f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/cmake/aarch64-linux-gnu.cmake", f"-DLSHCORE_DOCTEST_DIR={folder}/include",
    )  # fmt: skip
    assert configured.returncode == 0, configured.stderr
    built = run("cmake", "--build", folder / "build", "-j", "2")
    assert built.returncode == 0, built.stdout
    return folder / "build/tests/cpp/lshcore_tests"


@pytest.mark.long
@pytest.mark.parametrize("kernels", ["neon", "scalar"])
def test_core_on_arm(arm_tests: Path, kernels: str) -> None:
    command = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", arm_tests, f"--test-case-exclude={EXCLUDED}"]
    done = run(*command, LSHCORE_KERNELS=kernels)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "Status: SUCCESS!" in done.stdout
