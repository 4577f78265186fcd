"""The fused bank of training texts of each gallery, for evaluate.hubness.

A gallery's bank has no text that is answered in the gallery, so no figure is corrected by what it measures. It is fused
and written in blocks.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.paths import QUERY_BANK
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.ensembling.embeddings import fuse_folds, fuse_scales, fused_identity
from pipeline_lib.ensembling.galleries import GalleryMembers
from pipeline_lib.ensembling.members import Member
from pipeline_lib.stores.store import FeatureStore, MatrixWriter

BLOCK = 16_384


class QueryBank:
    """Which texts of the bank each gallery may use, by the folds of the products that answer them.

    `answers` has query_id, split and fold of the products that are relevant to a query; `folds` are the planned ones.
    """

    def __init__(self, answers: pl.DataFrame, folds: Sequence[int]) -> None:
        self._answers, self._folds = answers, folds

    @classmethod
    def read(cls, catalogue: Path, folds_file: Path, folds: Sequence[int]) -> "QueryBank":
        """Read the tables of a catalogue and its folds."""
        right = read_table(catalogue / "relevance.parquet").filter(pl.col("grade") > 0)
        answers = right.join(read_table(folds_file), on="product_id").select("query_id", "split", "fold")
        return cls(answers.unique(), folds)

    def of(self, gallery: GalleryMembers, query_ids: Sequence[str]) -> list[str]:
        """Return those of the bank's `query_ids` that a gallery may use, in their order.

        A fold's gallery may use texts without an answer in that fold. That of test may use the texts that one of the
        planned folds' models was trained on, and none that is answered in test.
        """
        planned = self._folds if gallery.fold is None else [gallery.fold]
        bank = pl.DataFrame({"query_id": query_ids}, schema={"query_id": pl.String})
        own = self._answers.join(bank, on="query_id", how="semi")
        hidden = [
            pl.col("query_id").is_in(own.filter(pl.col("fold") == fold)["query_id"].implode()) for fold in planned
        ]
        of_test = pl.col("query_id").is_in(own.filter(pl.col("split") == "test")["query_id"].implode())
        return bank.filter(~pl.all_horizontal(hidden) & ~of_test)["query_id"].to_list()


def write_banks(
    galleries: Sequence[GalleryMembers],
    members: Sequence[Member],
    tables: tuple[Path, Path],
    folds: Sequence[int],
    out: Path,
) -> None:
    """Write the bank of each gallery below `out`; nothing, and nothing is read, if no model has a bank.

    `tables` are the folder of the catalogue and the file of its folds. Raises ValueError if the models' banks differ.
    """
    if members[0].bank is None:
        return
    bank = QueryBank.read(*tables, folds)
    for gallery in galleries:
        _write_bank(bank, gallery, gallery.eligible(members), out / gallery.name)


def _write_bank(bank: QueryBank, gallery: GalleryMembers, members: Sequence[Member], out: Path) -> None:
    stores: dict[int, list[FeatureStore]] = {}
    for member in members:
        if member.bank is not None:
            stores.setdefault(member.fold, []).append(member.bank)
    opened = [store for scales in stores.values() for store in scales]
    for store in opened[1:]:
        if store.ids != opened[0].ids:
            raise ValueError(f"{store.folder}: not the bank of {opened[0].folder}; run `dvc repro`")
    ids = bank.of(gallery, opened[0].ids)
    width = sum(scales[0].header.dim for scales in stores.values())
    writer = MatrixWriter(out / QUERY_BANK, len(ids), width, "float32")
    for start in range(0, len(ids), BLOCK):
        writer.write(start, _fused(stores, ids[start : start + BLOCK]))
    writer.close(ids, *fused_identity(opened))


def _fused(stores: dict[int, list[FeatureStore]], ids: Sequence[str]) -> NDArray[np.float32]:
    return fuse_folds([fuse_scales(scales, ids) for scales in stores.values()])
