"""A fault in any section, and a loss without its classes or texts, stop the first stage that runs."""

import copy
import shutil
from pathlib import Path

import pytest

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.heads import LOSS_HEADS
from pipeline_lib.params.requirements import (
    check_catalogue,
    check_composed,
    check_frame_pooling,
    check_heads,
    check_planned_folds,
    check_search,
    size_notes,
    view_notes,
)
from pipeline_lib.params.section import load_params

ROOT = Path(__file__).parents[2]
PATH = Path("params.yaml")


def params(**losses):
    """Return params.yaml with only the given losses on, by weight."""
    loaded = load_params(ROOT / "params.yaml")
    for name in LOSS_HEADS:
        loaded["losses"][name]["weight"] = losses.get(name, 0.0)
    return loaded


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for name in ("pipeline_lib", "stages"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", ["stages.catalogue", "stages.shards", "stages.report"])
def test_every_stage_refuses_a_fault_of_another_section(project, module, capsys):
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert "bootstrap: 1000" in text
    (project / "params.yaml").write_text(text.replace("bootstrap: 1000", "bootstrap: 50"), encoding="utf-8")
    with pytest.raises(SystemExit), stage(module):
        pytest.fail("the stage ran")
    assert "evaluate.bootstrap = 50: input should be greater than or equal to 100" in capsys.readouterr().err


def test_the_check_of_other_sections_is_no_code_of_a_stage(project):
    from pipeline_lib.execution.import_closure import import_closure

    names = {path.name for path in import_closure("stages.index")}
    assert "index.py" in names and not names & {"all_sections.py", "requirements.py", "losses.py"}


def test_stages_after_the_catalogue_refuse_losses_that_it_cannot_serve(project, capsys):
    (project / "data/work/catalogue").mkdir(parents=True)
    write_json(project / "data/work/catalogue/counts.json", {"classes": 0, "queries": 12, "products": 3})
    with pytest.raises(SystemExit), stage("stages.folds"):
        pytest.fail("the stage ran")
    assert "losses.cross_entropy needs classes to tell apart, but the catalogue has 0" in capsys.readouterr().err
    for module in ("stages.code", "stages.catalogue"):  # the counts are about to be written again
        with stage(module):
            pass


@pytest.mark.parametrize(
    ("losses", "counts", "text"),
    [
        ({"cross_entropy": 1.0}, {"classes": 1, "queries": 5}, "losses.cross_entropy needs classes"),
        ({"class_distillation": 1.0}, {"classes": 0, "queries": 5}, "losses.class_distillation needs classes"),
        ({"triplet": 1.0}, {"classes": 5, "queries": 0}, "losses.triplet compares images with texts"),
        ({"triplet": 1.0}, {"classes": 0, "queries": 3}, None),
        ({"cross_entropy": 0.5}, {"classes": 2, "queries": 0}, None),
    ],
)
def test_losses_need_what_they_compare(losses, counts, text):
    if text is None:
        check_catalogue(params(**losses), counts, PATH)
    else:
        with pytest.raises(ValueError, match=text):
            check_catalogue(params(**losses), counts, PATH)


def test_the_metric_of_the_best_epoch_needs_its_head():
    classifier = params(cross_entropy=1.0)
    classifier["train"]["best_metric"] = "MeanRecall"
    with pytest.raises(ValueError, match="best_metric = 'MeanRecall' measures retrieval, which no loss trains; choose"):
        check_heads(classifier, PATH)
    for metric in ("top1", "loss"):
        classifier["train"]["best_metric"] = metric
        check_heads(classifier, PATH)


def test_photos_that_are_stored_smaller_than_a_tower_reads_them_are_noted():
    loaded = params()
    assert size_notes(loaded) == []
    loaded["shards"]["size"], loaded["model"]["image"]["size"], loaded["plan"]["scales"] = 96, 96, [64, 96]
    assert size_notes(loaded) == []
    loaded["plan"]["scales"] = [64, 128]
    assert size_notes(loaded) == [
        "shards.size = 96 stores larger photos at 96 px, and plan.scales reads 128 px, so they are enlarged again; "
        "set shards.size to 128 or more"
    ]
    loaded["model"]["image"]["size"] = 224
    assert "model.image.size reads 224 px" in size_notes(loaded)[0]


def test_views_that_a_frozen_image_tower_sees_again_and_again_are_noted():
    loaded = params()
    loaded["plan"] |= {"features": ["trunk"], "scales": [64, 72], "folds": [0, 1, 2]}
    loaded["model"]["image"]["size"] = 64
    loaded["embed"] |= {"flip": True, "stored_views": False}
    loaded["train"]["unfreeze_layers"] = 1
    assert view_notes(loaded) == []
    loaded["train"]["unfreeze_layers"] = 0
    assert view_notes(loaded) == [
        "embed.stored_views = false, so the frozen image tower runs again for every fold and in every run (72 px, "
        "the mirrored photo); true stores what it gives once"
    ]
    for section, key, value in (
        ("embed", "stored_views", True),  # stored
        ("plan", "features", []),  # no run reads what is stored
        ("phases", "head", {"unfreeze_layers": 2}),  # a phase before the last one trains layers
    ):
        other = copy.deepcopy(loaded)
        other[section][key] = value
        assert view_notes(other) == [], section
    for key, value in (("register_memory", {"slots_shared": 2}), ("positional_conv", {"after_block": 1})):
        other = copy.deepcopy(loaded)
        other["model"][key] |= value
        assert view_notes(other) == [], key  # an adapter changes what the tower gives, so nothing stored is read
    other = copy.deepcopy(loaded)
    other["model"]["fusion"] = "early"  # reads tokens, which are not stored
    assert view_notes(other) == []
    loaded["embed"]["flip"], loaded["plan"]["scales"] = False, [64]
    assert view_notes(loaded) == []  # the stage features stores that one


def test_the_photos_of_a_teacher_are_stored_as_large_as_it_reads_them(tmp_path):
    loaded = params()
    loaded["shards"]["size"], loaded["model"]["image"]["size"], loaded["plan"]["scales"] = 96, 96, [96]
    loaded["plan"]["teachers"] = ["pair", "own", "broken", "gone"]
    starts = tmp_path / "data/starts"
    for name in ("pair", "own/0", "own/1", "broken/0"):
        (starts / name).mkdir(parents=True)
    (starts / "pair/model.yaml").write_text("image: {kind: timm, name: vit, size: 64}\n", encoding="utf-8")
    for fold, size in enumerate((80, 96)):
        write_json(starts / f"own/{fold}/model.json", {"description": {"image": {"size": size}}})
    (starts / "broken/0/model.json").write_text("{", encoding="utf-8")
    assert size_notes(loaded, tmp_path) == []
    write_json(starts / "own/1/model.json", {"description": {"image": {"size": 112}}})
    assert "and the teacher 'own' reads 112 px, so they are enlarged again" in size_notes(loaded, tmp_path)[0]
    (starts / "pair/model.yaml").write_text("image: {kind: timm, name: vit, size: 224}\n", encoding="utf-8")
    (line,) = size_notes(loaded, tmp_path)
    assert "the teacher 'pair' reads 224 px" in line and line.endswith("set shards.size to 224 or more")


def test_a_search_needs_a_model_with_embeddings():
    """The stage index would stop after all training; with no index and no judged fold nothing stops."""
    classifier = params(cross_entropy=1.0)
    message = (
        r"plan.search = \[0\] needs a model with embeddings, but no loss that compares images and texts is on; set "
    )
    with pytest.raises(ValueError, match=message + r"plan.search = \[\], or the weight of losses.info_nce"):
        check_search(classifier, PATH)
    untrained = params(info_nce=1.0)
    check_search(untrained, PATH)
    untrained["train"]["epochs"] = 0
    with pytest.raises(ValueError, match=r"but train.epochs = 0 trains none; set plan.search = \[\]$"):
        check_search(untrained, PATH)
    untrained["phases"]["train"] = {"epochs": 2}
    check_search(untrained, PATH)
    for name in ("index", "search"):
        less = params(cross_entropy=1.0)
        less["plan"][name] = []
        check_search(less, PATH)
    judged = params(cross_entropy=1.0)
    judged["plan"] |= {"index": [], "judged": [0]}
    with pytest.raises(ValueError, match="needs a model with embeddings"):
        check_search(judged, PATH)


def test_a_phase_is_checked_with_its_own_changes():
    both = params(info_nce=1.0)
    both["train"]["best_metric"] = "R@1"
    both["phases"]["train"] = {"best_metric": "top1"}
    with pytest.raises(ValueError, match=r"train.best_metric = 'top1' measures classification"):
        check_heads(both, PATH)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("train", r"layers = 1\) reads all frames of a product, but train.photo = first; set train.photo = mean_pool"),
        (
            "phases",
            r"but phases.head.photo = random; set phases.head.photo = mean_pool, or model.frames.pooling = mean",
        ),
        ("embed", r"but embed.photo = first; set embed.photo = mean_pool"),
        ("count", r"frames.count = 65, but model.frames.max_frames = 64 positions; raise it"),
    ],
)
def test_a_frame_pooling_with_parameters_reads_all_photos(key, message):
    loaded = params(info_nce=1.0)
    loaded["model"]["frames"]["layers"] = 1
    loaded["train"]["photo"] = loaded["embed"]["photo"] = "mean_pool"
    check_frame_pooling(loaded, PATH)
    if key == "count":
        loaded["frames"]["count"] = 65
        check_frame_pooling(loaded, PATH)
        loaded["plan"]["frames"] = ["clips"]
    elif key == "phases":
        loaded["phases"]["head"] = {"photo": "random"}
    else:
        loaded[key]["photo"] = "first"
    with pytest.raises(ValueError, match=message):
        check_frame_pooling(loaded, PATH)
    loaded["model"]["frames"]["layers"] = 0
    check_frame_pooling(loaded, PATH)


