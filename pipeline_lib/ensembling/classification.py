"""The class predictions of an ensemble: weights and temperature are fitted out of fold, then each gallery is fused.

Every table is computed and written in blocks of products, and a fit has at most FIT_VALUES values of drawn products, so
no (products, classes) matrix of a large catalogue is in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts.io import block_rows, write_blocks, write_json, write_table
from pipeline_lib.artifacts.schemas import CLASS_SCORES_SCHEMA, OOF_SCHEMA, PREDICTIONS_SCHEMA, Schema
from pipeline_lib.ensembling.external_predictions import ExternalPredictions
from pipeline_lib.ensembling.fit import Fitted, cross_fitted, equal_shares, needs_fit
from pipeline_lib.ensembling.galleries import GalleryMembers
from pipeline_lib.ensembling.members import Member
from pipeline_lib.ensembling.probabilities import FusedGallery, held_out
from pipeline_lib.params.ensemble import EnsembleParams


@dataclass(frozen=True)
class ClassPredictions:
    """The galleries with class predictions, none without a classifier, and the fit by fold.

    `num_labelled` out-of-fold products could be fitted on; 0 if nothing is fitted.
    """

    fused: list[FusedGallery]
    fits: dict[int | None, Fitted]
    num_labelled: int = 0

    def notes(self, params: EnsembleParams) -> Iterator[str]:
        """Yield a line for each fit without a product, and one if not all labelled products were fitted on."""
        # Without a classifier there is nothing to fit, and no line about it.
        for fold, fit in self.fits.items() if self.fused and needs_fit(params) else ():
            if not fit.num_products:
                name = "test" if fold is None else f"oof-{fold}"
                yield f"{name}: no labelled product of another fold to fit on; equal weights and temperature 1"
        number = self.fits[None].num_products
        if number < self.num_labelled:
            yield f"fitted on {number:,} of {self.num_labelled:,} labelled products, drawn by a hash of their ids"

    def probabilities(self) -> Iterator[pl.DataFrame]:
        """Yield PREDICTIONS_SCHEMA rows, block by block."""
        for fused in self.fused:
            yield from fused.probabilities()

    def scores(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return CLASS_SCORES_SCHEMA rows before and after temperature scaling."""
        empty = pl.DataFrame(schema=CLASS_SCORES_SCHEMA)
        before, after = zip((empty, empty), *(pair for fused in self.fused for pair in fused.scores()), strict=True)
        return pl.concat(before), pl.concat(after)

    def out_of_fold(self) -> Iterator[pl.DataFrame]:
        """Yield rows of `out_of_fold_schema`, block by block."""
        for fused in self.fused:
            if fused.gallery.fold is not None:
                yield from fused.out_of_fold()

    def out_of_fold_schema(self) -> Schema:
        """Return OOF_SCHEMA with fixed-size lists, from which any reader gets the matrix without copying rows."""
        width = len(self.fused[0].classes) if self.fused else 0
        return OOF_SCHEMA | ({"probabilities": pl.Array(pl.Float32, width)} if width else {})

    def write(self, out: Path, params: EnsembleParams, scales: Sequence[int], external: Sequence[str]) -> pl.DataFrame:
        """Write the tables and fusion.json, and return the rows of class_scores.parquet.

        uncalibrated.parquet has the same rows before scaling, if a temperature is fitted. `external` are the names of
        the external predictions.
        """
        rows = block_rows(len(self.fused[0].classes) if self.fused else 1)
        write_blocks(self.probabilities(), PREDICTIONS_SCHEMA, out / "probabilities.parquet", rows)
        write_blocks(self.out_of_fold(), self.out_of_fold_schema(), out / "oof.parquet", rows)
        before, after = self.scores()
        write_table(after, out / "class_scores.parquet")
        if params.temperature == "fitted":
            write_table(before, out / "uncalibrated.parquet")
        report = {
            "test" if fold is None else f"oof-{fold}": _fit_report(fit, scales, external)
            for fold, fit in self.fits.items()
        }
        write_json(out / "fusion.json", report)
        return after


def classify(
    galleries: Sequence[GalleryMembers],
    members: Sequence[Member],
    params: EnsembleParams,
    external: Sequence[ExternalPredictions] = (),
) -> ClassPredictions:
    """Return the class predictions of all galleries, with the fits; no gallery if the models have no classifier."""
    parts, num_labelled = held_out(galleries, members, external) if needs_fit(params) else ([], 0)
    fits = cross_fitted(parts, params)
    fused = [
        FusedGallery(gallery, own, params.mean, fits.get(gallery.fold, Fitted()), external)
        for gallery in galleries
        if (own := [member for member in gallery.eligible(members) if member.probabilities is not None])
    ]
    return ClassPredictions(fused, fits, num_labelled)


def _fit_report(fit: Fitted, scales: Sequence[int], external: Sequence[str]) -> dict[str, Any]:
    weights = equal_shares(len(scales), len(external)) if fit.weights is None else fit.weights
    rounded = [round(float(weight), 6) for weight in weights]
    return {
        "weights": dict(zip(map(str, scales), rounded, strict=False)),
        "others": dict(zip(external, rounded[len(scales) :], strict=True)),
        "temperature": round(fit.temperature, 6),
        "fitted_on": fit.num_products,
    }
