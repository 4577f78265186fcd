"""Times `dvc repro` that has nothing to do, against a plain pipeline of the same size.

    python bench/noop.py

It takes a project that has been run (`make repro`) and writes two copies of it: one as it is, and one whose dvc.yaml
is what dvc.lock lists, stage by stage: the same commands, deps, params and outs, without a matrix, a template, a
description or a plot. What the first takes beyond the second is what the form of dvc.yaml costs. A third copy of the
same stages has no params: what it takes less is the price of tracking them.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from results import Ratio, interleaved, report

REPO = Path(__file__).resolve().parent.parent
FILES = ("params.yaml", "dvc.yaml", "dvc.lock", ".dvcignore", "pipeline_lib", "stages", "data", "reports")
# DVC allows no @ in a name that is written out.
AT = "-at-"


def copied(project, folder):
    """Copy what DVC tracks of a project into a repository of its own, without its cache."""
    folder.mkdir()
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    for name in FILES:
        source = project / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
    subprocess.run([dvc(), "init", "--quiet"], cwd=folder, check=True)
    return folder


def dvc():
    return str(Path(sys.executable).parent / "dvc")


def write_plain(folder, params):
    """Replace dvc.yaml by the stages that dvc.lock lists."""
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    uncached = {"reports/metrics.json", "reports/intervals.json"}
    stages = {}
    for name, stage in lock["stages"].items():
        plain = {"cmd": stage["cmd"], "deps": [dep["path"] for dep in stage.get("deps", [])]}
        if params and "params" in stage:
            plain["params"] = [{file: list(keys)} for file, keys in stage["params"].items()]
        elif "params" in stage:
            del stage["params"]
        plain["outs"] = [
            {out["path"]: {"cache": False}} if out["path"] in uncached else out["path"] for out in stage["outs"]
        ]
        stages[name.replace("@", AT)] = plain
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    lock["stages"] = {name.replace("@", AT): stage for name, stage in lock["stages"].items()}
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def seconds(folder):
    """Return how long one `dvc repro` takes; it is an error if a stage runs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    start = time.perf_counter()
    done = subprocess.run([dvc(), "repro"], cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    spent = time.perf_counter() - start
    if done.returncode or "Running stage" in done.stdout:
        raise SystemExit(f"{folder.name}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return spent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=REPO, help="a project that has been run")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="write nothing")
    options = parser.parse_args()
    if not (options.project / "dvc.lock").is_file():
        raise SystemExit(f"{options.project}: has no dvc.lock: run make repro there")
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as name:
        ours, plain, bare = (copied(options.project, Path(name) / side) for side in ("ours", "plain", "bare"))
        write_plain(plain, params=True)
        write_plain(bare, params=False)
        for folder in (ours, plain, bare):
            # The outs go to the cache and the hashes to DVC's table of states, as after a run.
            sample = yaml.safe_load((folder / "data" / "sample" / "dvc.lock").read_text())["stages"]
            ran = ["dvc.yaml", *(f"data/sample/dvc.yaml:{name}" for name in sample)]
            subprocess.run([dvc(), "commit", "--quiet", "--force", *ran], cwd=folder, check=True)
            seconds(folder)
        sides = interleaved(
            options.repetitions, *(lambda folder=folder: seconds(folder) for folder in (ours, plain, bare))
        )
    stages = len(yaml.safe_load((options.project / "dvc.lock").read_text())["stages"])
    about = f"`dvc repro` of the sample with nothing to do, {stages} stages, each run a new process, in turn."
    rows = [
        Ratio(
            "against the same stages, deps, params and outs written out",
            "s",
            sides[0],
            sides[1],
            "<= 1.2 x the time",
            True,
        ),
        Ratio("against these without params", "s", sides[0], sides[2], "-", True),
    ]
    report("A run with nothing to do", about, rows, options.quick)


if __name__ == "__main__":
    main()
