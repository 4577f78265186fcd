"""Evaluation of composed models from their stores: galleries, the mean over folds, the rows of untrained towers."""

import json
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from composed_project import COLOURS, SOURCES, make_tables, write_trunk
from metric_paths import undescribed

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.evaluation.composed import ComposedModels, evaluate_composed
from pipeline_lib.evaluation.composed_ranks import plan_composed_galleries
from pipeline_lib.features.tower_stores import origin_of
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.stores.store import open_store, write_store

FOLDS = [0, 1, 2]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A project whose models embed at random, but for queries of `sum`, which are close to their target."""
    monkeypatch.chdir(tmp_path)
    tables = make_tables(6)
    for folder in (paths.CATALOGUE, paths.FOLDS):
        folder.mkdir(parents=True)
    for name in ("products", "queries", "relevance"):
        tables[name].write_parquet(paths.CATALOGUE / f"{name}.parquet")
    slices = [(key, "zh" if key.endswith("-1") else "en") for key in tables["queries"]["query_id"]]
    pl.DataFrame(slices, schema=["query_id", "slice"], orient="row").write_parquet(
        paths.CATALOGUE / "query_slices.parquet"
    )
    write_trunk(paths.features_of("trunk"), tables)
    tables["products"] = tables["products"].join(tables["folds"], on="product_id", maintain_order="left")
    for kind, vectors, pull in (("sum", 1, 0.4), ("q_former", 3, 0.0)):
        for fold in FOLDS:
            write_stores(kind, fold, tables, vectors, pull)
    return tables


def write_stores(kind, fold, tables, vectors, pull):
    rng = np.random.default_rng((fold, vectors))
    galleries = plan_composed_galleries(tables["products"], tables["queries"], tables["relevance"], [fold])
    product_ids = [key for gallery in galleries for key in gallery.product_ids]
    query_ids = [key for gallery in galleries for key in gallery.query_ids]
    products, queries = rng.normal(size=(len(product_ids), vectors, 8)), rng.normal(size=(len(query_ids), 8))
    target = dict(tables["relevance"].filter(pl.col("grade") == 2).select("query_id", "product_id").iter_rows())
    place = {key: row for row, key in enumerate(product_ids)}
    queries = pull * products[[place[target[key]] for key in query_ids], 0] + (1 - pull) * queries
    products /= np.linalg.norm(products, axis=2, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    out = paths.composed_of(kind, fold)
    write_store(out / "queries", query_ids, queries, ("m", "v"), "float32")
    write_store(out / "products", product_ids, products.reshape(len(products), -1), ("m", "v"), "float16")


def evaluate(made, kinds=("sum", "q_former"), folds=FOLDS):
    models = ComposedModels(list(kinds), folds, "catalogue")
    return evaluate_composed(models, paths.CATALOGUE, made["products"], paths.features_of("trunk"))


def stored(kind, fold, name):
    folder = paths.composed_of(kind, fold) / name
    ids = pl.read_parquet(folder / "ids.parquet")["id"].to_list()
    return dict(zip(ids, np.load(folder / "matrix.npy").astype(np.float64), strict=True))


def slow_scores(kind, folds, query_id, products):
    """The mean over the folds of the largest product of a query with the vectors of each product."""
    total = np.zeros(len(products))
    for fold in folds:
        query, known = stored(kind, fold, "queries")[query_id], stored(kind, fold, "products")
        total += [max(known[key].reshape(-1, 8) @ query) for key in products]
    return total / len(folds)


@pytest.mark.parametrize("kind", ["sum", "q_former"])
def test_ranks_are_those_of_a_slow_loop_over_the_folds_own_gallery_and_the_mean_over_folds_for_test(made, kind):
    ranks = evaluate(made).ranks.filter(pl.col("direction") == f"composed_{kind}")
    place = {
        key: (split, fold) for key, split, fold in made["products"].select("product_id", "split", "fold").iter_rows()
    }
    queries = made["queries"].select("query_id", "reference_product_id").rows()
    target = dict(made["relevance"].filter(pl.col("grade") == 2).select("query_id", "product_id").iter_rows())
    assert ranks.height == len(queries)
    found = {key: (split, rank) for key, split, rank in ranks.select("query_id", "split", "rank").iter_rows()}
    for query_id, reference in queries[::11]:
        split, fold = place[reference]
        gallery = [key for key in place if place[key] == (split, fold) and key != reference]
        scores = slow_scores(kind, FOLDS if split == "test" else [fold], query_id, gallery)
        higher = int((scores > scores[gallery.index(target[query_id])] + 1e-12).sum())
        assert found[query_id] == ("test" if split == "test" else "oof", 1 + higher)


def test_figures_have_chance_intervals_slices_and_beat_chance_where_the_queries_are_near_their_targets(made):
    results = evaluate(made)
    figures, intervals = results.figures["composed"], results.intervals["composed"]
    assert set(figures) == {"sum", "q_former", "image_only"}
    for split in ("oof", "test"):
        own = figures["sum"][split]
        low, high = intervals["sum"][split]["R@1"]
        assert low <= own["R@1"] <= high and own["R@1"] > 2 * own["chance"]["R@1"]
        assert own["chance"]["R_subset@1"] == pytest.approx(1 / 3, abs=1e-6)
        assert set(own["slices"]) == {"en", "zh"}
    assert figures["sum"]["oof"]["num_queries"] + figures["sum"]["test"]["num_queries"] == made["queries"].height
    json.dumps([figures, intervals], allow_nan=False)
    assert "paraphrases" in figures["sum"]["oof"] and undescribed(results.figures) == []


def test_a_fusion_that_is_switched_off_gives_ranks_and_no_figures(made, tmp_path):
    """The queries of `sum` once more, by another embedding: ranked among the same products."""
    before = evaluate(made)
    for fold in FOLDS:
        folder = paths.composed_of("sum", fold)
        ids = pl.read_parquet(folder / "queries/ids.parquet")["id"].to_list()
        values = np.random.default_rng(fold).normal(size=(len(ids), 8))
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        write_store(folder / paths.COMPOSED_QUERIES_OFF, ids, values, ("m", "v"), "float32")
    after = evaluate(made)
    assert after.figures == before.figures and after.ranks.equals(before.ranks)
    assert after.ranked().equals(before.ranked())
    assert before.off.is_empty() and after.off["direction"].unique().to_list() == ["composed_sum_fusion_off"]
    after.write(tmp_path)
    written = pl.read_parquet(tmp_path / "composed_ranks.parquet")
    assert written.height == after.ranks.height + after.off.height
    best = pl.read_parquet(tmp_path / "composed_best.parquet").filter(pl.col("direction") == "composed_sum_fusion_off")
    assert best["query_id"].n_unique() == after.off.height
    place = {key: (split, fold) for key, split, fold in made["products"].select("product_id", "split", "fold").rows()}
    for row in after.off[::9].iter_rows(named=True):
        query = made["queries"].filter(pl.col("query_id") == row["query_id"]).row(0, named=True)
        split, fold = place[query["reference_product_id"]]
        gallery = [key for key in place if place[key] == (split, fold) and key != query["reference_product_id"]]
        total = np.zeros(len(gallery))
        for own in FOLDS if split == "test" else [fold]:
            vector, known = (
                stored("sum", own, paths.COMPOSED_QUERIES_OFF)[row["query_id"]],
                stored("sum", own, "products"),
            )
            total += [known[key] @ vector for key in gallery]
        right = made["relevance"].filter(pl.col("query_id") == row["query_id"], pl.col("grade") == 2)["product_id"][0]
        assert row["rank"] == 1 + int((total > total[gallery.index(right)] + 1e-9).sum())


def test_untrained_towers_rank_by_the_image_alone_unless_they_share_a_space(made):
    alone = evaluate(made)
    assert alone.notes == ("composed: text_only, sum_untrained are left out: made features",)
    # Image features are a shape and a colour: the look-alikes of the reference are near, the target is one of them.
    assert alone.figures["composed"]["image_only"]["oof"]["R@5"] > 0.5
    write_trunk_of_a_pair(made)
    results = evaluate(made)
    figures = results.figures["composed"]
    assert not results.notes and {"image_only", "text_only", "sum_untrained"} <= set(figures)
    # By construction the text points at the colour, so only both together find the product.
    assert figures["sum_untrained"]["oof"]["R@1"] > max(
        figures[name]["oof"]["R@1"] for name in ("image_only", "text_only")
    )


def write_trunk_of_a_pair(made):
    """Image = shape + colour, text = new colour - the mean colour, in one space of 24 dimensions."""
    rng = np.random.default_rng(0)
    shapes, colours = rng.normal(size=(12, 24)), dict(zip(COLOURS, rng.normal(size=(4, 24)), strict=True))
    trunk = paths.features_of("trunk")
    ids = made["products"]["product_id"].to_list()
    rows = [shapes[int(key[1:].split("-")[0])] + colours[key.split("-")[1]] for key in ids]
    texts = made["queries"]["text"].unique().sort().to_list()
    words = [colours[text.split()[-1]] for text in texts]
    write_store(
        trunk / "image", [photo_key(key, 0) for key in ids], np.stack(rows), origin_of("image", SOURCES["image"])
    )
    keys = [text_key(text) for text in ["", *texts]]
    write_store(trunk / "text", keys, np.stack([words[0], *words]), origin_of("text", SOURCES["text"]))
    write_json(trunk / "joint.json", {"why_apart": None})


def test_untrained_towers_see_the_first_photo_of_a_product_as_composed_models_do(made):
    """Further photos of the products change no rank."""
    write_trunk_of_a_pair(made)
    before = evaluate(made, ["sum"])
    image = open_store(paths.features_of("trunk") / "image")
    ids = made["products"]["product_id"].to_list()
    rows = np.random.default_rng(1).normal(size=(len(ids), image.header.dim))
    keys = [*image.ids, *(photo_key(key, 1) for key in ids)]
    both = np.concatenate([image.rows(image.ids), rows])
    write_store(image.folder, keys, both, (image.header.encoder, image.header.preprocessing))
    after = evaluate(made, ["sum"])
    assert {"composed_image_only", "composed_sum_untrained"} <= set(after.ranks["direction"])
    assert after.ranks.equals(before.ranks) and after.figures == before.figures


def test_paraphrases_are_counted_by_the_first_answer(made):
    results = evaluate(made, ["sum"])
    own = results.figures["composed"]["sum"]["oof"]["paraphrases"]
    rows = results.ranks.filter((pl.col("direction") == "composed_sum") & (pl.col("split") == "oof"))
    first = dict(rows.select("query_id", "first_product_id").iter_rows())
    groups: dict[str, list[str]] = {}
    for key, answer in first.items():
        groups.setdefault(key.rpartition("-")[0], []).append(answer)
    pairs = [a != b for answers in groups.values() for a, b in combinations(answers, 2)]
    assert own["num_groups"] == len(groups) and own["num_queries"] == len(first)
    assert own["first_answer_changes"] == pytest.approx(np.mean(pairs), abs=1e-6)


def test_ranks_for_comparison_have_each_kind_and_its_subsets(made):
    table = evaluate(made).ranked()
    assert dict(table.schema) == RANKS_SCHEMA
    directions = set(table["direction"])
    assert {"composed_sum", "composed_sum_subset", "composed_q_former", "composed_image_only_subset"} <= directions
    subset = table.filter(pl.col("direction") == "composed_sum_subset")
    assert set(subset["num_gallery"]) == {3} and subset["rank"].max() <= 3


def test_no_kind_reads_nothing(tmp_path):
    nothing = evaluate_composed(ComposedModels([], FOLDS, "catalogue"), tmp_path, pl.DataFrame(), None)
    assert nothing.trees() == ({}, {}) and nothing.ranked().is_empty()


def test_stores_of_another_catalogue_are_refused(made):
    store = paths.composed_of("sum", 1) / "products"
    ids = pl.read_parquet(store / "ids.parquet")
    ids.reverse().write_parquet(store / "ids.parquet")
    with pytest.raises(ValueError, match="not the gallery of this catalogue and its folds; run `dvc repro`"):
        evaluate(made)
