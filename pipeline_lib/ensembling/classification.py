"""All class predictions of an ensemble: fitted on out-of-fold products, fused, and kept as tables.

Fitting needs every fold's probabilities at once; what is not fitted is fused gallery by gallery.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts.io import write_json, write_table
from pipeline_lib.artifacts.schemas import OOF_SCHEMA, PREDICTIONS_SCHEMA
from pipeline_lib.ensembling.external_predictions import ExternalPredictions
from pipeline_lib.ensembling.fit import Fitted, cross_fitted, equal_shares, wants_fit
from pipeline_lib.ensembling.galleries import GalleryMembers
from pipeline_lib.ensembling.members import Member
from pipeline_lib.ensembling.probabilities import fuse_probabilities, held_out, out_of_fold, predictions_table
from pipeline_lib.ensembling.temperature import scaled
from pipeline_lib.params.ensemble import EnsembleParams


@dataclass(frozen=True)
class Classified:
    """What the ensemble says of labels: PREDICTIONS_SCHEMA at the temperature and before it, OOF_SCHEMA, the fits."""

    predictions: pl.DataFrame
    uncalibrated: pl.DataFrame
    out_of_fold: pl.DataFrame
    fits: dict[int | None, Fitted]

    def write(self, out: Path, params: EnsembleParams, scales: Sequence[int], others: Sequence[str]) -> None:
        """Write probabilities.parquet, uncalibrated.parquet where a temperature is fitted, oof.parquet, fusion.json."""
        write_table(self.predictions, out / "probabilities.parquet")
        if params.temperature == "fitted":
            write_table(self.uncalibrated, out / "uncalibrated.parquet")
        write_table(self.out_of_fold, out / "oof.parquet")
        told = {
            "test" if fold is None else f"oof-{fold}": _told(fit, scales, others) for fold, fit in self.fits.items()
        }
        write_json(out / "fusion.json", told)


def classify(
    galleries: Sequence[GalleryMembers],
    members: Sequence[Member],
    params: EnsembleParams,
    others: Sequence[ExternalPredictions] = (),
) -> Classified:
    """Return every gallery's class predictions; empty tables if the models have no classes."""
    entitled = {gallery.name: gallery.entitled(members) for gallery in galleries}
    parts = [held_out(gallery, entitled[gallery.name], others) for gallery in galleries] if wants_fit(params) else []
    fits = cross_fitted([part for part in parts if part is not None], params)
    after, before = [pl.DataFrame(schema=PREDICTIONS_SCHEMA)], [pl.DataFrame(schema=PREDICTIONS_SCHEMA)]
    kept = [pl.DataFrame(schema=OOF_SCHEMA)]
    for gallery in galleries:
        own = entitled[gallery.name]
        stores = [member.probabilities for member in own if member.probabilities is not None]
        if not stores:
            continue
        fitted = fits.get(gallery.fold, Fitted())
        ids = gallery.products["product_id"].to_list()
        fused = fuse_probabilities(params.mean, stores, ids, fitted, others)
        for frames, told in ((before, fused), (after, scaled(fused, fitted.temperature))):
            frames.append(predictions_table(gallery.split, gallery.fold, gallery.products, own[0].classes, told))
        if gallery.fold is not None:
            kept.append(out_of_fold(gallery, own, after[-1]))
    return Classified(pl.concat(after), pl.concat(before), pl.concat(kept), fits)


def _told(fit: Fitted, scales: Sequence[int], others: Sequence[str]) -> dict[str, Any]:
    weights = equal_shares(len(scales), len(others)) if fit.weights is None else fit.weights
    rounded = [round(float(weight), 6) for weight in weights]
    return {
        "weights": dict(zip(map(str, scales), rounded, strict=False)),
        "others": dict(zip(others, rounded[len(scales) :], strict=True)),
        "temperature": round(fit.temperature, 6),
        "fitted_on": fit.num_products,
    }
