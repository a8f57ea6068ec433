"""`lshcore info`: what is installed and what it runs on."""

import typer


def info_command() -> None:
    """Show the version, kernel sets, threads, CUDA, and which extras are installed."""
    from .. import _core
    from ..evaluation.environment import environment, extras
    from .output import columns

    where = environment()
    versions = where["versions"]
    rows = [
        ("lshcore", versions.pop("lshcore")),
        *((name, version or "not installed") for name, version in versions.items()),
        ("platform", where["platform"]),
        ("cpu", where["cpu"]),
        ("kernel set", f"{where['kernel_set']} (available: {', '.join(_core.kernel_sets())})"),
        ("threads", str(where["threads"])),
        ("cuda", _core.cuda_device() if _core.cuda_available() else "not available"),
    ]
    for extra, packages in extras().items():
        found = ", ".join(f"{name} {version or 'not installed'}" for name, version in packages.items())
        rows.append((f"extra {extra}", found))
    typer.echo(columns(rows))
