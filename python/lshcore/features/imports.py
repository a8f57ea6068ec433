"""torch and torchvision, imported when they are needed; what is wrong with them is said in one line."""

import importlib
from importlib import metadata
from typing import Any

_EXTRA = 'install it with: pip install "lshcore[{}]"'


def import_torch(what: str = "features of images", extra: str = "vision") -> Any:
    """The module `torch`; a message says what needs it, and which extra of lshcore brings it.

    Raises
    ------
    ImportError
        If it is missing or broken.
    """
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"{what} need torch, which is not installed; {_EXTRA.format(extra)}", name="torch") from None
    except (ImportError, OSError) as error:
        raise ImportError(
            f"torch {_version('torch')} cannot be imported ({_line(error)}); "
            f"mend it with: pip install --force-reinstall torch torchvision"
        ) from error


def import_torchvision() -> Any:
    """The module `torchvision`, where it fits torch.

    Raises
    ------
    ImportError
        If it is missing, or was built for another torch.
    """
    import_torch()
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise ImportError(
            f"published backbones need torchvision, which is not installed; {_EXTRA.format('vision')}",
            name="torchvision",
        ) from None
    except (RuntimeError, ImportError, OSError, AttributeError) as error:
        raise ImportError(
            f"torchvision {_version('torchvision')} does not fit torch {_version('torch')} ({_line(error)}); "
            f"mend it with: pip install --force-reinstall torch torchvision"
        ) from error


def installed(package: str) -> str | None:
    """Version of an installed package, or None; nothing is imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _version(package: str) -> str:
    return installed(package) or "of unknown version"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
