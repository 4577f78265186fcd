"""Every example runs, and prints what it is there to show."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from model_settings import MODEL, make_model_params

ROOT = Path(__file__).parents[2]
CLASSIFIER = MODEL["classifier"]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


def load(name: str):
    place = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def test_every_example_has_a_test_and_a_line_in_the_table():
    assert EXAMPLES == ["add_a_loss", "composed_queries", "own_catalogue", "read_out_of_fold", "use_a_model"]
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert all(f"python examples/{name}.py" in text for name in EXAMPLES)


def test_own_catalogue_rejects_three_rows_with_their_reasons(tmp_path, capsys):
    load("own_catalogue").main([str(tmp_path / "shop")])
    printed = capsys.readouterr().out
    assert "9 products, 9 queries" in printed
    for reason in ("truncated image", "missing image", "duplicate id"):
        assert reason in printed
    products = pl.read_parquet(tmp_path / "shop/catalogue/products.parquet")
    assert products["label"].unique().sort().to_list() == ["lamp", "mug", "plate"]


def test_add_a_loss_equals_its_loop_and_learns(capsys):
    import torch

    example = load("add_a_loss")
    with warnings.catch_warnings(action="error"):
        example.main()
    assert "vectorised" in capsys.readouterr().out
    values = example.train(example.SupCon(example.SupConParams(weight=1.0)), steps=40)
    assert values[-1] < 0.5 * values[0]
    for seed in range(3):
        torch.manual_seed(seed)
        image, text = torch.randn(7, 3), torch.randn(7, 3)
        label = torch.randint(-1, 3, (7,))
        fast = float(example.supcon(image, text, torch.tensor(2.0), label))
        assert fast == pytest.approx(example.slow_supcon(image, text, 2.0, label.tolist()), abs=1e-5)


def test_read_out_of_fold_counts_as_it_should(tmp_path, capsys):
    example = load("read_out_of_fold")
    example.main([])
    assert "40 products, 3 classes" in capsys.readouterr().out
    example.write_small(tmp_path)
    rows, classes = example.read(tmp_path)
    assert classes == ["lamp", "mug", "plate"]
    by_scale = dict(example.accuracy(rows).select("scale", "top1").iter_rows())
    assert set(by_scale) == {64, 72, None} and all(0.5 < value < 1 for value in by_scale.values())
    errors = example.confident_errors(rows, 3)
    assert errors["probability"].is_sorted(descending=True) and (errors["truth"] != errors["predicted"]).all()


def test_read_out_of_fold_leaves_out_products_whose_class_was_not_learned(tmp_path):
    example = load("read_out_of_fold")
    example.write_small(tmp_path)
    every, _ = example.read(tmp_path)
    scores = pl.DataFrame(
        {
            "product_id": ["p00", "p10", "p20", "p30"],
            "split": ["oof", "oof", "oof", "test"],
            "label": ["mug", "mug", None, "mug"],
            "label_rank": pl.Series([None, 2, None, None], dtype=pl.Int64),
        }
    )
    scores.write_parquet(tmp_path / "class_scores.parquet")
    rows, _ = example.read(tmp_path)
    assert rows.equals(every.filter(pl.col("id") != "p00"))


def test_composed_queries_agree_in_all_columns_but_one(tmp_path, capsys):
    example = load("composed_queries")
    example.main([])
    assert "12 queries with 12 answers, from 6 products" in capsys.readouterr().out
    rows = "id,kind,size,colour\na,mug,1,red\nb,mug,1,blue\nc,mug,1,blue\nd,mug,2,green\ne,mug,1,\n"
    (tmp_path / "t.csv").write_text(rows)
    files = [str(tmp_path / name) for name in ("t.csv", "q.csv")]
    example.main([*files, "--same", "kind", "size", "--text", "now {value}"])
    found = pl.read_csv(tmp_path / "q.csv").select("reference_id", "text", "target_id").rows()
    assert found == [("a", "now blue", "b"), ("a", "now blue", "c"), ("b", "now red", "a"), ("c", "now red", "a")]
    with pytest.raises(SystemExit, match="no column 'shade'"):
        example.main([*files, "--change", "shade"])


@pytest.mark.parametrize("changes", [{}, {"similarity": "dot", "classifier": CLASSIFIER | {"inputs": "image"}}])
def test_use_a_model_gives_what_the_search_page_gives(changes, tmp_path, tiny_image_folder, tiny_text_folder, capsys):
    from PIL import Image

    from pipeline_lib.models.multimodal import build_model, describe
    from pipeline_lib.models.saved import load_model, save_model
    from pipeline_lib.serving.pictures import PictureEmbedder
    from pipeline_lib.serving.text_embedder import TextEmbedder
    from pipeline_lib.towers.kinds import resolve_towers
    from pipeline_lib.transforms.resizing import Resizing
    from pipeline_lib.transforms.tokenize import TextTokenizer

    params = make_model_params({"name": str(tiny_image_folder)}, {"name": str(tiny_text_folder)}, **changes)
    sources = resolve_towers(params)
    save_model(tmp_path, build_model(describe(params, sources, True, ["cup", "hat"]), sources), {"fold": 0})
    TextTokenizer(tiny_text_folder).save(tmp_path / "tokenizer")
    photos, texts = [tmp_path / f"{name}.png" for name in ("a", "b")], ["red mug", "a blue hat, a blue hat"]
    for number, photo in enumerate(photos):
        noise = np.random.default_rng(number).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photo)

    example = load("use_a_model")
    embedder, model = example.Embedder(tmp_path), load_model(tmp_path).model
    assert embedder.embed_texts(texts).numpy() == pytest.approx(TextEmbedder(tmp_path, 1.0).embed(texts), abs=1e-6)
    for flip in (True, False):
        page = PictureEmbedder(lambda: model, 32, Resizing.of(model.description["image"]), flip, convert_profile=True)
        expected = np.concatenate([page.embed(page.view(photo.read_bytes(), np.inf)) for photo in photos])
        assert example.Embedder(tmp_path, flip).embed_photos(photos).numpy() == pytest.approx(expected, abs=1e-6)
    both = embedder.classify(photos, texts)
    assert both.sum(1).tolist() == pytest.approx([1, 1])
    assert both[1].tolist() == pytest.approx(embedder.classify(photos[1:], texts[1:])[0].tolist(), abs=1e-6)

    example.main([str(tmp_path), str(photos[0]), texts[0]])
    printed = capsys.readouterr().out
    cosine = float((embedder.embed_photos(photos[:1]) * embedder.embed_texts(texts[:1])).sum())
    assert printed.startswith(f"similarity of photo and text, in 8 dimensions: {cosine:.4f}\n")
    assert sorted(line.split()[1] for line in printed.splitlines()[1:]) == ["cup", "hat"]
