"""Assigns every product to test or to the fold that holds it out, once for all later stages."""

from pathlib import Path

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder, write_json, write_table
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.catalogue.tables import level_counts, read_near_duplicates, read_products
from pipeline_lib.ensembling.submission import check_ids, open_sample
from pipeline_lib.execution.meter import metered
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.requirements import check_planned_folds
from pipeline_lib.params.section import load_params
from pipeline_lib.params.split import SplitParams
from pipeline_lib.splitting.assignment import read_assignment
from pipeline_lib.splitting.composed_groups import link_composed
from pipeline_lib.splitting.composed_places import straddling
from pipeline_lib.splitting.folds import split_products, tabulate
from pipeline_lib.splitting.groups import fold_groups
from pipeline_lib.splitting.overlap import overlap
from pipeline_lib.splitting.planned_models import refused


def main() -> None:
    with stage("stages.folds") as run, metered("folds") as meter, meter.beating():
        split = run.section(SplitParams)
        products = read_products(paths.CATALOGUE)
        meter.announce(f"{len(products):,} products into folds and test")
        meter.begin("products", len(products))
        queries, relevance = (read_table(paths.CATALOGUE / f"{name}.parquet") for name in ("queries", "relevance"))
        group_ids, grouped = fold_groups(products, split.group_by_text)
        group_ids, linked = link_composed(products, group_ids, queries, relevance)
        products = products.with_columns(group_ids)
        assignment = read_assignment(Path(split.assignment), split.num_folds)
        folds, notes = split_products(products, split.num_folds, split.test_fraction, split.seed, assignment)
        meter.add(len(products))
        straddled = straddling(queries, relevance, folds)
        notes = grouped + linked + notes + straddled.notes
        meter.begin("near-equal texts and photos")
        seen = overlap(products, folds, read_near_duplicates(paths.CATALOGUE))
        numbers = folds["fold"].drop_nulls().unique().sort().to_list()
        check_planned_folds(run.value("plan.folds", list[int]), numbers, Path("params.yaml"))
        sample = open_sample(paths.CATALOGUE)
        if sample is not None:
            check_ids(sample, folds.filter(pl.col("split") == "test")["product_id"].to_list())
        with fresh_folder(paths.FOLDS) as out:
            write_table(folds, out / "folds.parquet")
            write_table(tabulate(products, folds), out / "table.csv")
            write_json(out / "notes.json", notes)
            write_json(out / "groups.json", level_counts("fold", group_ids) | seen | straddled.counts)
        with fresh_folder(paths.PHASES / paths.NO_PHASE) as out:
            for fold in range(split.num_folds):
                write_json(out / str(fold) / "start.json", {"phase": None})
        meter.finish()
        places = folds.group_by("split", "fold").len().sort("split", "fold", nulls_last=True)
        for name, fold, number in places.iter_rows():
            print(f"folds: {name}{'' if fold is None else f' fold {fold}'}: {number} products")
        if "test_near_either" in seen:
            shares = [f"{seen[f'test_near_{name}']:.1%} {name}" for name in ("text", "photo", "either")]
            print(f"  test products with a near-equal text or photo in training: {', '.join(shares)}")
        if across := seen["text_across_bins"]:
            print(f"  {across} products have a text that is in another fold or split as well")
        for note in notes:
            print(f"  note: {note}")
        if lines := refused(load_params()):
            raise ValueError(lines[0])


if __name__ == "__main__":
    main()
