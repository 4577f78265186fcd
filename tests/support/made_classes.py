"""The class predictions of a made run, and the tables that follow from them; see made_run."""

import numpy as np


def classify(run, split: str, fold: int | None, members: list) -> None:
    """Draw class probabilities of the products of one gallery."""
    for product_id, _, _, label, *_ in members:
        truth = run.classes.index(label)
        logits = run.random.normal(size=run.num_classes)
        logits[truth] += run.signal
        shares = np.exp(logits) / np.exp(logits).sum()
        predicted = run.classes[int(shares.argmax())]
        run.rows["probabilities"].append((product_id, split, fold, label, predicted, shares.tolist(), product_id))


def count_classes(run) -> None:
    """Count confusion, per-class and published figures from the drawn probabilities."""
    run.rows["confusion"], run.rows["per_class"] = [], []
    for split in ("oof", "test"):
        predictions = [row for row in run.rows["probabilities"] if row[1] == split]
        scores = []
        for truth in run.classes:
            pairs = {label: sum(row[3] == truth and row[4] == label for row in predictions) for label in run.classes}
            run.rows["confusion"] += [(split, truth, label, n) for label, n in pairs.items() if n]
            right, support = pairs[truth], sum(pairs.values())
            called = sum(row[4] == truth for row in predictions)
            precision = right / max(called, 1)
            recall = right / max(support, 1)
            scores.append(2 * precision * recall / max(precision + recall, 1e-9))
            if support or called:
                run.rows["per_class"].append((split, truth, precision, recall, scores[-1], support))
        if predictions:
            leaf = {
                "top1": sum(row[3] == row[4] for row in predictions) / len(predictions),
                "top3": 0.95,
                "macro_f1": float(np.mean(scores)),
                "balanced_accuracy": 0.8,
                "ece": 0.0625,
            }
            run.metrics.setdefault(split, {})["classification"] = leaf
            ends = {key: [value * 0.95, min(1.0, value * 1.05)] for key, value in leaf.items()}
            run.intervals.setdefault(split, {})["classification"] = ends


def class_scores(run) -> list:
    """Return the CLASS_SCORES_SCHEMA rows of the drawn probabilities."""
    rows = []
    for product_id, split, fold, label, predicted, shares, group_id in run.rows["probabilities"]:
        own = shares[run.classes.index(label)]
        rank = 1 + sum(share > own for share in shares)
        rows.append((product_id, split, fold, label, predicted, max(shares), own, rank, group_id))
    return rows


def describe_classes(run) -> None:
    """Baselines, figures by modality, calibration bins and label issues: invented, consistent numbers."""
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
    wrong = [row for row in run.rows["probabilities"] if row[1] == "oof" and row[3] != row[4]]
    run.rows["issues"] = [
        (row[0], row[2], row[3], row[4], max(row[5]), row[5][run.classes.index(row[3])]) for row in wrong
    ]
