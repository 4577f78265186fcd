"""The products of the built-in sample: seeded, with the declared faults, texts and pictures."""

import ast
import csv
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML
from shop import stage
from shop.dirt import DIRT, LOSSES, assign_faults, copy_photo, dirt_counts
from shop.goods import GOODS, NUM_RARE, RARE, stock
from shop.items import sample_item
from shop.listing import write_caption, write_listing
from shop.other_goods import OTHER_GOODS
from shop.other_shapes import OTHER_SHAPES
from shop.outline import arc, box, smooth, stroke, turned
from shop.palette import COLOUR_VALUES
from shop.patterns import MATERIAL_LOOKS, PATTERN_FIELDS
from shop.photos import BUILD_STRETCH, Item, draw_photo
from shop.products import COLUMNS, make_products, make_records
from shop.shapes import SHAPES
from shop.words import BUILDS, COLOURS, FILLERS, MATERIALS, PATTERNS, PRAISE

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
COUNT, SEED = 72, 3


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("products")
    make_products(folder, COUNT, SEED)
    return folder


@pytest.fixture(scope="module")
def rows(catalogue):
    with (catalogue / "products.csv").open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def records():
    return make_records(COUNT, SEED)


def photos_of(catalogue, product_id):
    return sorted(catalogue.glob(f"images/{product_id}.*")) + sorted(catalogue.glob(f"images/{product_id}_*"))


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def faulty(records, fault):
    return [record for record in records if record.fault == fault]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(catalogue, tmp_path):
    for name, seed in (("again", SEED), ("other", SEED + 1)):
        (tmp_path / name).mkdir()
        make_products(tmp_path / name, COUNT, seed)
    assert digest(tmp_path / "again") == digest(catalogue)
    assert digest(tmp_path / "other") != digest(catalogue)


def test_an_item_depends_only_on_its_category_and_seed():
    item = sample_item("mug", GOODS["mug"].materials, (SEED, 4))
    assert item == sample_item("mug", GOODS["mug"].materials, (SEED, 4))
    assert item.colour != item.second
    assert item.material in GOODS["mug"].materials


def test_a_shop_of_any_size_has_21_categories_and_three_of_the_rare_one():
    for count in (COUNT, 300, 2500):
        kinds = stock(count)
        assert len(kinds) == count
        assert kinds.count(RARE) == NUM_RARE == 3
    counts = {kind: kinds.count(kind) for kind in GOODS}
    assert len(counts) == 21
    assert min(counts[kind] for kind in GOODS if kind != RARE) >= 20
    assert max(counts.values()) > 6 * min(count for kind, count in counts.items() if kind != RARE)


def test_the_table_starts_with_a_bom_and_has_these_columns(catalogue, rows):
    content = (catalogue / "products.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbfid,sku,title")
    assert tuple(rows[0]) == COLUMNS
    assert all(len(row["id"]) == 6 and row["id"].startswith("00") for row in rows)


def test_quotes_and_line_breaks_survive_a_csv_reader(rows, records):
    texts = [row["description"] for row in rows]
    assert any("\n" in text for text in texts)
    assert any('"' in text for text in texts)
    assert [(row["title"], row["description"]) for row in rows[:COUNT]] == [tuple(record.listing) for record in records]


def test_photo_names_match_ids_and_counts(catalogue, records):
    expected = set()
    for record in records:
        if record.fault == "missing image":
            continue
        several = [f"{record.product_id}_{number + 1}" for number in range(record.num_photos)]
        expected |= set(several) if record.num_photos > 1 else {record.product_id}
    assert {path.stem for path in (catalogue / "images").iterdir()} == expected


def test_every_photo_of_a_product_without_fault_opens(catalogue, records):
    sizes = set()
    for record in records:
        if record.fault is None:
            for path in photos_of(catalogue, record.product_id):
                with Image.open(path) as image:
                    image.load()
                    sizes.add(image.size)
    assert len(sizes) > 3
    assert all(90 <= side <= 160 for size in sizes for side in size)


