"""The stages after embed, run on hand-made embeddings: ensemble, evaluate, index."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from dvc.utils.hydra import apply_overrides
from embedded_project import make_project
from measured import measure
from metric_paths import undescribed
from output_names import unnamed

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.digests import digest_folder
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.loading.products import text_key
from pipeline_lib.stores.store import write_store
from stages import ensemble

SLICES = [
    f"{split}.classification_by_modality.{kind}"
    for split, kind in (("oof", "both"), ("oof", "image_only"), ("test", "both"), ("test", "text_only"))
]
CHANCE = {
    "retrieval.text_to_image": ("R@1", "R@5", "R@10"),
    "retrieval.image_to_text": ("R@1", "R@5", "R@10"),
    "classification": ("top1", "top3"),
}
CLASSIFIED = ["classification", "classification_by_modality"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    make_project(tmp_path, monkeypatch)


def leaves(tree, prefix=""):
    for key, value in tree.items():
        yield from leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]


def embedded():
    return [file.parent for file in paths.EMBED.rglob("classes.json")]


def edit_params(old, new):
    text = Path("params.yaml").read_text(encoding="utf-8")
    assert old in text
    Path("params.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")


def test_figures_have_exactly_the_published_paths(project):
    ensemble.main()
    measure()
    ranks = ("R@1", "R@5", "R@10", "MeanRecall", "median_rank", "mean_rank")
    figures = [
        *(
            f"{split}.retrieval.{direction}.{name}"
            for split in ("oof", "test")
            for direction in ("text_to_image", "image_to_text")
            for name in ranks
        ),
        *(
            f"{split}.classification.{name}"
            for split in ("oof", "test")
            for name in ("top1", "top3", "macro_f1", "balanced_accuracy", "ece")
        ),
        *(f"{part}.{name}" for part in SLICES for name in ("top1", "macro_f1")),
    ]
    sizes = [
        f"{split}.retrieval.{direction}.{name}"
        for split in ("oof", "test")
        for direction in ("text_to_image", "image_to_text")
        for name in ("num_queries", "num_gallery")
    ]
    sizes += [f"{part}.num_products" for part in SLICES]
    sizes += [
        f"{split}.classification.{name}" for split in ("oof", "test") for name in ("num_products", "num_unlearned")
    ]
    sizes += [
        f"{split}.{branch}.chance.{name}"
        for split in ("oof", "test")
        for branch, names in CHANCE.items()
        for name in names
    ]
    metrics, intervals = read_object(paths.METRICS), read_object(paths.INTERVALS)
    assert undescribed(metrics) == [] and unnamed(Path()) == []
    assert sorted(leaves(intervals)) == sorted(figures)
    space = ("alignment", "uniformity_image", "uniformity_text", "modality_gap")  # too few products for hubs
    sizes += [f"{split}.embedding.{name}" for split in ("oof", "test") for name in space]
    data = [f"data.{name}" for name in ("products", "queries", "rejected", "columns.id")]
    groups = metrics["data"].pop("groups")
    assert sorted(leaves(metrics)) == sorted([*figures, *sizes, *data])
    assert metrics["data"] == {"products": 9, "queries": 9, "rejected": 1, "columns": {"id": "id"}}
    counted = read_object(paths.CATALOGUE / "counts.json")["groups"] | read_object(paths.FOLDS / "groups.json")
    assert groups == counted and "same_groups" in groups


def test_each_stage_prints_what_it_will_do_and_what_it_did(project, capsys):
    ensemble.main()
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == ("ensemble: 9 products and 10 queries in 3 galleries, predicted by 2 folds at 2 scales, on the CPU")
    assert last.startswith("ensemble: 10 queries in ") and "; class predictions in " in last
    measure()
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "evaluate: 10 queries, 9 products, catalogue"
    assert last.startswith("evaluate: 19 ranked rows in ") and "; figures with intervals in " in last


def test_baselines_are_in_the_same_metrics_file_as_the_models(project, capsys):
    """Synthetic trunk features: a product's photo and text encode its class and nothing else."""
    ensemble.main()
    measure()
    assert "baseline knn is left out: the trunk's features could not be stored" in capsys.readouterr().out
    products = pl.read_parquet(paths.CATALOGUE / "products.parquet")
    directions = np.eye(3, dtype=np.float32)
    known = {"cup": 0, "hat": 1}
    rows = [(f"{key}#0", text, directions[known.get(label, 2)]) for key, _, text, label, _ in products.iter_rows()]
    trunk = paths.features_of("trunk")
    write_store(trunk / "image", [row[0] for row in rows], np.stack([row[2] for row in rows]), ("m", "v"))
    texts = {text_key(row[1]): row[2] for row in rows}
    texts |= {text_key(name): directions[row] for name, row in known.items()}
    write_store(trunk / "text", list(texts), np.stack(list(texts.values())), ("m", "v"))
    write_json(trunk / "joint.json", {"why_apart": None})
    measure()
    metrics, intervals = read_object(paths.METRICS), read_object(paths.INTERVALS)
    # The labelled products of fold 1 are all cups, so fold 0's hat cannot be learned, and is in no figure.
    assert metrics["oof"]["baselines"]["knn"] == {"top1": 1.0, "macro_f1": 1.0}
    assert metrics["test"]["baselines"] == {
        name: {"top1": 1.0, "macro_f1": 1.0} for name in ("knn", "linear_probe", "linear_probe_image", "zero_shot")
    } | {"linear_probe_text": {"top1": 0.5, "macro_f1": pytest.approx(1 / 3, abs=1e-6)}}  # one of the two has no text
    assert intervals["test"]["baselines"]["zero_shot"] == {"top1": [0.012236, 1.0], "macro_f1": [0.012236, 1.0]}
    gains = pl.read_csv(paths.EVALUATION / "baselines.csv")
    assert gains.height == 20 and read_object(paths.EVALUATION / "skipped.json") == {}
    top1 = metrics["test"]["classification"]["top1"]
    assert gains.filter(pl.col("split") == "test", pl.col("figure") == "top1")["gain"].to_list() == [
        top1 - baseline for baseline in (1, 1, 1, 0.5, 1)
    ]
    sides = pl.read_csv(paths.EVALUATION / "modality_gain.csv")
    assert sides["split"].to_list() == ["oof", "test"]
    assert sides.row(1)[1:6] == ("image", 1.0, 0.5, 1.0, 0.0) and sides.row(1, named=True)["missed"] == 0
    edit_params("  - trunk\n", "")
    edit_params("  features:\n", "  features: []\n")
    measure()
    assert "plan.features has no trunk" in capsys.readouterr().out
    assert "baselines" not in read_object(paths.METRICS)["test"]


