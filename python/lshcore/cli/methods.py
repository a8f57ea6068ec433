"""`lshcore methods`: the methods that an evaluation can run."""

import typer


def methods_command() -> None:
    """List the methods of `lshcore eval`, and the options that each one reads."""
    from ..evaluation.methods import METHODS
    from .options import default
    from .output import columns

    rows = [("method", "what it is; its options, with their defaults")]
    for method in METHODS.values():
        rows.append((method.name, method.description))
        rows += [("", f"--{option} {default(option)}") for option in method.options]
        rows += [("", f"--set {name}={_text(value)}") for name, value in method.arguments.items()]
    typer.echo(columns(rows))


def _text(value: object) -> str:
    """A value as it would be typed."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
