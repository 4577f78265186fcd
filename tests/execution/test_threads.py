"""What Ctrl-C prints while a stage imports its libraries."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORTS = "import pipeline_lib.execution.threads, time; print(flush=True)"


@pytest.mark.parametrize(
    ("code", "number", "printed"),
    [
        (f"{IMPORTS}; time.sleep(60)", signal.SIGINT, "interrupted (SIGINT)\n"),
        (f"{IMPORTS}; 1 / 0", None, "ZeroDivisionError"),
    ],
)
def test_ctrl_c_during_the_imports_is_one_line_and_a_bug_has_its_traceback(code, number, printed):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "\n"
        if number:
            run.send_signal(number)
        stderr = run.communicate(timeout=30)[1]
    assert stderr == printed if number else (printed in stderr and "Traceback" in stderr)
    assert run.returncode == (-number if number else 1)
