"""`vitrine search`: a text query from the terminal against the index of one fold."""

from typing import Annotated

import typer

from pipeline_lib.cli.output import AsJson, Result, show, table

HEADINGS = ("score", "product", "text")
MAX_TEXT = 80  # characters of a product's text in a terminal


def search(
    text: Annotated[str, typer.Argument(help="The query.")],
    kind: Annotated[str, typer.Option(help="Index kind, one of plan.index.")] = "flat",
    fold: Annotated[int, typer.Option(help="Fold whose model and index are searched.")] = 0,
    top: Annotated[int, typer.Option(min=1, help="Number of products.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Search the indexed products of one fold: its held-out products and the test split.

    JSON: query, index, fold, and products with rank, product_id, score and text, best first.
    """
    from pipeline_lib.catalogue.strings import clean_string, drop_half_characters

    text = clean_string(drop_half_characters(text))
    if not text:
        raise ValueError('the query has no words; write what to search for, as in `vitrine search "red mug"`')
    from pipeline_lib.cli.fold_search import search_fold

    products = search_fold(text, kind, fold, top)
    rows = [(f"{product.score:.3f}", product.product_id, product.text) for product in products]
    data = {
        "query": text,
        "index": kind,
        "fold": fold,
        "products": [
            {"rank": rank, "product_id": product.product_id, "score": product.score, "text": product.text}
            for rank, product in enumerate(products, start=1)
        ],
    }
    shortened = [(score, product_id, described[:MAX_TEXT]) for score, product_id, described in rows]
    show(Result(data, rows, [table(f"{text!r}: {kind} index of fold {fold}", HEADINGS, shortened)]), as_json)
