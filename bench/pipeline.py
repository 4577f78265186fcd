"""Times the complete pipeline on the built-in sample in a fresh clone: a first run, a no-op run, one changed setting.

    python bench/pipeline.py

Goals on 2 cores: 4 minutes for the first run and 3 s for the no-op. The experiment reruns only training and the stages
after it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
COMMANDS = (
    ["dvc", "repro"],
    ["dvc", "repro"],
    ["dvc", "exp", "run", "-S", "train.unfreeze_layers=8"],
)


def timed(command: list[str], folder: Path) -> tuple[float, list[str]]:
    """Return the seconds and the stages that ran."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    start = time.perf_counter()
    run = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if run.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {run.returncode}\n{run.stdout}\n{run.stderr}")
    return seconds, re.findall(r"Running stage '([^']+)'", run.stdout)


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="vitrine-bench-"))
    try:
        subprocess.run(["git", "clone", "--quiet", str(REPO), str(folder)], check=True)
        for command in COMMANDS:
            seconds, stages = timed(command, folder)
            print(f"{' '.join(command):45} {seconds:7.1f} s   ran: {', '.join(stages) or 'nothing'}", flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
