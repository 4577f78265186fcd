"""The stage `views` where nothing is to be stored: a marker, so that its folder exists, and one line that says why."""

import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.execution.stage import Stage
from stages import views

ROOT = Path(__file__).parents[2]


def test_without_stored_views_it_says_so_and_leaves_a_marker(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(views, "stage", lambda module: nullcontext(Stage(module)))
    monkeypatch.setattr(sys, "argv", ["views", "--scale", "72"])
    views.main()
    assert capsys.readouterr().out == (
        "views of prediction at 72 px: none stored, because embed.stored_views is false\n"
    )
    assert [path.name for path in paths.views_of(72).iterdir()] == ["none"]
