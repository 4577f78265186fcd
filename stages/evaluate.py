"""Computes figures with intervals, per-query ranks and plot tables from the fused embeddings and probabilities.

Out-of-fold and test figures are separate: only test was used neither to train a model nor to select an epoch.
"""

from pathlib import Path

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder, write_json, write_table
from pipeline_lib.artifacts.read import read_json, read_table
from pipeline_lib.ensembling.composed_prediction_files import write_composed_predictions
from pipeline_lib.evaluation.baseline_comparison import baseline_trees
from pipeline_lib.evaluation.baselines.run import read_split_products
from pipeline_lib.evaluation.baselines.stored import read_baselines
from pipeline_lib.evaluation.baselines.zero_shot_retrieval import zero_shot_trees
from pipeline_lib.evaluation.composed import ComposedModels, evaluate_composed
from pipeline_lib.evaluation.embedding_space import evaluate_embeddings
from pipeline_lib.evaluation.hubness import evaluate_hubness
from pipeline_lib.evaluation.judged import judged_trees
from pipeline_lib.evaluation.modality_gain import modality_gain
from pipeline_lib.evaluation.plot_tables import write_plot_tables
from pipeline_lib.evaluation.protocols import PROTOCOLS
from pipeline_lib.evaluation.query_subsets import read_subsets
from pipeline_lib.evaluation.ranks import rank_all
from pipeline_lib.evaluation.slices import modalities, modality_trees
from pipeline_lib.evaluation.summary import MEASURED, classification_trees, data_counts, left_out_lines, merged
from pipeline_lib.execution.meter import metered
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.composed import ComposedKind, ComposedProtocolName
from pipeline_lib.params.evaluate import EvaluateParams
from pipeline_lib.splitting.seen import read_hashed_products, read_predicting_models, seen_figures


def main() -> None:
    with stage("stages.evaluate") as run, metered("evaluate") as meter, meter.beating():
        params, folds = run.section(EvaluateParams), run.value("plan.folds", list[int])
        protocol, judged = PROTOCOLS[params.protocol], run.value("plan.judged", list[int])
        relevance, slices = (read_table(paths.CATALOGUE / f"{t}.parquet") for t in ("relevance", "query_slices"))
        products = read_split_products(paths.CATALOGUE, paths.FOLDS / "folds.parquet")
        groups_of = dict(products.select("product_id", "group_id").iter_rows())
        meter.announce(f"{relevance['query_id'].n_unique():,} queries, {len(products):,} products, {params.protocol}")
        ranks = rank_all(folds, protocol, relevance, read_subsets(paths.CATALOGUE), groups_of, meter)
        scores = read_table(paths.ENSEMBLE / "class_scores.parquet")
        classes = read_json(paths.ENSEMBLE / "classes.json", list[str])
        meter.begin("figures with intervals")
        retrieval = protocol.trees(ranks, params.bootstrap, params.seed, slices)
        trunk = paths.features_of("trunk") if "trunk" in run.value("plan.features", list[str]) else None
        baselines = read_baselines(paths.BASELINES, scores.filter(MEASURED), classes)
        *compared, gains = baseline_trees(scores, baselines.scores, classes)
        zero_shot = zero_shot_trees(trunk, paths.CATALOGUE, products, ranks, params)
        hubness = evaluate_hubness(folds, params, relevance, groups_of, ranks, meter)
        embeddings = evaluate_embeddings(folds, params, relevance, products)
        kinds: list[ComposedKind] = run.value("plan.composed", list[ComposedKind])
        asked = ComposedModels(kinds, folds, run.value("composed.protocol", ComposedProtocolName))
        composed = evaluate_composed(asked, paths.CATALOGUE, products, trunk)
        with fresh_folder(paths.EVALUATION) as out:
            write_table(pl.concat([ranks, hubness.ranks, composed.ranked()]), out / "ranks.parquet")
            composed.write(out)
            notes = write_composed_predictions({kind: composed.rankings(kind) for kind in kinds}, asked.protocol, out)
            write_json(out / "skipped.json", baselines.skipped)
            embeddings.write(out)
            gained = modality_gain(scores, baselines.probes(), classes)
            notes += write_plot_tables(out, ranks, scores, classes, {"baselines": gains, "modality_gain": gained})
        for line in [*left_out_lines(scores, classes), *baselines.notes, *composed.notes, *notes, *protocol.warnings()]:
            print(line)
        described = [classification_trees(scores, classes), *(one.trees() for one in (hubness, composed, embeddings))]
        more = (modality_trees(scores, classes, modalities(products)), zero_shot, *described, judged_trees(judged))
        figures, intervals = (merged(*one) for one in zip(retrieval, compared, *more, strict=True))
        data = data_counts(paths.CATALOGUE, paths.FOLDS)
        models = read_predicting_models(paths.TRAIN, Path(run.value("ensemble.fuse_with", str)), folds)
        seen = seen_figures(read_hashed_products(paths.CATALOGUE, paths.FOLDS), models)
        run.check_unchanged()  # these two replace files at once
        write_json(paths.INTERVALS, intervals)
        write_json(paths.METRICS, figures | data | ({"seen": seen} if seen else {}))


if __name__ == "__main__":
    main()
