"""The page of `vitrine compare`: its tables, intervals as bars, and the queries that changed most with their pictures.

One HTML file without a script that opens offline. Every text from a catalogue is escaped.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import writing
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.experiments.compare.changes import Changed
from pipeline_lib.experiments.compare.comparison import Comparison
from pipeline_lib.experiments.compare.decisions import NO_DIFFERENCE
from pipeline_lib.experiments.compare.explain import part_title, sentences
from pipeline_lib.experiments.compare.parts import LOWER_IS_BETTER
from pipeline_lib.experiments.compare.tables import outcome, tables
from pipeline_lib.report.photos import Thumbnails

TEMPLATE = "comparison.html.j2"
STYLES = ("page.css", "comparison.css")
SHOWN = 5
NO_PICTURES = (
    "The pictures are left out: data/work/shards is not that of these runs; `dvc checkout` after `git checkout` of one "
    "of them brings it back."
)


@dataclass(frozen=True)
class Picture:
    """A product with the data URI of its photo, or none, and whether it is a right answer."""

    product_id: str
    text: str
    photo: str
    right: bool


@dataclass(frozen=True)
class Bar:
    """Where an interval lies on a row's axis, in percent of its width; `tone` is better, worse or none."""

    low: float
    high: float
    at: float
    zero: float
    tone: str


def write_page(comparison: Comparison, path: Path, project: Path = Path()) -> list[str]:
    """Write the page of a comparison; return lines about what it lacks, and its path."""
    photos = Photos(comparison, project)
    page = render(comparison, photos)
    with writing(path):
        path.write_text(page, encoding="utf-8")
    return [*([NO_PICTURES] if photos.missing else []), f"page: {path.resolve()}"]


class Photos:
    """Thumbnails of products from the workspace's shards, if those hold the photos that the runs were measured on."""

    def __init__(self, comparison: Comparison, project: Path) -> None:
        self.missing = False
        self._products = comparison.settings[0].runs[0].tables["products"]
        self._texts = dict(self._products.select("product_id", "text").iter_rows())
        self._content = dict(comparison.settings[0].runs[0].tables["media"].iter_rows())
        media, shards = project / paths.CATALOGUE / "media.parquet", project / paths.SHARDS
        stored = read_table(media, ["product_id", "content"]) if media.is_file() else None
        self._stored = {} if stored is None or not shards.is_dir() else dict(stored.iter_rows())
        self._thumbnails = Thumbnails(shards, self._products) if self._stored else None

    def of(self, products: Iterable[str], right: Iterable[str]) -> list[Picture]:
        """Return the pictures of products, in their order."""
        answers = set(right)
        return [Picture(key, self._texts.get(key) or "", self._photo(key), key in answers) for key in products]

    def _photo(self, product_id: str) -> str:
        if self._thumbnails is None or self._stored.get(product_id) != self._content.get(product_id):
            self.missing = True
            return ""
        return self._thumbnails.of(product_id)


def render(comparison: Comparison, photos: Photos) -> str:
    """Return the HTML of a comparison."""
    loader = jinja2.PackageLoader("pipeline_lib.report", "")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    folder = resources.files("pipeline_lib.report")
    figures = [one for one in tables(comparison) if one.headings[0] == "metric"]
    return environment.get_template(TEMPLATE).render(
        styles=[Markup((folder / name).read_text(encoding="utf-8")) for name in STYLES],
        runs=comparison.letters,
        sentences=sentences(comparison),
        title=" and ".join(one.name for one in comparison.settings),
        figures=list(zip(figures, _figure_bars(comparison), strict=True)),
        others=[one for one in tables(comparison) if one.headings[0] == "part"],
        slices=[(one, _slice_bars(comparison)) for one in tables(comparison) if one.headings[0] == "slice"],
        changed=[_card(one, comparison.figure[2], photos) for one in comparison.changed],
        part=part_title(*comparison.figure[:2]),
    )


def _figure_bars(comparison: Comparison) -> list[list[Bar | None]]:
    """Return the bars of each table of figures; shares of a table have one axis, ranks have none."""
    found = []
    for run in list(comparison.letters)[1:]:
        for split, task in comparison.rows.select("split", "task").unique(maintain_order=True).iter_rows():
            found.append(bars(list(comparison.rows.filter(split=split, task=task, run=run).iter_rows(named=True))))
    return found


def _slice_bars(comparison: Comparison) -> list[Bar | None]:
    return bars(list(comparison.slices.iter_rows(named=True)))


def bars(rows: list[dict[str, Any]]) -> list[Bar | None]:
    """Return a bar for each row, on an axis that holds all intervals; None of ranks and of infinite intervals."""
    shares = [row for row in rows if _drawn(row)]
    ends = [0.0, *(row[end] for row in shares for end in ("low", "high"))]
    low, width = min(ends), (max(ends) - min(ends)) or 1.0

    def place(value: float) -> float:
        return float(round(100 * (value - low) / width, 2))

    return [
        Bar(place(row["low"]), 100 - place(row["high"]), place(row["difference"]), place(0.0), _tone(row))
        if _drawn(row)
        else None
        for row in rows
    ]


def _drawn(row: dict[str, Any]) -> bool:
    return not row["metric"].endswith("_rank") and abs(row["low"]) < 10 and abs(row["high"]) < 10


def _tone(row: dict[str, Any]) -> str:
    if row["verdict"] == NO_DIFFERENCE:
        return "none"
    return "better" if (row["difference"] > 0) != (row["metric"] in LOWER_IS_BETTER) else "worse"


def _card(one: Changed, metric: str, photos: Photos) -> dict[str, Any]:
    before, after, verdict = outcome(one, metric)
    sides = [("a", before, one.before), (one.run, after, one.after)]
    return {
        "text": one.text or one.unit_id,
        "better": one.better,
        "verdict": verdict,
        "run": one.run,
        "fold": one.fold,
        "right": photos.of(one.right[:3], one.right),
        "num_right": len(one.right),
        "sides": [(name, place, photos.of(answer.products[:SHOWN], one.right)) for name, place, answer in sides],
    }
