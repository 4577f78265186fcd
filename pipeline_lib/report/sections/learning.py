"""Learning curves of every fold, and the epoch whose weights were saved."""

from pipeline_lib.report import tables
from pipeline_lib.report.figures import learning_curves
from pipeline_lib.report.view import ReportView, Section, inline


def learning(view: ReportView) -> Section | None:
    """Return the section; None without a column to draw and without a best epoch."""
    figures = learning_curves(view.inputs.folds)
    epochs = tables.epoch_table(view.inputs.folds)
    if not figures and not epochs.rows:
        return None
    context = {"learning": inline(figures), "epochs": epochs}
    return Section("learning", "Learning", "sections/learning.html.j2", context, figures=figures)
