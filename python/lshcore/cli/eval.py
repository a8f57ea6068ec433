"""`lshcore eval`: run methods on a data set, print one table, keep the results."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import default, parse, usage
from .progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

Texts = list[str] | None


def _list(name: str, metavar: str, help_text: str) -> Any:
    return typer.Option(f"--{name}", metavar=f"{metavar},...", help=f"{help_text} Default: {default(name)}.")


def eval_command(
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="NAME|FILE", help="A name of `lshcore datasets`, or a features file.")
    ] = "digits",
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Where the files of the data set are.")
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE.npy", help="Labels of a .npy file.")] = None,
    method: Annotated[Texts, _list("method", "NAME", "Methods to run, of `lshcore methods`.")] = None,
    bits: Annotated[Texts, _list("bits", "N", "Code lengths that rank the whole gallery.")] = None,
    tables: Annotated[Texts, _list("tables", "N", "Numbers of hash tables.")] = None,
    key_bits: Annotated[Texts, _list("key-bits", "N", "Bits of a key in each table.")] = None,
    clusters: Annotated[Texts, _list("clusters", "N", "Numbers of k-means clusters.")] = None,
    probes: Annotated[Texts, _list("probes", "N", "Clusters, or keys over all tables, to look into.")] = None,
    pca: Annotated[Texts, _list("pca", "N|SHARE|none", "Dimensions, or share of the variance, to keep.")] = None,
    rank: Annotated[Texts, _list("rank", "NAME", "Candidates are ranked by cosine, l2 or hamming.")] = None,
    shortlist: Annotated[Texts, _list("shortlist", "N|none", "Rank only the N candidates nearest by code.")] = None,
    k: Annotated[Texts, _list("k", "N", "List lengths of the metrics.")] = None,
    sweep: Annotated[
        Texts, typer.Option("--sweep", metavar="KEY=A,B,C", help="Set the list of an option above; repeatable.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", metavar="NAME", help="official or holdout; the data set has a default."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Of split and methods.")] = 0,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="N", help="Threads; all CPUs by default, as with -1.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write results.json and results.csv into DIR.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON and nothing else.")] = False,
) -> None:
    """Compare methods on one data set, beside exhaustive search. Without options: every method on `digits`.

    Lists (N,...) are given with commas, or by repeating the option; every combination is run.
    """
    lists: Mapping[str, Texts] = {
        "method": method,
        "bits": bits,
        "tables": tables,
        "key-bits": key_bits,
        "clusters": clusters,
        "probes": probes,
        "pca": pca,
        "rank": rank,
        "shortlist": shortlist,
        "k": k,
    }
    options = parse(lists, sweep or [])
    _check(dataset, protocol, jobs)

    from ..data import load
    from ..evaluation import configure, draw, report, run, write
    from ..evaluation.results import make_folder

    if out is not None:  # before the work, not after it
        make_folder(out)
    with Progress() as progress:
        progress(0.0, f"loading {dataset}")
        data = load(dataset, data_dir, labels)
        split = draw(data, protocol, seed)
        configurations, notes = configure(options, len(split.gallery), len(split.train))
        results = run(data, split, configurations, k=options.k, seed=seed, n_jobs=jobs, progress=progress)
    for note in notes:
        typer.echo(f"lshcore: {note}", err=True)
    whole = report(data, split, results, k=options.k, n_jobs=jobs, notes=notes)
    if out is not None:
        paths = write(whole, out)
        typer.echo(f"lshcore: wrote {' and '.join(map(str, paths))}", err=True)
    _print(whole, as_json)


def _check(dataset: str, protocol: str | None, jobs: int | None) -> None:
    from .._validation import resolve_jobs
    from ..data import check_name
    from ..evaluation.protocols import check_protocol

    with usage("dataset"):
        check_name(dataset)
    with usage("protocol"):
        check_protocol(protocol)
    with usage("jobs"):
        resolve_jobs(jobs)


def _print(whole: "Mapping[str, Any]", as_json: bool) -> None:
    from ..evaluation import tables
    from ..evaluation.results import to_json

    if as_json:
        typer.echo(to_json(whole))
    elif sys.stdout.isatty():
        from rich.console import Console

        tables.show(whole, Console())
    else:
        typer.echo(tables.plain(whole))
