"""Fuses the class probabilities of one gallery's members, and returns them as the tables that later stages read.

Members are ordered by fold, then by scale. A fold's gallery uses its own model at each scale, test uses all members.
External experiments follow; each has already fused its own members.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import polars as pl

from pipeline_lib.artifacts.schemas import OOF_SCHEMA
from pipeline_lib.ensembling.external_predictions import ExternalPredictions
from pipeline_lib.ensembling.fit import Fitted, HeldOut, equal_shares
from pipeline_lib.ensembling.galleries import GalleryMembers
from pipeline_lib.ensembling.means import MEANS, Matrix
from pipeline_lib.ensembling.members import Member
from pipeline_lib.params.ensemble import MeanKind
from pipeline_lib.stores.store import FeatureStore


class ProbabilitySource(Protocol):
    """A source of class probabilities: a fold's model at one scale, or an external experiment."""

    def rows(self, ids: Sequence[str], /) -> Matrix:
        """Return the class probabilities of `ids`, (ids, classes)."""


def fuse_probabilities(
    mean: MeanKind,
    stores: Sequence[FeatureStore],
    ids: Sequence[str],
    fitted: Fitted,
    external: Sequence[ExternalPredictions] = (),
) -> Matrix:
    """Return the mean class probabilities of `ids` over all sources, (ids, classes), before temperature scaling.

    Fitted weights are those of the scales, repeated for each fold, then those of the external experiments.
    """
    weights = fitted.weights
    if weights is None and external:
        weights = equal_shares(len(stores), len(external))
    elif weights is not None:
        scales = weights[: len(weights) - len(external)]
        num_folds = len(stores) // len(scales)
        weights = np.concatenate([np.tile(scales, num_folds) / num_folds, weights[len(scales) :]])
    sources: list[ProbabilitySource] = [*stores, *external]
    return MEANS[mean].fuse((source.rows(ids) for source in sources), weights)


def predictions_table(
    split: str, fold: int | None, products: pl.DataFrame, classes: Sequence[str], probabilities: Matrix
) -> pl.DataFrame:
    """Return PREDICTIONS_SCHEMA rows for `products` (product_id, label, group_id).

    The first of equally probable classes is predicted.
    """
    best = probabilities.argmax(axis=1)
    return products.select(
        "product_id",
        split=pl.lit(split),
        fold=pl.lit(fold, pl.Int64),
        label="label",
        predicted=pl.Series([classes[number] for number in best], dtype=pl.String),
        probabilities=_listed(probabilities),
        group_id="group_id",
    )


def held_out(
    gallery: GalleryMembers, members: Sequence[Member], external: Sequence[ExternalPredictions] = ()
) -> HeldOut | None:
    """Return a fold's labelled products with each source's probabilities; None for test or without a classifier."""
    stores = [member.probabilities for member in members if member.probabilities is not None]
    if gallery.fold is None or not stores:
        return None
    number_of = {label: number for number, label in enumerate(members[0].classes)}
    known = gallery.products.filter(pl.col("label").is_in(members[0].classes))
    ids = known["product_id"].to_list()
    truth = np.array([number_of[label] for label in known["label"]], np.int64)
    sources: list[ProbabilitySource] = [*stores, *external]
    return HeldOut(gallery.fold, np.stack([source.rows(ids) for source in sources]), truth, len(external))


def out_of_fold(gallery: GalleryMembers, members: Sequence[Member], fused: pl.DataFrame) -> pl.DataFrame:
    """Return OOF_SCHEMA rows of one fold's gallery: each product at each scale, and as `fused` with a null scale."""
    ids = gallery.products["product_id"].to_list()
    width = len(members[0].classes)
    by_scale = [
        (member.scale, pl.Series(member.probabilities.rows(ids), dtype=pl.Array(pl.Float32, width)))
        for member in members
        if member.probabilities is not None
    ]
    frames = [
        gallery.products.select(
            id="product_id",
            fold=pl.lit(gallery.fold, pl.Int64),
            truth="label",
            scale=pl.lit(scale, pl.Int64),
            probabilities=probabilities,
        )
        for scale, probabilities in (*by_scale, (None, fused["probabilities"].list.to_array(width)))
    ]
    # Arrays of one width are fixed-size lists in Parquet: any reader gets the matrix without copying rows.
    schema = {**OOF_SCHEMA, "probabilities": pl.Array(pl.Float32, width)}
    return pl.concat(frames).cast(pl.Schema(schema))


def _listed(probabilities: Matrix) -> pl.Series:
    return pl.Series(probabilities, dtype=pl.Array(pl.Float32, probabilities.shape[1])).arr.to_list()
