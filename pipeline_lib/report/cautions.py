"""What a reader must know before quoting a figure: galleries below K, figures near chance, too few distinct queries.

The lines follow from metrics.json and intervals.json alone, so the report and `vitrine headline` print the same ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pipeline_lib.evaluation.composed import UNTRAINED
from pipeline_lib.evaluation.composed_protocols import PREFIX
from pipeline_lib.report.composed_figures import composed_rows
from pipeline_lib.report.headline import (
    CLASSIFICATION,
    RETRIEVAL,
    SPLITS,
    Columns,
    Figure,
    HeadlineRow,
    Tree,
    branch,
    classification_rows,
    count,
    percent,
    retrieval_rows,
)

# A figure is near chance if chance is in its interval, or is at least this share of it.
NEAR = 0.9
# Distinct queries are few if there are less than MIN_QUERIES and half as many as products, or a tenth as many.
MIN_QUERIES = 10
FEW, VERY_FEW = 2, 10
# Of more figures than this, all of which are near chance, one is named.
MANY = 4
PRODUCTS, QUERIES = ("product", "products"), ("distinct query", "distinct queries")
ITEMS = {"text_to_image": PRODUCTS, "image_to_text": QUERIES}


def cautions(metrics: Tree, intervals: Tree) -> list[str]:
    """Return a line for each figure, and for each split, that says little or nothing about the model; test first.

    Lines on products that a model was trained on come before all others.
    """
    lines = [_seen(name, metrics["seen"][split]) for split, name in SPLITS.items() if split in metrics.get("seen", {})]
    for split, name in SPLITS.items():
        if few := _few_queries(branch(metrics, split, "retrieval"), name):
            lines.append(few)
        if unlearned := branch(metrics, split, "classification").get("num_unlearned"):
            lines.append(
                f"{name}: labelled products in no class figure, because no model that predicts them was trained on "
                f"their class: {count(unlearned)}."
            )
        for row in retrieval_rows(metrics, intervals):
            if row.split == split:
                size = int(branch(metrics, split, "retrieval", row.task)["num_gallery"])
                lines += _lines(row, RETRIEVAL, _counted(size, ITEMS[row.task]))
        for row in classification_rows(metrics, intervals):
            if row.split == split:
                lines += _lines(row, CLASSIFICATION, "so few classes")
        for columns, row in composed_rows(metrics, intervals):
            # The untrained towers are what a model is compared with: text alone may well be near chance.
            if row.split == split and row.task.removeprefix(PREFIX) not in UNTRAINED:
                lines += _lines(replace(row, title=f"{row.title}, composed"), columns, "so few candidates")
    return lines


def _seen(name: str, counts: Mapping[str, int]) -> str:
    return (
        f"{name}: a model was trained on {count(counts['trained_on'])} of the {count(counts['products'])} products "
        "that it is measured on (train.allow_seen): the figures are too high for new products."
    )


def _few_queries(retrieval: Tree, name: str) -> str:
    """Return the line for a split whose galleries have far fewer distinct queries than products, else an empty one."""
    if not {"text_to_image", "image_to_text"} <= retrieval.keys():
        return ""
    products, queries = (int(retrieval[task]["num_gallery"]) for task in ("text_to_image", "image_to_text"))
    few = products >= FEW * queries and queries < MIN_QUERIES
    if not few and products < VERY_FEW * queries:
        return ""
    return (
        f"{name}: {_counted(queries, QUERIES)} for {_counted(products, PRODUCTS)} of a gallery: many "
        "products share a text, so retrieval can hardly tell them apart. Give products texts of their own, "
        "or judge by classification."
    )


def _lines(row: HeadlineRow, columns: Columns, reason: str) -> Iterator[str]:
    """Yield the lines for one row: its void figures, because of `reason`, and those near chance."""
    yield from _no_figures(row, columns, reason)
    yield from _near_chance(row, columns)


def _no_figures(row: HeadlineRow, columns: Columns, reason: str) -> Iterator[str]:
    void = [figure for figure in row.figures if figure.void and figure.chance is not None]
    if void:
        least = min(figure.chance or 0.0 for figure in void)
        are = "is no figure" if len(void) == 1 else "are no figures"
        yield f"{row.title}: {_names(void, columns)} of {reason} {are}: a random order reaches {percent(least)}."


def _near_chance(row: HeadlineRow, columns: Columns) -> Iterator[str]:
    near = [figure for figure in row.figures if not figure.void and _is_near_chance(figure)]
    # Protocols of composed retrieval have up to 12 figures: if all are near chance, the first stands for them.
    everything = len(near) == len(row.figures) > MANY
    values = ", ".join(
        f"{_names([figure], columns)} {figure.text} (chance {percent(figure.chance or 0.0)})"
        for figure in (near[:1] if everything else near)
    )
    if near:
        yield f"{row.title}: near chance: {f'all {len(near)} figures, such as ' if everything else ''}{values}."


def _is_near_chance(figure: Figure) -> bool:
    if figure.chance is None:
        return False
    low = figure.value if figure.interval is None else figure.interval[0]
    return figure.chance >= min(low, NEAR * figure.value)


def _names(figures: Sequence[Figure], columns: Columns) -> str:
    return ", ".join(columns[figure.key][0] for figure in figures)


def _counted(size: int, words: tuple[str, str]) -> str:
    return f"{count(size)} {words[size != 1]}"
