"""What a model has seen: renamed ids and re-encoded photos are found, equal splits pass, refusals are one line."""

import hashlib
import json
from dataclasses import fields

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.splitting.folds import split_products
from pipeline_lib.splitting.places import TEST
from pipeline_lib.splitting.seen import (
    check_start,
    check_unseen,
    overlap_of,
    read_hashed_products,
    read_model_seen,
    read_predicting_models,
    read_seen,
    seen_by_run,
    seen_figures,
    write_seen,
)


def write_tables(root, rows, folds):
    """Write the tables that are hashed: rows of (id, photo or None, text), folds of (split, fold)."""
    root.mkdir(parents=True, exist_ok=True)
    ids, photos, texts = zip(*rows, strict=True)
    pl.DataFrame({"product_id": ids, "text": texts}).write_parquet(root / "products.parquet")
    content = [[photo] if photo else [] for photo in photos]
    media = pl.DataFrame({"product_id": ids, "content": content}, schema_overrides={"content": pl.List(pl.String)})
    media.write_parquet(root / "media.parquet")
    splits, numbers = zip(*folds, strict=True)
    places = pl.DataFrame({"product_id": ids, "split": splits, "fold": numbers}, schema_overrides={"fold": pl.Int64})
    places.write_parquet(root / "folds.parquet")
    return read_hashed_products(root, root)


def goods(count=120, name="p{}", photo="photo {}", text="thing {}"):
    return [(name.format(i), photo and photo.format(i), text.format(i)) for i in range(count)]


