"""Where the model looks: the maps are those of the saved model, and a report without maps loads no model."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from made_run import Run, build_run
from model_settings import make_model_params

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.inference.attention import METHODS, attention_maps
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import load_model, save_model
from pipeline_lib.report import attention_maps as maps
from pipeline_lib.report.gate_maps import overlay_uri, view_uri
from pipeline_lib.report.inputs import read_inputs
from pipeline_lib.report.photos import Thumbnails
from pipeline_lib.report.view import ReportView
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.image import fixed_view
from pipeline_lib.transforms.resizing import Resizing
from pipeline_lib.transforms.tokenize import TextTokenizer


def test_every_kind_has_words():
    assert set(maps.KINDS) == set(METHODS)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_image_folder, tiny_text_folder):
    """A made run whose first fold has a model that can be loaded."""
    run = build_run(Run(tmp_path_factory.mktemp("attention"), num_products=60, signal=0.5))
    folder = run.root / paths.train_of(0)
    params = make_model_params({"name": str(tiny_image_folder)}, {"name": str(tiny_text_folder)})
    sources = resolve_towers(params)
    torch.manual_seed(1)
    model = build_model(describe(params, sources, True, []), sources)
    save_model(folder, model, read_object(folder / "model.json")["run"])
    TextTokenizer(tiny_text_folder).save(folder / "tokenizer")
    return run


def view_of(run, **params):
    return ReportView(read_inputs(run.folds, run.root), run.params(**params), "data/raw/shop", [64, 80])


def test_the_pictures_are_the_maps_of_the_model_for_each_query(run):
    shown = maps.attention_view(view_of(run, attention=3))
    saved = load_model(run.root / paths.train_of(0))
    image = saved.card["description"]["image"]
    photos = Thumbnails(run.root / paths.SHARDS, view_of(run).inputs.catalogue.products)
    tokenizer = TextTokenizer(run.root / paths.train_of(0) / "tokenizer")
    assert len(shown.cards) == 3 and shown.fold == 0 and shown.kind == maps.KINDS["grad_cam"][0]
    for one in shown.cards:
        ids, mask = (torch.as_tensor(part) for part in tokenizer.encode_batch([one.card.text], 16))
        query = saved.model.embed_text(saved.model.encode_text(ids, mask)).detach()
        for photo in one.photos:
            encoded = photos.encoded(photo.item.product_id)
            seen = fixed_view(decode(encoded, 64), 64, Resizing.of(image))
            pixels = torch.from_numpy(np.array(seen)).permute(2, 0, 1)[None]
            expected = attention_maps(saved.model, pixels, query).maps[0].astype(float)
            assert photo.largest == pytest.approx(expected.max(), abs=1e-4)
            assert photo.view == view_uri(encoded, image)
            if photo.largest:
                close = overlay_uri(encoded, expected, (0.0, expected.max()), image)
                assert len(close) == pytest.approx(len(photo.picture), rel=0.1)
    roles = [(photo.role, photo.item.right) for one in shown.cards for photo in one.photos]
    assert set(roles) <= {("right answer", True), ("first result", False)} and len(roles) > 3


def test_the_page_has_the_maps_in_words_too(run, parse):
    page = parse(run.report(attention=2).page)
    (section,) = (text for attributes, text in page.all("section") if attributes["id"] == "attention")
    assert "Grad-CAM of the similarity" in section and "by the model of fold 0" in section
    described = [a["alt"] for a, _ in page.all("img") if a["alt"].startswith("Map over the photo")]
    assert len(described) == len(page.all("li", role="right answer")) + len(page.all("li", role="first result"))


@pytest.mark.parametrize("options", [{}, {"texts": False}])
def test_no_model_is_loaded_if_no_map_is_asked_for_or_possible(make_run, monkeypatch, options):
    monkeypatch.setattr(maps, "compute_maps", lambda *_: pytest.fail("loaded a model"))
    run = make_run(folder=f"run-{len(options)}", **options)
    assert 'id="attention"' not in run.report(attention=0 if not options else 4).page


def test_a_tower_that_gives_no_map_has_no_section(run, monkeypatch):
    monkeypatch.setattr(maps, "compute_maps", lambda *_: None)
    assert maps.attention_view(view_of(run, attention=2)) is None


def test_the_report_imports_no_model_library_before_it_needs_one():
    """In a process of its own: the other tests have imported them all."""
    names = "{name for name in ('torch', 'timm', 'transformers', 'open_clip') if name in sys.modules}"
    code = f"import sys, stages.report; print({names})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