def test_dirt_is_present_as_declared(catalogue, rows, records):
    declared = dirt_counts(COUNT)
    assert {fault: len(faulty(records, fault)) for fault in DIRT} == declared
    ids = [row["id"] for row in rows]
    assert len(ids) - len(set(ids)) == declared["duplicate id"]
    assert sum(not photos_of(catalogue, product_id) for product_id in set(ids)) == declared["missing image"]
    assert sum(row["categories"] == "" for row in rows[:COUNT]) == declared["no label"]
    assert sum(row["title"] == row["description"] == "" for row in rows[:COUNT]) == declared["empty text"]
    assert sum(row["title"] == "" != row["description"] for row in rows[:COUNT]) == declared["empty title"]


def test_a_full_sample_has_the_declared_counts_and_loses_less_than_three_percent():
    assert dirt_counts(2500) == DIRT
    assert sum(DIRT[fault] for fault in LOSSES) < 0.03 * 2500


def test_no_product_has_two_faults():
    faults = assign_faults(range(2000), 2500, np.random.default_rng(0))
    faulty_products = [index for indices in faults.values() for index in indices]
    assert len(faulty_products) == len(set(faulty_products)) == sum(DIRT.values())


def test_spoilt_photos_do_not_decode(catalogue, records):
    for record in faulty(records, "truncated image") + faulty(records, "truncated second photo"):
        last = photos_of(catalogue, record.product_id)[-1]
        with Image.open(last) as image, pytest.raises(OSError, match="truncated"):
            image.load()
    for record in faulty(records, "text named .jpg"):
        (path,) = photos_of(catalogue, record.product_id)
        assert path.suffix == ".jpg"
        assert path.read_text(encoding="ascii").startswith("<html>")


def test_a_near_duplicate_shows_the_object_of_another_product(catalogue, records):
    for record in faulty(records, "near duplicate"):
        models = [other for other in records if other.item == record.item and other.fault is None]
        assert len(models) == 1
        with Image.open(photos_of(catalogue, models[0].product_id)[0]) as image:
            original = np.asarray(image.convert("L").resize((16, 16)), dtype=float)
        with Image.open(photos_of(catalogue, record.product_id)[0]) as image:
            copy = np.asarray(image.convert("L").resize((16, 16)), dtype=float)
        assert np.abs(original - copy).mean() < 4
        assert record.listing != models[0].listing


def test_a_copied_photo_is_smaller_and_a_jpeg():
    target = io.BytesIO()
    Image.new("RGB", (100, 50), "red").save(target, "PNG")
    with Image.open(io.BytesIO(copy_photo(target.getvalue()))) as copy:
        assert (copy.size, copy.format) == ((94, 47), "JPEG")


def test_duplicate_rows_come_last_with_another_text(rows, records):
    first = {row["id"]: row for row in rows[:COUNT]}
    for row in rows[COUNT:]:
        assert (row["title"], row["description"]) != (first[row["id"]]["title"], first[row["id"]]["description"])
    assert {row["id"] for row in rows[COUNT:]} == {record.product_id for record in faulty(records, "duplicate id")}


def test_about_half_of_the_titles_are_chinese():
    records = make_records(600, SEED)
    chinese = sum(any("一" <= sign <= "鿿" for sign in record.listing.title) for record in records)
    assert 0.4 < chinese / len(records) < 0.6


def test_texts_leave_properties_out_and_use_synonyms():
    item = Item("mug", "red", "blue", "dotted", "ceramic", "slim", (0,))
    rng = np.random.default_rng(0)
    texts = [" ".join(write_listing(item, GOODS["mug"].names, rng)).lower() for _ in range(300)]
    english = [text for text in texts if text.isascii()]
    named = [text for text in english if "mug" in text or "cup" in text]
    assert 0.75 < len(named) / len(english) < 0.97
    assert any("mug" in text for text in named) and any("coffee cup" in text for text in named)
    assert len(set(texts)) > 0.9 * len(texts)


