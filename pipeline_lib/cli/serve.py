"""`vitrine serve`: a search page over the index of one fold's model, or of two models side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline_lib.serving.server import Place

JUDGEMENTS = Path("data/judgements/judgements.csv")
MEGABYTE = 1_000_000


def serve(
    fold: Annotated[int, typer.Option(min=0, help="Fold whose model answers, one of plan.search.")] = 0,
    kind: Annotated[str, typer.Option(help="Index kind, one of plan.index.")] = "flat",
    against: Annotated[
        str | None, typer.Option(help="A second model beside it: a fold, FOLDER of another project, or FOLDER:FOLD.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen to; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen to; 0 = a free one.")] = 8000,
    name: Annotated[
        list[str] | None, typer.Option(help="With --host: a host name by which the server may be called; repeatable.")
    ] = None,
    judgements: Annotated[Path, typer.Option(help="File of the thumbs up and down.")] = JUDGEMENTS,
    read_only: Annotated[bool, typer.Option("--no-judgements", help="Write no judgements.")] = False,
    upload_mb: Annotated[float, typer.Option(min=0.01, max=100, help="Largest picture that may be uploaded.")] = 10,
) -> None:
    """Open a search page in the browser: by text, by picture, or by both; Ctrl-C ends it."""
    import pipeline_lib.execution.threads  # noqa: F401  before torch is imported
    from pipeline_lib.serving.limits import Limits
    from pipeline_lib.serving.server import Place, ServerOptions, make_service, run_server

    places = [Place(fold, kind=kind)]
    if against is not None:
        places.append(_second(against, fold, kind))
    limits = Limits(upload_bytes=int(upload_mb * MEGABYTE))
    service = make_service(places, None if read_only else judgements, limits)
    options = ServerOptions(host, port, frozenset(name or ()), limits)
    for one in service.opened:
        print(f"{one.model.name}: {len(one.model.catalogue.ids):,} products", file=sys.stderr)
    run_server(service, options, lambda url: print(f"search page: {url}  (Ctrl-C ends it)", file=sys.stderr))


def _second(against: str, fold: int, kind: str) -> Place:
    """Return the second model: a fold of this project, or a fold of the project in a folder."""
    from pipeline_lib.serving.server import Place

    if against.isdigit():
        return Place(int(against), kind=kind)
    folder, _, last = against.rpartition(":")
    if folder and last.isdigit():
        return Place(int(last), Path(folder), kind)
    return Place(fold, Path(against), kind)
