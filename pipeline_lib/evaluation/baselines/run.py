"""Baselines on the frozen trunk without training: nearest neighbours, linear probes, zero-shot class names.

They are evaluated as the trained models are: a held-out fold by the labels of the other folds, test by all labels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.artifacts.io import block_rows
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.evaluation.baselines.linear_probe import Probe, cross_fit_probes, sums_of
from pipeline_lib.evaluation.baselines.neighbours import Labels, Matrix, neighbour_scores
from pipeline_lib.evaluation.baselines.trunk_features import TrunkFeatures, read_trunk, text_vectors, why_apart
from pipeline_lib.evaluation.modality_gain import ModalityScores
from pipeline_lib.metrics.classification import ClassScores, class_numbers
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
    """Scores by baseline and split, and the reason for each baseline that is left out."""

    scores: dict[str, dict[str, ClassScores]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """Return a line for each baseline that is left out."""
        return [f"baseline {name} is left out: {reason}" for name, reason in self.skipped.items()]

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

    def scorer(self, fold: int | None, num_classes: int, seed: int) -> Callable[[Labels], dict[str, Matrix]]:
        """Return a function from rows of products of `fold` (None = test) to the neighbours' and the probes' scores."""
        others = [other for other in self.rows if fold is None or other != fold]
        if not others:
            return lambda rows: dict.fromkeys(("knn", *self.probes), np.zeros((len(rows), num_classes), np.float32))
        known = np.sort(np.concatenate([self.rows[other] for other in others]))
        joined, truth, places = self.vectors["linear_probe"], self.truth[known], self.places[known]
        gallery = joined[known]

        def scores(rows: Labels) -> dict[str, Matrix]:
            by_name = {"knn": neighbour_scores(joined[rows], gallery, truth, num_classes, seed, places)}
            for name, probes in self.probes.items():
                by_name[name] = probes[fold if fold in self.rows else None].scores(self.vectors[name][rows])
            return by_name

        return scores


def read_split_products(catalogue: Path, folds_file: Path) -> pl.DataFrame:
    """Return product_id, media, text, label, group_id, split and fold of the catalogue's products."""
    columns = ["product_id", "media", "text", "label", "group_id"]
    products = read_table(catalogue / "products.parquet", columns=columns)
    return products.join(read_table(folds_file), on="product_id", maintain_order="left")


def run_baselines(
    folder: Path | None, products: pl.DataFrame, scored: pl.DataFrame, classes: Sequence[str], seed: int
) -> Baselines:
    """Return the baselines' scores of the labelled products `scored` (product_id, split, fold, label), in their order.

    `products` (product_id, media, text, label, split, fold) is the complete catalogue. `folder` is that of
    features@trunk, None without it.
    """
    features = None if folder is None else read_trunk(folder, products)
    if folder is None or features is None:
        return Baselines(skipped=dict.fromkeys(NAMES, UNPLANNED if folder is None else UNSTORED))
    fitted = fit_probes(_probe_features(features), products, classes)
    if not fitted.rows:
        return Baselines(skipped=dict.fromkeys(NAMES, UNLABELLED))
    apart = why_apart(folder)
    prompts = None if apart else text_vectors(open_store(folder / "text"), list(classes))
    skipped = dict.fromkeys([name for name in (IMAGE_PROBE, TEXT_PROBE) if name not in fitted.probes], ONE_SIDED)
    skipped |= {"zero_shot": apart} if apart else {}
    row_of = {key: row for row, key in enumerate(products["product_id"])}
    scores: dict[str, dict[str, ClassScores]] = {name: {} for name in NAMES if name not in skipped}
    for (split,), part in scored.group_by("split", maintain_order=True):
        rows = np.array([row_of[key] for key in part["product_id"]], np.int64)
        truth = class_numbers(part["label"], classes)
        for name in scores:
            scores[name][str(split)] = _unscored(truth, len(classes))
        for fold in part["fold"].unique(maintain_order=True).to_list():
            scorer = fitted.scorer(fold, len(classes), seed)
            in_fold = part["fold"].eq_missing(pl.Series([fold], dtype=pl.Int64)).to_numpy()
            for places in _blocks(np.flatnonzero(in_fold), len(classes)):
                values = scorer(rows[places])
                if prompts is not None:
                    values["zero_shot"] = zero_shot(features, rows[places], prompts)
                for name, block in values.items():
                    _fill(scores[name][str(split)], places, block)
    return Baselines(scores, skipped)


def _blocks(rows: Labels, num_classes: int) -> Iterator[Labels]:
    step = block_rows(num_classes)
    return (rows[start : start + step] for start in range(0, len(rows), step))


def _unscored(truth: Labels, num_classes: int) -> ClassScores:
    return ClassScores(truth, np.zeros_like(truth), np.zeros(len(truth)), np.zeros_like(truth), num_classes)


def _fill(scores: ClassScores, places: Labels, block: Matrix) -> None:
    own = ClassScores.of(scores.truth[places], block)
    scores.predicted[places], scores.confidence[places], scores.ranks[places] = own.predicted, own.confidence, own.ranks


def _probe_features(features: TrunkFeatures) -> dict[str, Matrix]:
    """Return the features of each probe; the single-modality probes are left out if all products lack a modality."""
    single = {IMAGE_PROBE: features.image, TEXT_PROBE: features.text}
    return {"linear_probe": features.joined()} | (single if all(part.any() for part in single.values()) else {})


def fit_probes(vectors: dict[str, Matrix], products: pl.DataFrame, classes: Sequence[str]) -> FittedProbes:
    """Split the labelled products outside test by fold, and fit the probes of each fold and of test."""
    truth = class_numbers(products["label"], classes)
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
