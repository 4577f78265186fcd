"""Where the image tower looks in the photos of some queries."""

from pipeline_lib.report.attention_maps import attention_view
from pipeline_lib.report.gate_maps import GATE_RAMP
from pipeline_lib.report.view import ReportView, Section


def attention(view: ReportView) -> Section | None:
    """Return the section; None if no map is asked for, or if the model gives none."""
    shown = attention_view(view)
    if shown is None:
        return None
    context = {"attention": shown, "ramp": GATE_RAMP, "seed": view.params.seed}
    title = "Where the model looks"
    return Section("attention", title, "sections/attention.html.j2", context, "Attention")