def test_judged_queries_of_the_planned_folds_are_figures_too(project):
    """tests/serving/test_judged_stage.py makes them; the folder of a fold that left the plan is not read."""
    ensemble.main()
    figures = {"nDCG@10": 0.75, "num_queries": 4, "chance": {"nDCG@10": 0.6}}
    for fold in (0, 1):
        paths.judged_of(fold).mkdir(parents=True)
        write_json(paths.judged_of(fold) / paths.JUDGED_FIGURES, figures)
        write_json(paths.judged_of(fold) / paths.JUDGED_INTERVALS, {"nDCG@10": [0.4, 0.9]})
    measure()
    assert sorted(read_object(paths.METRICS)) == ["data", "oof", "test"]
    apply_overrides(Path("params.yaml"), ["plan.judged=[0]"])
    measure()
    assert read_object(paths.METRICS)["judged"] == {"0": figures}
    assert undescribed(read_object(paths.METRICS)) == [] and unnamed(Path()) == []
    assert read_object(paths.INTERVALS)["judged"] == {"0": {"nDCG@10": [0.4, 0.9]}}


def test_sizes_and_predictions_are_those_of_the_catalogue(project, capsys):
    ensemble.main()
    measure()
    metrics = read_object(paths.METRICS)
    # Every product has its own query; q-p4 also belongs to the test gallery, where t0 is relevant to it.
    oof, test = metrics["oof"]["retrieval"], metrics["test"]["retrieval"]
    assert [(sizes["num_queries"], sizes["num_gallery"]) for sizes in oof.values()] == [(6, 3), (6, 3)]
    assert (test["text_to_image"]["num_queries"], test["text_to_image"]["num_gallery"]) == (4, 3)
    assert (test["image_to_text"]["num_queries"], test["image_to_text"]["num_gallery"]) == (3, 4)
    # p3 and t1 have no label, p5's is unknown to the models, and the model of p1's fold has seen no other hat.
    confusion = pl.read_csv(paths.EVALUATION / "confusion.csv").group_by("split").agg(pl.col("count").sum())
    assert dict(confusion.rows()) == {"oof": 3, "test": 2}
    reasons = "1 without a label, 2 whose class no model that predicts them was trained on"
    assert f"oof: products in no classification figure: {reasons}" in capsys.readouterr().out
    submission = pl.read_csv(paths.ENSEMBLE / "submission.csv")
    assert submission["id"].to_list() == ["t0", "t1", "t2"]
    predicted = pl.read_parquet(paths.ENSEMBLE / "probabilities.parquet")
    assert predicted["product_id"].to_list() == ["p0", "p1", "p2", "p3", "p4", "p5", "t0", "t1", "t2"]


