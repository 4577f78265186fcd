"""Searches one fold's composed model with a product and a sentence, and says in which fold the product is."""

import difflib
from dataclasses import dataclass

import polars as pl

import pipeline_lib.execution.threads  # noqa: F401  the collector scans less while libraries are imported
from pipeline_lib.artifacts import paths
from pipeline_lib.catalogue.schema import REJECTED
from pipeline_lib.cli.fold_search import FoundProduct
from pipeline_lib.params.composed import COMPOSED_KINDS
from pipeline_lib.params.model import FusionKind, TextTowerParams, UntrainedText
from pipeline_lib.params.plan import TRUNK, PlanParams
from pipeline_lib.params.section import load_params, parse_section, parse_value


@dataclass(frozen=True)
class Reference:
    """The product of a composed query, its split (train | test), and the fold that holds it, if any.

    Products of train without a fold are trained on by the models of all folds.
    """

    product_id: str
    text: str
    split: str
    fold: int | None

    @property
    def place(self) -> str:
        """Return the fold or split in words."""
        return self.split if self.fold is None else f"fold {self.fold}"

    def note(self, fold: int) -> str | None:
        """Return a line for a reference that is not among the products searched with the model of a fold."""
        if self.split == "test" or self.fold == fold:
            return None
        return f"{self.product_id} is in {self.place}, which the model of fold {fold} was trained on"


def composed_kind(kind: str | None) -> str:
    """Return the kind of model to search with: the given one, or the first of plan.composed."""
    planned = parse_section(PlanParams, load_params()).composed
    if kind is not None and kind not in COMPOSED_KINDS:
        raise ValueError(f"--kind {kind}: with --like it is a composed model; choose {', '.join(COMPOSED_KINDS)}")
    if kind is None and not planned:
        raise ValueError(
            "no composed model: plan.composed is []; set plan.composed = [sum], or more kinds, and run `dvc repro`"
        )
    return kind or planned[0]


def find_reference(product_id: str) -> Reference:
    """Return a product of the catalogue; ValueError for an unknown one, with the reason if it was rejected."""
    own = pl.col("product_id") == product_id
    folder = paths.CATALOGUE
    if not (folder / "products.parquet").is_file():
        raise ValueError(f"{folder}: no catalogue here; run `dvc repro`")
    table = pl.scan_parquet(folder / "products.parquet").select("product_id", "text")
    found = table.filter(own).join(pl.scan_parquet(paths.FOLDS / "folds.parquet"), on="product_id").collect()
    if found.height:
        row = found.row(0, named=True)
        return Reference(product_id, row["text"] or "", row["split"], row["fold"])
    rejected = pl.scan_parquet(folder / "rejects.parquet").filter(own, pl.col("action") == REJECTED).collect()
    if rejected.height:
        raise ValueError(f"product {product_id!r} was rejected: {rejected['reason'][0]}; it has no features")
    near = difflib.get_close_matches(product_id, table.select("product_id").collect()["product_id"].to_list(), 1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"no product {product_id!r} in any fold or in test of {folder / 'products.parquet'}{meant}")


def search_like(reference: Reference, text: str, kind: str, fold: int, top: int) -> list[FoundProduct]:
    """Return the `top` held-out and test products for a product and a text, best first, without the product itself.

    Raises ValueError if there is no such model, or if its gallery, features or text tower have changed since.
    """
    from pipeline_lib.retrieval.composed_search import search_composed
    from pipeline_lib.towers.kinds import resolve_text_tower

    params = load_params()
    text_params = parse_value("model.text", TextTowerParams, params)
    untrained = UntrainedText(text_params, parse_value("model.fusion", FusionKind, params))  # type: ignore[arg-type]
    folder, trunk = paths.composed_of(kind, fold), paths.features_of(TRUNK)
    query = (reference.product_id, text)
    hits = search_composed(folder, trunk, lambda: resolve_text_tower(untrained), query, top)
    products = pl.scan_parquet(paths.CATALOGUE / "products.parquet").select("product_id", "text")
    found = products.filter(pl.col("product_id").is_in([key for key, _ in hits])).collect()
    texts = dict(found.iter_rows())
    return [FoundProduct(key, score, texts.get(key) or "") for key, score in hits]
