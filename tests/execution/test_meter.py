"""The lines of a long pass by a clock that the test moves."""

import io
import sys
import threading

import pytest

from pipeline_lib.execution import meter as module
from pipeline_lib.execution.meter import Meter, stage_meter


class Clock:
    """Seconds that only the test adds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines():
    return []


def test_every_ten_seconds_a_line_with_rate_and_time_left(clock, lines):
    meter = Meter("embed fold 0", lines.append, clock)
    for _ in meter.over(range(12), "photos", 120, lambda _: 10):
        clock.now += 4.0
    assert lines == [
        "embed fold 0: photos, 30 of 120, 2.5/s, 36.0 s left\n",
        "embed fold 0: photos, 60 of 120, 2.5/s, 24.0 s left\n",
        "embed fold 0: photos, 90 of 120, 2.5/s, 12.0 s left\n",
        "embed fold 0: photos, 120 of 120, 2.5/s, 0.0 s left\n",
    ]


def test_a_fast_pass_prints_only_its_end(clock, lines):
    meter = Meter("features of trunk", lines.append, clock)
    for _ in meter.over(range(5), "photos", 50, lambda _: 10):
        clock.now += 1.0
    clock.now += 2.0
    meter.finish(" -> data/work")
    assert lines == ["features of trunk: 50 photos in 5.0 s, 10 photos/s; 7.0 s in all -> data/work\n"]


def test_the_end_has_the_sums_of_the_passes_of_each_name(clock, lines):
    meter = Meter("features of old", lines.append, clock)
    meter.announce("30 photos and 4 texts")
    for count in (20, 10):
        for _ in meter.over([count], "photos", count, int):
            clock.now += 2.0
    for _ in meter.over([4], "texts", 4, int):
        clock.now += 0.5
    meter.begin("writing")
    clock.now += 0.25
    meter.finish()
    assert lines == [
        "features of old: 30 photos and 4 texts\n",
        "features of old: 30 photos in 4.0 s, 7.5 photos/s; 4 texts in 0.5 s, 8.0 texts/s; writing in 0.2 s; "
        "4.8 s in all\n",
    ]


def test_each_pass_has_its_own_rate_and_the_lines_stay_ten_seconds_apart(clock, lines):
    meter = Meter("embed", lines.append, clock)
    meter.begin("photos", 10)
    clock.now += 6.0
    meter.add(10)
    meter.begin("texts", 100)
    clock.now += 5.0
    meter.add(50)
    assert lines == ["embed: texts, 50 of 100, 10/s, 5.0 s left\n"]


def test_a_call_that_cannot_be_counted_has_its_time(clock, lines):
    meter = Meter("evaluate", lines.append, clock)
    meter.begin("intervals")
    clock.now += 75.0
    meter.tick()
    meter.tick()
    assert lines == ["evaluate: intervals, 1 min 15 s so far\n"]


def test_on_a_terminal_one_line_is_rewritten(clock, lines):
    meter = Meter("index", lines.append, clock, terminal=True)
    for _ in meter.over(range(3), "products", 3, lambda _: 1):
        clock.now += 1.0
    meter.finish()
    assert all(line.startswith("\r\x1b[K") for line in lines) and len(lines) == 4
    assert [line.endswith("\n") for line in lines] == [False, False, False, True]


def test_a_thread_prints_while_one_call_runs(clock, monkeypatch):
    monkeypatch.setattr(module, "EVERY_ON_TERMINAL", 0.001)
    printed = threading.Event()
    meter = Meter("ensemble", lambda _: printed.set(), clock)
    meter.begin("fit")
    clock.now += 11.0
    before = threading.active_count()
    with meter.beating():
        assert printed.wait(30)
    assert threading.active_count() == before


def test_only_the_first_process_prints_and_the_line_leaves_at_once(monkeypatch):
    class Pipe(io.StringIO):
        flushed = ""

        def flush(self) -> None:
            self.flushed = self.getvalue()

    monkeypatch.setattr(sys, "stdout", pipe := Pipe())
    stage_meter("embed", is_first=False).finish()
    assert pipe.getvalue() == ""
    stage_meter("embed").finish()
    assert pipe.flushed.startswith("embed: 0.0 s in all")
