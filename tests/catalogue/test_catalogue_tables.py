"""The catalogue's folder: round trip, equal bytes, counts, and checks of references between tables."""

# ruff: noqa: F401, F811 (fixtures are imported by name)
import polars as pl
import pytest
from drawn_records import data_params, photo, records

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.catalogue.schema import MEDIA, PRODUCTS, QUERIES, REJECTS, RELEVANCE, Catalogue
from pipeline_lib.catalogue.tables import count, read_catalogue, read_products, write_catalogue


@pytest.fixture
def catalogue(data_params, records, photo):
    photo("a.jpg", seed=1)
    photo("b.jpg", seed=1, quality=70)
    photo("c.jpg", seed=2)
    rows = [
        {"product_id": "one", "media": ["a.jpg"], "label": "x", "text": "red mug"},
        {"product_id": "two", "media": ["b.jpg"], "label": "x", "text": "a red mug"},
        {"product_id": "three", "media": ["c.jpg", "gone.jpg"], "text": ""},
        {"product_id": "four", "media": []},
    ]
    return build_catalogue(records(rows), data_params(), 1)


def test_near_duplicates_share_a_group_and_are_relevant_to_each_others_queries(catalogue):
    assert catalogue.products["group_id"].to_list() == ["one", "one", "three"]
    assert len(catalogue.queries) == 2 and len(catalogue.relevance) == 4


def test_tables_survive_a_round_trip_and_equal_tables_are_equal_bytes(catalogue, tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        write_catalogue(folder, catalogue)
    read = read_catalogue(folders[0])
    for name in ("products", "media", "queries", "relevance", "rejects"):
        assert getattr(read, name).equals(getattr(catalogue, name))
    write_catalogue(folders[1], read)
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == [
        "counts.json",
        "media.parquet",
        "near_duplicates.parquet",
        *(f"{n}.parquet" for n in ("products", "queries", "query_slices", "rejects", "relevance")),
    ]
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    assert read_products(folders[0]).equals(catalogue.products)


def test_an_edited_text_does_not_change_the_table_of_photos(catalogue, tmp_path):
    assert [len(set(cell)) for cell in catalogue.media["content"]] == [1, 1, 1]
    edited = catalogue.products.with_columns(pl.lit("another text").alias("text"))
    other = Catalogue(edited, catalogue.media, catalogue.queries, catalogue.relevance, catalogue.rejects)
    for name, each in (("old", catalogue), ("new", other)):
        (tmp_path / name).mkdir()
        write_catalogue(tmp_path / name, each)
    assert (tmp_path / "old/media.parquet").read_bytes() == (tmp_path / "new/media.parquet").read_bytes()
    assert (tmp_path / "old/products.parquet").read_bytes() != (tmp_path / "new/products.parquet").read_bytes()


def test_counts_include_rejected_products_and_every_reason(catalogue, tmp_path):
    write_catalogue(tmp_path, catalogue)
    assert read_object(tmp_path / "counts.json") == count(catalogue)
    assert count(catalogue) == {
        "products": 3,
        "queries": 2,
        "composed": {},
        "rejected": 1,
        "reasons": {"empty text": 1, "missing image": 2},
        "classes": 1,
        "columns": {},
        "ignored_columns": [],
        "notes": [],
        "groups": {
            "same_groups": 1,
            "same_products": 2,
            "same_largest": 2,
            "perhaps_groups": 1,
            "perhaps_products": 2,
            "perhaps_largest": 2,
            "same_relevance_rows": 2,
            "placeholder_photos": 0,
            "placeholder_products": 0,
        },
        "given_folds": [],
    }


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"products.parquet: no such table; run `dvc repro catalogue`"):
        read_products(tmp_path)


def catalogue_of(**frames):
    """Return a catalogue of the given tables; the others are empty."""
    schemas = {"products": PRODUCTS, "media": MEDIA, "queries": QUERIES, "relevance": RELEVANCE, "rejects": REJECTS}
    if "products" in frames and "product_id" in frames["products"]:
        ids = frames["products"]["product_id"]
        frames.setdefault(
            "media",
            pl.DataFrame({"product_id": ids, "media": [[]] * len(ids), "content": [[]] * len(ids)}, schema=MEDIA),
        )
    return Catalogue(**{name: frames.get(name, pl.DataFrame(schema=schema)) for name, schema in schemas.items()})


def test_inconsistent_tables_are_refused():
    product = pl.DataFrame([("a", [], "", None, "a", "a", None, None)], schema=PRODUCTS, orient="row")
    query = pl.DataFrame([("q", "composed", "t", "b", [], None)], schema=QUERIES, orient="row")
    answer = pl.DataFrame([("q", "a", 1)], schema=RELEVANCE, orient="row")
    with pytest.raises(ValueError, match="products: a occurs more than once"):
        catalogue_of(products=pl.concat([product, product]))
    with pytest.raises(ValueError, match="relevance: 'a' is in no other table"):
        catalogue_of(relevance=answer)
    with pytest.raises(ValueError, match="relevance: 'q' is in no other table"):
        catalogue_of(products=product, relevance=answer)
    with pytest.raises(ValueError, match="queries: 'b' is in no other table"):
        catalogue_of(products=product, queries=query)
    with pytest.raises(ValueError, match="media: its product ids or their order differ"):
        catalogue_of(products=product, media=pl.DataFrame(schema=MEDIA))
    with pytest.raises(ValueError, match="products.*: columns are"):
        catalogue_of(products=product.drop("fold"))


def test_an_edited_photo_changes_only_the_table_of_photos(data_params, records, photo, tmp_path):
    """Other bytes with the same pixels count as an edit, because shards store the bytes."""
    photo("a.png", seed=1)
    rows = [{"product_id": "one", "media": ["a.png"]}]
    before = build_catalogue(records(rows), data_params(), 1)
    photo("a.png", seed=1, compress_level=1)
    after = build_catalogue(records(rows), data_params(), 1)
    assert before.media["media"].equals(after.media["media"]) and not before.media.equals(after.media)
    assert all(getattr(before, name).equals(getattr(after, name)) for name in ("products", "queries", "relevance"))
