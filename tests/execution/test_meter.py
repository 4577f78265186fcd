"""The lines of a long pass by a clock that the test moves."""

import io
import sys
import threading

import polars as pl
import pytest

from pipeline_lib.execution import meter as module
from pipeline_lib.execution.meter import Meter, current_meter, metered, progress


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
    with metered("embed", is_first=False):
        pass
    assert pipe.getvalue() == ""
    with metered("embed"):
        pass
    assert pipe.flushed.startswith("embed: 0.0 s in all")


def test_lines_become_rarer_in_a_long_pass(clock, lines):
    """Every 10 s in the first ten minutes, then after a sixtieth of the time so far."""
    meter = Meter("training", lines.append, clock)
    meter.begin("batches", 100_000)
    counts = []
    for _ in range(24):
        for _ in range(360):
            clock.now += 10.0
            meter.add(1)
        counts.append(len(lines))
    hours = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    assert 120 < hours[0] < 200 and hours[1] < 60 and hours[23] < 4 and sum(hours) < 400


def test_library_code_counts_with_the_meter_of_its_stage(capsys):
    assert current_meter().tick() is None
    with metered("shards", "20 photos by 1 process") as meter:
        assert current_meter() is meter
        for _ in current_meter().over(range(2), "photos", 20, lambda _: 10):
            pass
        with metered("inner"):
            assert current_meter().name == "inner"
        assert current_meter() is meter
    assert current_meter() is not meter and current_meter().name == ""
    first, inner, last = capsys.readouterr().out.splitlines()
    assert first == "shards: 20 photos by 1 process" and last.startswith("shards: 20 photos in ")
    assert inner == "inner: 0.0 s in all"


def test_totals_are_printed_once_and_an_error_removes_the_line_of_a_terminal(monkeypatch, capsys):
    with metered("index") as meter:
        meter.finish(" (lists 20)")
    assert capsys.readouterr().out == "index: 0.0 s in all (lists 20)\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(module, "EVERY_ON_TERMINAL", 0.0)
    with pytest.raises(ValueError, match="a fault"), metered("shards") as meter:
        meter.begin("photos", 20)
        meter.add(10)
        raise ValueError("a fault")
    *_, line, end = capsys.readouterr().out.split("\r\x1b[K")
    assert line.startswith("shards: photos, 10 of 20") and end == ""


def test_the_line_of_a_terminal_is_removed_before_another(clock, lines):
    Meter("training", lines.append, clock, terminal=True).clear()
    Meter("training", lines.append, clock).clear()
    Meter("training", None, clock, terminal=True).clear()
    assert lines == ["\r\x1b[K"]


def test_the_checks_of_photos_and_the_shards_report_how_far_they_are(tmp_path, monkeypatch, capsys):
    """Both print the shared meter's lines, here after every part, with counts that end at the total."""
    from PIL import Image

    from pipeline_lib.catalogue import cleaning
    from pipeline_lib.params.section import load_params, parse_section
    from pipeline_lib.params.shards import ShardsParams
    from pipeline_lib.shards.write import list_photos, write_shards

    monkeypatch.setattr(module, "EVERY", 0.0)
    monkeypatch.setattr(module, "SHARE", 0.0)
    monkeypatch.setattr(cleaning, "PHOTOS_PER_TASK", 2)
    names = [f"{number}.png" for number in range(5)]
    for number, name in enumerate(names):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / name)
    with metered("catalogue"):
        cleaning.check_all_photos(tmp_path, names, 10_000, workers=1)
    params = parse_section(ShardsParams, load_params()).model_copy(update={"photos_per_shard": 2})
    media = pl.DataFrame({"product_id": names, "media": [[name] for name in names]})
    (tmp_path / "out").mkdir()
    with metered("shards"):
        write_shards(list_photos(media), tmp_path, params, tmp_path / "out", 1)
    lines = [line.partition(": ") for line in capsys.readouterr().out.splitlines()]
    expected = ["photos, 2 of 5", "photos, 4 of 5", "photos, 5 of 5", "5 photos in"]
    assert [name for name, _, _ in lines] == ["catalogue"] * 4 + ["shards"] * 4
    assert all(text.startswith(start) for (_, _, text), start in zip(lines, expected * 2, strict=True))


def test_a_command_shows_long_passes_on_stderr_and_nothing_of_short_ones(monkeypatch, capsys):
    with progress("compare"):
        assert list(current_meter().over([1, 2], "runs read", 2, lambda _: 1)) == [1, 2]
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(module, "EVERY", 0.0)
    with pytest.raises(ValueError, match="no such run"), progress("compare"):
        for number in current_meter().over([1, 2], "runs read", 2, lambda _: 1):
            if number == 2:
                raise ValueError("no such run")
    shown = capsys.readouterr()
    assert shown.out == "" and "compare: runs read, 1 of 2, " in shown.err
    assert current_meter().name == ""
