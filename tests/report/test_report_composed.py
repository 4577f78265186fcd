"""The section of composed retrieval: its figures, examples, changes and gate maps are those of the files."""

import re
from base64 import b64decode
from io import BytesIO
from typing import get_args

import numpy as np
import polars as pl
import pytest
from made_composed import PATCHES, SIGNAL, SWITCHED_OFF, add_composed
from PIL import Image

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_json
from pipeline_lib.params.composed import ComposedMetric
from pipeline_lib.report.composed_figures import columns_of
from pipeline_lib.report.gate_maps import CIVIDIS, SHADE, colours_of, gate_overlay
from pipeline_lib.transforms.resizing import Resizing


@pytest.fixture
def run(make_run):
    return add_composed(make_run())


def cards(page: str) -> list[str]:
    return re.split(r'<article class="card asks"', page)[1:]


def test_a_run_without_composed_models_has_no_section(make_run, parse):
    page = parse(make_run().report().page)
    assert "composed" not in {attributes["id"] for attributes, _ in page.all("section")}


def test_the_page_stays_well_formed_and_its_bytes_are_the_same_each_time(run, parse):
    report = run.report()
    page = parse(report.page)
    assert "#composed" in {attributes["href"] for attributes, _ in page.all("a")}
    assert "url(" not in report.page and not page.all("script")
    assert report.page == run.report().page


def test_every_figure_is_that_of_metrics_json_with_its_interval_and_chance(run, parse):
    page = parse(run.report().page)
    for split in ("test", "oof"):
        rows = page.all("tr", split=split)
        assert [a["data-kind"] for a, _ in rows if "data-kind" in a] == [
            "sum",
            "q_former",
            "image_only",
            "sum_untrained",
        ]
    section = re.search(r'<section id="composed">.*?</section>', run.report().page, re.DOTALL)[0]
    for split in ("test", "oof"):
        for kind in SIGNAL:
            row = re.search(rf'data-split="{split}" data-kind="{kind}">(.*?)</tr>', section, re.DOTALL)[1]
            keys = re.findall(r'data-key="([^"]+)"', row)
            assert keys == ["R@1", "R@5", "R@10", "R_subset@1"]  # the order of cut-offs, not of the file
            values = [float(value) for value in re.findall(r'<data value="([^"]+)"', row)]
            assert values == [run.metrics["composed"][kind][split][key] for key in keys]
            low, high = run.intervals["composed"][kind][split]["R@1"]
            assert f"<small>{low * 100:.1f}–{high * 100:.1f}</small>" in row
    assert section.count("12.5 %") >= 8  # chance
    assert "Sum, gated" in section and "Sum, untrained" in section and "Q-Former, gated" in section


@pytest.mark.parametrize(
    ("title", "name", "value", "chance"),
    [("By slice", "zh", "50.0 %", "6.2 %"), ("By category", "mug", "75.0 %", "18.8 %")],
)
def test_slices_and_categories_have_chance_beside_the_kinds(title, name, value, chance, run):
    table = run.report().page.split(f"<summary>{title}, test: R@1</summary>")[1].split("</table>")[0]
    headings = re.findall(r'<th scope="col"[^>]*>([^<]*)', table)
    assert headings[1:] == [
        "Queries",
        "Sum, gated",
        "Q-Former, gated",
        "Image only, untrained",
        "Sum, untrained",
        "Chance",
    ]
    row = re.search(rf'<th scope="row">{name}</th>(.*?)</tr>', table)[1]
    cells = re.findall(r'<td class="num">([^<]*)', row)
    assert cells[1:] == [value] * 4 + [chance]


def test_the_headline_has_a_tile_for_each_trained_kind(run, parse):
    tiles = [text for attributes, text in parse(run.report().page).all("li") if attributes.get("class") == "tile"]
    own = [" ".join(tile.split()) for tile in tiles if "composed" in tile]
    values = [run.metrics["composed"][kind]["test"]["R@1"] for kind in ("sum", "q_former")]
    names = ("Sum, gated", "Q-Former, gated")
    expected = [f"R@1 Test, composed: {name} {value:.1%}" for name, value in zip(names, values, strict=True)]
    assert [tile[: len(line) + 1].replace(" %", "%") for tile, line in zip(own, expected, strict=True)] == expected


def test_a_run_of_composed_queries_alone_points_to_them(make_run):
    page = add_composed(make_run(texts=False, labels=False)).report().page
    assert (
        'Only <a href="#composed">composed retrieval</a> was evaluated.' in page and "Nothing was evaluated" not in page
    )
    assert "12 of " in page or 'class="card asks"' in page


