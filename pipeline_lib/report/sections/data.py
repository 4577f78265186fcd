"""The data page: counts, texts and photos, the balance of the folds, duplicates, and rejected rows."""

from pipeline_lib.report import tables
from pipeline_lib.report.data_figures import BALANCE, SPREAD, balance_rows, count_facts, size_rows, text_figures
from pipeline_lib.report.groups import group_facts
from pipeline_lib.report.view import ReportView, Section, inline


def data(view: ReportView) -> Section:
    """Return the section."""
    catalogue = view.inputs.catalogue
    figures = text_figures(catalogue)
    context = {
        "counts": count_facts(catalogue),
        "figures": inline(figures),
        "size_headings": ["", *SPREAD],
        "sizes": size_rows(catalogue, view.inputs.shards),
        "balance_headings": BALANCE,
        "balance": balance_rows(catalogue),
        "notes": catalogue.notes,
        "groups": group_facts(view.inputs.metrics["data"]["groups"]),
        "max_rejects": tables.MAX_REJECTS,
        "reject_summary": tables.reject_summary(catalogue.rejects),
        "reject_rows": tables.reject_rows(catalogue.rejects),
        "num_rejects": len(catalogue.rejects),
    }
    return Section("data", "Data", "sections/data.html.j2", context, figures=figures)
