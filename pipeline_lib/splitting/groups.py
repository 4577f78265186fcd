"""The groups that stay in one fold: those of the catalogue, and products with equal texts.

A text of very many products says nothing about a single one, and a text that all products of a class have is the name
of the class. Such texts join nobody, because whole classes would be in one fold.
"""

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline_lib.splitting.places import name_some

# A group that texts join may hold this share of the catalogue, and always this many products.
MAX_SHARE, HANDFUL = 0.01, 20
ACCENTS, NO_WORD = r"[\u0300-\u036f]", r"[^\p{L}\p{N}\p{M}]+"


def normal_text(text: pl.Expr) -> pl.Expr:
    """Return texts in lower case without accents and with one space for anything that is no letter or digit."""
    plain = text.str.normalize("NFKD").str.replace_all(ACCENTS, "").str.to_lowercase()
    return plain.str.replace_all(NO_WORD, " ").str.strip_chars()


def fold_groups(products: pl.DataFrame, by_text: bool) -> tuple[pl.Series, list[str]]:
    """Return the new column fold_group_id, whose groups equal texts have joined, and notes for the user.

    Reads the columns fold_group_id, and text and label if `by_text`. An id is the smallest fold_group_id of the group.
    """
    if not by_text:
        return products["fold_group_id"], []
    notes: list[str] = []
    limit = max(HANDFUL, int(MAX_SHARE * len(products)))
    frame = products.select("fold_group_id", "label", text=normal_text(pl.col("text")))
    frequent = frame.filter(pl.col("text") != "")["text"].value_counts(name="size").filter(pl.col("size") > limit)
    if len(frequent):
        notes.append(
            f"{len(frequent)} texts are those of more than {limit} products ({frequent['size'].sum()} in all), and do "
            "not decide the fold"
        )
    usable = (pl.col("text") != "") & ~pl.col("text").is_in(frequent["text"].implode())
    frame = frame.with_columns(text=pl.when(usable).then("text"))
    frame = frame.with_columns(joined=_joined(frame))
    single = frame.drop_nulls("label").group_by("label").agg(pl.col("fold_group_id", "joined").n_unique())
    named = single.filter((pl.col("joined") == 1) & (pl.col("fold_group_id") > 1))["label"]
    if len(named):
        notes.append(f"classes whose texts are all equal, and so do not decide the fold: {name_some(named)}")
        is_named = pl.col("label").is_in(named.implode())
        frame = frame.with_columns(text=pl.when(is_named.not_() | pl.col("label").is_null()).then("text"))
        frame = frame.with_columns(joined=_joined(frame))
    too_large = (pl.len().over("joined") > limit) & (pl.col("fold_group_id").n_unique().over("joined") > 1)
    cut = frame.filter(too_large)
    if len(cut):
        notes.append(
            f"{cut['joined'].n_unique()} groups of products with equal texts or photos have more than {limit} products "
            f"({len(cut)} in all); their texts are not used to keep them in one fold"
        )
    group = pl.when(too_large).then("fold_group_id").otherwise("joined")
    return frame.select(group.alias("fold_group_id")).to_series(), notes


def _joined(frame: pl.DataFrame) -> pl.Series:
    """Return the smallest fold_group_id of all products that are joined by group or by text (null joins nobody)."""
    group = frame["fold_group_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    count = int(group.max()) + 1 if len(group) else 0
    has_text = frame["text"].is_not_null().to_numpy()
    text = frame["text"].rank("dense").fill_null(0).cast(pl.Int64).to_numpy() - 1 + count
    size = count + frame["text"].drop_nulls().n_unique()
    edges = (np.ones(int(has_text.sum()), dtype=np.int8), (group[has_text], text[has_text]))
    _, part = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    parts = pl.Series(part[group]) if len(group) else pl.Series([], dtype=pl.Int32)
    return frame.select(pl.col("fold_group_id").min().over(parts)).to_series()
