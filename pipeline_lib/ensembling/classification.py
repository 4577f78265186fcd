"""The class predictions of an ensemble: weights and temperature are fitted out of fold, then each gallery is fused.

Fitting needs the probabilities of all folds at once. Fusing works gallery by gallery.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts.io import write_json, write_table
from pipeline_lib.artifacts.schemas import OOF_SCHEMA, PREDICTIONS_SCHEMA
from pipeline_lib.ensembling.external_predictions import ExternalPredictions
from pipeline_lib.ensembling.fit import Fitted, cross_fitted, equal_shares, needs_fit
from pipeline_lib.ensembling.galleries import GalleryMembers
from pipeline_lib.ensembling.members import Member
from pipeline_lib.ensembling.probabilities import fuse_probabilities, held_out, out_of_fold, predictions_table
from pipeline_lib.ensembling.temperature import scaled
from pipeline_lib.params.ensemble import EnsembleParams


@dataclass(frozen=True)
class ClassPredictions:
    """Predictions (PREDICTIONS_SCHEMA) after and before temperature scaling, the OOF_SCHEMA table, the fit by fold."""

    predictions: pl.DataFrame
    uncalibrated: pl.DataFrame
    out_of_fold: pl.DataFrame
    fits: dict[int | None, Fitted]

    def write(self, out: Path, params: EnsembleParams, scales: Sequence[int], external: Sequence[str]) -> None:
        """Write probabilities.parquet, oof.parquet, fusion.json, and uncalibrated.parquet if a temperature is fitted.

        `external` are the names of the external predictions.
        """
        write_table(self.predictions, out / "probabilities.parquet")
        if params.temperature == "fitted":
            write_table(self.uncalibrated, out / "uncalibrated.parquet")
        write_table(self.out_of_fold, out / "oof.parquet")
        report = {
            "test" if fold is None else f"oof-{fold}": _fit_report(fit, scales, external)
            for fold, fit in self.fits.items()
        }
        write_json(out / "fusion.json", report)


def classify(
    galleries: Sequence[GalleryMembers],
    members: Sequence[Member],
    params: EnsembleParams,
    external: Sequence[ExternalPredictions] = (),
) -> ClassPredictions:
    """Return the class predictions of all galleries; empty tables if the models have no classifier."""
    eligible = {gallery.name: gallery.eligible(members) for gallery in galleries}
    parts = [held_out(gallery, eligible[gallery.name], external) for gallery in galleries] if needs_fit(params) else []
    fits = cross_fitted([part for part in parts if part is not None], params)
    after, before = [pl.DataFrame(schema=PREDICTIONS_SCHEMA)], [pl.DataFrame(schema=PREDICTIONS_SCHEMA)]
    oof: list[pl.DataFrame] = []
    for gallery in galleries:
        own = eligible[gallery.name]
        stores = [member.probabilities for member in own if member.probabilities is not None]
        if not stores:
            continue
        fitted = fits.get(gallery.fold, Fitted())
        ids = gallery.products["product_id"].to_list()
        fused = fuse_probabilities(params.mean, stores, ids, fitted, external)
        for frames, probabilities in ((before, fused), (after, scaled(fused, fitted.temperature))):
            table = predictions_table(gallery.split, gallery.fold, gallery.products, own[0].classes, probabilities)
            frames.append(table)
        if gallery.fold is not None:
            oof.append(out_of_fold(gallery, own, after[-1]))
    out_of_fold_table = pl.concat(oof) if oof else pl.DataFrame(schema=OOF_SCHEMA)
    return ClassPredictions(pl.concat(after), pl.concat(before), out_of_fold_table, fits)


def _fit_report(fit: Fitted, scales: Sequence[int], external: Sequence[str]) -> dict[str, Any]:
    weights = equal_shares(len(scales), len(external)) if fit.weights is None else fit.weights
    rounded = [round(float(weight), 6) for weight in weights]
    return {
        "weights": dict(zip(map(str, scales), rounded, strict=False)),
        "others": dict(zip(external, rounded[len(scales) :], strict=True)),
        "temperature": round(fit.temperature, 6),
        "fitted_on": fit.num_products,
    }
