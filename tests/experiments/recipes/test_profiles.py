"""Intent profiles: they fit any project, may follow each other in any order, and report no figures."""

import itertools
from pathlib import Path

import pytest

from pipeline_lib.experiments.recipes.description import description, reported, summary, warnings
from pipeline_lib.experiments.recipes.merging import cells, merge
from pipeline_lib.experiments.recipes.profiles import larger_scale, profile_patch
from pipeline_lib.experiments.recipes.schema import Profile, log_names, profile_names, read_recipe, recipe_names
from pipeline_lib.params.section import load_params, pick

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "recipes"
PARAMS = load_params(ROOT / "params.yaml")
EFFORTS = ("accurate", "frozen", "quick")  # how much is trained; classify sets the task


def applied(*names, params=PARAMS):
    for name in names:
        (cell,) = cells(name, params, folder=FOLDER)
        params = cell.params
    return params


def test_the_profiles_come_first_in_the_list_and_share_no_name_with_a_log():
    assert profile_names(FOLDER) == ["accurate", "classify", "frozen", "quick"]
    assert recipe_names(FOLDER)[:4] == profile_names(FOLDER)
    assert not {*profile_names(FOLDER)} & {*log_names(FOLDER)}


@pytest.mark.parametrize("name", profile_names(FOLDER))
def test_a_profile_describes_itself_and_reports_no_figures(name):
    profile = read_recipe(name, FOLDER)
    assert isinstance(profile, Profile) and reported(profile) == "profile" and profile.note
    assert summary(name, profile) == {"name": name, "about": profile.about, "log": None, "row": None, "reported": None}
    assert description(name, FOLDER)[1] == "intent profile; no figures are reported"
    assert warnings(cells(name, PARAMS, folder=FOLDER)) == []


def test_quick_is_one_fold_one_scale_and_heads_on_stored_features():
    params = applied("quick")
    assert (params["plan"]["folds"], params["plan"]["scales"]) == ([0], [PARAMS["model"]["image"]["size"]])
    assert params["train"]["unfreeze_layers"] == 0 and params["features"]["trunk"]["at"] == "pooled"
    assert "trunk" in params["plan"]["features"]
    assert params["train"]["epochs"] < min(applied(name)["train"]["epochs"] for name in ("accurate", "frozen"))


def test_accurate_is_all_folds_several_scales_flips_and_every_layer():
    params = applied("accurate")
    assert params["plan"]["folds"] == [0, 1, 2] and params["plan"]["scales"] == [64, 72]
    assert params["embed"]["flip"] and params["train"]["unfreeze_layers"] == "all"
    assert params["train"]["lr_decay"] < 1 and params["train"]["ema_decay"] > 0


def test_classify_leaves_cross_entropy_as_the_only_loss():
    params = applied("classify", params=merge(PARAMS, {"losses": {"triplet": {"weight": 2.0}}}))
    assert {name for name, loss in params["losses"].items() if loss["weight"]} == {"cross_entropy"}
    assert params["train"]["best_metric"] == "top1" and params["plan"]["search"] == []


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(EFFORTS, 2)))
def test_the_last_of_two_efforts_counts(first, second):
    assert applied(first, second) == applied(second)


@pytest.mark.parametrize("effort", EFFORTS)
def test_the_task_and_the_effort_may_be_applied_in_any_order(effort):
    both = applied("classify", effort)
    assert both == applied(effort, "classify")
    assert both["train"]["best_metric"] == "top1" and both["train"]["epochs"] == applied(effort)["train"]["epochs"]


def test_lists_of_the_plan_follow_from_the_projects_own_params():
    """Another project: five folds, a transformer at 224 pixels, a teacher and no stored trunk."""
    changes = {
        "split": {"num_folds": 5},
        "model": {"image": {"size": 224, "name": "vit_small_patch16_224"}},
        "plan": {"folds": [1], "search": [1], "scales": [384], "teachers": ["teacher"], "features": []},
    }
    params = merge(PARAMS, changes)
    plan = {name: applied(name, params=params)["plan"] for name in EFFORTS}
    assert [plan[name]["folds"] for name in EFFORTS] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0]]
    assert [plan[name]["scales"] for name in EFFORTS] == [[224, 256], [224], [224]]
    assert all(plan[name]["features"] == ["trunk"] for name in EFFORTS)
    assert profile_patch(read_recipe("classify", FOLDER), params) == {}


@pytest.mark.parametrize("tiny", [False, True])
@pytest.mark.parametrize(
    ("name", "search", "judged"),
    [("quick", [0], []), ("accurate", [2], [2]), ("frozen", [2], [2]), ("classify", [], [])],
)
def test_folds_of_search_and_judged_stay_as_far_as_they_are_trained(name, search, judged, tiny):
    params = merge(PARAMS, {"plan": {"folds": [0, 1, 2], "search": [2], "judged": [2]}})
    (cell,) = cells(name, params, tiny, FOLDER)
    if tiny and search:  # one fold is trained
        search, judged = [0], []
    assert (cell.params["plan"]["search"], cell.params["plan"]["judged"]) == (search, judged)
    both = merge(PARAMS, {"plan": {"search": [2, 0], "judged": [2, 0]}})
    (cell,) = cells(name, both, tiny, FOLDER)
    assert cell.params["plan"]["judged"] == ([2, 0] if search == [2] else search)


@pytest.mark.parametrize("name", EFFORTS)
def test_features_keep_the_tokens_that_a_composed_model_reads(name):
    tokens = {"features": {"trunk": {"at": "tokens"}}}
    of = {
        at: applied(name, params=merge(PARAMS, tokens | {"plan": {"composed": composed}}))["features"]["trunk"]["at"]
        for at, composed in (("tokens", ["q_former"]), ("pooled", ["sum"]))
    }
    assert of == {"tokens": "tokens", "pooled": "pooled"}


@pytest.mark.parametrize(
    ("size", "tower", "scale"),
    [
        (224, "ViT-L-14", 252),
        (224, "vit_base_patch32_224", 256),
        (224, "TinyCLIP-ViT-39M-16-Text-19M", 256),
        (256, "convnext_base.clip_laion2b_augreg", 288),
        (64, "data/sample/weights/image", 72),
        (224, "vit_small_patch14_reg4_dinov2.lvd142m", 252),
    ],
)
def test_a_larger_scale_holds_complete_patches(size, tower, scale):
    assert larger_scale(size, tower) == scale


@pytest.mark.parametrize("name", EFFORTS)
def test_efforts_keep_losses_and_learning_rates(name):
    params = applied(name)
    for key in ("losses", "train.tower_lr", "train.head_lr", "train.batch_size", "train.best_metric", "model"):
        assert pick(params, key) == pick(PARAMS, key), key