def test_a_description_can_be_empty_but_a_title_never_is():
    rng = np.random.default_rng(1)
    item = sample_item("clock", GOODS["clock"].materials, (1,))
    listings = [write_listing(item, GOODS["clock"].names, rng) for _ in range(200)]
    assert any(listing.description == "" for listing in listings)
    assert all(listing.title for listing in listings)


def test_categories_of_pretraining_are_disjoint_but_colour_and_pattern_words_are_shared():
    assert not set(GOODS) & set(OTHER_GOODS)
    mine, theirs = (
        {word for goods in table.values() for word in goods.names.en + goods.names.zh} for table in (GOODS, OTHER_GOODS)
    )
    assert not mine & theirs
    rng = np.random.default_rng(0)
    captions = [
        write_caption(sample_item(kind, goods.materials, (number, place)), goods.names, rng).lower()
        for place, (kind, goods) in enumerate(OTHER_GOODS.items())
        for number in range(20)
    ]
    for names in (*COLOURS.values(), *PATTERNS.values()):
        assert any(word in caption for caption in captions for word in (*names.en, *names.zh))


def test_every_name_has_a_value_to_draw():
    assert set(COLOURS) == set(COLOUR_VALUES)
    assert set(PATTERNS) == set(PATTERN_FIELDS)
    assert set(MATERIALS) == set(MATERIAL_LOOKS)
    assert set(BUILDS) == set(BUILD_STRETCH)
    assert set(GOODS) == set(SHAPES)
    assert set(OTHER_GOODS) == set(OTHER_SHAPES)
    assert all(names.en and names.zh for table in (COLOURS, PATTERNS, MATERIALS, BUILDS) for names in table.values())
    assert all((FILLERS.en, FILLERS.zh, PRAISE.en, PRAISE.zh))


@pytest.mark.parametrize("name", PATTERN_FIELDS)
def test_a_pattern_has_two_colours_and_only_plain_has_one(name):
    axis = np.linspace(-1, 1, 120, dtype=np.float32)
    u, v = np.meshgrid(axis, axis)
    share = PATTERN_FIELDS[name](u, v, 2 / 120)
    assert share.shape == u.shape
    assert share.min() >= 0 and share.max() <= 1
    assert share.mean() == 0 if name == "plain" else 0.1 < share.mean() < 0.6


@pytest.mark.parametrize(("kind", "shapes"), [(kind, table) for table in (SHAPES, OTHER_SHAPES) for kind in table])
def test_every_category_fills_its_square_and_differs_between_items(kind, shapes):
    drawn = [np.concatenate([part.points for part in shapes[kind](np.random.default_rng(seed))]) for seed in (0, 1)]
    for points in drawn:
        assert np.isfinite(points).all()
        assert np.abs(points).max() <= 1.2
        assert np.ptp(points, axis=0).max() > 1.2
    assert drawn[0].shape != drawn[1].shape or not np.allclose(*drawn)


def test_a_photo_shows_its_colour_and_another_number_shows_another_view():
    item = Item("cushion", "red", "white", "plain", "cotton", "regular", (5,))
    first, second = (draw_photo(item, SHAPES["cushion"], number, (96, 128)).astype(int) for number in (0, 1))
    assert first.shape == (128, 96, 3)
    middle = first[54:74, 38:58].mean(axis=(0, 1))
    assert middle[0] > 2 * middle[1] and middle[0] > 2 * middle[2]
    assert np.abs(first - second).mean() > 5


def test_a_pattern_is_printed_light_on_dark_goods_and_dark_on_bright_ones():
    for colour, brighter in (("black", True), ("white", False)):
        plain, dotted = (
            draw_photo(Item("cushion", colour, "red", name, "cotton", "regular", (5,)), SHAPES["cushion"], 0, (96, 96))
            for name in ("plain", "dotted")
        )
        changed = np.abs(plain.astype(int) - dotted).max(axis=2) > 60
        assert changed.any()
        assert (dotted[changed].mean() > plain[changed].mean()) == brighter


