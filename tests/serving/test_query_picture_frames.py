"""A picture that is searched for has the vector of a product with this one photo, also in a model of clips."""

import numpy as np
import pytest
import torch
from model_settings import make_model_params
from served_project import DIM, SIZE

from pipeline_lib.artifacts import paths
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.inference.predict import Predictor
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import as_arrays, read_products
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.serving.pictures import PictureEmbedder
from pipeline_lib.shards.read import open_shards
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.transforms.resizing import Resizing
from pipeline_lib.transforms.tokenize import TextTokenizer

FRAMES = {"pooling": "attention", "layers": 1, "heads": 2, "max_frames": 8, "temperature": 0.1}


@pytest.mark.parametrize("flip", [False, True])
def test_a_picture_passes_the_temporal_model_as_the_photo_of_a_product_does(
    flip, served_root, tiny_image_folder, tiny_text_folder
):
    image, text = {"name": str(tiny_image_folder), "size": SIZE}, {"name": str(tiny_text_folder)}
    params = make_model_params(image, text, embedding_dim=DIM, frames=FRAMES)
    sources = resolve_towers(params)
    torch.manual_seed(0)
    model = build_model(describe(params, sources, True, []), sources).eval()
    with torch.no_grad():
        model.frames.temporal.out.weight.normal_()
    shards = open_shards(served_root / paths.SHARDS, None)
    tables = [served_root / one for one in (paths.CATALOGUE, paths.FOLDS, paths.SHARDS / "manifest.parquet")]
    products = as_arrays(read_products(*tables), ["hat", "mug"])
    engine, views = InferenceEngine("cpu", 16, 0, "fp32"), PhotoViews(shards, SIZE)
    predictor = Predictor(model, TextTokenizer(tiny_text_folder), views, engine, flip, "mean_pool")
    expected = np.concatenate([block.embeddings for block in predictor.predict(products)])
    pictures = PictureEmbedder(lambda: model, SIZE, Resizing.of(model.description["image"]), flip, True)
    alone = np.flatnonzero(products.num_photos == 1)[:3]
    assert len(alone) == 3
    for number in alone:
        photo = shards.read(shards.manifest.photos_of(products.ids[number])[0])
        embedded = pictures.embed(pictures.view(photo, 1e6))
        np.testing.assert_allclose(embedded[0], expected[number], atol=1e-5)
