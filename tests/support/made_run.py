"""The files of a run, small and consistent: drawn photos, Chinese and English texts, two folds and a test split.

Figures are counted here from the random scores of the rankings, so a test can compare them with the page.
"""

import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
from made_classes import class_scores, classify, count_classes, describe_classes
from made_space import write_space
from PIL import Image, ImageDraw

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.schemas import (
    BASELINES_SCHEMA,
    CLASS_SCHEMA,
    CLASS_SCORES_SCHEMA,
    CONFUSION_SCHEMA,
    CURVE_SCHEMA,
    ISSUES_SCHEMA,
    MODALITY_GAIN_SCHEMA,
    RANKINGS_SCHEMA,
    RANKS_SCHEMA,
    RELIABILITY_SCHEMA,
)
from pipeline_lib.params.report import ReportParams
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.report.inputs import read_inputs
from pipeline_lib.report.page import Report, build_report
from pipeline_lib.shards.write import list_photos, write_shards

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
    """Options of a generated run, and its tables and figures, which `build_run` fills."""

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
    titles: tuple[str, ...] = ()
    steps: tuple[dict, ...] = ()

    def __post_init__(self):
        self.random = np.random.default_rng(3)
        self.products: list = []
        self.metrics: dict = {}
        self.intervals: dict = {}
        self.rows: dict = {}

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

    def params(self, **changes: int) -> ReportParams:
        return ReportParams(**({"queries": 8, "misses": 6, "seed": 7, "attention": 0} | changes))

    def report(self, **params: int) -> Report:
        inputs = read_inputs(self.folds, self.root)
        return build_report(inputs, self.params(**params), "data/raw/店 shop", [64, 80])