def test_the_second_colour_runs_around_the_object():
    red, green = (
        draw_photo(Item("cushion", "white", second, "plain", "cotton", "regular", (5,)), SHAPES["cushion"], 0, (96, 96))
        for second in ("red", "green")
    )
    changed = np.abs(red.astype(int) - green).max(axis=2) > 60
    assert 0.02 < changed.mean() < 0.4
    assert not changed[40:56, 40:56].any()


def test_outlines_keep_their_size():
    assert np.abs(smooth(box(-1, -1, 1, 1))).max() <= 1
    assert np.allclose(np.ptp(box(-0.5, -0.2, 0.5, 0.2, 0.1), axis=0), (1.0, 0.4))
    ring = stroke(arc((0, 0), (0.5, 0.5), 0, 1, 100), 0.2)
    assert np.allclose(np.unique(np.hypot(*ring.T).round(2)), (0.4, 0.6))
    assert np.allclose(turned((-1, 0.5), (1, 0.5)).max(axis=0), (0.5, 1.0))


def closure(entry):
    modules, files = [f"shop.{entry}"], set()  # shop/__init__.py is empty, and DVC warns of a dep that is
    while modules:
        path = Path(*modules.pop().split(".")).with_suffix(".py")
        if path.as_posix() in files:
            continue
        files.add(path.as_posix())
        for node in ast.walk(ast.parse((SAMPLE / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("shop."):
                modules.append(node.module)
            assert not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline_lib"))
    return files


@pytest.mark.parametrize("entry", ["products", "composed", "clips", "weights", "clip_weights"])
def test_dvc_yaml_names_the_modules_and_params_of_each_entry(entry):
    stages = YAML(typ="safe").load((SAMPLE / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(stages[entry]["deps"]) - {"weights"} == closure(entry)
    assert ("weights" in stages[entry]["deps"]) == (entry == "clip_weights")
    assert stages[entry]["cmd"].removeprefix("GOMP_SPINCOUNT=2000 ") == f"python -m shop.{entry}"
    assert stages[entry]["params"] == stages[entry]["outs"] == [entry]


def test_a_folder_is_written_completely_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("products:\n  count: 3\n")
    Path("dvc.yaml").write_text("stages: {products: {deps: [code.py]}}\n")
    Path("code.py").write_text("first\n")
    with stage.fresh_folder(Path("products")) as out:
        (out / "a").write_text("1")
        assert not Path("products").exists()
    with pytest.raises(RuntimeError), stage.fresh_folder(Path("products")) as out:
        raise RuntimeError
    assert Path("products/a").read_text() == "1"
    with pytest.raises(ValueError, match="changed while the stage ran"), stage.fresh_folder(Path("products")) as out:
        Path("params.yaml").write_text("products:\n  count: 4\n")
    with pytest.raises(ValueError, match="changed while the stage ran"), stage.fresh_folder(Path("products")) as out:
        Path("code.py").write_text("second\n")
    assert [path.name for path in Path("products").iterdir()] == ["a"]


@pytest.mark.parametrize(("text", "error"), [("other: {}", "no section"), ("products:\n  count: 0", "count is 0"),
                                             ("products:\n  count: many", "count is 'many'")])  # fmt: skip
def test_invalid_params_are_named(tmp_path, monkeypatch, text, error):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text)
    with pytest.raises(ValueError, match=error):
        stage.read_section("products")


def test_the_params_of_the_sample_are_valid(monkeypatch):
    monkeypatch.chdir(SAMPLE)
    assert stage.read_section("products")["count"] == 2500
    assert stage.read_section("weights")["image_size"] == 64
    assert os.sep not in stage.PARAMS.name
