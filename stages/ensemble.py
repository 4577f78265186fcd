"""Fuses folds and scales into one class prediction per product, one ranking per query, and a submission.

External predictions are fused too if ensemble.fuse_with names some. The one model that did not train on an out-of-fold
product predicts it, at all scales. All models predict the test products. No output mixes the two.
"""

from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder, write_json, write_table
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.meter import Meter, metered
from pipeline_lib.execution.stage import Stage, stage


def main() -> None:
    with stage("stages.ensemble") as run, metered("ensemble") as meter, meter.beating():
        fuse(run, meter)


def fuse(run: Stage, meter: Meter) -> None:
    # Slow imports, which a process that only forks another does not need.
    import polars as pl

    from pipeline_lib.artifacts.schemas import RANKINGS_SCHEMA
    from pipeline_lib.ensembling.classification import classify
    from pipeline_lib.ensembling.external_predictions import check_models, open_external
    from pipeline_lib.ensembling.fuse import fuse_retrieval
    from pipeline_lib.ensembling.galleries import read_galleries
    from pipeline_lib.ensembling.members import open_members
    from pipeline_lib.ensembling.prediction_files import PREDICTION_FORMATS
    from pipeline_lib.ensembling.query_bank import write_banks
    from pipeline_lib.ensembling.submission import open_sample, write_submission
    from pipeline_lib.params.ensemble import EnsembleParams
    from pipeline_lib.splitting.seen import read_hashed_products

    params = run.section(EnsembleParams)
    folds, scales = run.value("plan.folds", list[int]), run.value("plan.scales", list[int])
    members = open_members(paths.embed_of, folds, scales)
    galleries = read_galleries(paths.CATALOGUE, paths.FOLDS / "folds.parquet", folds)
    external = open_external(Path(params.fuse_with), members[0].classes, galleries)
    allow = run.value("train.allow_seen", bool)
    if external:
        products = read_hashed_products(paths.CATALOGUE, paths.FOLDS)
        check_models(Path(params.fuse_with), external, products, folds, allow)
    num_products, num_queries = (sum(sizes) for sizes in zip(*(one.sizes for one in galleries), strict=True))
    meter.announce(
        f"{num_products:,} products and {num_queries:,} queries in {len(galleries)} galleries, predicted by "
        f"{len(folds)} folds at {len(scales)} scales, on the CPU"
    )
    meter.begin("queries", num_queries)
    sample = open_sample(paths.CATALOGUE)
    rankings = [pl.DataFrame(schema=RANKINGS_SCHEMA)]
    test_ids: list[str] = []
    with fresh_folder(paths.ENSEMBLE) as out:
        for gallery in galleries:
            rankings.append(fuse_retrieval(gallery, gallery.eligible(members), out / gallery.name, params.depth))
            if gallery.fold is None and members[0].classes:
                test_ids = gallery.products["product_id"].to_list()
            meter.add(len(gallery.query_ids))
        write_banks(galleries, members, (paths.CATALOGUE, paths.FOLDS / "folds.parquet"), folds, out)
        meter.begin("class predictions")
        classified = classify(galleries, members, params, external)
        scores = classified.write(out, params, scales, [experiment.name for experiment in external])
        for experiment in external:
            print(f"class predictions of {Path(params.fuse_with) / experiment.name} are fused with this run's")
        for note in classified.notes(params):
            print(note)
        ranked = pl.concat(rankings)
        write_table(ranked, out / "rankings.parquet")
        write_json(out / "classes.json", members[0].classes)
        for note in write_submission(out / "submission.csv", scores, test_ids, sample):
            print(note)
        for file in PREDICTION_FORMATS[params.predictions](ranked, out):
            print(f"{paths.ENSEMBLE / file.name}: check it with `vitrine check-predictions`")


if __name__ == "__main__":
    # It needs no torch, but a server has most of what it imports.
    run_stage("stages.ensemble", main, starts=False)
