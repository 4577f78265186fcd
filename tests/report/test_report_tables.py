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
    reject_summary,
    trainable_views,
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


def test_majority_share_is_the_accuracy_of_one_constant_prediction():
    assert majority_share(pl.DataFrame({"label": ["b", "a", "c"], "support": [4, 4, 2]})) == ("a", 0.4)


def test_rejects_are_counted_by_reason_and_action():
    rejects = pl.DataFrame({"action": ["rejected", "repaired", "rejected"], "reason": ["r", "r", "r"]})
    assert reject_summary(rejects) == [
        {"action": "rejected", "reason": "r", "count": 2},
        {"action": "repaired", "reason": "r", "count": 1},
    ]


def test_epochs_show_only_the_figures_of_the_models():
    best = {"epoch": 3, "total": 1.23456, "top1": 0.8751}
    folds = [FoldRun(0, {}, pl.DataFrame(), {"run": {"best": best}}), FoldRun(1, {}, pl.DataFrame(), {})]
    table = epoch_table(folds)
    assert table.headings == ["Fold", "Epoch", "Training loss", "Top-1"]
    assert table.rows == [["0", "3", "1.235", "87.5 %"]]
    assert epoch_table([]).rows == []


def test_trainable_reports_that_differ_have_a_view_each():
    group = {"name": "g", "parameters": 10, "trainable": True, "lr": 0.001}
    tower = {"tower": "image", "total": 20, "trainable": 10, "groups": [group, group | {"trainable": False}]}
    frozen = tower | {"trainable": 0, "groups": [group | {"trainable": False}]}
    reports = [{"towers": [row], "steps": [], "warnings": []} for row in (tower, frozen, tower)]
    views = trainable_views([FoldRun(i, report, pl.DataFrame(), {}) for i, report in enumerate(reports)])
    assert [view.folds for view in views] == [[0, 2], [1]]
    assert [(v.towers[0]["num_open"], v.towers[0]["share"], v.towers[0]["rates"]) for v in views] == [
        (1, 0.5, "0.001"),
        (0, 0.0, "–"),
    ]


def test_facts_are_the_settings_and_allow_an_empty_model_card(make_run):
    run = make_run()
    inputs = read_inputs(run.folds, run.root)
    rows = dict(facts(inputs, "data/mine", [64]))
    assert rows["Data"] == "data/mine" and rows["Products"] == "60" and rows["Unfreeze layers"] == "4"
    assert rows["Losses"] == "info_nce × 1" and rows["Training size"] == "64 px"
    bare = read_inputs([], run.root)
    assert dict(facts(bare, "data/mine", [64]))["Folds trained"] == ""


def shown_settings(make_run, **train):
    """The facts on training of a run with these settings."""
    run = make_run(folder=f"run-{len(train)}")
    inputs = read_inputs(run.folds, run.root)
    inputs.folds[0].run["train"] = train
    rows = facts(inputs, "data/mine", [64])
    losses = next(number for number, (name, _) in enumerate(rows) if name == "Losses")
    return rows[losses + 1 : -1]  # after the losses, before the stored features


FOLLOW = {"unfreeze_layers": None, "freeze_first": None, "embeddings": "follow"}


def test_the_default_settings_show_what_is_in_effect(make_run):
    """Every number and name of the project's own params, and nothing that is off or follows another rule."""
    train = load_params(Path(__file__).parents[2] / "params.yaml")["train"]
    hidden = {
        "towers", "schedule", "unfreeze_lr_scale", "lr_decay", "init_from", "init_heads", "ema_decay", "mining",
        "mining_share", "text_augment", "text_augment_rate", "mix", "mix_alpha", "grad_checkpointing", "warmup_steps",
        "allow_seen",
    }  # fmt: skip
    if train["text_augment"] != "none":
        hidden -= {"text_augment", "text_augment_rate"}
    shown = dict(shown_settings(make_run, **train))
    assert set(shown) == {key.replace("_", " ").capitalize() for key in train.keys() - hidden}
    assert shown["Unfreeze layers"] == "4" and shown["Tower lr"] == "0.0015" and shown["Augment"] == "none"


def test_staged_training_is_described_in_words(make_run):
    shown = shown_settings(
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
    assert shown == [
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
    assert shown_settings(make_run, **{"unfreeze_lr_scale": 0.1, "init_heads": True}) == []


def test_reports_with_different_steps_have_a_view_each():
    group = {"name": "g", "parameters": 10, "trainable": False, "opens": 2, "lr": 0.001}
    tower = {"tower": "image", "total": 10, "trainable": 0, "groups": [group]}
    step = {"epoch": 2, "tower": "image", "groups": ["g"], "parameters": 10, "lr": 0.001}
    reports = [{"towers": [tower], "steps": steps, "warnings": []} for steps in ([step], [])]
    views = trainable_views([FoldRun(i, report, pl.DataFrame(), {}) for i, report in enumerate(reports)])
    assert [(view.folds, view.steps) for view in views] == [([0], [step]), ([1], [])]
