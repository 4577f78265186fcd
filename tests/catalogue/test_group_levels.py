"""The two levels of groups from photos on disk to right answers, masked negatives and folds."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
from types import SimpleNamespace

import polars as pl
import torch
from drawn_goods import encoded, scene, shirt
from drawn_records import data_params, records
from PIL import Image, ImageDraw

from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.loading.products import as_arrays
from pipeline_lib.losses.pairs import false_negatives
from pipeline_lib.splitting.folds import split_products
from pipeline_lib.splitting.groups import fold_groups


def test_one_thing_answers_and_is_masked_and_perhaps_one_only_stays_in_its_fold(tmp_path, data_params, records):
    other = shirt(0)
    ImageDraw.Draw(other).rectangle((105, 190, 122, 200), fill=(250, 240, 60))
    pictures = {"a": shirt(0), "b": encoded(shirt(0)), "c": other, "d": scene(1)}
    pictures |= {f"e{number}": scene(10 + number) for number in range(8)}
    for name, picture in pictures.items():
        picture.save(tmp_path / f"{name}.png")
    rows = [{"product_id": name, "media": [f"{name}.png"], "text": f"text {name}"} for name in pictures]
    catalogue = build_catalogue(records(rows), data_params(), 1)

    texts = dict(catalogue.queries.select("query_id", "text").iter_rows())
    answers = {(texts[query], product) for query, product, _ in catalogue.relevance.iter_rows()}
    assert answers - {(f"text {name}", name) for name in pictures} == {("text a", "b"), ("text b", "a")}
    expected = {"same_groups": 1, "same_products": 2, "perhaps_products": 3, "same_relevance_rows": 2}
    assert expected.items() <= catalogue.groups.items()
    pairs = catalogue.near_duplicates.select("product_id", "other_product_id", "same").rows()
    assert pairs == [("a", "b", True), ("a", "c", False), ("b", "c", False)]

    joined = catalogue.products.with_columns(first_photo=pl.row_index(), num_photos=1, has_photo=True)
    arrays = as_arrays(joined, [])
    product = torch.arange(len(pictures))
    group, text = torch.from_numpy(arrays.group), torch.from_numpy(arrays.text)
    masked = false_negatives(SimpleNamespace(product=product, group=group, text=text, answers=None))
    assert (masked & ~torch.eye(len(pictures), dtype=torch.bool)).nonzero().tolist() == [[0, 1], [1, 0]]

    ids, _ = fold_groups(catalogue.products, True)
    for seed in range(5):
        folds, _ = split_products(catalogue.products.with_columns(ids), 2, 0.3, seed)
        assert folds.head(3).select(pl.struct("split", "fold").n_unique()).item() == 1
