"""Assigns every product to test or to the fold that holds it out, once for all later stages."""

from pathlib import Path

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder, write_json, write_table
from pipeline_lib.catalogue.tables import read_products
from pipeline_lib.ensembling.submission import check_ids, open_sample
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.split import SplitParams
from pipeline_lib.splitting.assignment import read_assignment
from pipeline_lib.splitting.folds import check_planned, split_products, tabulate


def main() -> None:
    with stage("stages.folds") as run:
        split = run.section(SplitParams)
        products = read_products(paths.CATALOGUE)
        assignment = read_assignment(Path(split.assignment), split.num_folds)
        folds, notes = split_products(products, split.num_folds, split.test_fraction, split.seed, assignment)
        check_planned(folds, run.value("plan.folds", list[int]))
        sample = open_sample(paths.CATALOGUE)
        if sample is not None:
            check_ids(sample, folds.filter(pl.col("split") == "test")["product_id"].to_list())
        with fresh_folder(paths.FOLDS) as out:
            write_table(folds, out / "folds.parquet")
            write_table(tabulate(products, folds), out / "table.csv")
            write_json(out / "notes.json", notes)
        with fresh_folder(paths.PHASES / paths.NO_PHASE) as out:
            for fold in range(split.num_folds):
                write_json(out / str(fold) / "start.json", {"phase": None})
        places = folds.group_by("split", "fold").len().sort("split", "fold", nulls_last=True)
        for name, fold, number in places.iter_rows():
            print(f"folds: {name}{'' if fold is None else f' fold {fold}'}: {number} products")
        for note in notes:
            print(f"  note: {note}")


if __name__ == "__main__":
    main()
