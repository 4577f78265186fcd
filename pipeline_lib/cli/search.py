"""`vitrine search`: a query from the terminal, a text or a product and a text, answered by one fold's model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_lib.cli.output import AsJson, Result, show, table

if TYPE_CHECKING:
    from pipeline_lib.cli.fold_search import FoundProduct

HEADINGS = ("score", "product", "text")
MAX_TEXT = 80  # characters of a product's text in a terminal


def search(
    text: Annotated[str, typer.Argument(help="The query; with --like, what is to change.")],
    like: Annotated[str | None, typer.Option(help="Id of a product: search for it, changed as the text says.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="Index kind, one of plan.index (flat); with --like, one of plan.composed (its first)."),
    ] = None,
    fold: Annotated[int, typer.Option(help="Fold whose model answers, one of plan.search.")] = 0,
    top: Annotated[int, typer.Option(min=1, help="Number of products.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Search all products by photo and text; with --like, the held-out products of a fold and the test split.

    JSON: query, index (with --like: like and model), fold, and products with rank, product_id, score and text, best
    first.
    """
    from pipeline_lib.catalogue.strings import clean_string, drop_half_characters

    text = clean_string(drop_half_characters(text))
    if not text:
        example = "red mug" if like is None else "in red"
        option = "" if like is None else f" --like {like}"
        raise ValueError(
            f'the query has no words; write what to search for, as in `vitrine search{option} "{example}"`'
        )
    if like is None:
        from pipeline_lib.cli.fold_search import search_fold

        kind = kind or "flat"
        found = search_fold(text, kind, fold, top)
        _show(f"{text!r}: {kind} index of fold {fold}", {"query": text, "index": kind, "fold": fold}, found, as_json)
        return
    from pipeline_lib.cli.composed_search import composed_kind, find_reference, search_like

    kind, reference = composed_kind(kind), find_reference(like)
    found = search_like(reference, text, kind, fold, top)
    title = f"{like} ({reference.place}), {text!r}: {kind} model of fold {fold}"
    data = {"query": text, "like": like, "model": kind, "fold": fold}
    _show(title, data, found, as_json, reference.note(fold))


def _show(
    title: str, data: dict[str, object], found: list[FoundProduct], as_json: bool, note: str | None = None
) -> None:
    """Print the products in the form that the reader of stdout needs; `data` has the query's part of the JSON."""
    rows = [(f"{product.score:.3f}", product.product_id, product.text) for product in found]
    data["products"] = [
        {"rank": rank, "product_id": product.product_id, "score": product.score, "text": product.text}
        for rank, product in enumerate(found, start=1)
    ]
    shortened = [(score, product_id, described[:MAX_TEXT]) for score, product_id, described in rows]
    show(Result(data, rows, [table(title, HEADINGS, shortened)], notes=[note] if note else []), as_json)
