"""`lshcore plan`: what an index needs for a recall target, expected and then measured."""

from typing import Annotated

import typer

from .options import DataDir, DatasetName, Jobs, LabelsFile, usage
from .progress import Progress


def plan_command(
    dataset: DatasetName = "digits",
    recall: Annotated[
        float, typer.Option("--recall", metavar="R", help="Share of a query's nearest items that are to be found.")
    ] = 0.9,
    k: Annotated[int, typer.Option("--k", metavar="N", min=1, help="How many nearest items count.")] = 10,
    data_dir: DataDir = None,
    labels: LabelsFile = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", metavar="NAME", help="The network that makes features of images.")
    ] = None,
    max_tables: Annotated[
        int, typer.Option("--max-tables", metavar="N", min=1, max=64, help="Tables cost memory: four bytes an item.")
    ] = 32,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Of sample and planes.")] = 0,
    jobs: Jobs = None,
) -> None:
    """Choose bits, tables and probes of an LSH index for a recall target; say what to expect, and measure it.

    Beside it stands a k-means index with residual codes, tuned for the same recall.
    """
    with usage("recall"):
        if not 0 < recall < 1:
            raise ValueError(f"expected a number between 0 and 1, got {recall:g}")

    from .. import planning
    from .._progress import part
    from ..evaluation import Sources, draw, gather
    from ..evaluation.prepare import prepare
    from .output import columns

    with Progress() as progress:
        sources = Sources(dataset, data_dir, labels, () if backbone is None else (backbone,))
        (data,) = gather(sources, part(progress, 0.0, 0.4))
        split = draw(data, None, seed)
        prepared = prepare(data, split, {"centre": True, "l2": True}, jobs)
        chosen = planning.plan(
            prepared.gallery,
            recall,
            k,
            queries=prepared.queries,
            max_tables=max_tables,
            random_state=seed,
            n_jobs=jobs,
            progress=part(progress, 0.4, 0.8),
        )
        progress(0.8, "measuring")
        measured, exhaustive = chosen.measure(jobs)
        progress(0.9, "measuring clusters")
        index, clusters = chosen.measure_clusters(jobs)
    every = (chosen.expected, measured, clusters, exhaustive)
    rows = [
        ("", "LSH, expected", "LSH, measured", "k-means, measured", "exhaustive"),
        _row(f"recall of the {k} nearest", "{:.3f}", *(each.recall for each in every)),
        _row("candidates a query", "{:,.0f}", *(each.candidates for each in every)),
        _row("bytes an item", "{:,.0f}", *(each.bytes_per_item for each in every)),
        _row("milliseconds a query", "{:.3g}", *(1e3 * each.seconds for each in every)),
    ]
    typer.echo(f"{data.name}: {chosen.n_items:,} items of {chosen.dim} features, recall {recall:g}")
    typer.echo(f"LSH: {chosen.n_tables} tables of {chosen.key_bits} bits, {chosen.probes} probes")
    tuned = index.tuned_
    assert tuned is not None
    typer.echo(
        f"k-means with residual codes: {index.n_clusters} clusters, {tuned.probes} probes, shortlist {tuned.shortlist}"
    )
    typer.echo(columns(rows))
    warnings = list(chosen.warnings)
    if exhaustive.seconds < measured.seconds:
        warnings.append("measured, looking at everything is faster than this")
    for warning in warnings:
        typer.echo(f"lshcore: {warning}", err=True)


def _row(name: str, form: str, *values: float) -> tuple[str, ...]:
    return (name, *(form.format(value) for value in values))
