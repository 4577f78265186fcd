#!/usr/bin/env bash
# DVC 3.67.1: `dvc repro` spends most of its time between stages on dvc.lock, and the time grows with the whole file.
#
# Expected: a stage that ends costs DVC the hashes of its own deps and outs, and one entry of dvc.lock; what the other
#           stages depend on does not matter, and with ruamel.yaml.clib (the C parser) installed YAML is fast.
# Happens:  after every stage DVC parses all of dvc.lock and writes it again, with ruamel's round-trip classes, which
#           are pure Python: the C parser is not used there. A pipeline of 30 stages with 40 deps each (all of them files
#           of code, say) takes seven times as long as one of 30 stages with 2 deps, although the files are tiny, the
#           same for all stages, and hashed before. So the time of a run grows with the square of the number of stages.
#           A list of the code with its hashes, made by a first stage and used as one dep by the others, avoids it.
# Versions: dvc 3.67.1, ruamel.yaml 0.19.1, ruamel.yaml.clib 0.2.15, Python 3.11.7
# Date:     2026-11-29
# Matters for: the stage `code` of dvc.yaml (pipeline_lib/execution/stage_code.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check dvc==3.67.1 \
  ruamel.yaml==0.19.1 ruamel.yaml.clib==0.2.15
cat >"$folder/measure.py" <<'PYTHON'
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

DVC = [sys.executable, "-m", "dvc"]
NUM_STAGES = 30


def seconds(folder: Path, deps: int) -> float:
    """Return the time of `dvc repro` from nothing, for stages that copy one line and name `deps` small files."""
    (folder / "code").mkdir(parents=True)
    for number in range(deps):
        (folder / f"code/{number}.txt").write_text(f"{number}\n")
    lines = ["stages:"]
    for number in range(NUM_STAGES):
        lines += [f"  s{number}:", f"    cmd: echo {number} > out{number}", "    deps:"]
        lines += [f"    - code/{dep}.txt" for dep in range(deps)]
        lines += [f"    outs: [out{number}]"]
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    subprocess.run([*DVC, "init", "-q", "--no-scm"], cwd=folder, check=True, env=environment)
    start = time.perf_counter()
    subprocess.run([*DVC, "repro", "-q"], cwd=folder, check=True, env=environment)
    return time.perf_counter() - start


names = ("dvc", "ruamel.yaml", "ruamel.yaml.clib")
print(", ".join(f"{name} {version(name)}" for name in names), f"Python {sys.version.split()[0]}")
root = Path(sys.argv[1])
few, many = (seconds(root / str(deps), deps) for deps in (2, 40))
lock = len((root / "40/dvc.lock").read_text().splitlines())
print(f"{NUM_STAGES} stages with 2 deps each: {few:.1f} s; with 40 deps each: {many:.1f} s (dvc.lock: {lock} lines)")
if many < 2 * few:
    sys.exit("the behaviour has changed")
PYTHON
"$folder/venv/bin/python" "$folder/measure.py" "$folder/project"
