"""The JSON API: search, products, photos, explanations and judgements.

Nothing in a request becomes a path: products are found by their ids in the catalogue, photos by their numbers.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from pipeline_lib.catalogue.strings import clean_string, drop_half_characters
from pipeline_lib.serving import schemas
from pipeline_lib.serving.catalogue import Range, ServedCatalogue
from pipeline_lib.serving.errors import ERRORS, LOG, ApiError
from pipeline_lib.serving.query import Filters, Found, NotSearchedError
from pipeline_lib.serving.query import Query as ModelQuery
from pipeline_lib.serving.schemas import MAX_ID, MAX_K, MAX_TEXT
from pipeline_lib.serving.service import Opened, SearchService
from pipeline_lib.transforms.decode import TOO_MANY_PIXELS
from pipeline_lib.transforms.formats import BadPhotoError

NEIGHBOURS = 12
MAX_DUPLICATES = 100  # of a product that are listed
ModelNumber = Annotated[int, Query(ge=0, le=1)]
ProductId = Annotated[str, Query(min_length=1, max_length=MAX_ID)]


# Read by `_asked`: FastAPI would read them field by field, and the model would check them again.
PARAMETERS = [
    {"name": name, "in": "query", "required": False, "schema": schema}
    for name, schema in schemas.SearchQuery.model_json_schema()["properties"].items()
]
LISTS = frozenset(one["name"] for one in PARAMETERS if one["schema"].get("type") == "array")


class Routes:
    """The API of one service."""

    def __init__(self, service: SearchService) -> None:
        self.service = service
        self.router = APIRouter(prefix="/api", responses=ERRORS)
        get, post = self.router.get, self.router.post
        get("/catalogue", response_model=schemas.CatalogueResponse)(self.catalogue)
        get("/search", response_model=schemas.SearchResponse, openapi_extra={"parameters": PARAMETERS})(self.search)
        post("/search", response_model=schemas.SearchResponse)(self.search_picture)
        get("/product", response_model=schemas.ProductResponse)(self.product)
        get("/photo", response_class=Response)(self.photo)
        post("/explain", response_model=schemas.ExplainResponse)(self.explain)
        get("/judgements", response_model=schemas.JudgementsResponse)(self.judgements)
        get("/judgements/queries", response_model=schemas.JudgedQueriesResponse)(self.judged_queries)
        post("/judgements", response_model=schemas.JudgementsResponse)(self.judge)

    async def catalogue(self) -> Response:
        """Return the models, the filters and the limits."""
        service, catalogue = self.service, self.service.opened[0].model.catalogue
        models = [
            schemas.ModelInfo(
                name=one.model.name,
                products=len(one.model.catalogue.ids),
                composed=None if one.model.composed is None else one.model.composed.kind,
            )
            for one in service.opened
        ]
        counted = zip(catalogue.categories, catalogue.counts, strict=True)
        spans = catalogue.spans()
        return _json(
            schemas.CatalogueResponse(
                models=models,
                categories=[schemas.Category(name=name, products=int(count)) for name, count in counted],
                numbers=[schemas.NumberSpan(**vars(span)) for span in spans],
                duplicates=catalogue.num_duplicates,
                max_k=MAX_K,
                max_upload_bytes=service.max_upload,
                can_judge=service.judgements is not None,
            )
        )

    async def search(self, request: Request) -> Response:
        """Search by a text, by a product, or by a product that a text changes."""
        return await self._search(_asked(request), None)

    async def search_picture(
        self, form: Annotated[schemas.SearchForm, Form(media_type="multipart/form-data")]
    ) -> Response:
        """Search by a picture, alone or changed by a text."""
        return await self._search(form, None if form.picture is None else await form.picture.read())

    async def _search(self, asked: schemas.SearchQuery, picture: bytes | None) -> Response:
        one = self._opened(asked.model)
        query = await self._query(asked.q, asked.like, asked.model, picture)
        filters = _filters(asked, one.model.catalogue)
        answer = await self.service.search(asked.model, query, asked.k, filters)
        return _json_of(
            {
                "query": query.text,
                "model": one.model.name,
                "method": answer.method,
                "searched": answer.searched,
                "cut_at": answer.cut_at,
                "results": _results(one, answer.found),
            }
        )

    async def product(self, id: ProductId, model: ModelNumber = 0) -> Response:
        """Return a product, its near-duplicates, and the products that are most like it."""
        one = self._opened(model)
        catalogue = one.model.catalogue
        row = _row(one, id)
        same = catalogue.group == catalogue.group[row]
        duplicates = [catalogue.ids[other] for other in same.nonzero()[0] if other != row][:MAX_DUPLICATES]
        answer = await self.service.search(model, ModelQuery(like=id), NEIGHBOURS + 1, Filters(hide_duplicates=True))
        others = [found for found in answer.found if not same[found.row]][:NEIGHBOURS]
        neighbours = _results(one, others)
        return _json_of({"product": _product(one, row), "duplicates": duplicates, "neighbours": neighbours})

    async def photo(
        self, id: ProductId, number: Annotated[int, Query(ge=0, le=10_000)] = 0, model: ModelNumber = 0
    ) -> Response:
        """Return a stored photo of a product."""
        one = self._opened(model)
        _row(one, id)
        photo = await asyncio.to_thread(one.photos.read, id, number)  # shards may be at a URL
        if photo is None:
            raise ApiError(404, "no_photo", f"product {id!r} has no photo {number}")
        return Response(photo.data, media_type=photo.media_type, headers={"cache-control": "private, max-age=3600"})

    async def explain(self, form: Annotated[schemas.ExplainForm, Form(media_type="multipart/form-data")]) -> Response:
        """Return the words that count and where the model looks, for one product of a result."""
        one = self._opened(form.model)
        _row(one, form.product)
        picture = None if form.picture is None else await form.picture.read()
        query = await self._query(form.q, form.like, form.model, picture)
        try:
            found = await self.service.explain(form.model, query, form.product)
        except NotSearchedError as error:
            raise ApiError(404, "no_product", str(error)) from None
        looked = found.picture
        return _json(
            schemas.ExplainResponse(
                score=found.score,
                words=[schemas.WordChange(word=one.word, change=one.change) for one in found.words],
                map=None
                if looked is None
                else schemas.PhotoMap(kind=looked.kind, values=looked.values.round(6).tolist(), box=looked.box),
                photo_score=found.parts.photo,
                text_score=found.parts.text,
            )
        )

    async def judgements(self, query: Annotated[str, Query(min_length=1, max_length=MAX_TEXT)]) -> Response:
        """Return the grades of the products that were judged for a query."""
        text, judged = _clean(query), self.service.judgements
        return _json(schemas.JudgementsResponse(query=text, grades={} if judged is None else judged.of_query(text)))

    async def judged_queries(self) -> Response:
        """Return the grades of all queries."""
        judged = self.service.judgements
        grades = {} if judged is None else judged.all_grades()
        queries = [schemas.JudgementsResponse(query=query, grades=own) for query, own in grades.items()]
        return _json(schemas.JudgedQueriesResponse(queries=queries))

    async def judge(self, judgement: schemas.JudgementIn) -> Response:
        """Append a judgement, and return the grades of its query."""
        one, judged = self._opened(judgement.model), self.service.judgements
        if judged is None:
            raise ApiError(403, "read_only", "judgements are off: the server was started with --judgements none")
        _row(one, judgement.product_id)
        text = _clean(judgement.query)
        if not text:
            raise ApiError(422, "no_query", "the query has no words")
        try:
            await self.service.slowly(lambda: judged.add(text, judgement.product_id, judgement.grade, one.model.name))
        except OSError as error:
            LOG.error("%s: cannot be written: %s", judged.path, error)
            reason = error.strerror or type(error).__name__
            raise ApiError(
                503, "not_saved", f"the judgement is not saved: {reason}; see the file of --judgements"
            ) from None
        return _json(schemas.JudgementsResponse(query=text, grades=judged.of_query(text)))

    def _opened(self, number: int) -> Opened:
        if number >= len(self.service.opened):
            raise ApiError(404, "no_model", "there is one model; a second one needs --against")
        return self.service.opened[number]

    async def _query(self, text: str, like: str, model: int, picture: bytes | None) -> ModelQuery:
        """Return a cleaned query; ApiError for one that is empty, an unknown product or a bad picture."""
        text = _clean(text)
        if not text and not like and picture is None:
            raise ApiError(422, "no_query", "the query is empty: write words, or give a picture or a product")
        if picture is not None and like:
            raise ApiError(422, "bad_request", "give a picture or the id of a product, not both")
        if like:
            _row(self._opened(model), like)
        if picture is None:
            return ModelQuery(text, like=like or None)
        try:
            return ModelQuery(text, await self.service.view(model, picture))
        except BadPhotoError as error:
            if error.reason == TOO_MANY_PIXELS:
                raise ApiError(413, "too_many_pixels", f"the picture has {error}; make it smaller") from None
            raise ApiError(415, "bad_picture", f"the picture cannot be read: {str(error)[:200]}") from None


def _asked(request: Request) -> schemas.SearchQuery:
    """Return the checked parameters of a search; RequestValidationError for one that does not fit."""
    values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in LISTS:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    try:
        return schemas.SearchQuery.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in error.errors()]) from None


def _clean(text: str) -> str:
    return clean_string(drop_half_characters(text))


def _row(one: Opened, product_id: str) -> int:
    row = one.model.catalogue.row_of.get(product_id)
    if row is None:
        raise ApiError(404, "no_product", f"no product {product_id[:100]!r} in the index of {one.model.name}")
    return row


def _filters(asked: schemas.SearchQuery, catalogue: ServedCatalogue) -> Filters:
    """Return the filters; ApiError for a category or a column that the catalogue lacks, or a broken range."""
    ranges = tuple(_range(text) for text in asked.range)
    try:
        catalogue.check(asked.category, ranges)
    except ValueError as error:
        raise ApiError(422, "bad_filter", str(error)) from None
    return Filters(tuple(sorted(asked.category)), ranges, asked.min_score, asked.hide_duplicates)


def _range(text: str) -> Range:
    column, *ends = text.rsplit(":", 2)
    try:
        if len(ends) != 2:
            raise ValueError
        low, high = (float(end) if end else None for end in ends)
    except ValueError:
        raise ApiError(422, "bad_filter", f"range {text!r}: write COLUMN:LOW:HIGH, as in price:5:20") from None
    if any(end is not None and math.isnan(end) for end in (low, high)):
        raise ApiError(422, "bad_filter", f"range {text!r}: not a number")
    return Range(column, low, high)


def _product(one: Opened, row: int) -> dict[str, object]:
    """Return the fields of `schemas.Product`."""
    catalogue = one.model.catalogue
    product_id = catalogue.ids[row]
    return {
        "product_id": product_id,
        "text": catalogue.texts[row],
        "category": catalogue.category(row),
        "numbers": catalogue.numbers_of(row),
        "photos": int(one.num_photos[row]),
    }


def _results(one: Opened, found: Sequence[Found]) -> list[dict[str, object]]:
    """Return the fields of `schemas.Result`; every search makes many, so they are not checked a second time."""
    return [
        {**_product(one, hit.row), "rank": rank, "score": round(hit.score, 6)}
        for rank, hit in enumerate(found, start=1)
    ]


def _json(value: BaseModel) -> Response:
    """Return a model as JSON; it is built here, so it is not checked a second time."""
    return Response(value.__pydantic_serializer__.to_json(value), media_type="application/json")


def _json_of(fields: dict[str, object]) -> Response:
    """Return fields of a response model as JSON; tests check them against it."""
    return Response(json.dumps(fields, ensure_ascii=False), media_type="application/json")
