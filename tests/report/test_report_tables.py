"""Hand-worked rows of the report's tables."""

import polars as pl

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
    plans = [{"towers": [row], "warnings": []} for row in (tower, shut, tower)]
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
