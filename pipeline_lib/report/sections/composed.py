"""Composed retrieval: figures, example queries with the results of each kind, and gate maps."""

from pipeline_lib.report.gate_maps import GATE_RAMP
from pipeline_lib.report.view import ReportView, Section


def composed(view: ReportView) -> Section | None:
    """Return the section; None without a composed model."""
    if view.composed is None:
        return None
    context = {"composed": view.composed, "gate_ramp": GATE_RAMP, "seed": view.params.seed}
    return Section("composed", "Composed retrieval", "sections/composed.html.j2", context, "Composed")
