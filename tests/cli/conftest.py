"""Runs `vitrine` commands in this process, with stdout as a pipe or as a terminal."""

import re

import pytest
from typer.testing import CliRunner

from pipeline_lib.cli.main import app


@pytest.fixture
def vitrine():
    """Return the runner: words of a command -> its result, with stdout and stderr apart; a failure is raised."""

    def run(*words: str):
        # A narrow terminal must not matter in a pipe.
        result = CliRunner(env={"COLUMNS": "40"}).invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return run


@pytest.fixture
def in_terminal(monkeypatch, capsys):
    """Return a caller: (width, function, arguments) -> the lines that the function prints to a terminal, uncoloured."""

    def call(width: int, function, *arguments) -> list[str]:
        with monkeypatch.context() as terminal:
            terminal.setenv("COLUMNS", str(width))
            terminal.setattr("sys.stdout.isatty", lambda: True, raising=False)
            function(*arguments)
        return re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()

    return call
