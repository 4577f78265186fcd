"""Builds the report: one HTML file that opens offline, with styles, figures and thumbnails inside and no script.

The same inputs give the same bytes: the page has no time and no absolute path, and the seed decides every choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup

from pipeline_lib.params.report import ReportParams
from pipeline_lib.report import classification as classifier
from pipeline_lib.report import tables
from pipeline_lib.report.cautions import cautions
from pipeline_lib.report.chance import retrieval_chance
from pipeline_lib.report.class_names import ClassNames
from pipeline_lib.report.composed import composed_view
from pipeline_lib.report.composed_figures import composed_tiles
from pipeline_lib.report.confusion import confusion_matrix
from pipeline_lib.report.figures import learning_curves, recall_curves
from pipeline_lib.report.filmstrips import FrameWeights, film_view
from pipeline_lib.report.gallery import Gallery, confident_mistakes, spread_sample, worst
from pipeline_lib.report.gate_maps import GATE_RAMP
from pipeline_lib.report.groups import group_facts
from pipeline_lib.report.headline import CLASSIFICATION, SPLITS, count, percent, probability, rank, total_lines
from pipeline_lib.report.hubness import COLUMNS, corrected_rows
from pipeline_lib.report.inputs import ReportInputs
from pipeline_lib.report.overview import absent, headlines, tiles
from pipeline_lib.report.photos import Thumbnails
from pipeline_lib.report.svg import standalone

TEMPLATE = "page.html.j2"
STYLES = ("page.css", "chart.css", "composed.css", "filmstrips.css")
Context = dict[str, Any]


@dataclass(frozen=True)
class Report:
    """The page, and its figures as SVG text by name."""

    page: str
    figures: dict[str, str]


def build_report(inputs: ReportInputs, params: ReportParams, data_root: str, scales: Sequence[int]) -> Report:
    """Return the report; a part that does not apply to the run is left out or replaced by a line."""
    chances = retrieval_chance(inputs.evaluation.ranks)
    top = headlines(inputs, chances)
    photos = Thumbnails(inputs.shards, inputs.catalogue.products)
    learning = learning_curves(inputs.folds)
    recall = recall_curves(inputs.evaluation.recall_curve, chances)
    names = class_names(inputs)
    classes = _classes(inputs, names)
    matrices = {f"confusion_{view['split']}": view["matrix"] for view in classes}
    composed = composed_view(inputs, params, photos)
    reliability = classifier.reliability_figures(inputs.evaluation.reliability)
    context = {
        "styles": [Markup(_resource(name)) for name in STYLES],
        "facts": tables.facts(inputs, data_root, scales),
        "tiles": tiles(top) + (composed_tiles(composed.tables) if composed else []),
        "headlines": top,
        "splits": {row.split for table in top for row, _, _ in table.rows},
        "corrected": corrected_rows(inputs.metrics, inputs.intervals),
        "corrected_columns": COLUMNS,
        "cautions": cautions(inputs.metrics, inputs.intervals),
        "totals": total_lines(inputs.metrics, inputs.intervals),
        "absent": absent(top),
        "learning": _inline(learning),
        "epochs": tables.epoch_table(inputs.folds),
        "recall": _inline(recall),
        "classes": classes,
        "mistakes": _mistakes(inputs, params, photos),
        "reliability": _inline(reliability),
        "max_rejects": tables.MAX_REJECTS,
        "reject_summary": tables.reject_summary(inputs.catalogue.rejects),
        "reject_rows": tables.reject_rows(inputs.catalogue.rejects),
        "num_rejects": len(inputs.catalogue.rejects),
        "groups": group_facts(inputs.metrics["data"]["groups"]),
        "notes": inputs.catalogue.notes,
        "trainable": tables.trainable_views(inputs.folds),
        **_classifier(inputs, params, photos),
        **_queries(inputs, params, photos, scales),
        "composed": composed,
        "gate_ramp": GATE_RAMP,
    }
    figures = learning | recall | matrices | reliability
    return Report(_render(context, names), {name: standalone(figure) for name, figure in figures.items()})


def class_names(inputs: ReportInputs) -> ClassNames:
    """Return the short names of all classes of the catalogue and of the figures."""
    return ClassNames([*inputs.catalogue.products["label"].drop_nulls(), *inputs.evaluation.per_class["label"]])


def _classes(inputs: ReportInputs, names: ClassNames) -> list[Context]:
    """Return, for each split with labels, its confusion matrix, its confused pairs and its table of classes."""
    views = []
    for split, name in SPLITS.items():
        per_class = inputs.evaluation.per_class.filter(pl.col("split") == split)
        if per_class.is_empty():
            continue
        confusion = inputs.evaluation.confusion.filter(pl.col("split") == split).drop("split")
        labels = per_class["label"].to_list()
        label, share = tables.majority_share(per_class)
        views.append(
            {
                "split": split,
                "name": name,
                "matrix": confusion_matrix(confusion, names, labels, f"Confusion, {name.lower()}"),
                "pairs": tables.confused_pairs(confusion),
                "rows": per_class.sort("f1", "label").to_dicts(),
                "majority": (label, share),
                "num_products": int(per_class["support"].sum()),
            }
        )
    return [{**view, "inline": Markup(view["matrix"])} for view in views]


def _classifier(inputs: ReportInputs, params: ReportParams, photos: Thumbnails) -> Context:
    """Return the baselines, the figures by modality and the labels that may be wrong."""
    num_doubts, num_labels = classifier.share_of_labels(inputs)
    return {
        "class_columns": CLASSIFICATION,
        "classifiers": classifier.classifier_rows(inputs),
        "modality_gains": classifier.modality_gains(inputs),
        "skipped": classifier.skipped(inputs),
        "fused_with": classifier.fused_with(inputs),
        "slices": classifier.slices(inputs),
        "doubts": classifier.doubts(inputs, params.misses, photos),
        "num_doubts": num_doubts,
        "num_labels": num_labels,
    }


def _queries(inputs: ReportInputs, params: ReportParams, photos: Thumbnails, scales: Sequence[int]) -> Context:
    """Return the gallery, its filmstrips and the worst misses, of the test split if there is one."""
    ranked = inputs.evaluation.ranks.filter(pl.col("direction") == "text_to_image")["split"].unique().to_list()
    split = next((split for split in SPLITS if split in ranked), None)
    if split is None:
        none: Context = {"gallery": [], "films": None, "misses": []}
        return none | {"num_ranked": 0, "num_missed": 0, "gallery_split": "", "seed": params.seed}
    gallery = Gallery(inputs, split, photos)
    weights = FrameWeights(inputs.root, [fold.fold for fold in inputs.folds], scales)
    return {
        "gallery": gallery.cards(spread_sample(gallery.ranks, params.queries, params.seed)),
        "films": film_view(gallery, params, photos, weights),
        "misses": gallery.cards(worst(gallery.ranks, params.misses)),
        "num_ranked": len(gallery.ranks),
        "num_missed": len(gallery.ranks.filter(pl.col("rank") > 1)),
        "gallery_split": SPLITS[split],
        "seed": params.seed,
    }


def _mistakes(inputs: ReportInputs, params: ReportParams, photos: Thumbnails) -> Context:
    scored = inputs.evaluation.per_class["split"].unique().to_list()
    split = next((split for split in SPLITS if split in scored), None)
    if split is None:
        return {"split": "", "cards": []}
    return {"split": SPLITS[split], "cards": confident_mistakes(inputs, split, params.misses, photos)}


def _inline(figures: Mapping[str, str]) -> list[Markup]:
    return [Markup(figure) for figure in figures.values()]


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def language(text: str) -> str:
    """Return the language tag of a text, for glyphs and speech: Chinese if it has Han characters.

    >>> language("红色杯子 red mug"), language("red mug")
    ('zh', 'en')
    """
    return "zh" if any("\u4e00" <= sign <= "\u9fff" for sign in text) else "en"


def _render(context: Context, names: ClassNames) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "rank": rank, "count": count, "language": language}
    environment.filters |= {"probability": probability, "class_name": names.html}
    return environment.get_template(TEMPLATE).render(context)
