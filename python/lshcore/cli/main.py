"""The `lshcore` command: what its sub-commands share, and how failures become exit codes.

0 done, 1 failed, 2 wrong usage, 130 interrupted. ``LSHCORE_DEBUG=1`` shows the traceback of a failure.
"""

import os
import sys
from typing import Annotated

import typer

from .add import add_command
from .build import build_command
from .compact import compact_command
from .datasets import datasets_command
from .dedup import dedup_command
from .describe import describe_command
from .eval import eval_command
from .extract import extract_command
from .info import info_command
from .methods import methods_command
from .plan import plan_command
from .remove import remove_command
from .search import search_command
from .train import train_command
from .verify import verify_command

DEBUG_VARIABLE = "LSHCORE_DEBUG"
INTERRUPTED = 130

app = typer.Typer(
    name="lshcore",
    help="Image retrieval by hashing: compare hashing methods under one protocol.",
    epilog="Example: lshcore eval --dataset fashion-mnist",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("eval", epilog="Example: lshcore eval --method k-means --clusters 100 --probes 1,4,16")(eval_command)
app.command("extract", epilog="Example: lshcore extract --dataset folder:photos --backbone resnet50")(extract_command)
app.command("train", epilog="Example: lshcore train --dataset fashion-mnist --method orthohash --bits 32 --out model")(
    train_command
)
app.command("build", epilog="Example: lshcore build --dataset folder:photos --out photos.lsh")(build_command)
app.command("add", epilog="Example: lshcore add photos.lsh folder:photos")(add_command)
app.command("remove", epilog="Example: lshcore remove photos.lsh 2019/a.jpg 2019/b.jpg")(remove_command)
app.command("search", epilog="Example: lshcore search photos.lsh query.jpg -k 5")(search_command)
app.command("compact", epilog="Example: lshcore compact photos.lsh")(compact_command)
app.command("verify", epilog="Example: lshcore verify photos.lsh")(verify_command)
app.command("describe", epilog="Example: lshcore describe photos.lsh")(describe_command)
app.command("dedup", epilog="Example: lshcore dedup folder:photos --radius 4 --out duplicates.jsonl")(dedup_command)
app.command("plan", epilog="Example: lshcore plan --dataset fashion-mnist --recall 0.9")(plan_command)
app.command("info", epilog="Example: LSHCORE_KERNELS=scalar lshcore info")(info_command)
app.command("methods", epilog="Example: lshcore methods")(methods_command)
app.command("datasets", epilog="Example: lshcore datasets --data-dir ~/data")(datasets_command)


def _version(asked: bool) -> None:
    if asked:
        import lshcore

        typer.echo(f"lshcore {lshcore.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, KeyboardInterrupt) or stop.code == INTERRUPTED:
            typer.echo("lshcore: interrupted", err=True)
            sys.exit(INTERRUPTED)
        raise
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0"):
            raise
        typer.echo(f"lshcore: {_one_line(error)}", err=True)
        sys.exit(1)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    main()
