"""Recall@K of both directions, with the chance level."""

from pipeline_lib.report.figures import recall_curves
from pipeline_lib.report.view import ReportView, Section, inline


def recall(view: ReportView) -> Section | None:
    """Return the section; None without retrieval."""
    figures = recall_curves(view.inputs.evaluation.recall_curve, view.chances)
    if not figures:
        return None
    return Section("recall", "Recall@K", "sections/recall.html.j2", {"recall": inline(figures)}, figures=figures)