def test_cautions_are_in_the_headline_of_composed_queries_alone(make_run):
    run = add_composed(make_run(texts=False, labels=False))
    names = ("R@1", "R@5", "R@10", "R_subset@1")
    own = run.metrics["composed"]["q_former"]["test"]
    own |= dict.fromkeys(names, 0.1) | {"chance": dict.fromkeys(names, 0.125)}
    run.put(paths.METRICS, run.metrics)
    headline = run.report().page.split('<section id="composed">')[0]
    assert "Test, Q-Former, composed: near chance: R@1 10.0 % (chance 12.5 %)" in headline
    assert "Image only, untrained, composed" not in headline


def test_a_mean_says_of_which_figures(run, parse):
    for kind in ("sum", "q_former"):
        for fold in run.folds:
            card = run.root / paths.composed_of(kind, fold) / "model.json"
            own = read_json(card, dict)
            own["run"]["composed"]["protocol"] = "cirr"
            run.put(card.relative_to(run.root), own)
    for splits in run.metrics["composed"].values():
        for own in splits.values():
            own |= {"mean": 0.375}
            own["chance"] |= {"mean": 0.125}
    run.put(paths.METRICS, run.metrics)
    page = run.report().page
    tiles = [" ".join(text.split()) for one, text in parse(page).all("li") if one.get("class") == "tile"]
    assert "Mean of R@5 and R subset@1 Test, composed: Sum, gated 37.5 %" in tiles[-2]
    assert page.count("Mean: that of R@5 and R subset@1.") == 2


@pytest.mark.parametrize("with_reference", [False, True])
def test_targets_softer_answers_and_references_are_marked(with_reference, make_run):
    run = add_composed(make_run(), with_reference=with_reference)
    parts = cards(run.report(queries=100).page)
    assert len(parts) == run.metrics["composed"]["sum"]["test"]["num_queries"]
    marks = set()
    for part in parts:
        query = re.search(r'data-query="([^"]+)"', part)[1]
        reference, target, soft = run.rows["composed"][query]
        ask = part.split('class="answers"')[0]
        assert re.findall(r'alt="Photo of product ([^"]+)"', ask) == [reference, target]
        for product, mark in re.findall(r'data-product="([^"]+)" data-mark="([^"]*)"', part):
            assert mark == {target: "target", soft: "answer", reference: "reference"}.get(product, "")
            marks.add(mark)
        assert part.count('<span class="mark">') == part.count('data-mark="target"') == part.count('class="item right"')
    assert marks == {"target", "answer", "", *(["reference"] if with_reference else [])}


def test_every_figure_of_a_protocol_has_a_column():
    names = get_args(ComposedMetric)
    assert set(columns_of(names)) == set(names)
    assert columns_of(["R_subset@1"])["R_subset@1"][0] == "R subset@1"


def test_results_and_ranks_are_those_of_the_kind_and_say_where_the_row_above_has_them(run):
    best = pl.read_parquet(run.root / paths.EVALUATION / "composed_best.parquet")
    ranks = run.rows["composed_ranks"]
    seen = set()
    for part in cards(run.report(queries=100).page):
        query = re.search(r'data-query="([^"]+)"', part)[1]
        strips = re.split(r'<div class="answer" data-kind="', part)[1:]
        # Above each kind with a fusion is the same model without it, so "was 7" is what the fusion changed.
        assert [strip.split('"', 1)[0] for strip in strips] == [
            "sum_untrained", "sum_fusion_off", "sum", "q_former_fusion_off", "q_former"
        ]  # fmt: skip
        assert "<b>Q-Former, gated: fusion switched off (alpha = 0, not retrained)</b>" in strips[3]
        above = None
        for strip in strips:
            kind = strip.split('"', 1)[0]
            own = best.filter(pl.col("query_id") == query, pl.col("direction") == f"composed_{kind}").sort("rank")
            listed = own["product_id"].to_list()
            rank = ranks.filter(pl.col("query_id") == query, pl.col("direction") == f"composed_{kind}")["rank"][0]
            assert f"rank {rank:.0f} of " in strip
            items = re.findall(r'data-product="([^"]+)"(.*?)</li>', strip, re.DOTALL)
            assert [product for product, _ in items] == listed[:5]
            for place, (product, body) in enumerate(items):
                found = re.search(r'<p class="label">(.*?)</p>', body)
                expected = None
                if above is not None and above[place] != product:
                    expected = f"was {above.index(product) + 1}" if product in above else "was &gt; 12"
                assert (found and found[1]) == expected
                seen.add(expected is None)
            above = listed
    assert seen == {True, False}