def test_frame_distillation_needs_a_frame_attention():
    loaded = params(info_nce=1.0, frame_distillation=2.0)
    loaded["train"]["photo"] = loaded["embed"]["photo"] = "mean_pool"
    with pytest.raises(ValueError, match=r"model.frames.pooling = mean; set model.frames.pooling = attention, or"):
        check_frame_pooling(loaded, PATH)
    loaded["model"]["frames"]["pooling"] = "attention"
    check_frame_pooling(loaded, PATH)


def test_no_epochs_train_no_head_and_need_neither_classes_nor_texts():
    """The project of a benchmark of composed retrieval: products without texts and labels."""
    loaded = params()
    loaded["train"]["epochs"] = 0
    check_heads(loaded, PATH)
    check_catalogue(loaded, {"classes": 0, "queries": 0}, PATH)
    loaded["phases"]["head"] = {"epochs": 1}
    with pytest.raises(ValueError, match="every weight under losses is 0"):
        check_heads(loaded, PATH)


def test_composed_models_need_composed_queries():
    loaded = params(info_nce=1.0)
    loaded["plan"]["composed"] = ["sum"]
    with pytest.raises(ValueError, match=r"plan.composed = \['sum'\] trains on composed queries.*data.queries"):
        check_catalogue(loaded, {"classes": 0, "queries": 9, "composed": {}}, PATH)
    check_catalogue(loaded, {"classes": 0, "queries": 9, "composed": {"queries": 1}}, PATH)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("plan", {"composed": ["sum"], "features": []}, r"reads stored features; set plan.features = \[trunk\]"),
        (
            "plan",
            {"composed": ["sum", "q_former"]},
            "plan.composed has q_former, .*at = boundary stores",
        ),
        ("composed", {"fusion": "gated"}, "composed.fusion = gated, which reads image tokens, but"),
        (
            "composed",
            {"losses": {"patch_contrast": 0.1}},
            "composed.losses.patch_contrast is on, which reads image",
        ),
    ],
)
def test_a_composed_model_needs_the_stores_that_it_reads(section, changes, message):
    loaded = params(info_nce=1.0)
    loaded["plan"]["composed"] = ["combiner"]
    loaded[section] = loaded[section] | {
        key: loaded[section][key] | value if isinstance(value, dict) else value for key, value in changes.items()
    }
    with pytest.raises(ValueError, match=message):
        check_composed(loaded, PATH)
    loaded["features"]["trunk"]["at"], loaded["plan"]["features"] = "tokens", ["trunk"]
    check_composed(loaded, PATH)
    loaded["plan"] |= {"composed": [], "features": []}
    check_composed(loaded, PATH)


