"""Classes: confusion, figures of each class, mistakes, gain over the baselines, calibration, doubtful labels."""

import polars as pl
from markupsafe import Markup

from pipeline_lib.report import classification as classifier
from pipeline_lib.report import tables
from pipeline_lib.report.class_order import sort_keys, sortable_rows
from pipeline_lib.report.confusion import confusion_matrix
from pipeline_lib.report.gallery import confident_mistakes
from pipeline_lib.report.headline import CLASSIFICATION, SPLITS, branch
from pipeline_lib.report.view import Context, ReportView, Section, inline


def classes(view: ReportView) -> Section | None:
    """Return the section; None without labels."""
    views = _splits(view)
    if not views:
        return None
    inputs, params = view.inputs, view.params
    reliability = classifier.reliability_figures(inputs.evaluation.reliability)
    num_doubts, num_labels = classifier.share_of_labels(inputs)
    context = {
        "classes": views,
        "sort_keys": sort_keys(),
        "mistakes": {
            "split": views[0]["name"],
            "cards": confident_mistakes(inputs, views[0]["split"], params.misses, view.photos),
        },
        "class_columns": CLASSIFICATION,
        "classifiers": classifier.classifier_rows(inputs),
        "modality_gains": classifier.modality_gains(inputs),
        "skipped": classifier.skipped(inputs),
        "slices": classifier.slices(inputs),
        "reliability": inline(reliability),
        "doubts": classifier.doubts(inputs, params.misses, view.photos),
        "num_doubts": num_doubts,
        "num_labels": num_labels,
    }
    figures = {f"confusion_{one['split']}": one["matrix"] for one in views} | reliability
    return Section("classes", "Classes", "sections/classes.html.j2", context, figures=figures)


def _splits(view: ReportView) -> list[Context]:
    """Return, for each split with labels, its confusion matrix, its confused pairs and its table of classes."""
    views = []
    for split, name in SPLITS.items():
        per_class = view.inputs.evaluation.per_class.filter(pl.col("split") == split)
        if per_class.is_empty():
            continue
        confusion = view.inputs.evaluation.confusion.filter(pl.col("split") == split).drop("split")
        labels = per_class["label"].to_list()
        measured = int(per_class["support"].sum())
        unlearned = branch(view.inputs.metrics, split, "classification").get("num_unlearned", 0)
        matrix = confusion_matrix(confusion, view.names, labels, f"Confusion, {name.lower()}")
        views.append(
            {
                "split": split,
                "name": name,
                "matrix": matrix,
                "inline": Markup(matrix),
                "pairs": tables.confused_pairs(confusion),
                "rows": sortable_rows(per_class),
                "majority": tables.majority_share(per_class),
                "num_products": measured,
                "num_labelled": measured + unlearned,
            }
        )
    return views
