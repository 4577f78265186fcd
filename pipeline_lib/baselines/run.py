"""What the frozen trunk knows of the classes without any fine-tuning: neighbours, a linear probe, names as prompts.

Each is asked as the fine-tuned models are: a held-out fold by what the other folds say, test by what all of them say.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.baselines.linear_probe import Probe, fit_probes, sums_of
from pipeline_lib.baselines.neighbours import Labels, Matrix, neighbour_scores
from pipeline_lib.baselines.trunk_features import TrunkFeatures, read_trunk, text_vectors
from pipeline_lib.provenance import read_json
from pipeline_lib.stores.store import open_store

NAMES = ("knn", "linear_probe", "zero_shot")
UNPLANNED = "plan.features has no trunk"
UNSTORED = "the trunk's features could not be stored, as the features stage says"
UNTAUGHT = "no product outside test has a label that the models know"


@dataclass(frozen=True)
class Baselines:
    """Scores (products, classes) by baseline and then by split, products in the order asked; and what was left out."""

    scores: dict[str, dict[str, Matrix]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Taught:
    """The labelled products outside test: rows by fold (None = always trained on), and probes by who is asked."""

    vectors: Matrix
    truth: Labels
    rows: dict[int | None, Labels]
    probes: dict[int | None, Probe]

    def scores(self, asked: Labels, fold: int | None, num_classes: int, seed: int) -> dict[str, Matrix]:
        """Return both baselines' scores of the rows `asked`, which `fold` holds out (None = test)."""
        places = [place for place in self.rows if fold is None or place != fold]
        if not places:
            return {name: np.zeros((len(asked), num_classes), np.float32) for name in ("knn", "linear_probe")}
        known = np.sort(np.concatenate([self.rows[place] for place in places]))
        own = self.vectors[asked]
        return {
            "knn": neighbour_scores(own, self.vectors[known], self.truth[known], num_classes, seed),
            "linear_probe": self.probes[fold if fold in self.rows else None].scores(own),
        }


def read_dealt(catalogue: Path, folds_file: Path) -> pl.DataFrame:
    """Return product_id, media, text, label of the catalogue's products with the split and fold they were dealt."""
    products = pl.read_parquet(catalogue / "products.parquet", columns=["product_id", "media", "text", "label"])
    return products.join(pl.read_parquet(folds_file), on="product_id", maintain_order="left")


def run_baselines(
    folder: Path | None, products: pl.DataFrame, asked: pl.DataFrame, classes: Sequence[str], seed: int
) -> Baselines:
    """Return the baselines' scores of the labelled products `asked` (product_id, split, fold).

    `products` (product_id, media, text, label, split, fold) are all of the catalogue; `folder` holds features@trunk,
    None without it.
    """
    features = None if folder is None else read_trunk(folder, products)
    if folder is None or features is None:
        return Baselines(skipped=dict.fromkeys(NAMES, UNPLANNED if folder is None else UNSTORED))
    taught = teach(features.joined(), products, classes)
    if not taught.rows:
        return Baselines(skipped=dict.fromkeys(NAMES, UNTAUGHT))
    why_apart = read_json(folder / "joint.json")["why_apart"]
    prompts = None if why_apart else text_vectors(open_store(folder / "text"), list(classes))
    row_of = {key: row for row, key in enumerate(products["product_id"])}
    scores: dict[str, dict[str, Matrix]] = {name: {} for name in NAMES if name != "zero_shot" or prompts is not None}
    for (split,), part in asked.group_by("split", maintain_order=True):
        rows = np.array([row_of[key] for key in part["product_id"]], np.int64)
        told = {name: np.zeros((len(rows), len(classes)), np.float32) for name in scores}
        for fold in part["fold"].unique(maintain_order=True).to_list():
            here = part["fold"].eq_missing(pl.Series([fold], dtype=pl.Int64)).to_numpy()
            for name, values in taught.scores(rows[here], fold, len(classes), seed).items():
                told[name][here] = values
        if prompts is not None:
            told["zero_shot"] = zero_shot(features, rows, prompts)
        for name, values in told.items():
            scores[name][str(split)] = values
    return Baselines(scores, {"zero_shot": why_apart} if why_apart else {})


def teach(vectors: Matrix, products: pl.DataFrame, classes: Sequence[str]) -> Taught:
    """Part the labelled products outside test by their fold, and fit the probe that is asked for each."""
    number_of = {label: number for number, label in enumerate(classes)}
    truth = np.array([number_of.get(label, -1) for label in products["label"]], np.int64)
    folds = products["fold"].to_list()
    by_fold: dict[int | None, list[int]] = {}
    for row in np.flatnonzero((products["split"] != "test").to_numpy() & (truth >= 0)).tolist():
        by_fold.setdefault(folds[row], []).append(row)
    rows = {fold: np.array(found, np.int64) for fold, found in by_fold.items()}
    sums = {fold: sums_of(vectors[found], truth[found], len(classes)) for fold, found in rows.items()}
    return Taught(vectors, truth, rows, fit_probes(sums) if sums else {})


def zero_shot(features: TrunkFeatures, rows: Labels, prompts: Matrix) -> Matrix:
    """Return the cosine with each class's name: of a product's photos, or of its text if it has none."""
    image, text = features.image[rows], features.text[rows]
    seen = image.any(axis=1, keepdims=True)
    return np.asarray(np.where(seen, image, text) @ prompts.T, np.float32)
