"""What the frozen trunk knows of the classes without any fine-tuning: neighbours, linear probes, names as prompts.

Each is asked as the fine-tuned models are: a held-out fold by what the other folds say, test by what all of them say.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.artifacts.io import read_json
from pipeline_lib.evaluation.baselines.linear_probe import Probe, fit_probes, sums_of
from pipeline_lib.evaluation.baselines.neighbours import Labels, Matrix, neighbour_scores
from pipeline_lib.evaluation.baselines.trunk_features import TrunkFeatures, read_trunk, text_vectors
from pipeline_lib.stores.store import open_store

IMAGE_PROBE, TEXT_PROBE = "linear_probe_image", "linear_probe_text"
NAMES = ("knn", "linear_probe", IMAGE_PROBE, TEXT_PROBE, "zero_shot")
UNPLANNED = "plan.features has no trunk"
UNSTORED = "the trunk's features could not be stored, as the features stage says"
UNTAUGHT = "no product outside test has a label that the models know"
ONE_SIDED = "all products lack the other modality"


@dataclass(frozen=True)
class Baselines:
    """Scores (products, classes) by baseline and then by split, products in the order asked; and what was left out."""

    scores: dict[str, dict[str, Matrix]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def probes(self) -> tuple[dict[str, Matrix], dict[str, Matrix], dict[str, Matrix]]:
        """Return the scores by split of the probes of image, of text and of both; empty where there is none."""
        image, text, both = (self.scores.get(name, {}) for name in (IMAGE_PROBE, TEXT_PROBE, "linear_probe"))
        return image, text, both


@dataclass(frozen=True)
class FittedProbes:
    """The labelled products outside test: rows by fold (None = always trained on), and probes by who is asked.

    `vectors` and `probes` are by the probe's name, for each reads features of its own.
    """

    vectors: dict[str, Matrix]
    truth: Labels
    rows: dict[int | None, Labels]
    probes: dict[str, dict[int | None, Probe]]

    def scores(self, asked: Labels, fold: int | None, num_classes: int, seed: int) -> dict[str, Matrix]:
        """Return the neighbours' and the probes' scores of the rows `asked`, which `fold` holds out (None = test)."""
        places = [place for place in self.rows if fold is None or place != fold]
        if not places:
            return {name: np.zeros((len(asked), num_classes), np.float32) for name in ("knn", *self.probes)}
        known = np.sort(np.concatenate([self.rows[place] for place in places]))
        joined = self.vectors["linear_probe"]
        found = {"knn": neighbour_scores(joined[asked], joined[known], self.truth[known], num_classes, seed)}
        for name, probes in self.probes.items():
            found[name] = probes[fold if fold in self.rows else None].scores(self.vectors[name][asked])
        return found


def read_split_products(catalogue: Path, folds_file: Path) -> pl.DataFrame:
    """Return product_id, media, text, label, group_id of the catalogue's products, and the split and fold dealt."""
    columns = ["product_id", "media", "text", "label", "group_id"]
    products = pl.read_parquet(catalogue / "products.parquet", columns=columns)
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
    taught = teach(_probed(features), products, classes)
    if not taught.rows:
        return Baselines(skipped=dict.fromkeys(NAMES, UNTAUGHT))
    why_apart = read_json(folder / "joint.json")["why_apart"]
    prompts = None if why_apart else text_vectors(open_store(folder / "text"), list(classes))
    skipped = dict.fromkeys([name for name in (IMAGE_PROBE, TEXT_PROBE) if name not in taught.probes], ONE_SIDED)
    skipped |= {"zero_shot": why_apart} if why_apart else {}
    row_of = {key: row for row, key in enumerate(products["product_id"])}
    scores: dict[str, dict[str, Matrix]] = {name: {} for name in NAMES if name not in skipped}
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
    return Baselines(scores, skipped)


def _probed(features: TrunkFeatures) -> dict[str, Matrix]:
    """Return the features that each probe reads; where all products lack a modality, the other alone is the whole."""
    alone = {IMAGE_PROBE: features.image, TEXT_PROBE: features.text}
    return {"linear_probe": features.joined()} | (alone if all(part.any() for part in alone.values()) else {})


def teach(vectors: dict[str, Matrix], products: pl.DataFrame, classes: Sequence[str]) -> FittedProbes:
    """Part the labelled products outside test by their fold, and fit the probes that are asked for each."""
    number_of = {label: number for number, label in enumerate(classes)}
    truth = np.array([number_of.get(label, -1) for label in products["label"]], np.int64)
    folds = products["fold"].to_list()
    by_fold: dict[int | None, list[int]] = {}
    for row in np.flatnonzero((products["split"] != "test").to_numpy() & (truth >= 0)).tolist():
        by_fold.setdefault(folds[row], []).append(row)
    rows = {fold: np.array(found, np.int64) for fold, found in by_fold.items()}
    probes = {}
    for name, own in vectors.items() if rows else ():
        sums = {fold: sums_of(own[found], truth[found], len(classes)) for fold, found in rows.items()}
        probes[name] = fit_probes(sums)
    return FittedProbes(vectors, truth, rows, probes)


def zero_shot(features: TrunkFeatures, rows: Labels, prompts: Matrix) -> Matrix:
    """Return the cosine with each class's name: of a product's photos, or of its text if it has none."""
    image, text = features.image[rows], features.text[rows]
    seen = image.any(axis=1, keepdims=True)
    return np.asarray(np.where(seen, image, text) @ prompts.T, np.float32)
