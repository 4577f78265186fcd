"""The gate maps of a composed run: one for each query, of the patches alone, as the saved model computes them."""

import numpy as np
import polars as pl
import pytest
import torch
from composed_project import composed_config, write_composed_project

from pipeline_lib.artifacts.paths import COMPOSED_GATES, COMPOSED_QUERIES_OFF
from pipeline_lib.artifacts.schemas import COMPOSED_GATES_SCHEMA
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.models.composed.inputs import ComposedInputs
from pipeline_lib.models.composed.saved import load_composed
from pipeline_lib.stores.activations import open_activations
from pipeline_lib.stores.store import open_store
from pipeline_lib.training.composed.embeddings import gate_table
from pipeline_lib.training.composed.fold import train_composed


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_composed_project(tmp_path_factory.mktemp("gates"), num_shapes=6)


def run(folders, out, **changes):
    out.mkdir()
    train_composed(composed_config(**changes), folders, 0, out.parent.name, out)
    return out


@pytest.mark.parametrize("fusion", ["gated", "guided"])
def test_each_query_has_the_mean_gate_of_its_patches(fusion, folders, tmp_path):
    out = run(folders, tmp_path / "out", fusion=fusion, epochs=1)
    table, saved = pl.read_parquet(out / COMPOSED_GATES), load_composed(out)
    assert table.schema == pl.Schema(COMPOSED_GATES_SCHEMA)
    assert table["query_id"].to_list() == open_store(out / "queries").ids
    tokens, texts = open_activations(folders.trunk / "image-tokens"), open_store(folders.trunk / "text")
    queries = pl.read_parquet(folders.catalogue / "queries.parquet").join(table, on="query_id")
    for query in queries[::5].iter_rows(named=True):
        image, _ = tokens.gather([photo_key(query["reference_product_id"], 0)])
        text = torch.from_numpy(texts.rows([text_key(query["text"])]))
        with torch.inference_mode():
            inputs = ComposedInputs(tokens=torch.from_numpy(image.astype(np.float32)), text=text)
            gate = saved.model.compose(inputs).extra["gate"]
        assert query["rows"] == 2  # of 5 tokens the first is no patch
        expected = [float(gate[0, token].mean()) for token in (1, 2, 3, 4)]
        np.testing.assert_allclose(query["gate"], expected, atol=1e-5)
    # Switched off for the second embedding of the queries, and on again in the model.
    assert saved.card["run"]["fusion_alpha"] == pytest.approx(saved.model.fusion.alpha.item()) != 0.1


@pytest.mark.parametrize("fusion", ["gated", "guided"])
def test_the_queries_are_embedded_once_more_with_alpha_0(fusion, folders, tmp_path):
    """As the trained model would without its fusion: the tokens reach the rest of it as they were stored."""
    out = run(folders, tmp_path / "out", fusion=fusion, fusion_alpha=2.0, epochs=1)
    off, on, model = open_store(out / COMPOSED_QUERIES_OFF), open_store(out / "queries"), load_composed(out).model
    assert off.ids == on.ids and off.header.encoder == on.header.encoder
    model.fusion.forward = lambda tokens, text, mask: (tokens, torch.zeros(1))
    tokens, texts = open_activations(folders.trunk / "image-tokens"), open_store(folders.trunk / "text")
    queries = pl.read_parquet(folders.catalogue / "queries.parquet").filter(pl.col("query_id").is_in(off.ids))
    for query in queries[::7].iter_rows(named=True):
        image, _ = tokens.gather([photo_key(query["reference_product_id"], 0)])
        text = torch.from_numpy(texts.rows([text_key(query["text"])]))
        with torch.inference_mode():
            inputs = ComposedInputs(tokens=torch.from_numpy(image.astype(np.float32)), text=text)
            plain = model.compose(inputs).query[0].numpy()
        found, fused = (store.rows([query["query_id"]])[0] for store in (off, on))
        np.testing.assert_allclose(found, plain, atol=1e-5)
        assert np.abs(fused - plain).max() > 1e-3


def test_a_model_without_fusion_has_no_maps(folders, tmp_path):
    out = run(folders, tmp_path / "out", epochs=0)
    assert not (out / COMPOSED_QUERIES_OFF).exists()
    assert not (out / COMPOSED_GATES).exists()
    assert load_composed(out).card["run"]["fusion_alpha"] is None


@pytest.mark.parametrize(
    ("tokens", "grid", "rows", "first"),
    [(5, [5], 2, 1), (257, [257], 16, 1), (261, [261], 16, 5), (196, [196], 14, 0), (12, [3, 4], 3, 0)],
)
def test_patches_are_the_largest_square_or_the_cells_of_the_map(tokens, grid, rows, first):
    gates = np.arange(2 * tokens, dtype=np.float32).reshape(2, tokens)
    table = gate_table(["a", "b"], gates, grid)
    assert table["rows"].to_list() == [rows, rows]
    assert table["gate"].to_list() == gates[:, first:].tolist()