def test_ranks_agree_with_the_rankings(project):
    ensemble.main()
    measure()
    relevance = pl.read_parquet(paths.CATALOGUE / "relevance.parquet")
    best = (
        pl.read_parquet(paths.ENSEMBLE / "rankings.parquet")
        .join(relevance, on=["query_id", "product_id"])
        .group_by("split", "fold", "query_id")
        .agg(pl.col("rank").min().cast(pl.Float64).alias("best"))
    )
    ranks = pl.read_parquet(paths.EVALUATION / "ranks.parquet").filter(pl.col("direction") == "text_to_image")
    both = ranks.join(best, on=["split", "fold", "query_id"], nulls_equal=True)
    assert both.height == ranks.height == 10
    assert both["rank"].to_list() == both["best"].to_list()


def test_a_second_run_writes_the_same_bytes(project):
    digests = []
    for _ in range(2):
        ensemble.main()
        measure()
        digests.append([digest_folder(folder) for folder in (paths.ENSEMBLE, paths.EVALUATION, paths.REPORTS)])
    assert digests[0] == digests[1]


def test_stale_members_change_nothing(project):
    ensemble.main()
    before = digest_folder(paths.ENSEMBLE)
    shutil.copytree(paths.embed_of(1, 80), paths.embed_of(2, 80))
    shutil.copytree(paths.embed_of(1, 80), paths.embed_of(1, 96))
    ensemble.main()
    assert digest_folder(paths.ENSEMBLE) == before


def test_a_fold_removed_from_the_plan_leaves_no_outputs(project):
    ensemble.main()
    edit_params("  - 1\n", "")
    ensemble.main()
    measure()
    assert not (paths.ENSEMBLE / "oof-1").exists()
    assert pl.read_parquet(paths.EVALUATION / "ranks.parquet")["fold"].unique().to_list() == [None, 0]


def test_without_test_products_nothing_of_test_is_written(project):
    folds = paths.FOLDS / "folds.parquet"
    pl.read_parquet(folds).filter(pl.col("split") == "train").write_parquet(folds)
    ensemble.main()
    measure()
    assert (paths.ENSEMBLE / "submission.csv").read_text(encoding="utf-8") == "id,label\n"
    assert not (paths.ENSEMBLE / "test").exists()
    assert sorted(read_object(paths.METRICS)) == ["data", "oof"]


def test_a_classifier_without_embeddings_has_only_classification(project):
    for folder in embedded():
        shutil.rmtree(folder / "queries")
        shutil.rmtree(folder / "products")
    ensemble.main()
    measure()
    assert [list(read_object(paths.METRICS)[split]) for split in ("oof", "test")] == [CLASSIFIED] * 2


def test_embeddings_without_a_classifier_have_only_retrieval(project):
    for folder in embedded():
        shutil.rmtree(folder / "probabilities")
    ensemble.main()
    measure()
    assert [list(read_object(paths.METRICS)[split]) for split in ("oof", "test")] == [["embedding", "retrieval"]] * 2
    assert (paths.ENSEMBLE / "submission.csv").read_text(encoding="utf-8") == "id,label\n"


def test_a_missing_member_gives_one_line_and_an_exit_status(project, capsys):
    shutil.rmtree(paths.embed_of(1, 64))
    with pytest.raises(SystemExit) as stopped:
        ensemble.main()
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "fold 1 at scale 64 is listed in plan but was not embedded" in line
    assert not paths.ENSEMBLE.exists()