@cache
def photo(kind: int, colour: str) -> bytes:
    """The JPEG of a product: its kind is a shape, in a colour."""
    picture = Image.new("RGB", (96, 80), "#f4f1ea")
    pen = ImageDraw.Draw(picture)
    box = (20, 14, 76, 66)
    (pen.ellipse, pen.rectangle, pen.rounded_rectangle)[kind % 3](box, fill=COLOURS[colour], outline="#333333")
    pen.line((20, 14 + kind * 6 % 50, 76, 66), fill="white", width=1 + kind % 5)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def draw_products(run: Run) -> None:
    """Some texts belong to two products, so they have several right answers."""
    for i in range(run.num_products):
        kind, colour = i % run.num_classes, list(COLOURS)[(i // run.num_classes) % len(COLOURS)]
        label = run.classes[kind]
        text = f"{colour}色{label} {ENGLISH[colour]} no. {i // 2 if i % 7 == 0 else i}"
        text = f"{run.titles[i % len(run.titles)]} {i}" if run.titles else text
        if i == 0 and run.hostile:
            text, label = run.hostile, run.classes[kind]
        file = f"{i:04d}.jpg"
        (run.root / file).write_bytes(photo(kind, colour))
        place = (
            ("test", None) if run.test and (i // run.num_classes) % 3 == 0 else ("train", run.folds[i % len(run.folds)])
        )
        run.products.append((f"p{i:04d}", file, text if run.texts else "", label if run.labels else None, *place))
    media = pl.DataFrame([(p[0], [p[1]]) for p in run.products], schema=["product_id", "media"], orient="row")
    shards = run.root / paths.SHARDS
    shards.mkdir(parents=True)
    params = ShardsParams(size=96, quality=90, photos_per_shard=40, colour_profile="convert")
    write_shards(list_photos(media), run.root, params, shards, 1)


def write_catalogue(run: Run) -> None:
    rows = [(i, [m], t, y, i, None, None) for i, m, t, y, *_ in run.products]
    schema = {"product_id": pl.String, "media": pl.List(pl.String), **HEADER["products"]}
    schema |= {"group_id": pl.String, "split": pl.String, "fold": pl.Int64}
    run.frame(paths.CATALOGUE / "products.parquet", rows, schema)
    queries = [(f"q-{i}", "text", t, None, [], None) for i, _, t, *_ in run.products if t]
    schema = {"query_id": pl.String, "kind": pl.String, "text": pl.String, **HEADER["queries"]}
    run.frame(paths.CATALOGUE / "queries.parquet", queries, schema)
    same: dict[str, list[str]] = {}
    for i, _, t, *_ in run.products:
        same.setdefault(t, []).append(i)
    pairs = [(f"q-{i}", j, 1) for i, _, t, *_ in run.products if t for j in same[t]]
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
    columns = {"id": "sku", "label": "kind", "text": "title + description"}
    sizes = {"products": len(run.products), "queries": len(queries), "rejected": 2, "columns": columns}
    stated = {"same_groups": 2, "same_products": 5, "same_largest": 3, "same_relevance_rows": 7}
    perhaps = {"perhaps_groups": 3, "perhaps_products": 1_200, "perhaps_largest": 9}
    groups = stated | perhaps | {"placeholder_photos": 1, "placeholder_products": 60}
    assigned = [(p[0], p[4], p[5]) for p in run.products]
    schema = {"product_id": pl.String, "split": pl.String, "fold": pl.Int64}
    run.frame(paths.FOLDS / "folds.parquet", assigned, schema)
    fold_groups = {"fold_groups": 0, "fold_products": 0, "fold_largest": 0, "text_across_bins": 4}
    counts = sizes | {
        "groups": groups,
        "composed": {},
        "classes": run.num_classes,
        "reasons": {},
        "ignored_columns": ["price"],
        "given_folds": [],
        "notes": [],
    }
    run.put(paths.CATALOGUE / "counts.json", counts)
    run.put(paths.FOLDS / "notes.json", ["class lamp has 3 products, fewer than the folds"])
    if run.test:
        fold_groups |= {"test_near_text": 0.123, "test_near_photo": 0.0, "test_near_either": 0.123}
    run.put(paths.FOLDS / "groups.json", fold_groups)
    run.metrics["data"] = sizes | {"groups": groups | fold_groups}


def galleries(run: Run) -> list[tuple[str, int | None, list]]:
    held_out = [("oof", fold, [p for p in run.products if p[5] == fold]) for fold in run.folds]
    return held_out + ([("test", None, [p for p in run.products if p[4] == "test"])] if run.test else [])


def rank_gallery(run: Run, split: str, fold: int | None, members: list) -> None:
    relevance, ids = run.rows["relevance"], [p[0] for p in members]
    right = np.array([[(f"q-{q}", p) in relevance for p in ids] for q in ids])
    scores = run.random.normal(size=right.shape) + run.signal * right
    for direction, table, prefix in (("text_to_image", scores, "q-"), ("image_to_text", scores.T, "")):
        mask = right if direction == "text_to_image" else right.T
        for row, query in enumerate(ids):
            best = table[row][mask[row]].max()
            place = float(1 + (table[row] > best).sum())
            run.rows["ranks"].append(
                (split, direction, prefix + query, fold, place, len(ids), query, int(mask[row].sum()), 1, 0)
            )
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
    towers = [image | {"trainable": 7000, "groups": groups}]
    towers.append(head | {"groups": [{"name": "head", "parameters": 70, "trainable": True, "lr": 1e-3, "opens": 0}]})
    run.put(
        folder / "trainable.json",
        {
            "towers": towers,
            "steps": list(run.steps),
            "warnings": ["text: 12,000 frozen parameters are random"] * (fold == 1),
        },
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
        write_space(run, galleries(run))
    count_classes(run)
    describe_classes(run)
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
    run.frame(paths.ENSEMBLE / "class_scores.parquet", class_scores(run), CLASS_SCORES_SCHEMA)
    run.put(paths.ENSEMBLE / "classes.json", run.classes if run.labels else [])
    run.put(paths.ENSEMBLE / "fusion.json", {})
    run.put(paths.METRICS, run.metrics)
    run.put(paths.INTERVALS, run.intervals)
    for fold in run.folds:
        write_training(run, fold)
    return run
