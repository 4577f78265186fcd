"""What Ctrl-C prints while a stage imports its libraries, and where Python drops it."""

import os
import signal
import subprocess
import sys
import time
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


HOOKS = "import pipeline_lib.execution.threads, os, signal, threading, time; "
INTERRUPT = "os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        # A library catches it while it is imported, and what is half made fails later.
        (f"\ntry: {INTERRUPT}; time.sleep(1)\nexcept BaseException: pass\nraise AttributeError('half made')", 1),
        # Python drops what a destructor raises, and would go on.
        (
            f"\nclass Thing:\n  def __del__(self): {INTERRUPT}; time.sleep(1)\n"
            "thing = Thing()\ndel thing\ntime.sleep(60)\nprint('went on')",
            -signal.SIGINT,
        ),
        # The end waits for threads.
        (
            "\nthreading.Thread(target=time.sleep, args=(1.5,)).start()\n"
            f"again = threading.Timer(.5, lambda: {INTERRUPT})\nagain.daemon = True\nagain.start()",
            0,
        ),
    ],
    ids=["caught by a library", "in a destructor", "at the end"],
)
def test_ctrl_c_that_python_or_a_library_drops_is_one_line(code, status):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HOOKS + code], env=environment, capture_output=True, text=True, timeout=50,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "interrupted (SIGINT)\n")
    assert time.monotonic() < start + 30


def test_other_hooks_still_get_what_is_not_ctrl_c():
    code = (
        "import sys\nsys.unraisablehook = lambda one: print('unraisable', one.exc_type.__name__)\n"
        "sys.excepthook = lambda kind, *rest: print('error', kind.__name__)\n"
        f"{HOOKS}\nclass Thing:\n  def __del__(self): 1 / 0\nthing = Thing()\ndel thing\nraise KeyError"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=50)
    assert done.stdout.split() == ["unraisable", "ZeroDivisionError", "error", "KeyError"] and done.stderr == ""


def test_an_error_in_a_late_destructor_is_printed_when_the_names_of_modules_are_gone():
    """Python sets them to None at the end of a process."""
    code = (
        "class Late:\n    def __del__(self):\n        raise ValueError('late')\n"
        "import pipeline_lib.execution.threads as threads\nlate = Late()\n"
        "vars(threads).update(dict.fromkeys(vars(threads)))\ndel late\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.endswith("ValueError: late\n") and "TypeError" not in done.stderr
