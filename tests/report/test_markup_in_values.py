"""No text of a catalogue or of params becomes markup: in the report, the page of a comparison and the search page."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import made_run
import polars as pl
import pytest
from compared_runs import changed
from compared_runs import make_run as compared_run

from pipeline_lib.artifacts import paths
from pipeline_lib.experiments.compare.comparison import Options, compare
from pipeline_lib.experiments.compare.settings import Setting
from pipeline_lib.report.comparison_page import write_page

PAGE = Path(__file__).parents[2] / "pipeline_lib/serving/page"
# Harmless marks of what must stay text: an element, an end of the element around, an attribute, a script, a style, a
# link, a template, and both kinds of quotation marks.
MARKS = (
    '<x-mark id="a">element</x-mark>',
    "</td></title></style></script></svg>--><x-mark>end",
    "\" onx-mark='1' x-mark=\"2",
    "' onx-mark=\"1\" x-mark='2",
    "<script>x-mark</script><style>x-mark{}</style>",
    "<a href=javascript:x-mark>link</a> javascript:x-mark",
    "{{ x-mark }} {% x-mark %} ${x-mark} &lt;x-mark&gt; &amp;",
    "]]><![CDATA[<x-mark/>]]> <!-- x-mark --> <?x-mark?>",
)


def write_marks(run: made_run.Run) -> None:
    """Put marks into what the report shows beside labels and texts: notes, columns, rejects and settings."""
    counts = json.loads((run.root / paths.CATALOGUE / "counts.json").read_text(encoding="utf-8"))
    counts |= {"notes": list(MARKS), "columns": {MARKS[0]: MARKS[1]}, "ignored_columns": list(MARKS)}
    run.put(paths.CATALOGUE / "counts.json", counts)
    rejects = pl.read_parquet(run.root / paths.CATALOGUE / "rejects.parquet")
    texts = [name for name in ("product_id", "file", "value") if name in rejects.columns]
    marked = rejects.with_columns(pl.lit(MARKS[row]).alias(name) for row, name in enumerate(texts))
    marked.write_parquet(run.root / paths.CATALOGUE / "rejects.parquet")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The report of a run without marks."""
    run = made_run.Run(tmp_path_factory.mktemp("plain"), titles=("a mug",))
    return made_run.build_run(run).report(queries=20, misses=20)


@pytest.mark.parametrize("first", range(len(MARKS)))
def test_marks_in_labels_texts_notes_and_rejects_stay_text(make_run, parse, plain, monkeypatch, first):
    monkeypatch.setattr(made_run, "KINDS", (*MARKS[first:], *MARKS[:first]))
    run = make_run(folder="marked", titles=MARKS)
    write_marks(run)
    marked = run.report(queries=20, misses=20)
    known, page = parse(plain.page), parse(marked.page)
    assert marked.page.count("x-mark") > 100
    assert {tag for tag, *_ in page.elements} <= {tag for tag, *_ in known.elements}
    allowed = {(tag, name) for tag, attributes, _ in known.elements for name in attributes}
    found = {(tag, name) for tag, attributes, _ in page.elements for name in attributes}
    assert found - allowed <= {("bdi", "title"), ("bdi", "class")}
    assert not [name for _, name in found if name.startswith("on") or "mark" in name]
    links = [own[name] for _, own, _ in page.elements for name in ("href", "src", "xlink:href") if name in own]
    assert links and all(link.startswith(("#", "data:")) for link in links)
    assert not [text for _, text in page.all("style") if "x-mark" in text]
    for name, figure in marked.figures.items():
        elements = list(ElementTree.fromstring(figure).iter())
        assert not [one.tag for one in elements if "mark" in one.tag or one.tag.endswith("script")], name
        assert not [key for one in elements for key in one.attrib if key.startswith("on") or "mark" in key], name


def test_marks_in_texts_and_names_of_runs_stay_text_on_the_page_of_a_comparison(tmp_path, parse):
    def page(names: tuple[str, str], texts: tuple[str, ...]):
        runs = [compared_run([1, 5, 9, 2, 3, 30, 1, 8], [1] * 8, names[0]), compared_run([2] * 8, [1] * 8, names[1])]
        runs = [changed(run, "queries", text=pl.Series(texts)) for run in runs]
        write_page(compare([Setting(run.name, [run]) for run in runs], Options()), tmp_path / "page.html", tmp_path)
        return parse((tmp_path / "page.html").read_text(encoding="utf-8"))

    known, marked = page(("a", "b"), tuple("abcdefgh")), page((MARKS[0], MARKS[2]), MARKS)
    assert {(tag, *own) for tag, own, _ in marked.elements} <= {(tag, *own) for tag, own, _ in known.elements}
    ((_, body),) = marked.all("body")
    assert sum(mark in body for mark in MARKS) > 2


def test_the_search_page_makes_no_element_of_a_text():
    """Its scripts set text and attributes; none of them parses markup or code."""
    scripts = {path.name: path.read_text(encoding="utf-8") for path in PAGE.glob("*.js")}
    assert "results.js" in scripts and "textContent" in "".join(scripts.values())
    parsing = (
        "innerHTML|outerHTML|insertAdjacentHTML|document.write|createContextualFragment|DOMParser|eval|Function|srcdoc"
    )
    words = re.compile(rf"\b({parsing})\(|\.({parsing})\b")
    assert not {name: found for name, text in scripts.items() if (found := words.findall(text))}
    page = (PAGE / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|javascript:", page)
