"""`vitrine search`: a query from the terminal, as the page of `vitrine serve` answers it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline_lib.cli.output import AsJson, Result, show, table

if TYPE_CHECKING:
    from pipeline_lib.serving.catalogue import ServedCatalogue
    from pipeline_lib.serving.composed import ComposedQueries
    from pipeline_lib.serving.model import ServedModel
    from pipeline_lib.serving.query import Answer, Query
    from pipeline_lib.transforms.image import Pixels

HEADINGS = ("score", "product", "text")
MAX_TEXT = 80  # characters of a product's text in a terminal


def search(
    text: Annotated[str, typer.Argument(help="The query; with --like, what is to change, or nothing.")] = "",
    like: Annotated[
        str | None, typer.Option(help="Id of a product, or file of a picture: search for what is like it.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="category=mug, price=5..20, score=0.3.. or duplicates=hidden; may be repeated."),
    ] = None,
    fold: Annotated[int, typer.Option(help="Fold whose model answers, one of plan.search.")] = 0,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Number of products.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Search all products by photo and text, with a text, a product or picture, or both.

    A text with --like is read by the model of plan.composed; without one the query is the sum of both embeddings.

    JSON: query, like, method (text, picture, product, sum, or composed KIND), fold, searched (number
    of products), cut_at (tokens that the model read of a longer query, else null), and products with rank, product_id,
    score, text and words, best first. Words say how much higher the score is with each word (word, change); a query of
    one word, or without an index, has none.
    """
    import pipeline_lib.execution.threads  # noqa: F401  the collector scans less while libraries are imported
    from pipeline_lib.catalogue.strings import clean_string, drop_half_characters

    text = clean_string(drop_half_characters(text))
    if not text and not like:
        raise ValueError('the query has no words; write what to search for, as in `vitrine search "red mug"`')
    from pipeline_lib.cli.search_options import find_reference, parse_filters, picture_of
    from pipeline_lib.params.section import load_params
    from pipeline_lib.serving.catalogue import number_names
    from pipeline_lib.serving.composed import composed_answer
    from pipeline_lib.serving.model import open_served
    from pipeline_lib.serving.query import Job, Query

    picture = picture_of(like)
    reference = find_reference(like) if like and picture is None else None
    params = load_params()
    alone = _composed_alone(fold, params) if reference and text else None
    if alone is not None and reference is not None:
        if where:
            raise ValueError("--where needs an index of all products; add a fold to plan.search and run `dvc repro`")
        found = composed_answer(alone, reference.product_id, text, top)
        _show(f"fold {fold}", *found, {"query": text, "like": like, "fold": fold}, as_json, reference.note(fold))
        return
    filters = parse_filters(where or [], number_names(Path()) if where else None)
    model = open_served(f"fold {fold}", Path(), fold)
    query = Query(text, None if picture is None else _view(model, picture), reference.product_id if reference else None)
    encoded = None if query.is_text else model.encode(query)
    (answer,) = model.answer([Job(query, top, filters, encoded)])
    if isinstance(answer, Exception):
        raise answer
    note = reference.note(fold) if reference and encoded and encoded.composed else None
    words = _counted(model, query, answer) if as_json else {}
    asked = {"query": text, "like": like, "fold": fold, "words": words}
    _show(model.name, model.catalogue, answer, asked, as_json, note)


def _counted(model: ServedModel, query: Query, answer: Answer) -> dict[int, list[dict[str, Any]]]:
    """Return the words that count for each product of an answer, by its row."""
    from pipeline_lib.serving.words import count_words, encode_without_words, words_of

    if not words_of(query.text):
        return {}
    encoded = encode_without_words(model, query)
    counted = {one.row: count_words(model, query, encoded, one.row)[1] for one in answer.found}
    return {row: [word._asdict() for word in words] for row, words in counted.items()}


def _composed_alone(fold: int, params: dict[str, Any]) -> ComposedQueries | None:
    """Return the composed model of a project without a search index; None if there is an index, or no model."""
    from pipeline_lib.params.plan import PlanParams
    from pipeline_lib.params.section import parse_section
    from pipeline_lib.serving.composed import find_composed

    plan = parse_section(PlanParams, params)
    return None if plan.search and plan.index else find_composed(Path(), fold, params)


def _view(model: ServedModel, picture: Path) -> Pixels:
    from pipeline_lib.transforms.formats import BadPhotoError

    try:
        return model.pictures.view(picture.read_bytes(), model.max_pixels)
    except BadPhotoError as error:
        raise ValueError(f"{picture}: {error}; give a picture in JPEG, PNG or WebP") from None


def _show(
    name: str, catalogue: ServedCatalogue, answer: Answer, data: dict[str, Any], as_json: bool, note: str | None
) -> None:
    """Print the products in the form that the reader of stdout needs; `data` has the rest of the JSON and words."""
    found = [(f"{one.score:.3f}", catalogue.ids[one.row], catalogue.texts[one.row]) for one in answer.found]
    words = data.pop("words", {})
    data |= {"method": answer.method, "searched": answer.searched, "cut_at": answer.cut_at}
    data["products"] = [
        {"rank": rank, "product_id": product_id, "score": one.score, "text": text, "words": words.get(one.row, [])}
        for rank, ((_, product_id, text), one) in enumerate(zip(found, answer.found, strict=True), start=1)
    ]
    asked = " + ".join(str(data[name]) for name in ("like", "query") if data[name])
    title = f"{asked}: {answer.searched:,} products by {name}"
    title += f", {answer.method}" if data["like"] else ""
    notes = [*([note] if note else []), *(["no product passes the filters"] if not found else [])]
    if answer.cut_at is not None:
        notes.append(f"the model read the first {answer.cut_at:,} tokens of the query, and no more; shorten it")
    shortened = [(score, product_id, described[:MAX_TEXT]) for score, product_id, described in found]
    show(Result(data, found, [table(title, HEADINGS, shortened)], notes=notes), as_json)
