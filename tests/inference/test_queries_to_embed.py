import polars as pl

from pipeline_lib.inference.embeddings import queries_for


def test_queries_answered_by_these_products_and_unanswered_held_out_queries():
    queries = pl.DataFrame(
        {
            "query_id": ["here", "elsewhere", "test", "val", "train", "photo", "generated"],
            "kind": ["text"] * 5 + ["image", "text"],
            "text": list("abcdefg"),
            "split": [None, None, "test", "val", "train", "test", None],
        }
    )
    pairs = [("here", "p", 1), ("elsewhere", "z", 1), ("photo", "p", 1)]
    relevance = pl.DataFrame(pairs, schema=["query_id", "product_id", "grade"], orient="row")
    assert queries_for(["p", "r"], queries, relevance).rows() == [("here", "a"), ("test", "c"), ("val", "d")]
