"""The narrow waist: three tables of one form, whatever data set they came from, and what was rejected on the way.

A reader returns `Records` (products whose images nobody has opened yet); cleaning turns them into a `Catalogue`,
which checks on creation that its tables refer to each other, so that no later module has to.
"""

from dataclasses import dataclass

import polars as pl

STRINGS = pl.List(pl.String())
RECORDS = pl.Schema(
    {
        "row": pl.Int64(),
        "product_id": pl.String(),
        "media": STRINGS,
        "text": pl.String(),
        "label": pl.String(),
        "group": pl.String(),
        "split": pl.String(),
        "fold": pl.Int64(),
    }
)
PRODUCTS = pl.Schema(
    {
        "product_id": pl.String(),
        "media": STRINGS,
        "text": pl.String(),
        "label": pl.String(),
        "group_id": pl.String(),
        "split": pl.String(),
        "fold": pl.Int64(),
    }
)
# What shards are made of: photos, by the names that media.py reads, and a hash of each one's bytes, so that an edited
# photo is a changed table.
MEDIA = pl.Schema({"product_id": pl.String(), "media": STRINGS, "content": STRINGS})
QUERIES = pl.Schema(
    {
        "query_id": pl.String(),
        "kind": pl.String(),
        "text": pl.String(),
        "reference_product_id": pl.String(),
        "subset": STRINGS,
        "split": pl.String(),
    }
)
RELEVANCE = pl.Schema({"query_id": pl.String(), "product_id": pl.String(), "grade": pl.Int64()})
REJECTS = pl.Schema(
    {
        "row": pl.Int64(),
        "product_id": pl.String(),
        "file": pl.String(),
        "reason": pl.String(),
        "value": pl.String(),
        "action": pl.String(),
    }
)
REJECTED, PHOTO_DROPPED, LABEL_CLEARED, QUERY_DROPPED, KEPT = (
    "rejected",
    "photo dropped",
    "label cleared",
    "query dropped",
    "kept",
)


@dataclass(frozen=True)
class Records:
    """What a reader found in a table of `num_rows` rows; queries of its own win over those made from texts."""

    table: str
    num_rows: int
    products: pl.DataFrame
    rejects: pl.DataFrame
    queries: pl.DataFrame | None = None
    relevance: pl.DataFrame | None = None


@dataclass(frozen=True)
class Catalogue:
    """The tables together; ValueError if one has other columns or a reference leads nowhere."""

    products: pl.DataFrame
    media: pl.DataFrame
    queries: pl.DataFrame
    relevance: pl.DataFrame
    rejects: pl.DataFrame

    def __post_init__(self) -> None:
        for name, schema in TABLES.items():
            check_schema(name, getattr(self, name), schema)
        _check_unique("products", self.products, ["product_id"])
        if not self.media["product_id"].equals(self.products["product_id"]):
            raise ValueError("media: lists other products than the table of products, or in another order")
        _check_unique("queries", self.queries, ["query_id"])
        _check_unique("relevance", self.relevance, ["query_id", "product_id"])
        _check_known("relevance", self.relevance["product_id"], self.products["product_id"])
        _check_known("relevance", self.relevance["query_id"], self.queries["query_id"])
        _check_known("queries", self.queries["reference_product_id"].drop_nulls(), self.products["product_id"])


TABLES: dict[str, pl.Schema] = {
    "products": PRODUCTS,
    "media": MEDIA,
    "queries": QUERIES,
    "relevance": RELEVANCE,
    "rejects": REJECTS,
}


def check_schema(name: str, frame: pl.DataFrame, schema: pl.Schema) -> None:
    """Raise ValueError unless `frame` has exactly the columns of `schema`, in order and type."""
    if list(frame.schema.items()) != list(schema.items()):
        raise ValueError(f"{name}: columns are {dict(frame.schema)}, expected {dict(schema)}; run `dvc repro`")


def conform(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Return the columns of `schema`, in its order and types, and no other."""
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def text_queries(asked: pl.DataFrame) -> pl.DataFrame:
    """Return text queries of the rows of `asked` (query_id, text, split); a null split is none of its own."""
    return conform(
        asked.with_columns(
            pl.lit("text").alias("kind"),
            pl.lit(None).alias("reference_product_id"),
            pl.lit([], dtype=STRINGS).alias("subset"),
        ),
        QUERIES,
    )


def rejects_of(table: str, frame: pl.DataFrame, reason: str, value: str, action: str) -> pl.DataFrame:
    """Return reject rows for the rows of `frame` (row, product_id and the column `value`), all for one reason."""
    rows = frame.select(
        pl.col("row"),
        pl.col("product_id"),
        pl.lit(table).alias("file"),
        pl.lit(reason).alias("reason"),
        pl.col(value).fill_null("").alias("value"),
        pl.lit(action).alias("action"),
    )
    return conform(rows, REJECTS)


def _check_unique(name: str, frame: pl.DataFrame, keys: list[str]) -> None:
    twice = frame.select(keys).filter(frame.select(keys).is_duplicated())
    if len(twice):
        raise ValueError(f"{name}: {', '.join(twice.row(0))} occurs more than once")


def _check_known(name: str, used: pl.Series, known: pl.Series) -> None:
    strange = used.to_frame("id").join(known.to_frame("id"), on="id", how="anti")
    if len(strange):
        raise ValueError(f"{name}: {strange['id'][0]!r} is in no other table")
