"""Adds composed retrieval to a made run: queries, ranks of two trained kinds and two untrained rows, and gate maps."""

import numpy as np
import polars as pl
from made_run import Run, galleries

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.schemas import COMPOSED_BEST_SCHEMA, COMPOSED_GATES_SCHEMA, COMPOSED_RANKS_SCHEMA

# Kind -> how much higher its targets score.
SIGNAL = {"sum": 1.0, "q_former": 2.0, "image_only": 0.0, "sum_untrained": 0.5}
# With a fusion, the trained kinds are ranked once more with it switched off.
SWITCHED_OFF = {"sum_fusion_off": 0.6, "q_former_fusion_off": 1.2}
DEPTH = 12
PATCHES = 4


def add_composed(run: Run, fusion: str = "gated", kinds=tuple(SIGNAL), with_reference: bool = False) -> Run:
    """Write the tables; a query leads from a product to another of its gallery, and a third is a softer answer.

    References are ranked among the results only `with_reference`.
    """
    relevance = pl.read_parquet(run.root / paths.CATALOGUE / "relevance.parquet").rows()
    queries = pl.read_parquet(run.root / paths.CATALOGUE / "queries.parquet").rows()
    ranks, best, random = [], [], np.random.default_rng(5)
    off = [name for name in SWITCHED_OFF if fusion != "none" and name.removesuffix("_fusion_off") in kinds]
    run.rows["composed"] = {}
    for split, fold, members in galleries(run):
        ids = [product[0] for product in members]
        for number, reference in enumerate(ids):
            query, target, soft = f"c-{reference}", ids[number - 1], ids[number - 2]
            queries.append((query, "composed", f"in 红 {number}", reference, [], None))
            relevance += [(query, target, 2), (query, soft, 1)]
            run.rows["composed"][query] = (reference, target, soft)
            for kind in (*kinds, *off):
                scores = dict(zip(ids, random.normal(size=len(ids)), strict=True))
                scores[target] += (SIGNAL | SWITCHED_OFF)[kind]
                order = sorted(scores.keys() - set([] if with_reference else [reference]), key=scores.get, reverse=True)
                best += [
                    (f"composed_{kind}", query, split, fold, place + 1, key, scores[key])
                    for place, key in enumerate(order[:DEPTH])
                ]
                row = dict.fromkeys(COMPOSED_RANKS_SCHEMA) | {"split": split, "direction": f"composed_{kind}"}
                row |= {"query_id": query, "fold": fold, "rank": 1.0 + order.index(target), "num_gallery": len(order)}
                ranks.append(row | {"num_right": 1, "group_id": target})
    catalogue = {
        name: pl.read_parquet_schema(run.root / paths.CATALOGUE / f"{name}.parquet")
        for name in ("queries", "relevance")
    }
    run.frame(paths.CATALOGUE / "queries.parquet", queries, catalogue["queries"])
    run.frame(paths.CATALOGUE / "relevance.parquet", relevance, catalogue["relevance"])
    run.frame(paths.EVALUATION / "composed_ranks.parquet", ranks, COMPOSED_RANKS_SCHEMA)
    run.frame(paths.EVALUATION / "composed_best.parquet", best, COMPOSED_BEST_SCHEMA)
    run.rows["composed_ranks"] = pl.DataFrame(ranks, schema=COMPOSED_RANKS_SCHEMA)
    _count(run, kinds)
    for kind in set(kinds) & {"sum", "q_former"}:
        for fold in run.folds:
            _write_model(run, kind, fold, fusion, random)
    return run


def _count(run: Run, kinds) -> None:
    figures, intervals = run.metrics.setdefault("composed", {}), run.intervals.setdefault("composed", {})
    counted = run.rows["composed_ranks"].filter(~pl.col("direction").str.ends_with("_fusion_off"))
    for (direction, split), part in counted.group_by("direction", "split", maintain_order=True):
        places = part["rank"].to_numpy()
        leaf = {f"R@{k}": float((places <= k).mean()) for k in (1, 5)} | {"R_subset@1": 0.25, "R@10": 0.75}
        chance = dict.fromkeys(leaf, 0.125)
        kind = direction.removeprefix("composed_")
        figures.setdefault(kind, {})[split] = leaf | {
            "num_queries": len(places), "num_gallery": 19, "chance": chance, "slices_left_out": 1,
            "slices": {"zh": {"R@1": 0.5, "num_queries": 11, "num_gallery": 19, "chance": {"R@1": 0.0625}}},
            "categories": {"mug": {"R@1": 0.75, "num_queries": 12, "num_gallery": 8, "chance": {"R@1": 0.1875}}},
            "paraphrases": {"num_groups": 3, "num_queries": 6, "first_answer_changes": 0.375},
        }  # fmt: skip
        intervals.setdefault(kind, {})[split] = {
            key: [0.8 * value, min(1.0, 1.2 * value)] for key, value in leaf.items()
        }
    run.put(paths.METRICS, run.metrics)
    run.put(paths.INTERVALS, run.intervals)


def _write_model(run: Run, kind: str, fold: int, fusion: str, random: np.random.Generator) -> None:
    folder = paths.composed_of(kind, fold)
    alpha = None if fusion == "none" else 0.125
    card = {"composed": {"fusion": fusion, "fusion_alpha": 0.1}, "fusion_alpha": alpha, "view": {"size": 64}}
    run.put(folder / "model.json", {"run": card})
    if fusion != "none":
        low = 0.25 + 0.25 * (kind == "sum")
        gates = [(query, PATCHES, (low + 0.25 * random.random(PATCHES**2)).tolist()) for query in run.rows["composed"]]
        run.frame(folder / paths.COMPOSED_GATES, gates, COMPOSED_GATES_SCHEMA)
