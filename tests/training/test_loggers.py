"""Curves of each logger are read back from its local store; only TensorBoard is in the test extras."""

import json
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest

from pipeline_lib.params.runtime import LoggerKind
from pipeline_lib.training.history import History
from pipeline_lib.training.loggers import LOGGERS, check_installed

ROOT = Path(__file__).parents[2]
EPOCHS = [{"epoch": 0.0, "loss": 2.0, "R@1": 0.25}, {"epoch": 1.0, "loss": 1.0, "R@1": 0.5}]
STEPS = {10: {"loss": 2.5}, 20: {"loss": 1.5}}
WRITE = """
import sys
from pipeline_lib.training.history import History
history = History("fold0-test", [], sys.argv[1])
for epoch, row in enumerate({epochs}):
    history.step(10 * (epoch + 1), {steps}[10 * (epoch + 1)])
    history.add(row, epoch)
history.close()
"""
# name of a curve -> its (step or epoch, value)
EXPECTED = {"loss": [(0, 2.0), (1, 1.0)], "R@1": [(0, 0.25), (1, 0.5)], "step/loss": [(10, 2.5), (20, 1.5)]}


def read_tensorboard(logs: Path) -> dict[str, list]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = {}
    for folder in ("fold0-test", "fold0-test/steps"):
        events = EventAccumulator(str(logs / "tensorboard" / folder))
        events.Reload()
        for tag in events.Tags()["scalars"] if (logs / "tensorboard" / folder).is_dir() else ():
            curves[tag] = [(one.step, one.value) for one in events.Scalars(tag)]
    return curves


def read_mlflow(logs: Path) -> dict[str, list]:
    with sqlite3.connect(logs / "mlflow/mlflow.db") as store:
        runs = store.execute("select run_uuid, name, status from runs").fetchall()
        rows = store.execute("select key, step, value from metrics order by step").fetchall()
    assert [run[1:] for run in runs] == [("fold0-test", "FINISHED")]
    return by_key((key.replace("_at_", "@"), step, value) for key, step, value in rows)


