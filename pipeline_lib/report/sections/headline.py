"""The headline: tiles, tables of all figures with their chance level, and what to know before quoting one."""

from pipeline_lib.report.cautions import cautions
from pipeline_lib.report.classification import fused_with
from pipeline_lib.report.composed_figures import composed_tiles
from pipeline_lib.report.headline import total_lines
from pipeline_lib.report.hubness import COLUMNS, corrected_rows
from pipeline_lib.report.overview import absent, headlines, tiles
from pipeline_lib.report.view import ReportView, Section


def headline(view: ReportView) -> Section:
    """Return the section; a run without figures has a line in place of them."""
    inputs = view.inputs
    top = headlines(inputs, view.chances)
    context = {
        "tiles": tiles(top) + (composed_tiles(view.composed.tables) if view.composed else []),
        "headlines": top,
        "splits": {row.split for table in top for row, _, _ in table.rows},
        "has_composed": view.composed is not None,
        "corrected": corrected_rows(inputs.metrics, inputs.intervals),
        "corrected_columns": COLUMNS,
        "cautions": cautions(inputs.metrics, inputs.intervals),
        "totals": total_lines(inputs.metrics, inputs.intervals),
        "absent": absent(top),
        "fused_with": fused_with(inputs),
    }
    return Section("headline", "Headline", "sections/headline.html.j2", context)
