"""Fuses the class probabilities of one gallery's members, and writes them as the tables that later stages read.

Members come fold by fold, scale by scale: a fold's own gallery is told by its one model at each scale, test by all.
After them come other experiments, which have fused their own members already.
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
    """Whoever tells classes: a fold's model at one scale, or another experiment."""

    def rows(self, ids: Sequence[str], /) -> Matrix:
        """Return the class probabilities of `ids`, (ids, classes)."""


def fuse_probabilities(
    mean: MeanKind,
    stores: Sequence[FeatureStore],
    ids: Sequence[str],
    fitted: Fitted,
    others: Sequence[ExternalPredictions] = (),
) -> Matrix:
    """Return the mean over the stores of the class probabilities of `ids`, (ids, classes), not yet at a temperature.

    Fitted weights are those of the scales, which every fold's stores repeat in the same order, then of the others.
    """
    weights = fitted.weights
    if weights is None and others:
        weights = equal_shares(len(stores), len(others))
    elif weights is not None:
        scales = weights[: len(weights) - len(others)]
        num_folds = len(stores) // len(scales)
        weights = np.concatenate([np.tile(scales, num_folds) / num_folds, weights[len(scales) :]])
    tellers: list[ProbabilitySource] = [*stores, *others]
    return MEANS[mean].fuse((teller.rows(ids) for teller in tellers), weights)


def predictions_table(
    split: str, fold: int | None, products: pl.DataFrame, classes: Sequence[str], probabilities: Matrix
) -> pl.DataFrame:
    """Return PREDICTIONS_SCHEMA rows for `products` (product_id, label, group_id).

    Equal probabilities go to the first class.
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
    gallery: GalleryMembers, members: Sequence[Member], others: Sequence[ExternalPredictions] = ()
) -> HeldOut | None:
    """Return one fold's labelled products with the probabilities of each scale and other; None without classes."""
    stores = [member.probabilities for member in members if member.probabilities is not None]
    if gallery.fold is None or not stores:
        return None
    number_of = {label: number for number, label in enumerate(members[0].classes)}
    known = gallery.products.filter(pl.col("label").is_in(members[0].classes))
    ids = known["product_id"].to_list()
    truth = np.array([number_of[label] for label in known["label"]], np.int64)
    tellers: list[ProbabilitySource] = [*stores, *others]
    return HeldOut(gallery.fold, np.stack([teller.rows(ids) for teller in tellers]), truth, len(others))


def out_of_fold(gallery: GalleryMembers, members: Sequence[Member], fused: pl.DataFrame) -> pl.DataFrame:
    """Return OOF_SCHEMA rows of one fold's gallery: every product at each scale, and as `fused`, with a null scale."""
    ids = gallery.products["product_id"].to_list()
    told = [
        (member.scale, _listed(member.probabilities.rows(ids)))
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
        for scale, probabilities in (*told, (None, fused["probabilities"]))
    ]
    return pl.concat(frames).cast(pl.Schema(OOF_SCHEMA))


def _listed(probabilities: Matrix) -> pl.Series:
    return pl.Series(probabilities, dtype=pl.Array(pl.Float32, probabilities.shape[1])).arr.to_list()
