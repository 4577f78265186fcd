"""The table of corrections of hubness: each beside the plain figures, with the difference and what it reads."""

from dataclasses import dataclass

from pipeline_lib.report.headline import (
    DIRECTIONS,
    RETRIEVAL,
    SPLITS,
    Columns,
    Figure,
    Tree,
    branch,
    count,
    figures_of,
)

NAMES = {"inverted_softmax": "inverted softmax", "dual_softmax": "dual softmax", "qb_norm": "QB-Norm"}
COLUMNS: Columns = {name: RETRIEVAL[name] for name in ("R@1", "R@5", "R@10", "median_rank", "mean_rank")}


@dataclass(frozen=True)
class CorrectedRow:
    """The figures of one split and direction, by key; `kind` is empty for the plain ones.

    `gain` is the difference of R@1 with its interval in points, `source` what corrects, both empty for the plain ones.
    `of_test` tells that all test queries are read.
    """

    title: str
    kind: str
    figures: dict[str, Figure]
    gain: str = ""
    source: str = ""
    of_test: bool = False


def corrected_rows(metrics: Tree, intervals: Tree) -> list[CorrectedRow]:
    """Return, for each split and direction with a correction, the plain row and one for each correction, test first."""
    rows = []
    for split, name in SPLITS.items():
        kinds = branch(metrics, split, "retrieval_hubness")
        for direction, words in DIRECTIONS.items():
            own = [kind for kind in NAMES if direction in kinds.get(kind, {})]
            path = ("retrieval", direction)
            if own:
                plain = figures_of(branch(metrics, split, *path), branch(intervals, split, *path), COLUMNS)
                rows.append(CorrectedRow(f"{name}, {words}", "", {one.key: one for one in plain}))
            for kind in own:
                limits = branch(intervals, split, "retrieval_hubness", kind, direction)
                rows.append(_row(kind, direction, kinds[kind][direction], limits))
    return rows


def _row(kind: str, direction: str, values: Tree, limits: Tree) -> CorrectedRow:
    figures = {one.key: one for one in figures_of(values, limits, COLUMNS)}
    gain = f"{100 * values['difference']['R@1']:+.1f}"
    if span := branch(limits, "difference").get("R@1"):
        gain += f" ({100 * span[0]:+.1f} to {100 * span[1]:+.1f})"
    of_test = values["num_test_queries"] > 0
    number = values["num_test_queries"] if of_test else values["num_training_queries"]
    asked = "queries" if direction == "text_to_image" else "products"
    source = f"all {count(number)} measured {asked}" if of_test else f"{count(number)} training texts"
    if values["num_corrected"] < values["num_queries"]:
        source += f"; corrects {count(values['num_corrected'])} of {count(values['num_queries'])} queries"
    return CorrectedRow(NAMES[kind], kind, figures, gain, source, of_test)
