"""The JSON API as pydantic models; /openapi.json is made of them."""

from typing import Annotated, Literal

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field

MAX_K = 200
MAX_TEXT = 1_000  # characters of a query
MAX_ID = 500
MAX_FILTERS = 100

RangeText = Annotated[str, Field(max_length=200, description="COLUMN:LOW:HIGH; LOW or HIGH may be empty.")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class SearchQuery(_Strict):
    """A search by text, by a product, or by both; with a picture see `SearchForm`."""

    q: str = Field("", max_length=MAX_TEXT, description="What to search for.")
    like: str = Field("", max_length=MAX_ID, description="Id of a product: find what is like it, changed as q says.")
    model: int = Field(0, ge=0, le=1, description="Number of the model in /api/catalogue.")
    k: int = Field(24, ge=1, le=MAX_K, description="Number of products.")
    category: list[Annotated[str, Field(max_length=MAX_ID)]] = Field(
        [], max_length=MAX_FILTERS, description="Only products of these categories."
    )
    range: list[RangeText] = Field([], max_length=MAX_FILTERS, description="Only products whose number is inside.")
    min_score: float | None = Field(None, ge=-1e6, le=1e6, description="Lowest score.")
    hide_duplicates: bool = Field(False, description="Show one product of each group of near-duplicates.")


class SearchForm(SearchQuery):
    """A search with an uploaded picture, alone or with a text."""

    picture: UploadFile | None = Field(None, description="JPEG, PNG, WebP or another format of photos.")


class ExplainForm(_Strict):
    """A query, and one product of its result."""

    product: str = Field(min_length=1, max_length=MAX_ID, description="Id of the product to explain.")
    q: str = Field("", max_length=MAX_TEXT)
    like: str = Field("", max_length=MAX_ID)
    model: int = Field(0, ge=0, le=1)
    picture: UploadFile | None = None


class JudgementIn(_Strict):
    """A grade of a product for a text query: 1 = right, 0 = wrong, null = withdraw it."""

    query: str = Field(min_length=1, max_length=MAX_TEXT)
    product_id: str = Field(min_length=1, max_length=MAX_ID)
    grade: Literal[0, 1] | None
    model: int = Field(0, ge=0, le=1)


class Product(BaseModel):
    """A product of the catalogue; `photos` is how many /api/photo has."""

    product_id: str
    text: str
    category: str | None
    numbers: dict[str, float]
    photos: int


class Result(Product):
    """A product of a result; `score` is its similarity to the query."""

    rank: int
    score: float


class SearchResponse(BaseModel):
    """Products, best first. `method`: text | picture | product | sum (of text and picture) | composed KIND.

    `searched` is the number of products that the query was compared with, `cut_at` the number of tokens that the model
    read of its text, null if it read all of them.
    """

    query: str
    model: str
    method: str
    searched: int
    cut_at: int | None
    results: list[Result]


class ProductResponse(BaseModel):
    """A product and what is most like it, without its near-duplicates."""

    product: Product
    duplicates: list[str]
    neighbours: list[Result]


class WordChange(BaseModel):
    """A word of the query, and how much higher the score is with it."""

    word: str
    change: float


class PhotoMap(BaseModel):
    """Where the model looks: shares (rows, columns) over a box of the photo, in fractions of its width and height."""

    kind: str
    values: list[list[float]]
    box: tuple[float, float, float, float]


class ExplainResponse(BaseModel):
    """What a score comes from; `photo_score` and `text_score` are the cosines with the product's two parts."""

    score: float
    words: list[WordChange]
    map: PhotoMap | None
    photo_score: float | None
    text_score: float | None


class ModelInfo(BaseModel):
    """A model; `composed` is the kind of its model for a picture with a text, null = the sum of both."""

    name: str
    products: int
    composed: str | None


class Category(BaseModel):
    """A category and its number of products."""

    name: str
    products: int


class NumberSpan(BaseModel):
    """A numeric column with its smallest and largest value, and the number of products without one."""

    column: str
    low: float
    high: float
    missing: int


class CatalogueResponse(BaseModel):
    """What the page offers: models, filters and limits."""

    models: list[ModelInfo]
    categories: list[Category]
    numbers: list[NumberSpan]
    duplicates: int
    max_k: int
    max_upload_bytes: int
    can_judge: bool


class JudgementsResponse(BaseModel):
    """Grades of the products that were judged for a query."""

    query: str
    grades: dict[str, int]


class JudgedQueriesResponse(BaseModel):
    """All queries that have a grade, in the order of their first judgement."""

    queries: list[JudgementsResponse]


class HealthResponse(BaseModel):
    """The server answers."""

    status: Literal["ok"]
    models: list[str]
    products: int


class ErrorDetail(BaseModel):
    """A code for programs and one line for people."""

    code: str
    message: str


class ErrorResponse(BaseModel):
    """Every answer that is not a success."""

    error: ErrorDetail
