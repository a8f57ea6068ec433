"""Evaluation: protocols divide a data set, configurations say what to run, the runner runs it, results keep it."""

from typing import TYPE_CHECKING, Any

from ..registry import load_target

if TYPE_CHECKING:
    from .configurations import Configuration as Configuration
    from .configurations import Options as Options
    from .methods import METHODS as METHODS
    from .methods import configure as configure
    from .protocols import PROTOCOLS as PROTOCOLS
    from .protocols import Split as Split
    from .protocols import draw as draw
    from .results import report as report
    from .results import write as write
    from .runner import Evaluation as Evaluation
    from .runner import Result as Result
    from .runner import run as run
    from .sources import Sources as Sources
    from .sources import gather as gather

# Loaded on first use: the command line reads the options without the methods behind them.
_NAMES = {
    "Configuration": "configurations",
    "Evaluation": "runner",
    "METHODS": "methods",
    "Options": "configurations",
    "PROTOCOLS": "protocols",
    "Result": "runner",
    "Sources": "sources",
    "Split": "protocols",
    "configure": "methods",
    "draw": "protocols",
    "gather": "sources",
    "report": "results",
    "run": "runner",
    "write": "results",
}

__all__ = [
    "METHODS",
    "PROTOCOLS",
    "Configuration",
    "Evaluation",
    "Options",
    "Result",
    "Sources",
    "Split",
    "configure",
    "draw",
    "gather",
    "report",
    "run",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = load_target(f"{__name__}.{_NAMES[name]}:{name}")
    globals()[name] = value
    return value
