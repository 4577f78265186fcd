"""Builds a catalogue from a reader's records: clean the products, group duplicates, create queries."""

from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.path_guard import linked_folders
from pipeline_lib.catalogue.cleaning import Cleaned, clean
from pipeline_lib.catalogue.comparison import SAME
from pipeline_lib.catalogue.composed import composed_counts, select_composed
from pipeline_lib.catalogue.duplicates import Grouping, Photos, group_products
from pipeline_lib.catalogue.labels import name_notes
from pipeline_lib.catalogue.queries import make_queries, select_queries
from pipeline_lib.catalogue.schema import MEDIA, NEAR_DUPLICATES, PRODUCTS, Catalogue, Records, conform
from pipeline_lib.catalogue.tables import level_counts
from pipeline_lib.execution.meter import current_meter
from pipeline_lib.params.data import DataParams


def build_catalogue(
    records: Records,
    data: DataParams,
    workers: int,
    parallel: str = "loky",
    clips: pl.DataFrame | None = None,
    convert_profile: bool = True,
) -> Catalogue:
    """Return the catalogue of a reader's records; the last two arguments and errors are those of `clean`."""
    cleaned = clean(records, data, workers, parallel, clips, convert_profile)
    products, rejects = cleaned.products, cleaned.rejects
    meter = current_meter()
    meter.begin("products compared", len(products))
    with meter.beating():
        grouping = _grouped(cleaned, data, clips)
        meter.add(len(products))
    meter.begin("")
    notes = name_notes(products["label"], products["group"]) + grouping.notes
    notes += [
        f"{folder} is a link to a folder, and DVC does not look into it: after a change there `dvc repro -f catalogue`"
        for folder in linked_folders(Path(data.root), products["media"].explode().drop_nulls())
    ]
    media = conform(products, MEDIA)
    products = products.with_columns(
        pl.Series("group_id", grouping.group_ids, dtype=pl.String),
        pl.Series("fold_group_id", grouping.fold_group_ids, dtype=pl.String),
    )
    products = conform(products, PRODUCTS)
    composed, dropped = select_composed(records, products)
    rejects = pl.concat([rejects, dropped])
    added = 0
    if records.queries is None or records.relevance is None:
        queries, relevance = make_queries(products)
        texts = products.select("product_id", "text").join(queries.select("text", "query_id"), on="text")
        added = len(relevance) - len(texts)
    else:
        queries, relevance, dropped = select_queries(records, records.queries, records.relevance, products)
        rejects = pl.concat([rejects, dropped])
    queries, relevance = pl.concat([queries, composed.queries]), pl.concat([relevance, composed.relevance])
    counts = group_counts(products, added, grouping.placeholders)
    pairs = _near_duplicates(grouping.links, products["product_id"])
    composed_numbers = composed_counts(records, composed, products)
    return Catalogue(
        products,
        media,
        queries,
        relevance,
        rejects,
        records.columns,
        records.ignored,
        notes,
        pairs,
        counts,
        pl.concat([composed.slices, records.slices.join(queries, on="query_id", how="semi", maintain_order="left")]),
        composed_numbers,
    )


def group_counts(products: pl.DataFrame, relevance_rows: int, placeholders: list[int]) -> dict[str, int]:
    """Return the numbers of groups and of their products, the largest one, and what they and placeholders change.

    `relevance_rows` is how many right answers the groups of the same thing add, and `placeholders` lists the number of
    products of each.
    """
    counts: dict[str, int] = {}
    for level, column in (("same", "group_id"), ("perhaps", "fold_group_id")):
        counts |= level_counts(level, products[column])
    return counts | {
        "same_relevance_rows": relevance_rows,
        "placeholder_photos": len(placeholders),
        "placeholder_products": sum(placeholders),
    }


def _grouped(cleaned: Cleaned, data: DataParams, clips: pl.DataFrame | None) -> Grouping:
    products = cleaned.products
    contents = [content for contents in products["content"].to_list() for content in contents]
    moving = frozenset() if clips is None else frozenset(clips["content"].drop_nulls().to_list())
    photos = Photos(cleaned.thumbnails, cleaned.photo_product, contents, moving)
    return group_products(products["product_id"].to_list(), products["group"].to_list(), photos, data)


def _near_duplicates(links: pl.DataFrame, product_ids: pl.Series) -> pl.DataFrame:
    return conform(
        links.select(
            product_ids.gather(links["first"]).alias("product_id"),
            product_ids.gather(links["second"]).alias("other_product_id"),
            (pl.col("difference") <= SAME).alias("same"),
            "difference",
        ),
        NEAR_DUPLICATES,
    )