def read_wandb(logs: Path) -> dict[str, list]:
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = logs.glob("wandb/offline-run-*/run-*.wandb")
    rows = []
    for data in records_of(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({one.key or ".".join(one.nested_key): json.loads(one.value_json) for one in items})
    return beside(rows)


def records_of(log: bytes) -> Iterator[bytes]:
    """Records of LevelDB's log format after a head of 7 bytes: checksum, length and kind (1 whole .. 4 last), data."""
    place, data = 7, b""
    while place + 7 <= len(log):
        if place % 32768 > 32768 - 7:
            place += 32768 - place % 32768
        _, length, kind = struct.unpack_from("<IHB", log, place)
        data += log[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield data
            data = b""


def read_trackio(logs: Path) -> dict[str, list]:
    with sqlite3.connect(logs / "trackio/vitrine.db") as store:
        found = store.execute("select run_name, metrics from metrics order by step").fetchall()
    assert {name for name, _ in found} == {"fold0-test"}
    return beside(json.loads(metrics) for _, metrics in found)


def beside(rows) -> dict[str, list]:
    """Curves of rows that have their step or epoch among the values."""
    cells = []
    for row in rows:
        place = row.get("optimizer_step", row.get("epoch"))
        cells += [(key, place, value) for key, value in row.items() if key in EXPECTED]
    return by_key(cells)


def by_key(cells) -> dict[str, list]:
    curves: dict[str, list] = {}
    for key, place, value in cells:
        curves.setdefault(key, []).append((place, value))
    return curves


READERS = {"tensorboard": read_tensorboard, "mlflow": read_mlflow, "wandb": read_wandb, "trackio": read_trackio}


@pytest.mark.parametrize("kind", LOGGERS)
def test_what_is_logged_is_read_back(kind, tmp_path, monkeypatch):
    """In a process of its own: wandb starts a service, and mlflow and trackio keep their first store."""
    if kind != "tensorboard":
        pytest.importorskip(kind, reason=f"pip install 'vitrine[{kind}]'")
    environment = {"DVC_ROOT": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    code = WRITE.format(epochs=EPOCHS, steps=STEPS)
    command = [sys.executable, "-c", code, kind]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert READERS[kind](tmp_path / "logs") == EXPECTED
    # Nothing is written beside the logs, as far as the library can be asked for it.
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} == {"logs"}


def test_every_logger_that_params_allow_has_a_builder_and_an_extra():
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert set(LOGGERS) == set(get_args(LoggerKind))
    assert all(f'\n{kind} = ["{kind}' in extras for kind in LOGGERS if kind != "tensorboard")


def test_a_logger_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setattr("pipeline_lib.training.loggers.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"runtime.logger = 'wandb'.* pip install 'vitrine\[wandb\]'"):
        check_installed("wandb")
    monkeypatch.undo()
    assert find_spec("tensorboard") and check_installed("tensorboard") is None


def test_a_process_that_does_not_write_makes_no_curves(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    history = History("run", [], "tensorboard", writes=False)
    history.add({"epoch": 0.0, "loss": 1.0}, 0)
    history.step(1, {"loss": 1.0})
    history.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", LOGGERS)
@pytest.mark.parametrize("fails", ["builder", "epoch", "step", "close"])
def test_a_logger_that_fails_is_one_line_and_is_not_asked_again(kind, fails, tmp_path, monkeypatch, capsys):
    calls = []

    class Failing:
        def __init__(self, *_) -> None:
            self.called("builder")

        def called(self, name):
            calls.append(name)
            if name == fails:
                raise RuntimeError("no answer\nfrom the server")

        def epoch(self, *_):
            self.called("epoch")

        def step(self, *_):
            self.called("step")

        def close(self):
            self.called("close")

    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setitem(LOGGERS, kind, Failing)
    history = History("run", [], kind)
    for epoch, row in enumerate(EPOCHS):
        history.step(epoch, {"loss": 1.0})
        history.add(row, epoch)
    history.close()
    asked = ["builder", "step", "epoch", "step", "epoch", "close"]
    assert history.rows == EPOCHS and calls == asked[: asked.index(fails) + 1]
    line = f"runtime.logger = {kind}: no answer from the server; this run has no more curves\n"
    assert capsys.readouterr().err == line


def test_a_folder_of_logs_that_cannot_be_made_is_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "logs").write_text("no folder")
    history = History("run", [])
    history.add(EPOCHS[0], 0)
    history.close()
    [line] = capsys.readouterr().err.splitlines()
    assert history.rows == EPOCHS[:1] and line.startswith("runtime.logger = tensorboard: ")


def test_a_resumed_run_hides_what_the_interrupted_one_wrote_later_and_nothing_else(tmp_path, monkeypatch):
    """By TensorBoard's own reader; an epoch has 20 steps, of which every tenth is logged.

    It sorts files of one second by a number that counts up in a process, 10 before 9; a run writes one or two.
    """
    from tensorboard.summary.writer import event_file_writer

    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))

    def train(rows, epochs, value):
        history = History("fold0-test", rows)
        for epoch in epochs:
            for step in (9, 19):
                history.step(20 * epoch + step, {"loss": value})
            history.add({"epoch": epoch, "loss": value}, epoch)
        history.close()

    train([], range(3), 1.0)
    train([{}, {}], range(2, 4), 2.0)  # killed after the third epoch, before its checkpoint
    steps = [(20 * epoch + step, 1.0 if epoch < 2 else 2.0) for epoch in range(4) for step in (9, 19)]
    assert read_tensorboard(tmp_path / "logs") == {
        "loss": [(0, 1.0), (1, 1.0), (2, 2.0), (3, 2.0)], "step/loss": steps,
    }  # fmt: skip
    train([], range(1), 3.0)
    assert read_tensorboard(tmp_path / "logs") == {"loss": [(0, 3.0)], "step/loss": [(9, 3.0), (19, 3.0)]}
