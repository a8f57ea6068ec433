"""`lshcore search`: the nearest items of images or features in an index on disk."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Device, IndexDir, Jobs, MovedWeights, Offline, usage
from .progress import Progress

if TYPE_CHECKING:
    from ..index import SearchResult


def search_command(
    index: IndexDir,
    queries: Annotated[
        list[str], typer.Argument(metavar="IMAGE...|FILE", help="Images, or one file of features.", show_default=False)
    ],
    k: Annotated[int, typer.Option("-k", "--k", metavar="N", min=1, help="Hits for each query.")] = 10,
    probes: Annotated[
        int | None,
        typer.Option("--probes", metavar="N", min=1, help="Clusters, or keys over all tables, to look into."),
    ] = None,
    rank: Annotated[
        str | None, typer.Option("--rank", metavar="NAME", help="cosine, l2, margin or hamming; cosine with vectors.")
    ] = None,
    weights: MovedWeights = None,
    device: Device = None,
    offline: Offline = False,
    jobs: Jobs = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each hit.")] = False,
) -> None:
    """Search an index by images, or by rows of features. Queries without any hit are named on stderr."""
    from .._validation import check_choice
    from ..index.container import RANKS

    with usage("rank"):
        check_choice(rank, "search", "rank", (*RANKS, None))

    from ..collection import Collection
    from ..data import load_features
    from ..data.arrays import SUFFIXES
    from .output import columns, shown

    given: Any = queries
    names: list[str | int] = list(queries)
    if any(query.lower().endswith(SUFFIXES) for query in queries):
        if len(queries) > 1:
            raise typer.BadParameter("expected images, or one file of features", param_hint="IMAGE")
        given, _ = load_features(queries[0])
        names = list(range(len(given)))
    with Progress() as progress:
        opened = Collection.open(index, weights=weights)
        progress(0.0, f"searching {len(opened):,} rows")
        found = opened.search(given, k, probes=probes, rank=rank, device=device, offline=offline, n_jobs=jobs)
    hits = list(_hits(names, found))
    if as_json:
        for hit in hits:
            typer.echo(json.dumps(hit))
    else:
        rows = [(shown(hit["query"]), str(hit["rank"]), shown(hit["id"]), f"{hit['distance']:.4g}") for hit in hits]
        typer.echo(columns([("query", "rank", "id", "distance"), *rows]))
    nothing = [shown(name) for name, n in zip(names, found.n_candidates, strict=True) if n == 0]
    if nothing:
        more = f" and {len(nothing) - 1:,} others" if len(nothing) > 1 else ""
        typer.echo(f"lshcore: nothing near {nothing[0]}{more} was found; more --probes look further", err=True)


def _hits(names: list[str | int], found: "SearchResult") -> Iterator[dict[str, Any]]:
    for name, ids, distances in zip(names, found.ids.tolist(), found.distances.tolist(), strict=True):
        for place, (id, distance) in enumerate(zip(ids, distances, strict=True), 1):
            if id is not None and id != -1:
                yield {"query": name, "rank": place, "id": id, "distance": distance}
