"""The fork server of `vitrine repro` listens in a folder of this user that nobody else may enter, or there is none."""

import stat
from pathlib import Path

import pytest

from pipeline_lib.experiments.repro import run

FOLDER = Path(".dvc/tmp/vitrine")


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "is_enabled", lambda: True)
    monkeypatch.setattr(run, "_source", lambda _: "run_stage")
    monkeypatch.setattr(run, "start_fork_server", lambda address: object())
    monkeypatch.delenv(run.SWITCH, raising=False)
    return run._SharedServer()


def test_its_folder_is_closed_to_others(server):
    FOLDER.mkdir(parents=True, mode=0o777)
    FOLDER.chmod(0o777)
    assert server.variables("python -m stages.train --fold 0") == {run.SWITCH: str(server._address)}
    assert stat.S_IMODE(FOLDER.stat().st_mode) == 0o700


def test_in_a_folder_of_another_user_there_is_none(server, tmp_path, capsys):
    FOLDER.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    FOLDER.symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        assert server.variables("python -m stages.train --fold 0") == {}
    line = f"stages import torch themselves: {FOLDER} is not a folder of this user, so there is no fork server\n"
    assert capsys.readouterr().err == line
