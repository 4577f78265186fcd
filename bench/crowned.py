"""What `vitrine compare` says of two recipes of log A whose means differ by .0006 MeanRecall on 5,008 queries.

Run it as `python bench/crowned.py`. The log has no rankings, so they are simulated with exactly the hit rates that it
reports for a16-none-none and a16-none-word_dropout. How much two runs agree on queries is unknown: it is varied, and
the only thing that the result depends on beside the means.
"""

import numpy as np
import polars as pl

from pipeline_lib.artifacts.schemas import CLASS_SCORES_SCHEMA, RANKS_SCHEMA
from pipeline_lib.experiments.compare.comparison import Options, compare
from pipeline_lib.experiments.compare.runs import TABLES, Run
from pipeline_lib.experiments.compare.settings import Setting

QUERIES, GALLERY = 5008, 29_806
CUTOFFS = (1, 5, 10)
RECIPES = {
    "a16-none-none": (0.1384, 0.3464, 0.4746),
    "a16-none-word_dropout": (0.1360, 0.3460, 0.4790),
}
AGREEMENT = (0.5, 0.8, 0.95)


def ranks_with(rates, order):
    """Return ranks (queries,) with these hit rates at 1, 5 and 10; the first of `order` get the best ones."""
    ranks = np.full(QUERIES, 11.0)
    for rate, k in zip(rates[::-1], CUTOFFS[::-1], strict=True):
        ranks[order[: round(rate * QUERIES)]] = k
    return ranks


def run_of(name, ranks):
    """Return a run of these ranks; its products and photos are not looked at."""
    ids = [f"q{number}" for number in range(QUERIES)]
    rows = {
        "split": "test", "direction": "text_to_image", "query_id": ids, "fold": None, "rank": ranks,
        "num_gallery": GALLERY, "group_id": ids, "num_right": 6, "tied_right": 1, "tied_wrong": 0,
    }  # fmt: skip
    tables = {file.stem: pl.DataFrame(schema=columns) for file, columns in TABLES.items()}
    params = {"train": {"seed": 7}, "plan": {"folds": [], "composed": []}}
    ranked = pl.DataFrame(rows, schema=RANKS_SCHEMA)
    return Run(name, ranked, pl.DataFrame(schema=CLASS_SCORES_SCHEMA), [], params, tables, lambda _: b"")


def main() -> None:
    first, second = RECIPES
    print(f"a = {first}, b = {second}, MeanRecall, {QUERIES:,} queries\n")
    print("| agreement | a | b | b - a, 95 % | p | finds | verdict | queries that differ |")
    print("|---|---|---|---|---|---|---|---|")
    for agreement in AGREEMENT:
        rng = np.random.default_rng(1)
        common = np.sqrt(agreement) * rng.standard_normal(QUERIES)
        luck = [common + np.sqrt(1 - agreement) * rng.standard_normal(QUERIES) for _ in RECIPES]
        runs = [
            run_of(name, ranks_with(rates, np.argsort(own)))
            for (name, rates), own in zip(RECIPES.items(), luck, strict=True)
        ]
        found = compare([Setting(run.name, [run]) for run in runs], Options(changed=0))
        (row,) = found.rows.filter("primary").to_dicts()
        differ = int((runs[0].ranks["rank"] != runs[1].ranks["rank"]).sum())
        span = f"{row['low']:+.4f} .. {row['high']:+.4f}"
        print(
            f"| {agreement} | {row['a']:.4f} | {row['b']:.4f} | {span} | {row['p']:.3f} | {row['smallest']:.4f} | "
            f"{row['verdict']} | {differ:,} |"
        )


if __name__ == "__main__":
    main()