def places(count=120, seed=1):
    """The real assignment to 3 folds and test."""
    products = pl.DataFrame({"product_id": [f"p{i}" for i in range(count)], "label": ["a", "b"] * (count // 2)})
    products = products.with_columns(
        pl.col("product_id").alias("group_id"),
        pl.col("product_id").alias("fold_group_id"),
        pl.lit(None, pl.String).alias("split"),
        pl.lit(None, pl.Int64).alias("fold"),
    )
    return split_products(products, 3, 0.2, seed)[0].select("split", "fold").rows()


def test_the_same_split_passes_and_another_seed_is_counted(tmp_path):
    one = write_tables(tmp_path / "one", goods(), places(seed=1))
    other = write_tables(tmp_path / "other", goods(), places(seed=2))
    for fold in range(3):
        seen = seen_by_run(one, fold)
        assert not overlap_of(one, fold, seen)
        found = overlap_of(other, fold, seen)
        trained = {i for i, place in enumerate(places(seed=1)) if place not in [("train", fold), ("test", None)]}
        now = places(seed=2)
        assert found.held_out == sum(now[i] == ("train", fold) for i in trained)
        assert found.test == sum(now[i] == ("test", None) for i in trained)
        assert 0.4 < found.held_out / found.num_held_out < 0.7


@pytest.mark.parametrize(
    "change",
    [
        {"name": "renamed-{}"},
        {"name": "renamed-{}", "text": "new words {}"},
        {"photo": "encoded again {}"},
        {"text": "new words {}"},
    ],
)
def test_a_product_is_known_by_its_id_or_its_photo(change, tmp_path):
    before = write_tables(tmp_path / "before", goods(), places(seed=1))
    after = write_tables(tmp_path / "after", goods(**change), places(seed=2))
    same = write_tables(tmp_path / "same", goods(), places(seed=2))
    seen = seen_by_run(before, 0)
    assert overlap_of(after, 0, seen) == overlap_of(same, 0, seen)


def test_without_photos_renamed_products_are_known_by_their_text(tmp_path):
    before = write_tables(tmp_path / "before", goods(photo=None), places(seed=1))
    after = write_tables(tmp_path / "after", goods(photo=None, name="x{}"), places(seed=2))
    found = overlap_of(after, 0, seen_by_run(before, 0))
    assert found.held_out > 10 and found.namesakes == 0


def test_equal_ids_of_another_catalogue_are_other_products(tmp_path):
    """Rows numbered from 0 in both: no photo and no text agrees."""
    before = write_tables(tmp_path / "before", goods(), places(seed=1))
    after = write_tables(tmp_path / "after", goods(photo="other {}", text="other {}"), places(seed=2))
    found = overlap_of(after, 0, seen_by_run(before, 0))
    assert (found.held_out, found.test) == (0, 0) and found.namesakes > 60
    line = check_unseen("train.init_from: x", after, 0, seen_by_run(before, 0), False)
    assert line.endswith(f"({found.namesakes} equal ids are those of other products)")


def test_a_photo_on_both_sides_says_nothing(tmp_path):
    """A placeholder is in every fold: with the same folds nothing is refused, with others it counts for nobody."""
    rows = [(key, "logo" if i % 4 else photo, text) for i, (key, photo, text) in enumerate(goods())]
    one = write_tables(tmp_path / "one", rows, places(seed=1))
    assert not overlap_of(one, 0, seen_by_run(one, 0))
    renamed = [(f"x{key}", photo, text) for key, photo, text in rows]
    other = write_tables(tmp_path / "other", renamed, places(seed=2))
    mask = np.array([photo != "logo" for _, photo, _ in rows])
    found = overlap_of(other, 0, seen_by_run(one, 0))
    assert 0 < found.held_out <= int((mask & (other.fold == 0)).sum())


def test_what_a_start_has_seen_is_handed_on(tmp_path):
    one = write_tables(tmp_path / "one", goods(), places(seed=1))
    other = write_tables(tmp_path / "other", goods(), places(seed=2))
    heir = seen_by_run(other, 0, [seen_by_run(one, 0), None])
    assert overlap_of(other, 0, heir).held_out == overlap_of(other, 0, seen_by_run(one, 0)).held_out > 0
    assert not overlap_of(other, 0, seen_by_run(other, 0))


def test_the_refusal_is_one_line_with_counts_and_the_way_out(tmp_path):
    rows, folds = goods(10), [("train", 0)] * 3 + [("train", 1)] * 4 + [("test", None)] * 3
    products = write_tables(tmp_path / "one", rows, folds)
    moved = write_tables(tmp_path / "two", rows, [*folds[5:], *folds[:5]])
    what = "train.init_from: data/starts/mine/0"
    assert check_unseen(what, products, 0, seen_by_run(products, 0), False) == (
        f"{what} was trained on 0 of 3 held-out and 0 of 3 test products"
    )
    seen = seen_by_run(products, 0)
    # p3..p6 were trained on; now p5..p7 are held out and p2..p4 are test.
    with pytest.raises(ValueError) as error:
        check_unseen(what, moved, 0, seen, False)
    assert str(error.value) == (
        f"{what} was trained on 2 of 3 held-out and 2 of 3 test products that fold 0 is measured on; use a model of "
        "these folds (split.assignment keeps folds), or write train.allow_seen: true, which metrics.json and the "
        "report then say"
    )
    assert check_unseen(what, moved, 0, seen, True) == f"{what} was trained on 2 of 3 held-out and 2 of 3 test products"
    with pytest.raises(ValueError, match="has no hashes of the products it was trained on.*train.allow_seen: true"):
        check_unseen(what, moved, 0, None, False)
    assert check_unseen(what, moved, 0, None, True).endswith("unknown")
    assert seen_figures(moved, {0: [seen]}) == {
        "oof": {"trained_on": 2, "products": 3}, "test": {"trained_on": 2, "products": 3},
    }  # fmt: skip
    assert seen_figures(products, {0: [seen, None]}) == {}
    # The model of a fold that this run has not predicts test alone.
    assert seen_figures(moved, {0: [None], TEST: [seen]}) == {"test": {"trained_on": 2, "products": 3}}


def test_an_experiment_predicts_test_with_all_its_folds(tmp_path):
    products = write_tables(
        tmp_path / "tables", goods(10), [("train", fold) for fold in (0, 0, 0, 1, 1, 1)] + [("test", None)] * 4
    )
    external = tmp_path / "predictions" / "mine"
    for root, folds in ((tmp_path / "train", [0]), (external / "one" / "models", [0, 1])):
        for fold in folds:
            (root / str(fold)).mkdir(parents=True)
            entry = write_seen(root / str(fold), seen_by_run(products, fold))
            (root / str(fold) / "model.json").write_text(json.dumps({"run": {"seen": entry}}))
    models = read_predicting_models(tmp_path / "train", external, [0])
    assert {fold: len(own) for fold, own in models.items()} == {0: 2, TEST: 1}
    assert models[TEST][0].held_out.tolist() == sorted(products.ids[3:6].tolist())


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=30), st.integers(0, 2))
def test_counts_are_those_of_a_loop(tmp_path_factory, bins, fold):
    folds = [("test", None) if one == -1 else ("train", one if one >= 0 else None) for one in bins]
    products = write_tables(tmp_path_factory.mktemp("loop"), goods(len(bins)), folds)
    seen = seen_by_run(products, 0)
    trained = [one not in (0, -1) for one in bins]
    found = overlap_of(products, fold, seen)
    assert found.held_out == sum(known and one == fold for known, one in zip(trained, bins, strict=True))
    assert (found.test, found.num_test) == (0, bins.count(-1))


def test_the_file_and_the_card_hold_the_same(tmp_path):
    seen = seen_by_run(write_tables(tmp_path / "one", goods(), places()), 0)
    write_json(tmp_path / "model.json", {"run": {"seen": write_seen(tmp_path, seen)}})
    read = read_model_seen(tmp_path)
    for part in fields(seen):
        assert np.array_equal(getattr(read, part.name), getattr(seen, part.name)), part.name
    trained = {i for i, place in enumerate(places()) if place not in [("train", 0), ("test", None)]}
    keys = sorted(int.from_bytes(hashlib.blake2b(f"p{i}".encode(), digest_size=8).digest(), "little") for i in trained)
    assert read.ids.tolist() == keys
    check_start(read, tmp_path)
    with pytest.raises(ValueError, match=rf"embed.interpolation: .* was trained on {len(keys)} products that the card"):
        check_start(None, tmp_path)
    np.save(tmp_path / "seen.npy", np.load(tmp_path / "seen.npy")[::-1])
    with pytest.raises(ValueError, match=r"seen.npy does not fit the card beside it; copy the folder again"):
        read_model_seen(tmp_path)
    (tmp_path / "seen.npy").unlink()
    with pytest.raises(ValueError, match=r"seen.npy is missing; `vitrine keep EXPERIMENT NAME` saves a complete"):
        read_model_seen(tmp_path)
    assert read_seen(tmp_path, None) is None
