"""`lshcore eval`: run methods on a data set, print one table, keep the results."""

import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._progress import part
from ..evaluation.presets import PRESETS, find_preset
from .options import DataDir, DatasetName, Device, ImageSize, LabelsFile, Offline, Weights, default, parse, seeds, usage
from .progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

Texts = list[str] | None

BASELINE_ONLY = ("exhaustive",)


def _list(name: str, metavar: str, help_text: str) -> Any:
    return typer.Option(f"--{name}", metavar=f"{metavar},...", help=f"{help_text} Default: {default(name)}.")


def eval_command(
    dataset: DatasetName = "digits",
    data_dir: DataDir = None,
    labels: LabelsFile = None,
    backbone: Annotated[
        Texts,
        typer.Option(
            "--backbone",
            metavar="NAME,...",
            help="Networks that make features of images (resnet50, vit_b_16, timm:NAME, ...), or pixels. "
            "Default: what `lshcore datasets` says. Features are kept and used again.",
        ),
    ] = None,
    features: Annotated[
        Texts, typer.Option("--features", metavar="FILE|DIR,...", help="Features of the same images, to stand beside.")
    ] = None,
    weights: Weights = None,
    image_size: ImageSize = None,
    device: Device = None,
    offline: Offline = False,
    method: Annotated[Texts, _list("method", "NAME", "Methods to run, of `lshcore methods`, or all.")] = None,
    bits: Annotated[Texts, _list("bits", "N", "Code lengths that rank the whole gallery.")] = None,
    tables: Annotated[Texts, _list("tables", "N", "Numbers of hash tables.")] = None,
    key_bits: Annotated[Texts, _list("key-bits", "N", "Bits of a key in each table.")] = None,
    hashes: Annotated[Texts, _list("hashes", "N", "Whole hashes a key, cross-polytope and p-stable.")] = None,
    clusters: Annotated[Texts, _list("clusters", "N", "Numbers of k-means clusters.")] = None,
    algorithm: Annotated[
        Texts, _list("algorithm", "NAME", "How k-means is trained: lloyd, spherical, or minibatch by scikit-learn.")
    ] = None,
    probes: Annotated[Texts, _list("probes", "N", "Clusters, or keys over all tables, to look into.")] = None,
    keys: Annotated[
        Texts, _list("keys", "NAME", "blocks: tables have bits of their own; sample: some bits of codes of --bits.")
    ] = None,
    radius: Annotated[
        Texts, _list("radius", "N|N..M", "Whole codes within these Hamming radii of a query are candidates.")
    ] = None,
    pca: Annotated[Texts, _list("pca", "N|SHARE|none", "Dimensions, or share of the variance, to keep.")] = None,
    rank: Annotated[Texts, _list("rank", "NAME", "Candidates are ranked by cosine, l2, margin or hamming.")] = None,
    shortlist: Annotated[Texts, _list("shortlist", "N|none", "Rank only the N candidates nearest by code.")] = None,
    recall: Annotated[
        Texts, _list("recall", "SHARE", "Of the nearest, that k-means-residual is tuned to find.")
    ] = None,
    k: Annotated[Texts, _list("k", "N", "List lengths of the metrics.")] = None,
    sweep: Annotated[
        Texts, typer.Option("--sweep", metavar="KEY=A,B,C", help="Set the list of an option above; repeatable.")
    ] = None,
    arguments: Annotated[
        Texts,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="An argument of the methods' hashers (see `lshcore methods`), for those of the chosen methods that "
            "have it; repeatable. Example: --set n_iterations=20 for itq.",
        ),
    ] = None,
    models_given: Annotated[
        Texts,
        typer.Option(
            "--model",
            metavar="DIR,...",
            help="Saved hashers to evaluate as they are, with the preprocessing that was saved beside them; without "
            "--method, these alone.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", metavar="NAME", help=f"Lists of a published table, where not given: {', '.join(PRESETS)}."
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol", metavar="NAME", help="How queries are chosen (see README); the data set has a default."
        ),
    ] = None,
    seed: Annotated[
        Texts,
        typer.Option(
            "--seed", metavar="N|N..M,...", help="Of split and methods. With several, tables show means. Default: 0."
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="N", help="Threads; all CPUs by default, as with -1.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write results.json and results.csv into DIR.")
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw plots beside the results of --out; needs the extra `plot`.")
    ] = False,
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
        "hashes": hashes,
        "clusters": clusters,
        "algorithm": algorithm,
        "probes": probes,
        "keys": keys,
        "radius": radius,
        "pca": pca,
        "rank": rank,
        "shortlist": shortlist,
        "recall": recall,
        "k": k,
    }
    with usage("preset"):
        published = find_preset(preset)
    models = _words(models_given)
    options = parse(lists, sweep or [], published, arguments or [], BASELINE_ONLY if models else ())
    every_seed = seeds(seed)
    protocol = protocol or published.protocol
    _check(dataset, protocol, jobs)
    if plot and out is None:
        raise typer.BadParameter("expected --out DIR beside it", param_hint="--plot")

    from ..evaluation import PROTOCOLS, Evaluation, Sources, configure, draw, gather, plots, report, run, write
    from ..evaluation.drawing import check_matplotlib
    from ..evaluation.models import open_models
    from ..evaluation.results import make_folder
    from ..evaluation.sources import gather_by

    if plot:
        check_matplotlib()
    opened = open_models(models)
    if out is not None:  # before the work, not after it
        make_folder(out)
    sources = Sources(
        dataset,
        data_dir,
        labels,
        _words(backbone),
        _words(features),
        weights=weights,
        image_size=image_size,
        device=device,
        offline=offline,
    )
    # A model with a network of its own is compared with exhaustive search over the features of that network.
    alone = [model for model in opened if model.network]
    others = [model for model in opened if not model.network]
    with Progress() as progress:
        materials = []
        if others or not alone or options.method != BASELINE_ONLY:
            materials += [(data, options, others) for data in gather(sources, progress)]
        for model in alone:
            data = gather_by(model.path, f"{model.name}'s own", sources, progress)
            materials.append((data, replace(options, method=BASELINE_ONLY), [model]))
    evaluations, notes = [], []
    with Progress() as progress:
        runs = []
        for (data, wanted, having), each in product(materials, every_seed):
            split = draw(data, protocol, each)
            leaks = PROTOCOLS[split.name].leak != ""
            configurations, left_out = configure(wanted, len(split.gallery), len(split.train), leaks, data.dim, having)
            notes += left_out
            runs.append((data, split, configurations))
        for i, (data, split, configurations) in enumerate(runs):
            tell = part(progress, i / len(runs), (i + 1) / len(runs))
            results = run(
                data,
                split,
                configurations,
                k=options.k,
                seed=split.seed,
                n_jobs=jobs,
                progress=tell,
                left_out=notes.append,
            )
            evaluations.append(Evaluation(data, split, results))
    notes = list(dict.fromkeys(notes))
    for note in notes:
        typer.echo(f"lshcore: {note}", err=True)
    whole = report(evaluations, k=options.k, n_jobs=jobs, notes=notes)
    if out is not None:
        paths = write(whole, out)
        typer.echo(f"lshcore: wrote {' and '.join(map(str, paths))}", err=True)
        if plot:
            typer.echo(f"lshcore: wrote {', '.join(map(str, plots.plot(whole, out)))}", err=True)
    _print(whole, as_json)


def _words(given: Texts) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for text in given or () for part in text.split(",")))


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
