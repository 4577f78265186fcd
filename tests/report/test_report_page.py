"""The page as a browser reads it: well formed, without network access, and consistent with the files of the run."""

import re
from base64 import b64decode
from io import BytesIO
from xml.etree import ElementTree

import polars as pl
import pytest
from made_run import Run
from PIL import Image

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.report.headline import CLASSIFICATION, RETRIEVAL


@pytest.fixture
def run(make_run):
    return make_run()


def test_the_page_is_well_formed_and_needs_nothing_from_outside(run, parse):
    report = run.report()
    page = parse(report.page)
    assert not re.search(r"(https?:)?//(?!www\.w3\.org/2000/svg)", re.sub(r"base64,[^\"]+", "", report.page))
    assert not page.all("script") and not page.all("iframe") and not page.all("object")
    assert "@import" not in report.page and "url(" not in report.page
    for attributes, _ in page.all("img") + page.all("link") + page.all("a"):
        assert (attributes.get("src") or attributes["href"]).startswith(("data:", "#"))
    for name, figure in report.figures.items():
        assert ElementTree.fromstring(figure).tag.endswith("svg"), name


def test_every_link_of_the_navigation_leads_to_a_section(run, parse):
    page = parse(run.report().page)
    sections = {attributes["id"] for attributes, _ in page.all("section")}
    targets = {attributes["href"].removeprefix("#") for attributes, _ in page.all("a")}
    expected = {"headline", "learning", "recall", "gallery", "misses", "embeddings", "classes", "data", "trainable"}
    assert targets == sections == expected


def test_every_figure_of_the_headline_equals_metrics_json(run, parse):
    page = parse(run.report().page)
    expected = []
    for split in ("test", "oof"):
        for direction in ("text_to_image", "image_to_text"):
            leaf = run.metrics[split]["retrieval"][direction]
            expected += [leaf[key] for key in RETRIEVAL if key != "R_subset@1"]  # no query names a subset
    for split in ("test", "oof"):
        expected += [run.metrics[split]["classification"][key] for key in CLASSIFICATION]
    first = [run.metrics["test"]["retrieval"][d]["R@1"] for d in ("text_to_image", "image_to_text")]
    tiles = first + [run.metrics["test"]["classification"][key] for key in ("top1", "macro_f1")]
    assert [float(attributes["value"]) for attributes, _ in page.all("data")] == tiles + expected


def test_text_and_interval_are_the_rounded_values(run, parse):
    leaf = run.metrics["test"]["retrieval"]["text_to_image"]["R@5"]
    low, high = run.intervals["test"]["retrieval"]["text_to_image"]["R@5"]
    cell = parse(run.report().page).all("td", key="R@5")[0][1]
    assert cell == f"{leaf:.1%}{low * 100:.1f}–{high * 100:.1f}".replace("%", " %", 1)


def test_judged_queries_are_a_table_with_chance(make_run, parse):
    run = make_run()
    leaf = {"nDCG@10": 0.6114, "preference": 0.75, "num_queries": 20, "chance": {"nDCG@10": 0.4}}
    for path, values in ((paths.METRICS, leaf), (paths.INTERVALS, {"nDCG@10": [0.5, 0.7212]})):
        write_json(run.root / path, read_object(run.root / path) | {"judged": {"0": values}})
    page = parse(run.report().page)
    assert "Judged queries" in [text for _, text in page.all("h3")]
    cells = [text for attributes, text in page.all("td") if attributes.get("data-key") == "nDCG@10"]
    assert cells == ["0.6110.500–0.721"]
    assert any("0.400" in text for _, text in page.all("td"))


def test_exactly_the_right_answers_are_marked(run, parse):
    body = run.report(queries=100, misses=100).page
    relevance = run.rows["relevance"]
    shown = re.split(r'<article class="card[^>]*data-query="', body)[1:]
    marks = set()
    for part in shown:
        query = part.split('"', 1)[0]
        for product, right in re.findall(r'data-product="([^"]+)" data-right="(yes|no)"', part):
            assert (right == "yes") == ((query, product) in relevance)
            marks.add(right)
        assert part.count('class="mark"') == part.count('data-right="yes"') == part.count('class="item right"')
    assert marks == {"yes", "no"}


def test_misses_are_the_worst_in_order(run, parse):
    cards = [a for a, _ in parse(run.report(misses=4).page).all("article") if "data-rank" in a]
    ranks = pl.DataFrame(run.rows["ranks"], orient="row", schema=RANKS_SCHEMA)
    missed = ranks.filter(pl.col("split") == "test", pl.col("direction") == "text_to_image", pl.col("rank") > 1)
    assert [float(a["data-rank"]) for a in cards] == missed["rank"].sort(descending=True).head(4).to_list()


