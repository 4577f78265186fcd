"""Which stages a run reaches, and the record that an estimate is from: tables worked by hand."""

import pytest

from pipeline_lib.execution.durations import Duration, settings_hash
from pipeline_lib.experiments.next_run.forecast import estimate, forecast, total_seconds
from pipeline_lib.experiments.next_run.status import Reason, StageStatus

PARAMS = {"train": {"epochs": 3}, "split": {"seed": 7}}
NOW, OTHER = ({"train": settings_hash({"epochs": epochs})} for epochs in (3, 9))
GONE = {"removed.key": "0"}


def run(command, seconds, settings, products=100):
    return Duration(f"stages.{command}", seconds, products, settings)


@pytest.mark.parametrize(
    ("runs", "seconds", "basis"),
    [
        ([], None, None),
        ([run("train --fold 0", 9, NOW)], 9, "1 run"),
        # The median of the last three with these settings; a resumed run among them does not count.
        ([run("train --fold 0", value, NOW) for value in (500, 10, 12, 1)], 10, "3 runs"),
        ([run("train --fold 0", 9, NOW), run("train --fold 0", 27, OTHER)], 9, "1 run"),
        ([run("train --fold 0", 27, OTHER), run("train --fold 1", 9, NOW)], 27, "1 run, other settings"),
        ([run("train --fold 0", 27, GONE)], 27, "1 run, other settings"),
        ([run("train --fold 1", 9, NOW), run("train --fold 2", 8, OTHER)], 9, "from `--fold 1`"),
        ([run("train --fold 2", 8, OTHER)], 8, "from `--fold 2`, other settings"),
        ([run("embed --fold 0", 8, NOW)], None, None),
        ([run("train --fold 0", 9, NOW, products=50)], 18, "1 run, scaled by products"),
        ([run("train --fold 0", 9, NOW, products=None)], 9, "1 run"),
    ],
)
def test_an_estimate_is_from_the_best_record(runs, seconds, basis):
    found = estimate("python -m stages.train --fold 0", runs, PARAMS, 100)
    assert (found.seconds, found.basis) == (seconds, basis) if seconds else found is None


def status(name, *upstream, why=(), size=None, restorable=False):
    return StageStatus(name, f"python -m stages.{name}", upstream, [Reason(one) for one in why], size, restorable)


def test_stages_follow_from_those_that_run():
    statuses = [
        status("data"),
        status("folds", "data", why=["split.seed"]),
        status("features", "data", size=5),
        status("train@0", "folds", "features", size=100),
        status("train@1", "folds", why=["has no entry"]),
        status("embed@0", "train@0", why=["embed.flip"], restorable=True),
        status("baselines", "features", why=["evaluate.seed"], restorable=True, size=0),
    ]
    runs = [run("folds", 2, {}), run("train@0", 5, {}), run("baselines", 11, {})]
    found = forecast(statuses, runs, PARAMS, 100)
    assert [(one.status.name, one.state, one.because) for one in found] == [
        ("folds", "runs", ()),
        ("train@0", "follows", ("folds",)),
        ("train@1", "runs", ("folds",)),
        # What the run cache has is of inputs that will be others.
        ("embed@0", "runs", ("train@0",)),
        ("baselines", "restored", ()),
    ]
    assert [(one.size, one.size_is_own) for one in found[1:3]] == [(100, True), (100, False)]
    assert total_seconds(found, "runs") == (2, 2) and total_seconds(found, "follows") == (5, 0)


def test_nothing_changed_means_nothing_comes():
    assert forecast([status("a"), status("b", "a")], [], PARAMS, None) == []
