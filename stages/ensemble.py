"""Fuses folds and scales into one prediction for each product and one ranking for each query.

Out-of-fold products are predicted by the one model that never saw them, at all scales; test products by all models.
The two are kept apart in everything written.
"""

import polars as pl

from pipeline_lib import paths
from pipeline_lib.ensembling.fuse import fuse_classification, fuse_retrieval
from pipeline_lib.ensembling.galleries import read_galleries
from pipeline_lib.ensembling.members import open_members
from pipeline_lib.ensembling.prediction_files import PREDICTION_FORMATS
from pipeline_lib.ensembling.probabilities import write_submission
from pipeline_lib.params.evaluation import EnsembleParams
from pipeline_lib.provenance import fresh_folder, stage, write_json, write_table
from pipeline_lib.schemas import PREDICTIONS_SCHEMA, RANKINGS_SCHEMA


def main() -> None:
    with stage("stages.ensemble") as run:
        params = run.section(EnsembleParams)
        folds = run.value("plan.folds", list[int])
        scales = run.value("plan.scales", list[int])
        members = open_members(paths.embed_of, folds, scales)
        galleries = read_galleries(paths.CATALOGUE, paths.FOLDS / "folds.parquet", folds)
        rankings, predictions = [pl.DataFrame(schema=RANKINGS_SCHEMA)], [pl.DataFrame(schema=PREDICTIONS_SCHEMA)]
        test_ids: list[str] = []
        with fresh_folder(paths.ENSEMBLE) as out:
            for gallery in galleries:
                entitled = [member for member in members if gallery.fold in (None, member.fold)]
                rankings.append(fuse_retrieval(gallery, entitled, out / gallery.name, params.depth))
                predictions.append(fuse_classification(gallery, entitled))
                if gallery.fold is None and members[0].classes:
                    test_ids = gallery.products["product_id"].to_list()
                print(f"{gallery.name}: {gallery.products.height} products, {len(gallery.query_ids)} queries")
            predicted = pl.concat(predictions)
            ranked = pl.concat(rankings)
            write_table(ranked, out / "rankings.parquet")
            write_table(predicted, out / "probabilities.parquet")
            write_json(out / "classes.json", members[0].classes)
            write_submission(out / "submission.csv", predicted, test_ids)
            for file in PREDICTION_FORMATS[params.predictions](ranked, out):
                print(f"{paths.ENSEMBLE / file.name}: check it with `vitrine check-predictions`")


if __name__ == "__main__":
    main()
