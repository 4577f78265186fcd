"""Filmstrips: the right frames in their order, with the weights of the stores; none for products of photos."""

import re
from base64 import b64decode
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from made_films import FRAMES, add_clips, write_weights
from PIL import Image

from pipeline_lib.artifacts import paths
from pipeline_lib.loading.products import photo_key
from pipeline_lib.params.report import ReportParams
from pipeline_lib.report.filmstrips import MAX_FRAMES, FrameWeights, film_view, reel, shown_frames
from pipeline_lib.report.gallery import Gallery
from pipeline_lib.report.inputs import read_inputs
from pipeline_lib.report.photos import Thumbnails, data_uri
from pipeline_lib.stores.store import write_store

PARAMS = ReportParams(queries=8, misses=3, seed=7, attention=0)


@pytest.fixture
def clips(make_run):
    run = make_run()
    return SimpleNamespace(run=run, ids=add_clips(run))


def pictures(page):
    """The picture of each CSS class, as an image."""
    found = re.findall(r"\.(film-\d+)\{background-image:url\(data:image/jpeg;base64,([^)]+)\)", page)
    return {name: Image.open(BytesIO(b64decode(data))) for name, data in found}


def test_strips_show_every_frame_in_order_with_the_mean_weight_of_the_models(clips, parse):
    models = [write_weights(clips.run, fold, scale, fold + scale) for fold in (0, 1) for scale in (64, 80)]
    text = clips.run.report().page
    page, shown = parse(text), pictures(text)
    films = page.all("li", right="yes") + page.all("li", right="no")
    films = [one for one, _ in films if "film" in one["class"].split()]
    assert films and {one["data-product"] for one in films} <= clips.ids
    found = re.findall(r'data-product="(p\d+)" data-right="\w+">\s*<p class="of">(.*?)</li>', text, re.DOTALL)
    for product_id, strip in found:
        weights = [float(value) for value in re.findall(r'data-weight="([\d.]+)"', strip)]
        expected = [np.mean([model[photo_key(product_id, frame)] for model in models]) for frame in range(FRAMES)]
        assert weights == pytest.approx(expected, abs=2e-6)
        assert re.findall(r'class="share">(\d+)<', strip) == [f"{100 * weight:.0f}" for weight in expected]
        assert re.findall(r"--i:(\d+)", strip) == ["0", "1", "2", "3"]
        [name] = set(re.findall(r'<i class="(film-\d+)"', strip))
        picture = shown[name]
        assert picture.size == (4 * 80, 60)
        # Frame k is grey at 60 k.
        greys = [picture.getpixel((80 * frame + 40, 30))[0] for frame in range(FRAMES)]
        assert greys == pytest.approx([0, 60, 120, 180], abs=3)
    assert len(found) == len(films)
    assert "the mean of 2 models" in text and "an even share" in text


def test_bars_have_one_scale_over_the_page(clips):
    write_weights(clips.run, 0, 64, 1)
    page = clips.run.report().page
    bars = re.findall(r'data-weight="([\d.]+)" style="height:([\d.]+)%"', page)
    largest = max(float(weight) for weight, _ in bars)
    assert [float(height) for _, height in bars] == pytest.approx([100 * float(w) / largest for w, _ in bars], abs=0.06)
    assert f"--even:{100 / FRAMES / largest:.1f}%" in page


def test_without_weights_the_strips_show_frames_alone(clips):
    page = clips.run.report().page
    assert 'class="reel"' in page and "data-weight" not in page
    assert "The model has no frame attention" in page


def test_products_of_photos_have_no_filmstrip(make_run):
    page = make_run().report().page
    assert 'id="clips"' not in page and "#clips" not in page and "film-0" not in page


def test_a_product_with_several_photos_is_no_clip(clips):
    """Four media and four photos: an ordinary product."""
    products = clips.run.root / paths.CATALOGUE / "products.parquet"
    table = pl.read_parquet(products)
    names = [f"{number}.jpg" for number in range(FRAMES)]
    media = [names if key in clips.ids else own for key, own in table.select("product_id", "media").iter_rows()]
    table.with_columns(pl.Series("media", media)).write_parquet(products)
    assert 'id="clips"' not in clips.run.report().page


def test_elsewhere_a_clip_shows_its_middle_frame(clips):
    products = pl.read_parquet(clips.run.root / paths.CATALOGUE / "products.parquet")
    photos = Thumbnails(clips.run.root / paths.SHARDS, products)
    rows = photos.frames("p0003")
    assert len(rows) == FRAMES and photos.of("p0003") == data_uri(photos.read(rows[2]))
    assert photos.of("p0044") == data_uri(photos.encoded("p0044")) and not photos.frames("p0044")


def test_a_clip_on_several_cards_is_one_picture(clips):
    inputs = read_inputs(clips.run.folds, clips.run.root)
    photos = Thumbnails(inputs.shards, inputs.catalogue.products)
    view = film_view(Gallery(inputs, "test", photos), PARAMS, photos, FrameWeights(inputs.root, [0], [64]))
    shown = [film.item.product_id for card in view.cards for film in card.films]
    assert len(shown) > len(set(shown)) == view.styles.count("background-image")


def test_a_card_has_the_first_five_of_its_query_in_their_order_those_that_are_clips(clips):
    run = clips.run
    inputs = read_inputs(run.folds, run.root)
    photos = Thumbnails(inputs.shards, inputs.catalogue.products)
    rankings = inputs.ensemble.rankings.filter(split="test").sort("rank")
    view = film_view(Gallery(inputs, "test", photos), PARAMS, photos, FrameWeights(inputs.root, [0], [64]))
    counts = set()
    for card in view.cards:
        first = rankings.filter(query_id=card.card.query_id)["product_id"].to_list()[:5]
        assert len(first) == 5
        assert [film.item.product_id for film in card.films] == [one for one in first if one in clips.ids]
        counts.add(len(card.films))
    assert len(view.cards) == 6 and max(counts) > 1


def test_an_out_of_fold_card_has_the_weights_of_its_own_model(tmp_path):
    for fold in (0, 1):
        folder = tmp_path / paths.embed_of(fold, 64) / paths.FRAME_WEIGHTS
        write_store(folder, ["a#0", "a#1"], np.array([[0.25 + fold / 2], [0.75 - fold / 2]]), ("m", "v"), "float32")
    weights = FrameWeights(tmp_path, [0, 1, 2], [64, 80])
    assert weights.of("a", 2, 1).tolist() == [0.75, 0.25] and weights.num_models(1) == 1
    assert weights.of("a", 2, None).tolist() == [0.5, 0.5] and weights.num_models(None) == 2
    assert weights.of("a", 2, 2) is None


def test_long_clips_show_evenly_spaced_frames_with_both_ends():
    for count in (1, 2, MAX_FRAMES, MAX_FRAMES + 1, 64, 1000):
        frames = shown_frames(count)
        assert len(frames) == min(count, MAX_FRAMES) == len(set(frames))
        assert frames[0] == 0 and frames[-1] == count - 1 and frames == sorted(frames)


@pytest.mark.parametrize(("size", "width"), [((640, 360), 107), ((360, 640), 34), ((1000, 100), 108), ((10, 1000), 30)])
def test_a_strip_is_small_whatever_the_shape_of_the_clip(size, width):
    packed = BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(packed, "JPEG")
    picture, ratio = reel([packed.getvalue()] * 12)
    assert Image.open(BytesIO(picture)).size == (12 * width, 60)
    assert ratio == pytest.approx(width / 60) and len(picture) < 60_000
