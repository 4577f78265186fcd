"""`vitrine search` of a text, a process each: the text tower alone against the complete model through its libraries.

    python bench/text_query.py --project FOLDER [--quick]

FOLDER is a project after `dvc repro`, for example this one. Both sides print the same products and scores, which is
checked. `import torch` is measured beside them, because neither side can be faster.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from results import Ratio, interleaved, report

OURS = "from pipeline_lib.cli.main import main; main()"
COMPLETE = f"from pipeline_lib.retrieval import text_query; text_query.has_separate_text = lambda _: False; {OURS}"
TORCH = "import os, torch; os._exit(0)"
QUERY = ("search", "--json", "red striped mug")


class Side:
    """Runs a program in a project and remembers its output and CPU seconds."""

    def __init__(self, program: str, project: Path) -> None:
        self.program, self.project = program, project
        self.printed, self.cpu = "", [0.0]

    def __call__(self) -> float:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-P", "-c", self.program, *QUERY]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(command, cwd=self.project, env=environment, capture_output=True, text=True, check=True)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        self.printed = done.stdout
        self.cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    sides = [Side(program, options.project) for program in (OURS, COMPLETE, TORCH)]
    ours, complete, torch = interleaved(1 if options.quick else 5, *sides)
    assert sides[0].printed == sides[1].printed, "both sides must find the same products with the same scores"
    cpu = [side.cpu[1:] for side in sides]
    report(
        "Text query from the terminal",
        "`vitrine search` in a process of its own, against the complete model, and against `import torch` alone.",
        [
            Ratio("wall, against the complete model", "s", ours, complete, "-", lower_is_better=True),
            Ratio("CPU, against the complete model", "s", cpu[0], cpu[1], "-", lower_is_better=True),
            Ratio("CPU, against `import torch`", "s", cpu[0], cpu[2], "-", lower_is_better=True),
            Ratio("wall, against `import torch`", "s", ours, torch, "-", lower_is_better=True),
        ],
        options.quick,
    )


if __name__ == "__main__":
    main()
