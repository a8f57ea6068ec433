"""The machine and the versions a result was made with. Versions are read from package metadata, nothing is imported."""

import platform
import re
import resource
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import lshcore

from .. import _core
from .._validation import resolve_jobs

BASE_PACKAGES = ("numpy", "scipy", "scikit-learn")


def installed(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_model() -> str:
    """Name of the processor, as far as the system tells."""
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1].strip() if match else platform.processor() or platform.machine() or "unknown"


def extras() -> dict[str, dict[str, str | None]]:
    """For each optional extra of lshcore, its packages and the version that is installed, or None."""
    try:
        requirements = requires("lshcore") or []
    except PackageNotFoundError:
        return {}
    found: dict[str, dict[str, str | None]] = {}
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", requirement)
        if name and extra and name[0].lower() != "lshcore":
            found.setdefault(extra[1], {})[name[0]] = installed(name[0])
    return found


def peak_memory() -> int:
    """The most memory this process has held at once, in bytes, mapped files that were read included."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def environment(n_jobs: int | None = None) -> dict[str, Any]:
    """What a result file says about where it was made."""
    versions = {"lshcore": lshcore.__version__, "python": platform.python_version()}
    return {
        "versions": versions | {name: installed(name) for name in BASE_PACKAGES},
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "kernel_set": _core.kernel_set(),
        "threads": resolve_jobs(n_jobs),
    }
