"""`lshcore methods`: the methods that an evaluation can run."""

import typer


def methods_command() -> None:
    """List the methods of `lshcore eval`, and the options that each one reads."""
    from ..evaluation.configurations import Options
    from ..evaluation.methods import METHODS
    from .output import columns

    defaults = Options()
    rows = [("method", "what it is; its options, with their defaults")]
    for method in METHODS.values():
        rows.append((method.name, method.description))
        for option in method.options:
            values = getattr(defaults, option.replace("-", "_"))
            rows.append(("", f"--{option} {','.join(str(value) for value in values)}"))
    typer.echo(columns(rows))
