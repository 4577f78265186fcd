"""Builds a catalogue from a reader's records: clean the products, group duplicates, create queries."""

import polars as pl

from pipeline_lib.catalogue.cleaning import clean
from pipeline_lib.catalogue.duplicates import group_products, near_pairs
from pipeline_lib.catalogue.labels import name_notes
from pipeline_lib.catalogue.queries import make_queries, select_queries
from pipeline_lib.catalogue.schema import MEDIA, PRODUCTS, Catalogue, Records, conform
from pipeline_lib.params.data import DataParams


def build_catalogue(records: Records, data: DataParams, workers: int, parallel: str = "loky") -> Catalogue:
    """Return the catalogue of a reader's records; ValueError if too many rows are rejected."""
    cleaned = clean(records, data, workers, parallel)
    products, rejects = cleaned.products, cleaned.rejects
    group_ids = group_products(
        products["product_id"].to_list(),
        products["group"].to_list(),
        cleaned.photo_product,
        near_pairs(cleaned.grids, data.duplicate_bits),
    )
    notes = name_notes(products["label"], products["group"])
    media = conform(products, MEDIA)
    products = conform(products.with_columns(pl.Series("group_id", group_ids, dtype=pl.String)), PRODUCTS)
    if records.queries is None or records.relevance is None:
        queries, relevance = make_queries(products)
    else:
        queries, relevance, dropped = select_queries(records, records.queries, records.relevance, products)
        rejects = pl.concat([rejects, dropped])
    return Catalogue(products, media, queries, relevance, rejects, records.columns, records.ignored, notes)