@pytest.mark.parametrize("shown", [1, 2, 1000])
def test_the_note_on_misses_counts_those_that_are_shown(run, shown):
    ranks = pl.DataFrame(run.rows["ranks"], orient="row", schema=RANKS_SCHEMA)
    ranks = ranks.filter(split="test", direction="text_to_image")
    missed = ranks.filter(pl.col("rank") > 1).height
    note = re.search(r"[^>]* not rank a right answer first[^<]*", run.report(misses=shown).page)[0]
    few = {1: " Here is the one that ranks it lowest.", 2: " Here are the 2 that rank it lowest.", 1000: ""}[shown]
    assert note == (
        f"{missed} of {len(ranks)} test queries do not rank a right answer first.{few} Each is shown with the expected "
        "product, and then with its first results."
    )


def test_equal_inputs_give_equal_bytes_and_the_page_names_the_seed(make_run):
    first, second = (make_run(folder=name).report() for name in ("a", "b"))
    assert first == second
    assert "(seed 7)" in first.page


def test_the_classes_count_the_products_that_are_measured_of_those_with_a_label(run):
    metrics = read_object(run.root / paths.METRICS)
    per_class = pl.read_csv(run.root / paths.EVALUATION / "per_class.csv")
    numbers = {split: per_class.filter(split=split)["support"].sum() for split in ("test", "oof")}
    metrics["test"]["classification"]["num_unlearned"] = 7
    write_json(run.root / paths.METRICS, metrics)
    page = run.report().page
    assert f"Test: {numbers['test']} products measured, of {numbers['test'] + 7} with a label. Always" in page
    assert f"Out of fold: {numbers['oof']} products measured. Always" in page


def test_hostile_texts_stay_text(make_run, parse):
    hostile = "</title><script>alert(1)</script>'\"><img src=x onerror=alert(2)>&amp;\x0b"
    run = make_run(hostile=hostile)
    report = run.report(queries=100)
    page = parse(report.page)
    assert not page.all("script")
    assert all("onerror" not in attributes for attributes, _ in page.all("img"))
    assert any(hostile in text for _, text in page.all("h3"))


def test_hostile_labels_stay_text_in_figures_too(make_run, parse, monkeypatch):
    run = make_run()
    for path in (paths.EVALUATION / "confusion.csv", paths.EVALUATION / "per_class.csv"):
        table = pl.read_csv(run.root / path)
        names = [column for column in ("truth", "predicted", "label") if column in table.columns]
        table.with_columns(pl.col(names).replace("lamp", "<script>x</script>&\x01")).write_csv(run.root / path)
    report = run.report()
    assert not parse(report.page).all("script")
    texts = [element.text for element in ElementTree.fromstring(report.figures["confusion_test"]).iter()]
    assert (
        "<script>x</script>…" in texts
        or "<script>x</script>&\ufffd" in texts
        or any(text and text.startswith("<script>x") for text in texts)
    )


def test_thumbnails_are_small_pictures_and_the_page_stays_light(make_run, parse):
    report = make_run(num_products=150, num_classes=21).report(queries=12, misses=12)
    sources = [attributes["src"] for attributes, _ in parse(report.page).all("img")]
    assert len(sources) > 12 * 5
    with Image.open(BytesIO(b64decode(sources[0].removeprefix("data:image/jpeg;base64,")))) as picture:
        assert picture.format == "JPEG" and max(picture.size) <= 112
    assert len(report.page.encode()) < 2_000_000
    assert all(attributes["alt"] for attributes, _ in parse(report.page).all("img"))


def test_tables_have_scoped_headers_and_texts_name_their_language(run, parse):
    page = parse(run.report().page)
    assert {attributes["scope"] for attributes, _ in page.all("th")} == {"row", "col"}
    headings = [attributes for attributes, text in page.all("h3") if "红" in text]
    assert headings and all(attributes["lang"] == "zh" for attributes in headings)
    assert all("aria-label" in attributes for attributes, _ in page.all("svg"))


def test_without_a_test_split_the_page_shows_out_of_fold_and_a_note(make_run, parse):
    run = make_run(test=False)
    text = parse(run.report().page).all("body")[0][1]
    assert "There is no test split" in text
    assert re.search(r"of 60\s+out of fold queries", text)
    assert re.search(r"rank \d+ of 30\s+fold 0", text)


def test_without_labels_there_is_no_section_of_classes(make_run, parse):
    report = make_run(labels=False).report()
    sections = [attributes["id"] for attributes, _ in parse(report.page).all("section")]
    assert "classes" not in sections and "gallery" in sections
    assert "Classification was not evaluated." in report.page
    assert not any(name.startswith("confusion") for name in report.figures)
    assert "learning_top1" not in report.figures


def test_without_texts_there_is_no_gallery(make_run, parse):
    report = make_run(texts=False).report()
    sections = [attributes["id"] for attributes, _ in parse(report.page).all("section")]
    assert not {"gallery", "misses", "recall"} & set(sections) and "classes" in sections
    assert "Retrieval was not evaluated." in report.page
    assert not any(name.startswith("recall") for name in report.figures)


def test_a_page_without_texts_and_labels(make_run, parse):
    report = make_run(texts=False, labels=False).report()
    assert "Nothing was evaluated" in parse(report.page).all("body")[0][1]


def test_files_of_absent_branches_may_be_missing(make_run):
    run = make_run(texts=False)
    for path in (paths.EVALUATION / "ranks.parquet", paths.EVALUATION / "recall_curve.csv"):
        (run.root / path).unlink()
    assert "Retrieval was not evaluated." in run.report().page


