"""What the sections of the report read, and what each of them gives to the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from markupsafe import Markup

from pipeline_lib.params.report import ReportParams
from pipeline_lib.report.chance import Chance, retrieval_chance
from pipeline_lib.report.class_names import ClassNames
from pipeline_lib.report.composed import ComposedView, composed_view
from pipeline_lib.report.gallery import Gallery
from pipeline_lib.report.headline import SPLITS
from pipeline_lib.report.inputs import ReportInputs
from pipeline_lib.report.photos import Thumbnails

Context = dict[str, Any]


@dataclass(frozen=True)
class ReportView:
    """One run, and what several sections make of it, computed at the first use."""

    inputs: ReportInputs
    params: ReportParams
    data_root: str
    scales: Sequence[int]
    interpolation: float = 1.0

    @cached_property
    def photos(self) -> Thumbnails:
        """The thumbnails of products, each encoded once."""
        return Thumbnails(self.inputs.shards, self.inputs.catalogue.products)

    @cached_property
    def names(self) -> ClassNames:
        """The short names of all classes of the catalogue and of the figures."""
        labels = self.inputs.catalogue.products["label"].drop_nulls()
        return ClassNames([*labels, *self.inputs.evaluation.per_class["label"]])

    @cached_property
    def chances(self) -> dict[tuple[str, str], Chance]:
        """The chance level of each split and direction."""
        return retrieval_chance(self.inputs.evaluation.ranks)

    @cached_property
    def gallery(self) -> Gallery | None:
        """The text queries of the first split that has any, test before out of fold; None without queries."""
        ranked = self.inputs.evaluation.ranks
        splits = set(ranked.filter(ranked["direction"] == "text_to_image")["split"])
        split = next((split for split in SPLITS if split in splits), None)
        return None if split is None else Gallery(self.inputs, split, self.photos)

    @cached_property
    def composed(self) -> ComposedView | None:
        """What is shown of composed retrieval; None without a composed model."""
        return composed_view(self.inputs, self.params, self.photos)

    @property
    def folds(self) -> list[int]:
        """The numbers of the trained folds."""
        return [fold.fold for fold in self.inputs.folds]


@dataclass(frozen=True)
class Section:
    """One section: its id, title and link text (empty = the title), a template and its values.

    `figures` are SVG elements by name, which are also written as files; `styles` are the CSS rules of the section.
    """

    id: str
    title: str
    template: str
    context: Context
    link: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)
    styles: str = ""


def inline(figures: Mapping[str, str]) -> list[Markup]:
    """Return figures as elements of the page."""
    return [Markup(figure) for figure in figures.values()]
