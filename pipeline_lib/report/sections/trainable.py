"""What was trained: towers, layer groups with their learning rates, and the settings of the run."""

from pipeline_lib.report import tables
from pipeline_lib.report.view import ReportView, Section


def trainable(view: ReportView) -> Section:
    """Return the section; a run without a trained fold has a line."""
    inputs = view.inputs
    context = {
        "trainable": tables.trainable_views(inputs.folds),
        "facts": tables.facts(inputs, view.data_root, view.scales),
    }
    title = "Trainable layers and settings"
    return Section("trainable", title, "sections/trainable.html.j2", context, "Trainable layers")
