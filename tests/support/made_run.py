"""A whole run's files, small and consistent: drawn photos, Chinese and English texts, two folds and a test split.

Figures are counted here from the same random scores that the rankings hold, so a test can compare page and truth.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.schemas import (
    BASELINES_SCHEMA,
    CLASS_SCHEMA,
    CONFUSION_SCHEMA,
    CURVE_SCHEMA,
    ISSUES_SCHEMA,
    MODALITY_GAIN_SCHEMA,
    PREDICTIONS_SCHEMA,
    RANKINGS_SCHEMA,
    RANKS_SCHEMA,
    RELIABILITY_SCHEMA,
)
from pipeline_lib.params.report import ReportParams
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.report.inputs import read_inputs
from pipeline_lib.report.page import Report, build_report
from pipeline_lib.shards.write import write_shards

COLOURS = {"红": "#c0392b", "绿": "#1e8449", "蓝": "#2471a3", "黄": "#d4ac0d", "紫": "#7d3c98"}
ENGLISH = {"红": "red", "绿": "green", "蓝": "blue", "黄": "yellow", "紫": "purple"}
KINDS = ("杯子 mug", "盘子 plate", "花瓶 vase", "lamp", "椅子 chair")
HEADER = {
    "products": {"text": pl.String, "label": pl.String},
    "queries": {"reference_product_id": pl.String, "subset": pl.List(pl.String), "split": pl.String},
    "rejects": {"row": pl.Int64, "product_id": pl.String, "file": pl.String, "reason": pl.String, "value": pl.String},
}


@dataclass
class Run:
    """Options and growing tables of one made run."""

    root: Path
    num_products: int = 60
    num_classes: int = 5
    num_rejects: int = 3
    folds: tuple[int, ...] = (0, 1)
    test: bool = True
    texts: bool = True
    labels: bool = True
    depth: int = 10
    signal: float = 3.0
    hostile: str = ""
    steps: list = field(default_factory=list)
    seed: int = 3
    products: list = field(default_factory=list)
    metrics: dict = field(default_factory=dict)
    intervals: dict = field(default_factory=dict)
    fusion: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)

    def __post_init__(self):
        self.random = np.random.default_rng(self.seed)

    @property
    def classes(self) -> list[str]:
        return [KINDS[i] if i < len(KINDS) else f"类别 class {i:02d}" for i in range(self.num_classes)]

    def put(self, path: Path, value: object) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")

    def frame(self, path: Path, rows: list, schema: dict) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        table = pl.DataFrame(rows, schema=schema, orient="row")
        table.write_csv(target) if target.suffix == ".csv" else table.write_parquet(target)

    def report(self, **params: int) -> Report:
        chosen = ReportParams(**({"queries": 8, "misses": 6} | params))
        return build_report(read_inputs(self.folds, self.root), chosen, 7, "data/raw/店 shop", [64, 80])


def draw_products(run: Run) -> None:
    """Two products share each text now and then: several right answers."""
    for i in range(run.num_products):
        kind, colour = i % run.num_classes, list(COLOURS)[(i // run.num_classes) % len(COLOURS)]
        label = run.classes[kind]
        text = f"{colour}色{label} {ENGLISH[colour]} no. {i // 2 if i % 7 == 0 else i}"
        if i == 0 and run.hostile:
            text, label = run.hostile, run.classes[kind]
        file = f"{i:04d}.jpg"
        picture = Image.new("RGB", (96, 80), "#f4f1ea")
        pen = ImageDraw.Draw(picture)
        box = (20, 14, 76, 66)
        (pen.ellipse, pen.rectangle, pen.rounded_rectangle)[kind % 3](box, fill=COLOURS[colour], outline="#333333")
        pen.line((20, 14 + kind * 6 % 50, 76, 66), fill="white", width=1 + kind % 5)
        picture.save(run.root / file, "JPEG", quality=90)
        place = (
            ("test", None) if run.test and (i // run.num_classes) % 3 == 0 else ("train", run.folds[i % len(run.folds)])
        )
        run.products.append((f"p{i:04d}", file, text if run.texts else "", label if run.labels else None, *place))
    media = pl.DataFrame([(p[0], [p[1]]) for p in run.products], schema=["product_id", "media"], orient="row")
    shards = run.root / paths.SHARDS
    shards.mkdir(parents=True)
    write_shards(media, run.root, ShardsParams(size=96, quality=90, photos_per_shard=40), shards, 1)


def write_catalogue(run: Run) -> None:
    rows = [(i, [m], t, y, i, None, None) for i, m, t, y, *_ in run.products]
    schema = {"product_id": pl.String, "media": pl.List(pl.String), **HEADER["products"]}
    schema |= {"group_id": pl.String, "split": pl.String, "fold": pl.Int64}
    run.frame(paths.CATALOGUE / "products.parquet", rows, schema)
    queries = [(f"q-{i}", "text", t, None, [], None) for i, _, t, *_ in run.products if t]
    schema = {"query_id": pl.String, "kind": pl.String, "text": pl.String, **HEADER["queries"]}
    run.frame(paths.CATALOGUE / "queries.parquet", queries, schema)
    pairs = [(f"q-{i}", j, 1) for i, _, t, *_ in run.products if t for j, _, u, *_ in run.products if t == u]
    run.rows["relevance"] = {(q, p) for q, p, _ in pairs}
    schema = {"query_id": pl.String, "product_id": pl.String, "grade": pl.Int64}
    run.frame(paths.CATALOGUE / "relevance.parquet", pairs, schema)
    faults = (
        ("image is truncated", "rejected"),
        ("id stands twice", "rejected"),
        ("photo is missing", "photo dropped"),
    )
    rejects = [
        (i + 2, f"x{i}", f"images/x{i}.jpg", faults[i % 3][0], None, faults[i % 3][1]) for i in range(run.num_rejects)
    ]
    run.frame(paths.CATALOGUE / "rejects.parquet", rejects, HEADER["rejects"] | {"action": pl.String})
    sizes = {"products": len(run.products), "queries": len(queries), "rejected": 2}
    run.put(paths.CATALOGUE / "counts.json", sizes | {"classes": run.num_classes, "reasons": {}})
    run.put(paths.FOLDS / "notes.json", ["class lamp has 3 products, fewer than the folds"])
    run.metrics["data"] = sizes


def galleries(run: Run) -> list[tuple[str, int | None, list]]:
    made = [("oof", fold, [p for p in run.products if p[5] == fold]) for fold in run.folds]
    return made + ([("test", None, [p for p in run.products if p[4] == "test"])] if run.test else [])


def rank_gallery(run: Run, split: str, fold: int | None, members: list) -> None:
    relevance, ids = run.rows["relevance"], [p[0] for p in members]
    right = np.array([[(f"q-{q}", p) in relevance for p in ids] for q in ids])
    scores = run.random.normal(size=right.shape) + run.signal * right
    for direction, table, prefix in (("text_to_image", scores, "q-"), ("image_to_text", scores.T, "")):
        mask = right if direction == "text_to_image" else right.T
        for row, query in enumerate(ids):
            best = table[row][mask[row]].max()
            place = float(1 + (table[row] > best).sum())
            run.rows["ranks"].append((split, direction, prefix + query, fold, place, len(ids), query))
    for row, query in enumerate(ids):
        order = np.argsort(-scores[row])[: run.depth]
        run.rows["rankings"] += [
            (f"q-{query}", split, fold, place + 1, ids[column], scores[row, column])
            for place, column in enumerate(order)
        ]


def count_retrieval(run: Run) -> None:
    ranks = pl.DataFrame(run.rows["ranks"], schema=RANKS_SCHEMA, orient="row")
    run.rows["curve"] = []
    for (split, direction), group in ranks.group_by("split", "direction", maintain_order=True):
        places = group["rank"].to_numpy()
        leaf = {f"R@{k}": float((places <= k).mean()) for k in (1, 5, 10)}
        leaf["MeanRecall"] = sum(leaf.values()) / 3
        leaf |= {"median_rank": float(np.median(places)), "mean_rank": float(places.mean())}
        ends = {key: [value * 0.9, value * 1.1 if value > 1 else min(1.0, value * 1.1)] for key, value in leaf.items()}
        leaf |= {"num_queries": len(places), "num_gallery": round(group["num_gallery"].mean())}
        run.metrics.setdefault(split, {}).setdefault("retrieval", {})[direction] = leaf
        run.intervals.setdefault(split, {}).setdefault("retrieval", {})[direction] = ends
        run.rows["curve"] += [(split, direction, k, float((places <= k).mean())) for k in range(1, 51)]


def classify(run: Run, split: str, fold: int | None, members: list) -> None:
    for product_id, _, _, label, *_ in members:
        truth = run.classes.index(label)
        logits = run.random.normal(size=run.num_classes)
        logits[truth] += run.signal
        shares = np.exp(logits) / np.exp(logits).sum()
        told = run.classes[int(shares.argmax())]
        run.rows["probabilities"].append((product_id, split, fold, label, told, shares.tolist(), product_id))


def count_classes(run: Run) -> None:
    run.rows["confusion"], run.rows["per_class"] = [], []
    for split in ("oof", "test"):
        told = [row for row in run.rows["probabilities"] if row[1] == split]
        scores = []
        for a in run.classes:
            pairs = {b: sum(row[3] == a and row[4] == b for row in told) for b in run.classes}
            run.rows["confusion"] += [(split, a, b, n) for b, n in pairs.items() if n]
            right, support = pairs[a], sum(pairs.values())
            called = sum(row[4] == a for row in told)
            precision = right / max(called, 1)
            recall = right / max(support, 1)
            scores.append(2 * precision * recall / max(precision + recall, 1e-9))
            if support or called:
                run.rows["per_class"].append((split, a, precision, recall, scores[-1], support))
        if told:
            leaf = {
                "top1": sum(row[3] == row[4] for row in told) / len(told),
                "top3": 0.95,
                "macro_f1": float(np.mean(scores)),
                "balanced_accuracy": 0.8,
                "ece": 0.0625,
            }
            run.metrics.setdefault(split, {})["classification"] = leaf
            ends = {key: [value * 0.95, min(1.0, value * 1.05)] for key, value in leaf.items()}
            run.intervals.setdefault(split, {})["classification"] = ends


def doubt_classes(run: Run) -> None:
    """Baselines, slices, bins and doubted labels: numbers of no meaning, but of one story."""
    run.rows |= {"reliability": [], "baselines": [], "issues": [], "modality_gain": []}
    for split in ("oof", "test") if run.labels else ():
        if split not in run.metrics:
            continue
        leaf, ends = run.metrics[split], run.intervals[split]
        leaf["baselines"] = {"knn": {"top1": 0.5, "macro_f1": 0.4}, "linear_probe": {"top1": 0.625, "macro_f1": 0.6}}
        ends["baselines"] = {"knn": {"top1": [0.4, 0.6], "macro_f1": [0.3, 0.5]}}
        ends["baselines"]["linear_probe"] = {"top1": [0.5, 0.7], "macro_f1": [0.5, 0.7]}
        run.rows["baselines"] += [
            (split, name, figure, value, 0.125, -0.03, 0.25)
            for name, values in leaf["baselines"].items()
            for figure, value in values.items()
        ]
        spans = (0.02, 0.01, 0.03) if split == "oof" else (-0.01, -0.04, 0.02)
        run.rows["modality_gain"].append((split, "text", 0.25, 0.6, 0.6 + spans[0], *spans, 2000, 800, 96))
        run.rows["reliability"] += [(split, False, b, b / 15 + 0.05, b / 15 - 0.05, 10) for b in range(6, 15)]
        run.rows["reliability"] += [(split, True, b, b / 15 + 0.05, b / 15 + 0.03, 10) for b in range(6, 14)]
        kinds = {"both": 40, "image_only": 8} if split == "oof" else {}
        if kinds:
            leaf["classification_by_modality"] = {
                kind: {"top1": 0.75, "macro_f1": 0.7, "num_products": n} for kind, n in kinds.items()
            }
            ends["classification_by_modality"] = {kind: {"top1": [0.6, 0.9], "macro_f1": [0.6, 0.8]} for kind in kinds}
    doubted = [row for row in run.rows["probabilities"] if row[1] == "oof" and row[3] != row[4]]
    run.rows["issues"] = [
        (row[0], row[2], row[3], row[4], max(row[5]), row[5][run.classes.index(row[3])]) for row in doubted
    ]


def write_training(run: Run, fold: int) -> None:
    epochs = [
        {"epoch": e, "lr": 1e-3 / (e + 1), "total": 3 / (e + 1.5) + 0.1 * fold, "val_loss": 3 / (e + 1.2) + 0.2 * fold}
        | ({"MeanRecall": 0.5 - 0.3 / (e + 1), "R@1": 0.4 - 0.3 / (e + 1)} if run.texts else {})
        | ({"top1": 0.9 - 0.4 / (e + 1)} if run.labels else {})
        | {"seconds": 4.2, "images_per_second": 400.0}
        for e in range(6)
    ]
    folder = paths.train_of(fold)
    run.frame(folder / "history.csv", epochs, None)
    later = {name: step for step in run.steps for name in step["groups"]}
    groups = [
        {"name": f"stages.{i}", "parameters": 1000 * (i + 1), "trainable": i >= 2, "lr": 5e-4 * (i >= 2)}
        | {"opens": 0 if i >= 2 else None}
        for i in range(4)
    ]
    groups = [
        group | {key: later[group["name"]][of] for key, of in (("opens", "epoch"), ("lr", "lr"))}
        if group["name"] in later
        else group
        for group in groups
    ]
    image = {"tower": "image", "source": "data/weights/image", "weights_hash": "1f2e3d4c5b6a", "total": 10000}
    head = {"tower": "head", "source": "random", "weights_hash": None, "total": 70, "trainable": 70}
    plan = [image | {"trainable": 7000, "groups": groups}]
    plan.append(head | {"groups": [{"name": "head", "parameters": 70, "trainable": True, "lr": 1e-3, "opens": 0}]})
    run.put(
        folder / "plan.json",
        {"towers": plan, "steps": run.steps, "warnings": ["text: 12,000 frozen parameters are random"] * (fold == 1)},
    )
    card = {
        "description": {
            "image": {"architecture": "convnext_tiny", "size": 64},
            "retrieval": run.texts,
            "embedding_dim": 128,
        }
    }
    card["run"] = {"fold": fold, "best_epoch": 4, "best": epochs[4], "seed": 7, "losses": {"info_nce": 1.0}}
    card["run"] |= {"train": {"unfreeze_layers": 4, "epochs": 6, "head_lr": 1e-3}, "stored_features": {}}
    run.put(folder / "model.json", card)


def build_run(run: Run) -> Run:
    draw_products(run)
    write_catalogue(run)
    run.rows |= {"ranks": [], "rankings": [], "probabilities": [], "curve": [], "confusion": [], "per_class": []}
    for split, fold, members in galleries(run):
        if run.texts:
            rank_gallery(run, split, fold, members)
        if run.labels:
            classify(run, split, fold, members)
    if run.texts:
        count_retrieval(run)
    count_classes(run)
    doubt_classes(run)
    run.frame(paths.EVALUATION / "reliability.csv", run.rows["reliability"], RELIABILITY_SCHEMA)
    run.frame(paths.EVALUATION / "baselines.csv", run.rows["baselines"], BASELINES_SCHEMA)
    run.frame(paths.EVALUATION / "modality_gain.csv", run.rows["modality_gain"], MODALITY_GAIN_SCHEMA)
    run.frame(paths.EVALUATION / "label_issues.csv", run.rows["issues"], ISSUES_SCHEMA)
    run.put(paths.EVALUATION / "skipped.json", {"zero_shot": "the towers are no pair"})
    run.frame(paths.EVALUATION / "ranks.parquet", run.rows["ranks"], RANKS_SCHEMA)
    run.frame(paths.EVALUATION / "recall_curve.csv", run.rows["curve"], CURVE_SCHEMA)
    run.frame(paths.EVALUATION / "confusion.csv", run.rows["confusion"], CONFUSION_SCHEMA)
    run.frame(paths.EVALUATION / "per_class.csv", run.rows["per_class"], CLASS_SCHEMA)
    run.frame(paths.ENSEMBLE / "rankings.parquet", run.rows["rankings"], RANKINGS_SCHEMA)
    run.frame(paths.ENSEMBLE / "probabilities.parquet", run.rows["probabilities"], PREDICTIONS_SCHEMA)
    run.put(paths.ENSEMBLE / "fusion.json", run.fusion)
    run.put(paths.METRICS, run.metrics)
    run.put(paths.INTERVALS, run.intervals)
    for fold in run.folds:
        write_training(run, fold)
    return run
