"""Builds the report: one HTML file that opens offline, with styles, figures and thumbnails inside and no script.

The same inputs give the same bytes: the page has no time and no absolute path, and the seed decides every choice. A new
section is a function in `sections`, its template beside it, and a line in SECTIONS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from types import CodeType

import jinja2
from jinja2.bccache import Bucket
from markupsafe import Markup

from pipeline_lib.params.report import ReportParams
from pipeline_lib.report import tables
from pipeline_lib.report.headline import count, percent, probability, rank
from pipeline_lib.report.inputs import ReportInputs
from pipeline_lib.report.languages import is_long, script_attributes, shortened
from pipeline_lib.report.sections.attention import attention
from pipeline_lib.report.sections.classes import classes
from pipeline_lib.report.sections.composed import composed
from pipeline_lib.report.sections.data import data
from pipeline_lib.report.sections.embeddings import embeddings
from pipeline_lib.report.sections.headline import headline
from pipeline_lib.report.sections.learning import learning
from pipeline_lib.report.sections.queries import clips, gallery, misses
from pipeline_lib.report.sections.recall import recall
from pipeline_lib.report.sections.trainable import trainable
from pipeline_lib.report.svg import standalone
from pipeline_lib.report.view import ReportView, Section

TEMPLATE = "page.html.j2"


class CompiledTemplates(jinja2.BytecodeCache):
    """The templates that this process has compiled: that takes longer than to fill them for a small run."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give the bucket its code, if its template was compiled."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of a bucket."""
        self._codes[bucket.key, bucket.checksum] = bucket.code


COMPILED = CompiledTemplates()
STYLES = ("page.css", "chart.css", "composed.css", "filmstrips.css", "classes.css", "attention.css")
# The sections in the order of the page; a function returns None if its section does not apply to the run.
SECTIONS: tuple[Callable[[ReportView], Section | None], ...] = (
    headline, learning, recall, gallery, attention, clips, misses, embeddings, composed, classes, data, trainable,
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """The page, and its figures as SVG text by name."""

    page: str
    figures: dict[str, str]


def build_report(
    inputs: ReportInputs, params: ReportParams, data_root: str, scales: Sequence[int], interpolation: float = 1.0
) -> Report:
    """Return the report; a part that does not apply to the run is left out or replaced by a line.

    `interpolation` is the share of the trained weights that the models predict with (`embed.interpolation`).
    """
    view = ReportView(inputs, params, data_root, scales, interpolation)
    sections = [section for build in SECTIONS if (section := build(view)) is not None]
    figures = {name: standalone(figure) for section in sections for name, figure in section.figures.items()}
    return Report(_render(view, sections), figures)


def _render(view: ReportView, sections: Sequence[Section]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        bytecode_cache=COMPILED,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "rank": rank, "count": count, "script": script_attributes}
    environment.filters |= {"probability": probability, "class_name": view.names.html}
    environment.filters |= {"is_shortened": view.names.is_shortened, "is_long": is_long, "shortened": shortened}
    bodies = [Markup(environment.get_template(section.template).render(section.context)) for section in sections]
    shown = [
        {"id": section.id, "title": section.title, "link": section.link, "body": body}
        for section, body in zip(sections, bodies, strict=True)
    ]
    return environment.get_template(TEMPLATE).render(
        styles=[*(Markup(_resource(name)) for name in STYLES), *(Markup(section.styles) for section in sections)],
        facts=tables.facts(view.inputs, view.data_root, view.scales),
        sections=shown,
    )


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