def test_epochs_of_a_composed_model_are_compared_by_a_figure_of_its_protocol():
    """Otherwise the stage compose would stop after its first epoch."""
    loaded = params(info_nce=1.0)
    loaded["plan"] |= {"composed": ["sum"], "features": ["trunk"]}
    loaded["composed"] |= {"protocol": "fashion_iq", "best_metric": "R@1"}
    with pytest.raises(ValueError, match="best_metric = R@1, but .*fashion_iq measures R@10, R@50, mean; choose one"):
        check_composed(loaded, PATH)
    loaded["composed"]["best_metric"] = "mean"
    check_composed(loaded, PATH)
    loaded["plan"]["composed"], loaded["composed"]["best_metric"] = [], "R@1"
    check_composed(loaded, PATH)


def test_planned_folds_are_those_that_the_table_gives():
    """A table with a column `split` has one fold, its val rows, whatever split.num_folds is."""
    loaded = params(info_nce=1.0)
    loaded["plan"]["folds"] = [0, 1, 2]
    counts = {"classes": 2, "queries": 9}
    check_catalogue(loaded, counts | {"given_folds": []}, PATH)
    check_catalogue(loaded, counts | {"given_folds": [0, 1, 2, 5]}, PATH)
    with pytest.raises(ValueError, match=r"plan.folds lists 1, but the folds are 0, by .*; set plan.folds = \[0\]"):
        check_catalogue(loaded, counts | {"given_folds": [0]}, PATH)
    with pytest.raises(ValueError, match=r"lists 0, but the folds are 3, 4, by .*; set plan.folds = \[3, 4\]"):
        check_planned_folds([0], [3, 4], PATH)
    loaded["split"]["assignment"] = "data/splits/v1.parquet"  # which may give others
    check_catalogue(loaded, counts | {"given_folds": [0]}, PATH)
