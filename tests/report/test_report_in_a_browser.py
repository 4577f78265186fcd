"""The report in a real headless Chromium: no error, no request, no serious fault of access, by keyboard and on a phone.

One page has every section, with clips, composed queries and corrections of hubness; its titles are Chinese, Arabic and
Devanagari beside Latin.
"""

import itertools

import numpy as np
import pytest
from chromium import headless, serious_faults
from made_composed import add_composed
from made_corrections import add_corrections
from made_films import add_clips, write_weights
from made_run import Run, build_run

from pipeline_lib.report import attention_maps
from pipeline_lib.report.inputs import read_inputs
from pipeline_lib.report.page import SECTIONS, build_report

TITLES = ("红色杯子 — 手工", "كوب أحمر (2 لتر)", "लाल मग, बड़ा", "Red mug, striped")
DESKTOP, PHONE = 1200, 375
SMALLEST_TEXT = 8.5  # CSS pixels


class LongNames(Run):
    """A run whose classes have names without a space that are as long as those of real shops."""

    @property
    def classes(self):
        return [f"Hamstrings-and-Quadriceps-{number:02d}" for number in range(self.num_classes)]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The file of a page with every section; two of its maps of where a model looks are worked by hand."""
    from pipeline_lib.inference.attention import AttentionMaps

    def maps(folder, size, photos, texts, interpolation):
        shares = np.zeros((len(photos), 4, 4), np.float32)
        shares[1:, 1, 2] = 0.75
        return AttentionMaps("grad_cam", shares)

    run = build_run(LongNames(tmp_path_factory.mktemp("run"), num_products=81, num_classes=27, titles=TITLES))
    add_corrections(add_composed(run))
    add_clips(run)
    for fold in run.folds:
        write_weights(run, fold, 64, fold)
    params = run.params(queries=4, misses=3, attention=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_maps, "compute_maps", maps)
        page = build_report(read_inputs(run.folds, run.root), params, "data/raw/店 shop", [64, 80]).page
    path = run.root / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    with headless() as started:
        yield started


@pytest.fixture
def open_report(browser, report):
    """Return a function that opens the page; afterwards the console must be empty, and nothing else was asked for."""
    contexts, faults = [], []

    def open_one(width=DESKTOP, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda line: faults.append(line.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda one: None if one.url.startswith(("file:", "data:")) else faults.append(one.url))
        page.goto(report.as_uri())
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not faults


def open_everything(page):
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")


def test_every_section_is_on_the_page_and_every_kind_of_table_and_picture(open_report):
    page = open_report()
    ids = page.eval_on_selector_all("main > section", "all => all.map(one => one.id)")
    assert ids == [section.__name__ for section in SECTIONS]
    for part in ("tr[data-correction]", "#composed .gate", "#clips .reel", "#attention img", "#classes .sortable"):
        assert page.locator(part).count(), part
    open_everything(page)
    page.evaluate("[...document.images].forEach(one => { one.loading = 'eager' })")
    pictures = page.evaluate("Promise.all([...document.images].map(one => one.decode())).then(all => all.length)")
    assert pictures > 50


@pytest.mark.parametrize(("width", "scheme"), list(itertools.product((DESKTOP, PHONE), ("light", "dark"))))
def test_axe_finds_nothing_serious(open_report, width, scheme):
    page = open_report(width, scheme)
    open_everything(page)
    assert serious_faults(page) == []


def test_nothing_is_wider_than_a_phone(open_report):
    page = open_report(PHONE)
    open_everything(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
    # What is wider scrolls by itself, and a keyboard can reach it.
    unreachable = page.eval_on_selector_all(
        "main *",
        """all => all.filter(one => one.scrollWidth > one.clientWidth + 1 && one.tabIndex < 0
            && ['auto', 'scroll'].includes(getComputedStyle(one).overflowX)
            && !one.querySelector('a, button, input, [tabindex]')).map(one => one.className)""",
    )
    assert not unreachable


def test_text_of_charts_can_be_read_on_a_phone(open_report):
    page = open_report(PHONE)
    open_everything(page)
    sizes = page.eval_on_selector_all(
        "figure .chart text",
        """all => all.map(one => { const turn = one.getScreenCTM();
            return parseFloat(getComputedStyle(one).fontSize) * Math.hypot(turn.a, turn.b); })""",
    )
    assert len(sizes) > 100 and min(sizes) >= SMALLEST_TEXT


def test_keys_and_titles_stay_inside_their_chart(open_report):
    """Long names of classes wrap to another row; none is cut at the edge."""
    page = open_report(PHONE)
    outside = page.eval_on_selector_all(
        ".charts .chart",
        """charts => charts.flatMap(chart => { const edge = chart.getBoundingClientRect();
            return [...chart.querySelectorAll('text')].filter(one => { const box = one.getBoundingClientRect();
                return box.right > edge.right + 1 || box.left < edge.left - 1; }).map(one => one.textContent); })""",
    )
    assert not outside


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_a_scale_of_gates_is_on_one_line_with_its_ends(width, open_report):
    page = open_report(width)
    rows = page.eval_on_selector_all(
        "#composed .scale",
        """all => all.map(one => [...one.querySelectorAll('.ends, .ramp')].map(part => {
            const box = part.getBoundingClientRect(); return box.y + box.height / 2; }))""",
    )
    assert len(rows) == 2 and all(len(row) == 3 and max(row) - min(row) < 4 for row in rows)


def test_every_stop_of_the_tab_key_is_visible_and_none_is_a_trap(open_report):
    page = open_report()
    stops, expected = [], page.eval_on_selector_all("a, summary, [tabindex], input[type=checkbox]", "all => all.length")
    for _ in range(4 * expected):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            """() => { const one = document.activeElement, box = one.getBoundingClientRect();
                one.dataset.stop ??= Math.random();
                return [one.tagName, one.dataset.stop, one.textContent.trim().slice(0, 30), box.width, box.height]; }"""
        )
        if seen[0] == "BODY" or any(seen[1] == stop[1] for stop in stops):
            break
        assert seen[3] > 0 and seen[4] > 0, seen
        stops.append(seen)
    assert stops[0][2] == "Skip to the figures"
    assert {"A", "SUMMARY", "DIV", "FIGURE"} <= {stop[0] for stop in stops}
    shown = page.eval_on_selector_all(
        "a, summary, [tabindex], input[type=checkbox]", "all => all.filter(one => one.checkVisibility()).length"
    )
    assert len(stops) >= shown


def test_the_skip_link_leads_past_the_navigation(open_report):
    page = open_report()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url.endswith("#headline"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('section').id") == "headline"


def names_in_sight(page):
    """The classes of the table in the order in which they are seen."""
    rows = page.eval_on_selector_all(
        ".sortable >> nth=0 >> tbody tr",
        "rows => rows.map(row => [row.children[0].getBoundingClientRect().top, row.dataset.label])",
    )
    assert len({top for top, _ in rows}) == len(rows), "two rows lie on each other"
    return [label for _, label in sorted(rows)]


def test_the_table_of_classes_is_sorted_by_the_keyboard(open_report, report):
    page = open_report()
    page.locator("summary", has_text="All 27 classes").first.focus()
    page.keyboard.press("Enter")
    by_f1 = names_in_sight(page)
    page.keyboard.press("Tab")
    for _ in range(4):  # to the last order
        page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.value") == "name"
    by_name = names_in_sight(page)
    assert by_name == sorted(by_f1) != by_f1
    page.keyboard.press("ArrowUp")
    products = [
        int(text) for text in page.eval_on_selector_all(
            ".sortable >> nth=0 >> tbody tr",
            "rows => rows.map(row => [row.children[4].getBoundingClientRect().top, row.children[4].textContent])"
            ".sort((a, b) => a[0] - b[0]).map(one => one[1])",
        )
    ]  # fmt: skip
    assert products == sorted(products, reverse=True)


def test_titles_have_the_direction_and_language_of_their_script(open_report):
    page = open_report()
    found = page.eval_on_selector_all(
        "h3[dir], p.name", "all => all.map(one => [one.textContent, one.lang, getComputedStyle(one).direction])"
    )
    seen = {}
    for text, tag, direction in found:
        seen.setdefault(next(title for title in TITLES if text.startswith(title)), set()).add((tag, direction))
    assert seen == dict(zip(TITLES, ({("zh", "ltr")}, {("ar", "rtl")}, {("hi", "ltr")}, {("en", "ltr")}), strict=True))


def test_a_figure_after_arabic_stays_behind_it(open_report):
    """The number at the end of a title, and the brackets inside it, are on the left of Arabic words."""
    page = open_report()
    left, right = page.evaluate(
        """() => { const one = [...document.querySelectorAll('h3')].find(h => h.textContent.startsWith('كوب'));
            const range = document.createRange(), text = one.firstChild, end = text.length;
            const place = (from, to) => { range.setStart(text, from); range.setEnd(text, to);
                                          return range.getBoundingClientRect().left; };
            return [place(end - 1, end), place(0, 1)]; }"""
    )
    assert left < right


def test_dark_mode_is_dark_and_keeps_the_palette_apart(open_report):
    colours = {}
    for scheme in ("light", "dark"):
        page = open_report(scheme=scheme)
        colours[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light, dark = (sum(map(int, text[4:-1].split(","))) for text in colours.values())
    assert light > 700 > 100 > dark
