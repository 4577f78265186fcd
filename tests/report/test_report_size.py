"""The page of a run as large as the sample, with the settings of params.yaml, stays under 10 MB whatever its photos."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from made_composed import add_composed
from made_corrections import add_corrections
from made_films import FRAMES
from PIL import Image

from pipeline_lib.artifacts import paths
from pipeline_lib.inference.attention import AttentionMaps
from pipeline_lib.params.report import ReportParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.report import attention_maps
from pipeline_lib.report.inputs import read_inputs
from pipeline_lib.report.page import SECTIONS, build_report
from pipeline_lib.shards.write import list_photos, write_shards

ROOT = Path(__file__).parents[2]
NUM_PRODUCTS, NUM_CLASSES = 2_476, 21  # those of the sample
LARGEST = 10_000_000


@pytest.fixture
def noisy(make_run):
    """A run of the sample's size with every section, whose photos are noise, which JPEG packs worst."""
    run = make_run(num_products=NUM_PRODUCTS, num_classes=NUM_CLASSES)
    add_corrections(add_composed(run, kinds=("sum", "q_former")))
    files = [f"noise-{number}.png" for number in range(20)]
    for number, file in enumerate(files):
        pixels = np.random.default_rng(number).integers(0, 256, (160, 160, 3), np.uint8)
        Image.fromarray(pixels).save(run.root / file, compress_level=0)  # each is read hundreds of times
    # Every second product is a clip.
    rows = [
        (product[0], [files[(number + frame) % len(files)] for frame in range(1 + (number % 2) * (FRAMES - 1))])
        for number, product in enumerate(run.products)
    ]
    media = pl.DataFrame(rows, schema=["product_id", "media"], orient="row")
    params = ShardsParams(size=160, quality=95, photos_per_shard=2_000, colour_profile="convert")
    write_shards(list_photos(media), run.root, params, run.root / paths.SHARDS, 1)
    return run


def test_the_page_of_a_run_like_the_sample_is_under_10_mb(noisy, monkeypatch):
    def maps(folder, size, photos, texts, interpolation):
        return AttentionMaps("grad_cam", np.full((len(photos), 7, 7), 1 / 49, np.float32))

    monkeypatch.setattr(attention_maps, "compute_maps", maps)
    params = parse_section(ReportParams, load_params(ROOT / "params.yaml"))
    page = build_report(read_inputs(noisy.folds, noisy.root), params, "data/raw/shop", [64]).page
    assert page.count("<section id=") == len(SECTIONS)
    assert page.count("data:image/jpeg") > 200
    assert len(page.encode()) < LARGEST
