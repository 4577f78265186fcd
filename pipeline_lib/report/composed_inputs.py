"""What the report reads of composed retrieval: ranks, the best products of each query, the models, their gate maps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import check_columns, damaged, read_object, read_table, reading
from pipeline_lib.artifacts.schemas import COMPOSED_BEST_SCHEMA, COMPOSED_GATES_SCHEMA, Schema
from pipeline_lib.evaluation.composed import UNTRAINED
from pipeline_lib.evaluation.composed_protocols import OFF, PREFIX
from pipeline_lib.params.composed import COMPOSED_KINDS

RANK_COLUMNS = ("split", "direction", "query_id", "fold", "rank", "num_gallery", "num_right")


@dataclass(frozen=True)
class ComposedTables:
    """The ranks (RANK_COLUMNS, `direction` is the kind), and the folders below which the other tables are.

    `kinds` are the trained kinds and then the rows of the untrained towers, as far as they were evaluated.
    """

    ranks: pl.DataFrame
    kinds: list[str]
    root: Path

    @classmethod
    def read(cls, root: Path) -> "ComposedTables":
        """Read the ranks under the project's root; they are empty without composed models."""
        path = root / paths.EVALUATION / "composed_ranks.parquet"
        if not path.is_file():
            return cls(pl.DataFrame(schema=dict.fromkeys(RANK_COLUMNS, pl.String)), [], root)
        ranks = read_table(path, columns=list(RANK_COLUMNS))
        ranks = ranks.with_columns(pl.col("direction").str.strip_prefix(PREFIX))
        found = set(ranks["direction"].unique())
        return cls(ranks, [kind for kind in (*COMPOSED_KINDS, *UNTRAINED) if kind in found], root)

    @property
    def trained(self) -> list[str]:
        """Return the trained kinds."""
        return [kind for kind in self.kinds if kind not in UNTRAINED]

    def off(self, kind: str) -> str | None:
        """Return the direction of a kind's ranks with its fusion switched off, None without such ranks."""
        name = f"{kind}{OFF}"
        return name if self.ranks["direction"].eq(name).any() else None

    def best(self, query_ids: list[str]) -> pl.DataFrame:
        """Return COMPOSED_BEST_SCHEMA rows of some queries, `direction` is the kind; no other row is in memory."""
        path = self.root / paths.EVALUATION / "composed_best.parquet"
        if not path.is_file():
            return pl.DataFrame(schema=COMPOSED_BEST_SCHEMA)
        rows = _rows_of(path, query_ids, COMPOSED_BEST_SCHEMA)
        return rows.with_columns(pl.col("direction").str.strip_prefix(PREFIX)).sort("direction", "query_id", "rank")

    def run(self, kind: str, fold: int) -> dict[str, Any]:
        """Return how a fold's model was trained, from its card; empty without one."""
        card = self.root / paths.composed_of(kind, fold) / "model.json"
        run: dict[str, Any] = read_object(card, run=dict)["run"] if card.is_file() else {}
        return run

    def gates(self, kind: str, fold: int, query_ids: list[str]) -> pl.DataFrame:
        """Return COMPOSED_GATES_SCHEMA rows of some queries; none without a fusion."""
        path = self.root / paths.composed_of(kind, fold) / paths.COMPOSED_GATES
        if not path.is_file():
            return pl.DataFrame(schema=COMPOSED_GATES_SCHEMA)
        return _rows_of(path, query_ids, COMPOSED_GATES_SCHEMA)


def _rows_of(path: Path, query_ids: list[str], schema: Schema) -> pl.DataFrame:
    """Return the rows of some queries of a table; no other row is in memory."""
    with reading(path):
        table = pl.scan_parquet(path)
        columns = table.collect_schema()
    check_columns(path, columns)
    if lacking := sorted(schema.keys() - columns.keys()):
        raise damaged(path, f"it has no column {', '.join(lacking)}")
    with reading(path):
        return table.filter(pl.col("query_id").is_in(query_ids)).collect()
