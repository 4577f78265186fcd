"""Baselines on the frozen trunk without fine-tuning: nearest neighbours, linear probes, zero-shot class names.

They are evaluated as the fine-tuned models are: a held-out fold by the labels of the other folds, test by all labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.artifacts.io import read_json
from pipeline_lib.evaluation.baselines.linear_probe import Probe, cross_fit_probes, sums_of
from pipeline_lib.evaluation.baselines.neighbours import Labels, Matrix, neighbour_scores
from pipeline_lib.evaluation.baselines.trunk_features import TrunkFeatures, read_trunk, text_vectors
from pipeline_lib.evaluation.modality_gain import ModalityScores
from pipeline_lib.metrics.top_k import id_places
from pipeline_lib.stores.store import open_store

IMAGE_PROBE, TEXT_PROBE = "linear_probe_image", "linear_probe_text"
NAMES = ("knn", "linear_probe", IMAGE_PROBE, TEXT_PROBE, "zero_shot")
UNPLANNED = "plan.features has no trunk"
UNSTORED = "the trunk's features could not be stored, as the features stage says"
UNLABELLED = "no product outside test has a label that the models know"
ONE_SIDED = "all products lack the other modality"


@dataclass(frozen=True)
class Baselines:
    """Scores (products, classes) by baseline and split, and the reason for each baseline that is left out."""

    scores: dict[str, dict[str, Matrix]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def probes(self) -> ModalityScores:
        """Return the scores by split of the probes on image, on text and on both; empty without such a probe."""
        return ModalityScores(*(self.scores.get(name, {}) for name in (IMAGE_PROBE, TEXT_PROBE, "linear_probe")))


@dataclass(frozen=True)
class FittedProbes:
    """The labelled products outside test, as rows by fold (None = always trained on), and the probe of each fold.

    `vectors` and `probes` are by the name of the probe, since each uses its own features. `places` (products,) is the
    order of the product ids, by which equally near neighbours are chosen.
    """

    vectors: dict[str, Matrix]
    truth: Labels
    rows: dict[int | None, Labels]
    probes: dict[str, dict[int | None, Probe]]
    places: Labels

    def scores(self, rows: Labels, fold: int | None, num_classes: int, seed: int) -> dict[str, Matrix]:
        """Return the scores of the neighbours and the probes for the products `rows` of `fold` (None = test)."""
        others = [other for other in self.rows if fold is None or other != fold]
        if not others:
            return {name: np.zeros((len(rows), num_classes), np.float32) for name in ("knn", *self.probes)}
        known = np.sort(np.concatenate([self.rows[other] for other in others]))
        joined, truth, places = self.vectors["linear_probe"], self.truth[known], self.places[known]
        scores = {"knn": neighbour_scores(joined[rows], joined[known], truth, num_classes, seed, places)}
        for name, probes in self.probes.items():
            scores[name] = probes[fold if fold in self.rows else None].scores(self.vectors[name][rows])
        return scores


def read_split_products(catalogue: Path, folds_file: Path) -> pl.DataFrame:
    """Return product_id, media, text, label, group_id, split and fold of the catalogue's products."""
    columns = ["product_id", "media", "text", "label", "group_id"]
    products = pl.read_parquet(catalogue / "products.parquet", columns=columns)
    return products.join(pl.read_parquet(folds_file), on="product_id", maintain_order="left")


def run_baselines(
    folder: Path | None, products: pl.DataFrame, scored: pl.DataFrame, classes: Sequence[str], seed: int
) -> Baselines:
    """Return the baselines' scores of the labelled products `scored` (product_id, split, fold), in their order.

    `products` (product_id, media, text, label, split, fold) is the complete catalogue. `folder` is that of
    features@trunk, None without it.
    """
    features = None if folder is None else read_trunk(folder, products)
    if folder is None or features is None:
        return Baselines(skipped=dict.fromkeys(NAMES, UNPLANNED if folder is None else UNSTORED))
    fitted = fit_probes(_probe_features(features), products, classes)
    if not fitted.rows:
        return Baselines(skipped=dict.fromkeys(NAMES, UNLABELLED))
    why_apart = read_json(folder / "joint.json")["why_apart"]
    prompts = None if why_apart else text_vectors(open_store(folder / "text"), list(classes))
    skipped = dict.fromkeys([name for name in (IMAGE_PROBE, TEXT_PROBE) if name not in fitted.probes], ONE_SIDED)
    skipped |= {"zero_shot": why_apart} if why_apart else {}
    row_of = {key: row for row, key in enumerate(products["product_id"])}
    scores: dict[str, dict[str, Matrix]] = {name: {} for name in NAMES if name not in skipped}
    for (split,), part in scored.group_by("split", maintain_order=True):
        rows = np.array([row_of[key] for key in part["product_id"]], np.int64)
        in_split = {name: np.zeros((len(rows), len(classes)), np.float32) for name in scores}
        for fold in part["fold"].unique(maintain_order=True).to_list():
            in_fold = part["fold"].eq_missing(pl.Series([fold], dtype=pl.Int64)).to_numpy()
            for name, values in fitted.scores(rows[in_fold], fold, len(classes), seed).items():
                in_split[name][in_fold] = values
        if prompts is not None:
            in_split["zero_shot"] = zero_shot(features, rows, prompts)
        for name, values in in_split.items():
            scores[name][str(split)] = values
    return Baselines(scores, skipped)


def _probe_features(features: TrunkFeatures) -> dict[str, Matrix]:
    """Return the features of each probe; the single-modality probes are left out if all products lack a modality."""
    single = {IMAGE_PROBE: features.image, TEXT_PROBE: features.text}
    return {"linear_probe": features.joined()} | (single if all(part.any() for part in single.values()) else {})


def fit_probes(vectors: dict[str, Matrix], products: pl.DataFrame, classes: Sequence[str]) -> FittedProbes:
    """Split the labelled products outside test by fold, and fit the probes of each fold and of test."""
    number_of = {label: number for number, label in enumerate(classes)}
    truth = np.array([number_of.get(label, -1) for label in products["label"]], np.int64)
    folds = products["fold"].to_list()
    by_fold: dict[int | None, list[int]] = {}
    for row in np.flatnonzero((products["split"] != "test").to_numpy() & (truth >= 0)).tolist():
        by_fold.setdefault(folds[row], []).append(row)
    rows = {fold: np.array(numbers, np.int64) for fold, numbers in by_fold.items()}
    probes = {}
    for name, own in vectors.items() if rows else ():
        sums = {fold: sums_of(own[members], truth[members], len(classes)) for fold, members in rows.items()}
        probes[name] = cross_fit_probes(sums)
    return FittedProbes(vectors, truth, rows, probes, id_places(products["product_id"].to_list()))


def zero_shot(features: TrunkFeatures, rows: Labels, prompts: Matrix) -> Matrix:
    """Return the cosines (rows, classes) of a product's photos, or of its text without photos, with the class names."""
    image, text = features.image[rows], features.text[rows]
    has_photo = image.any(axis=1, keepdims=True)
    return np.asarray(np.where(has_photo, image, text) @ prompts.T, np.float32)
