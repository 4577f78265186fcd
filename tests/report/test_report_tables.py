"""Hand-worked rows of the report's tables."""

from pathlib import Path

import polars as pl

from pipeline_lib.params.section import load_params
from pipeline_lib.report.inputs import FoldRun, read_inputs
from pipeline_lib.report.tables import (
    MAX_PAIRS,
    confused_pairs,
    epoch_table,
    facts,
    majority_share,
    plan_views,
    reject_summary,
)


def test_confused_pairs_are_the_most_frequent_with_their_share():
    rows = [("a", "a", 6), ("a", "b", 3), ("a", "c", 1), ("b", "c", 3), ("c", "c", 9), ("b", "a", 0)]
    pairs = confused_pairs(pl.DataFrame(rows, schema=["truth", "predicted", "count"], orient="row"))
    assert [(p["truth"], p["predicted"], p["count"], p["support"]) for p in pairs] == [
        ("a", "b", 3, 10),
        ("b", "c", 3, 3),
        ("a", "c", 1, 10),
    ]
    many = [("a", f"z{i:02d}", 1) for i in range(40)]
    assert len(confused_pairs(pl.DataFrame(many, schema=["truth", "predicted", "count"], orient="row"))) == MAX_PAIRS


def test_majority_share_is_what_one_constant_answer_scores():
    assert majority_share(pl.DataFrame({"label": ["b", "a", "c"], "support": [4, 4, 2]})) == ("a", 0.4)


def test_rejects_are_counted_by_reason_and_action():
    rejects = pl.DataFrame({"action": ["rejected", "kept", "rejected"], "reason": ["r", "r", "r"]})
    assert reject_summary(rejects) == [
        {"action": "rejected", "reason": "r", "count": 2},
        {"action": "kept", "reason": "r", "count": 1},
    ]


def test_epochs_show_only_what_the_models_say():
    best = {"epoch": 3, "total": 1.23456, "top1": 0.8751}
    folds = [FoldRun(0, {}, pl.DataFrame(), {"run": {"best": best}}), FoldRun(1, {}, pl.DataFrame(), {})]
    table = epoch_table(folds)
    assert table.headings == ["Fold", "Epoch", "Training loss", "Top-1"]
    assert table.rows == [["0", "3", "1.235", "87.5 %"]]
    assert epoch_table([]).rows == []


def test_plans_that_differ_are_kept_apart():
    group = {"name": "g", "parameters": 10, "trainable": True, "lr": 0.001}
    tower = {"tower": "image", "total": 20, "trainable": 10, "groups": [group, group | {"trainable": False}]}
    shut = tower | {"trainable": 0, "groups": [group | {"trainable": False}]}
    plans = [{"towers": [row], "steps": [], "warnings": []} for row in (tower, shut, tower)]
    views = plan_views([FoldRun(i, plan, pl.DataFrame(), {}) for i, plan in enumerate(plans)])
    assert [view.folds for view in views] == [[0, 2], [1]]
    assert [(v.towers[0]["num_open"], v.towers[0]["share"], v.towers[0]["rates"]) for v in views] == [
        (1, 0.5, "0.001"),
        (0, 0.0, "–"),
    ]


def test_facts_tell_settings_and_survive_a_bare_model_card(make_run):
    run = make_run()
    inputs = read_inputs(run.folds, run.root)
    found = dict(facts(inputs, "data/mine", [64]))
    assert found["Data"] == "data/mine" and found["Products"] == "60" and found["Unfreeze layers"] == "4"
    assert found["Losses"] == "info_nce × 1" and found["Training size"] == "64 px"
    bare = read_inputs([], run.root)
    assert dict(facts(bare, "data/mine", [64]))["Folds trained"] == ""


def settings_told(make_run, **train):
    """The facts that a run with these settings of training tells of them."""
    run = make_run(folder=f"run-{len(train)}")
    inputs = read_inputs(run.folds, run.root)
    inputs.folds[0].run["train"] = train
    found = facts(inputs, "data/mine", [64])
    first = next(number for number, (name, _) in enumerate(found) if name == "Losses")
    return found[first + 1 : -1]  # behind the losses, before the stored features


FOLLOW = {"unfreeze_layers": None, "freeze_first": None, "embeddings": "follow"}


def test_the_default_settings_say_what_is_on(make_run):
    """Of the project's own params: every number and name, and nothing of what is off or follows another rule."""
    train = load_params(Path(__file__).parents[2] / "params.yaml")["train"]
    silent = {
        "towers", "schedule", "unfreeze_lr_scale", "lr_decay", "init_from", "init_heads", "ema_decay", "mining",
        "mining_share", "text_augment", "text_augment_rate", "mix", "mix_alpha", "grad_checkpointing", "warmup_steps",
    }  # fmt: skip
    told = dict(settings_told(make_run, **train))
    assert set(told) == {key.replace("_", " ").capitalize() for key in train.keys() - silent}
    assert told["Unfreeze layers"] == "4" and told["Tower lr"] == "0.0015" and told["Augment"] == "none"


def test_staged_training_is_told_in_words(make_run):
    told = settings_told(
        make_run,
        unfreeze_layers=1,
        towers={
            "image": {**FOLLOW, "unfreeze_layers": 0},
            "text": {**FOLLOW, "freeze_first": 2, "embeddings": "frozen"},
        },
        lr_decay=0.75,
        init_from="data/starts/mine",
        init_heads=False,
        ema_decay=0.999,
        patience=0,
        unfreeze_lr_scale=0.1,
        schedule=[
            {"epoch": 3, "tower": "text", "layers": 6},
            {"epoch": 5, "tower": "image", "layers": 1},
            {"epoch": 7, "tower": "image", "layers": "all"},
        ],
    )
    assert told == [
        ("Unfreeze layers", "1"),
        ("Unfreeze layers, image", "0"),
        ("Freeze first, text", "2"),
        ("Embeddings, text", "frozen"),
        ("Lr decay", "0.75"),
        ("Init from", "data/starts/mine"),
        ("Init heads", "False"),
        ("Ema decay", "0.999"),
        ("Patience", "0"),
        ("Unfreeze lr scale", "0.1"),
        ("Schedule", "text: 6 layers from epoch 3; image: 1 layer from epoch 5; image: all layers from epoch 7"),
    ]
    assert settings_told(make_run, **{"unfreeze_lr_scale": 0.1, "init_heads": True}) == []


def test_a_plans_steps_tell_plans_apart():
    group = {"name": "g", "parameters": 10, "trainable": False, "opens": 2, "lr": 0.001}
    tower = {"tower": "image", "total": 10, "trainable": 0, "groups": [group]}
    step = {"epoch": 2, "tower": "image", "groups": ["g"], "parameters": 10, "lr": 0.001}
    plans = [{"towers": [tower], "steps": steps, "warnings": []} for steps in ([step], [])]
    views = plan_views([FoldRun(i, plan, pl.DataFrame(), {}) for i, plan in enumerate(plans)])
    assert [(view.folds, view.steps) for view in views] == [([0], [step]), ([1], [])]