def test_changes_count_the_same_queries(run):
    ranks = run.rows["composed_ranks"].filter(pl.col("split") == "test")
    ranks = {
        kind: dict(ranks.filter(pl.col("direction") == f"composed_{kind}").select("query_id", "rank").iter_rows())
        for kind in SIGNAL | SWITCHED_OFF
    }
    pairs = [("sum_untrained", "sum"), ("sum_untrained", "q_former"), ("sum", "q_former")]
    pairs += [("sum_fusion_off", "sum"), ("q_former_fusion_off", "q_former")]
    table = re.search(r'<table class="changes">.*?</table>', run.report().page, re.DOTALL)[0]
    rows = re.findall(r"<tr><td>.*?</tr>", table)
    assert len(rows) == len(pairs)
    for row, (before, after) in zip(rows, pairs, strict=True):
        moves = [(ranks[before][query], ranks[after][query]) for query in ranks[before]]
        counts = [
            sum(new < old for old, new in moves), sum(new == old for old, new in moves),
            sum(new > old for old, new in moves), sum(new == 1 < old for old, new in moves),
            sum(old == 1 < new for old, new in moves),
        ]  # fmt: skip
        assert re.findall(r'class="num">(\d+)<', row) == [str(count) for count in counts]


def test_without_a_fusion_nothing_is_switched_off(make_run):
    assert "switched off" not in add_composed(make_run(), "none").report().page


def test_gate_maps_are_those_of_the_shown_queries_on_the_scale_that_is_named(run):
    page = run.report(queries=100).page
    parts = cards(page)
    shown = [re.search(r'data-query="([^"]+)"', part)[1] for part in parts]
    for kind in ("sum", "q_former"):
        table = pl.read_parquet(run.root / paths.composed_of(kind, 0) / paths.COMPOSED_GATES)
        gates = dict(table.filter(pl.col("query_id").is_in(shown)).select("query_id", "gate").iter_rows())
        every = np.concatenate(list(gates.values()))
        low, high = every.min(), every.max()
        assert f'<span class="ends">{low:.3g}</span>' in page and f'<span class="ends">{high:.3g}</span>' in page
        for part, query in zip(parts, shown, strict=True):
            strip = re.search(rf'data-kind="{kind}">(.*?)<ol', part, re.DOTALL)[1]
            picture = Image.open(
                BytesIO(b64decode(re.search(r'class="frame gate"><img src="[^,]+,([^"]+)"', strip)[1]))
            )
            reference = (run.root / f"{int(run.rows['composed'][query][0][1:]):04d}.jpg").read_bytes()
            values = np.array(gates[query]).reshape(PATCHES, PATCHES)
            expected = gate_overlay(reference, values, (low, high), Resizing())
            difference = np.asarray(picture, np.float64) - np.asarray(expected, np.float64)
            assert np.abs(difference).mean() < 8  # two JPEGs lie between
    assert "learned factor 0.125, at first 0.1" in page


@pytest.mark.parametrize(("fusion", "words"), [("none", None), ("guided", "attention to each patch, 1 is even")])
def test_maps_are_named_by_their_fusion(fusion, words, make_run):
    page = add_composed(make_run(), fusion).report().page
    assert ("Gate maps lie over" in page) == ("frame gate" in page) == (words is not None)
    assert words is None or words in page


def test_a_run_without_a_test_split_shows_the_folds(make_run):
    run = add_composed(make_run(test=False), kinds=("sum", "image_only"))
    page = run.report(queries=100).page
    folds = {re.search(r'<p class="caption">fold (\d)', part)[1] for part in cards(page)}
    assert folds == {"0", "1"} and all("frame gate" in part for part in cards(page))


def test_an_overlay_has_the_colour_of_each_patch_darkened_by_the_photo():
    photo = BytesIO()
    half = np.full((40, 40, 3), 255, np.uint8)
    half[:, 20:] = 0
    Image.fromarray(half).save(photo, "PNG")
    gates = np.array([[0.0, 1.0], [0.5, 0.25]])
    pixels = np.asarray(gate_overlay(photo.getvalue(), gates, (0.0, 1.0), Resizing(), side=40), np.float64)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        shade = 1.0 if column == 0 else 1 - SHADE
        expected = colours_of(gates)[row, column] * shade
        np.testing.assert_allclose(pixels[20 * row + 10, 20 * column + 10], expected, atol=1)


def test_the_colours_grow_brighter_to_every_eye():
    """Luminance rises with the share, so the maps read in grey and with every kind of colour vision."""
    colours = colours_of(np.linspace(0, 1, 50))
    luminance = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all() and len(CIVIDIS) == 10
    assert (colours_of(np.array([0.0, 1.0])) == [[0, 34, 78], [254, 232, 56]]).all()


def test_equal_gates_are_one_colour():
    photo = BytesIO()
    Image.new("RGB", (30, 20), "white").save(photo, "PNG")
    pixels = np.asarray(gate_overlay(photo.getvalue(), np.full((2, 2), 0.5), (0.5, 0.5), Resizing(), side=20))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) == 1
