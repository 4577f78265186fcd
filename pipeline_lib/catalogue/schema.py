"""The tables of a catalogue: their columns are the same for every data set, and no later module knows the data set.

A reader returns `Records`, whose photos have not been opened yet. Cleaning turns them into a `Catalogue`, which checks
the columns and references of its tables when it is created.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
# Products of one `group_id` are the same thing; those of one `fold_group_id`, a wider group, only stay in one fold.
PRODUCTS = pl.Schema(
    {
        "product_id": pl.String(),
        "media": STRINGS,
        "text": pl.String(),
        "label": pl.String(),
        "group_id": pl.String(),
        "fold_group_id": pl.String(),
        "split": pl.String(),
        "fold": pl.Int64(),
    }
)
# Two products whose photos look alike; `same` if their first photos show one picture. `difference` orders the pairs.
NEAR_DUPLICATES = pl.Schema(
    {
        "product_id": pl.String(),
        "other_product_id": pl.String(),
        "same": pl.Boolean(),
        "difference": pl.Float32(),
    }
)
# The input of the shards: media names of the photos and a hash of each photo's bytes, so that an edited photo changes
# this table.
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
# Subsets of the queries whose figures are of interest by themselves: a semantic aspect, a group of paraphrases.
QUERY_SLICES = pl.Schema({"query_id": pl.String(), "slice": pl.String()})
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
# Values of the column `action`.
REJECTED, PHOTO_DROPPED, LABEL_CLEARED, QUERY_DROPPED, ANSWER_DROPPED, RETAINED = (
    "rejected",
    "photo dropped",
    "label cleared",
    "query dropped",
    "answer dropped",
    "kept",
)
# The reason of a rejected row that is no product, so that it does not count for data.max_reject_fraction.
HEADER_AGAIN = "header row again"


@dataclass(frozen=True)
class ComposedQueries:
    """Queries of kind composed, which have a reference product beside their text, and their relevance and slices.

    `num_dropped` is how many more the reader found and dropped, each with a reject row.
    """

    queries: pl.DataFrame
    relevance: pl.DataFrame
    slices: pl.DataFrame
    num_dropped: int = 0


class Wording(NamedTuple):
    """How messages speak of a table: what each of its `num_rows` is, and what to do if none of them is trained on."""

    unit: str = "rows"
    add_training: str = "add products of the split train, or leave the split out, so that the folds stage assigns it"


ROWS = Wording()


@dataclass(frozen=True)
class Records:
    """The products that a reader found in a table of `num_rows` rows, and the queries and relevance of a benchmark.

    Each of these rows is a product or is rejected: of a benchmark they are its photos or clips, whatever the lines are.
    `composed` are the queries with a reference product, `slices` those of the text queries. `columns` names the columns
    that were read by their role, `ignored` those that were not. `attributes` has the column row and numeric columns.
    """

    table: str
    num_rows: int
    products: pl.DataFrame
    rejects: pl.DataFrame
    queries: pl.DataFrame | None = None
    relevance: pl.DataFrame | None = None
    composed: ComposedQueries | None = None
    slices: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=QUERY_SLICES))
    columns: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    attributes: pl.DataFrame | None = None
    wording: Wording = ROWS

    def work(self, workers: int) -> str:
        """Return what there is to check, and by what: the stage frames has checked clips."""
        unit, by = self.wording.unit, f"checked by {workers} processes"
        checked = {"photos": by, "clips": "checked by the stage frames"}.get(unit, f"photos {by}")
        return f"{self.num_rows:,} {unit} of {self.table}, {checked}"


@dataclass(frozen=True)
class Catalogue:
    """All tables of a catalogue; ValueError if one has other columns or refers to a row that does not exist.

    `columns` and `ignored` are those of the records, `notes` are lines about them for the user, and `groups` is what
    `group_counts` of build.py returns, `composed` what `composed_counts` of composed.py returns.
    """

    products: pl.DataFrame
    media: pl.DataFrame
    queries: pl.DataFrame
    relevance: pl.DataFrame
    rejects: pl.DataFrame
    columns: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    near_duplicates: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=NEAR_DUPLICATES))
    groups: dict[str, int] = field(default_factory=dict)
    query_slices: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=QUERY_SLICES))
    composed: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, schema in TABLES.items():
            check_schema(name, getattr(self, name), schema)
        _check_unique("products", self.products, ["product_id"])
        if not self.media["product_id"].equals(self.products["product_id"]):
            raise ValueError("media: its product ids or their order differ from the table of products")
        _check_unique("queries", self.queries, ["query_id"])
        _check_unique("relevance", self.relevance, ["query_id", "product_id"])
        _check_known("relevance", self.relevance["product_id"], self.products["product_id"])
        _check_known("relevance", self.relevance["query_id"], self.queries["query_id"])
        _check_known("queries", self.queries["reference_product_id"].drop_nulls(), self.products["product_id"])
        _check_known("query_slices", self.query_slices["query_id"], self.queries["query_id"])


TABLES: dict[str, pl.Schema] = {
    "products": PRODUCTS,
    "media": MEDIA,
    "queries": QUERIES,
    "relevance": RELEVANCE,
    "rejects": REJECTS,
    "near_duplicates": NEAR_DUPLICATES,
    "query_slices": QUERY_SLICES,
}


def check_schema(name: str, frame: pl.DataFrame, schema: pl.Schema) -> None:
    """Raise ValueError unless `frame` has exactly the columns of `schema`, in order and type."""
    if list(frame.schema.items()) != list(schema.items()):
        raise ValueError(f"{name}: columns are {dict(frame.schema)}, expected {dict(schema)}; run `dvc repro`")


def conform(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Return only the columns of `schema`, in its order and with its types."""
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def text_queries(texts: pl.DataFrame) -> pl.DataFrame:
    """Return text queries from the columns query_id, text and split; a null split means no split of its own.

    The column `subset` may be missing: then no query has one.
    """
    without = [] if "subset" in texts.columns else [pl.lit([], dtype=STRINGS).alias("subset")]
    kind, reference = pl.lit("text").alias("kind"), pl.lit(None).alias("reference_product_id")
    return conform(texts.with_columns(kind, reference, *without), QUERIES)


def rejects_of(table: str, frame: pl.DataFrame, reason: str, value: str, action: str) -> pl.DataFrame:
    """Return a reject row for each row of `frame`, which has the columns row, product_id and `value`."""
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
    repeated = frame.select(keys).filter(frame.select(keys).is_duplicated())
    if len(repeated):
        raise ValueError(f"{name}: {', '.join(repeated.row(0))} occurs more than once")


def _check_known(name: str, used: pl.Series, known: pl.Series) -> None:
    unknown = used.to_frame("id").join(known.to_frame("id"), on="id", how="anti")
    if len(unknown):
        raise ValueError(f"{name}: {unknown['id'][0]!r} is in no other table")
