"""Retrieval by an untouched pair of towers: the ranks that a pretrained pair has before any training.

The stored features of the frozen trunk are the pair's own embeddings, so nothing is encoded again. The galleries and
the queries are those of the trained models.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline_lib.artifacts.read import read_table
from pipeline_lib.evaluation.baselines.trunk_features import is_stored, read_trunk, text_vectors, why_apart
from pipeline_lib.evaluation.protocols import PROTOCOLS
from pipeline_lib.evaluation.query_subsets import read_subsets
from pipeline_lib.evaluation.ranks import device_for
from pipeline_lib.metrics.gallery_ranks import Gallery
from pipeline_lib.params.evaluate import EvaluateParams
from pipeline_lib.stores.store import open_store

Tree = dict[str, Any]


def zero_shot_galleries(
    folder: Path | None,
    products: pl.DataFrame,
    queries: pl.DataFrame,
    ranks: pl.DataFrame,
    subsets: pl.DataFrame | None = None,
) -> list[Gallery]:
    """Return the galleries of `ranks` (RANKS_SCHEMA) as the untouched pair embeds them; empty if there is no pair.

    `products` (product_id, media, text, group_id, split, fold) is the complete catalogue, `queries` (query_id, kind,
    text) has the texts, `subsets` are those of `read_subsets`. `folder` is that of features@trunk, None without it. A
    gallery with queries that are no texts is left out.
    """
    if folder is None or not is_stored(folder) or why_apart(folder):
        return []
    features = read_trunk(folder, products)
    assert features is not None
    texts = dict(queries.filter(pl.col("kind") == "text").select("query_id", "text").iter_rows())
    store = open_store(folder / "text")
    galleries = []
    asked = ranks.filter(pl.col("direction") == "text_to_image")
    for (split, fold), part in asked.group_by("split", "fold", maintain_order=True):
        query_ids = part["query_id"].to_list()
        inside = (products["split"] == "test") if split == "test" else (products["fold"] == fold)
        rows = np.flatnonzero(inside.fill_null(False).to_numpy())
        if not all(query_id in texts for query_id in query_ids):
            continue
        own = products[rows.tolist()]
        vectors = text_vectors(store, [texts[query_id] for query_id in query_ids])
        galleries.append(
            Gallery(
                str(split),
                None if fold is None else int(str(fold)),
                query_ids,
                vectors,
                own["product_id"].to_list(),
                features.image[rows],
                own["group_id"].to_list(),
                subsets,
            )
        )
    return galleries


def zero_shot_trees(
    folder: Path | None, catalogue: Path, products: pl.DataFrame, ranks: pl.DataFrame, params: EvaluateParams
) -> tuple[Tree, Tree]:
    """Return {split: {retrieval_zero_shot: figures of the protocol}} and the same tree of intervals.

    `catalogue` is the folder of its tables; the other arguments are as in `zero_shot_galleries`.
    """
    queries, relevance, slices = (
        read_table(catalogue / f"{name}.parquet") for name in ("queries", "relevance", "query_slices")
    )
    galleries = zero_shot_galleries(folder, products, queries, ranks, read_subsets(catalogue))
    if not galleries:
        return {}, {}
    protocol = PROTOCOLS[params.protocol]
    own = pl.concat(
        protocol.rank(one, relevance, device_for(len(one.query_ids), len(one.product_ids))) for one in galleries
    )
    figures, intervals = (
        {split: {"retrieval_zero_shot": values["retrieval"]} for split, values in tree.items()}
        for tree in protocol.trees(own, params.bootstrap, params.seed, slices)
    )
    return figures, intervals