def test_a_history_of_other_columns_leaves_its_figures_out(make_run):
    run = make_run()
    for fold in run.folds:
        (run.root / paths.train_of(fold) / "history.csv").write_text("epoch,lr\n0,0.1\n1,\n", encoding="utf-8")
    report = run.report()
    assert not any(name.startswith("learning") for name in report.figures)
    assert "The histories have no column" in report.page


def test_no_misses_and_misses_that_are_not_shown_have_different_notes(make_run):
    assert "rank a right answer first.</p>" in make_run(folder="sure", signal=100.0).report().page
    assert "because report.misses is 0" in make_run(folder="weak", signal=1.0).report(misses=0).page


def test_long_reject_tables_are_cut_with_a_note(make_run, parse):
    page = parse(make_run(num_rejects=230).report().page)
    text = page.all("section")[-2][1]
    assert "The first 200 of 230 rows" in text and "30 more rows are in rejects.parquet." in text
    assert text.count("images/x") == 200
    none = make_run(folder="clean", num_rejects=0).report().page
    assert "No row of the table and no photo was rejected or repaired." in none


def test_the_trainable_report_is_shown_once_for_the_folds_that_share_it(make_run, parse):
    run = make_run(folds=(0, 1, 2))
    page = parse(run.report().page)
    assert [text for _, text in page.all("h3") if text.startswith("Fold")] == ["Folds 0, 2", "Fold 1"]
    section = page.all("section")[-1][1]
    assert section.count("text: 12,000 frozen parameters are random") == 1
    for fact in ("1f2e3d4c5b6a", "7,000", "2 of 4", "70.0 %", "convnext_tiny", "info_nce × 1", "64 px, 80 px"):
        assert fact in section


def test_layers_that_open_later_have_their_epoch(make_run, parse):
    step = {"epoch": 3, "tower": "image", "groups": ["stages.0", "stages.1"], "parameters": 3000, "lr": 5e-5}
    staged = parse(make_run(folds=(0,), test=False, steps=(step,)).report().page)
    ((_, row),) = staged.all("tr", opens="3")
    assert row == "imagefrom epoch 3 on+ 2, from stages.0+ 3,0005e-05"
    groups = [text for _, text in staged.all("tr") if text.startswith(("imagestages", "headhead"))]
    assert groups == [
        "imagestages.01,000from epoch 35e-05",
        "imagestages.12,000from epoch 35e-05",
        "imagestages.23,000yes0.0005",
        "imagestages.34,000yes0.0005",
        "headhead70yes0.001",
    ]
    plain = parse(make_run(folder="plain", folds=(0,), test=False).report().page)
    groups = [text for _, text in plain.all("tr") if text.startswith("imagestages")]
    assert groups[:2] == ["imagestages.01,000frozen–", "imagestages.12,000frozen–"]
    assert not [attributes for attributes, _ in plain.all("tr") if "data-opens" in attributes]


def test_a_figure_that_a_random_order_reaches_gets_a_caution_instead(make_run, parse):
    run = make_run()
    leaf = run.metrics["test"]["retrieval"]["text_to_image"]
    leaf |= {"R@1": 1.0, "num_gallery": 9, "chance": {"R@1": 1.0, "R@5": 1.0, "R@10": 1.0}}
    run.put(paths.METRICS, run.metrics)
    page = parse(run.report().page)
    shown = [text for key in ("R@1", "median_rank") for _, text in page.all("td", key=key)[:1]]
    assert shown == ["no figure", "no figure"]
    warnings = [text for attributes, text in page.all("p") if attributes.get("class") == "warning"]
    assert any("R@1, R@5, R@10 of 9 products are no figures" in text for text in warnings)


def test_class_paths_have_their_leaf_and_no_probability_is_certain(make_run, parse, monkeypatch):
    tops = ("Home > Kitchen", "Home > Bath", "Fashion")
    labels = [f"{tops[i % 3]} > Kind {i // 3}" for i in range(12)] + ["Fashion > Belts"]
    monkeypatch.setattr(Run, "classes", property(lambda run: labels[-run.num_classes :]))
    run = make_run(num_products=130, num_classes=6, signal=2.0)
    confident = pl.read_csv(run.root / paths.EVALUATION / "label_issues.csv").with_columns(
        probability=pl.lit(0.9996), label_probability=pl.lit(0.0004)
    )
    confident.write_csv(run.root / paths.EVALUATION / "label_issues.csv")
    page = parse(run.report().page)
    leaves = {(a["title"], text) for a, text in page.all("bdi") if a.get("class") == "leaf"}
    assert ("Fashion > Belts", "Belts") in leaves and ("Home > Bath > Kind 3", "Bath > Kind 3") in leaves
    headings = [text for _, text in page.all("th")]
    assert {"Actual", "Predicted"} <= set(headings) and "Truth" not in headings
    doubts = [text for a, text in page.all("li") if "data-doubt" in a]
    assert doubts and all("at <0.1 %" in text and "at >99.9 %" in text for text in doubts)
