"""`vitrine serve`: a search page over the index of one fold's model, or of two models side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline_lib.serving.server import Place, ServerOptions

LISTEN = "127.0.0.1:8000"
JUDGEMENTS, NO_JUDGEMENTS = "data/judgements/judgements.csv", "none"


def serve(
    fold: Annotated[int, typer.Option(min=0, help="Fold whose model answers, one of plan.search.")] = 0,
    kind: Annotated[str | None, typer.Option(help="Index kind, one of plan.index; by default its first.")] = None,
    against: Annotated[
        str | None, typer.Option(help="A second model beside it: a fold, FOLDER of another project, or FOLDER:FOLD.")
    ] = None,
    listen: Annotated[
        str, typer.Option(help="PORT or HOST:PORT; the host 0.0.0.0 lets other machines in, the port 0 is a free one.")
    ] = LISTEN,
    name: Annotated[
        list[str] | None, typer.Option(help="A further host name by which the server may be called; repeatable.")
    ] = None,
    judgements: Annotated[str, typer.Option(help="File of the thumbs up and down; none = no thumbs.")] = JUDGEMENTS,
) -> None:
    """Open a search page in the browser: by text, by picture, or by both; Ctrl-C ends it."""
    import pipeline_lib.execution.threads  # noqa: F401  before torch is imported
    from pipeline_lib.serving.server import Place, make_service, run_server

    options = _options(listen, name or [])
    places = [Place(fold, kind=kind)]
    if against is not None:
        places.append(_second(against, fold, kind))
    service = make_service(places, None if judgements == NO_JUDGEMENTS else Path(judgements), options.limits)
    for one in service.opened:
        print(f"{one.model.name}: {len(one.model.catalogue.ids):,} products", file=sys.stderr)
    run_server(service, options, lambda url: print(f"search page: {url}  (Ctrl-C ends it)", file=sys.stderr))


def _options(listen: str, names: list[str]) -> ServerOptions:
    """Return where to listen; ValueError for what is no address."""
    from pipeline_lib.serving.server import ServerOptions

    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"--listen {listen}: not an address; write PORT or HOST:PORT, as in {LISTEN}")
    return ServerOptions(host.strip("[]") or "127.0.0.1", int(port), frozenset(names))


def _second(against: str, fold: int, kind: str | None) -> Place:
    """Return the second model: a fold of this project, or a fold of the project in a folder."""
    from pipeline_lib.serving.server import Place

    if against.isdigit():
        return Place(int(against), kind=kind)
    folder, _, last = against.rpartition(":")
    if folder and last.isdigit():
        return Place(int(last), Path(folder), kind)
    return Place(fold, Path(against), kind)
