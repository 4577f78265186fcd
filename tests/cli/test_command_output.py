"""The three forms of a result: tables in a terminal, lines in a pipe, one JSON document on demand."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.cli.output import Result, show, table

ROOT = Path(__file__).parents[2]
ROWS = [("mug", "a long text " * 20 + "of two\nlines\tand a tab"), ("[red]hat[/red]", "")]
RESULT = Result(
    data={"items": [{"name": "杯子", "value": float("nan")}, {"name": "hat", "value": 1.5}]},
    rows=ROWS,
    tables=[table("Items", ("name", "text"), ROWS)],
    head=["two items"],
    notes=["one note"],
)


def test_a_pipe_gets_one_uncut_row_a_line_and_notes_go_to_stderr(capsys):
    show(RESULT, as_json=False)
    out, err = capsys.readouterr()
    head, *lines = out.splitlines()
    assert head == "two items" and err == "one note\n"
    assert [line.split("\t") for line in lines] == [
        ["mug", "a long text " * 20 + "of two lines and a tab"],
        ["[red]hat[/red]", ""],
    ]


def test_json_is_one_document_without_nan(capsys):
    show(RESULT, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"items": [{"name": "杯子", "value": None}, {"name": "hat", "value": 1.5}]}
    assert "NaN" not in out and err == ""


def test_a_terminal_gets_a_table_with_text_as_it_is(in_terminal):
    lines = in_terminal(60, show, RESULT, False)
    assert lines[0] == "two items" and lines[-1] == "one note"
    assert max(map(len, lines)) <= 60 and any("[red]hat[/red]" in line for line in lines)
    assert any("│" in line for line in lines)


COMMAND = [sys.executable, "-c", "from pipeline_lib.cli.main import main; main()", "recipe", "list"]


def test_a_real_terminal_gets_the_table_and_a_real_pipe_the_lines():
    piped = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "│" not in piped and max(map(len, piped.splitlines())) > 100
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "80", "TERM": "xterm"}
    with subprocess.Popen(COMMAND, cwd=ROOT, stdout=theirs, stdin=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while chunk := read(ours):
            shown += chunk
        assert process.wait() == 0
    os.close(ours)
    assert "│" in shown.decode() and "quick" in shown.decode()


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux reports a closed terminal as an error
        return b""


def test_a_reader_that_closes_the_pipe_gets_no_traceback():
    with subprocess.Popen(COMMAND, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        error = process.stderr.read().decode()
    assert "Traceback" not in error and "Exception ignored" not in error


@pytest.mark.parametrize("library", ["torch", "polars", "numpy", "dvc", "transformers", "faiss"])
def test_registering_the_commands_imports_no_heavy_library(library):
    code = f"import sys, pipeline_lib.cli.main; sys.exit({library!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
