"""Every stage runs as a plain command: no DVC, only the folders and files that dvc.yaml names."""

import csv
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from forked import forked
from ruamel.yaml import YAML
from small_shop import SMALL, write_catalogue
from stage_commands import stage_commands

from pipeline_lib.execution.forkserver import SWITCH

ROOT = Path(__file__).parents[2]
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
ITEM = {
    "name": "trunk",
    "step.name": "head",
    "step.after": "none",
    "fold": "0",
    "scale": "32",
    "kind": "flat",
}
CHANGES = (
    "plan.folds=[0]",
    "plan.phases=[{name:head,after:none}]",
    "plan.last=head",
    "++phases.head={unfreeze_layers:0}",
    "evaluate.bootstrap=100",
)


def filled(text: str) -> str:
    """Text of dvc.yaml for one member of each matrix."""
    return re.sub(r"\$\{item\.([\w.]+)\}", lambda match: ITEM[match[1]], text)


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_image_folder, tiny_text_folder):
    folder = tmp_path_factory.mktemp("plain")
    for name in ("pipeline_lib", "stages"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "params.yaml", folder)
    apply_overrides(folder / "params.yaml", [*SMALL, *CHANGES])
    shutil.copytree(tiny_image_folder, folder / "data/weights/image")
    shutil.copytree(tiny_text_folder, folder / "data/weights/text")
    for name in (
        "data/starts/none",
        "data/predictions/none",
        "data/splits/none",
        "data/work/features",
    ):
        (folder / name).mkdir(parents=True)
    write_catalogue(folder / "data/raw/shop", count=48)
    blocked = folder / "blocked/dvc/__init__.py"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("raise ImportError('a stage must not import dvc')\n", encoding="utf-8")
    return folder


def test_every_stage_runs_without_dvc(project, fork_server):
    commands = stage_commands(ROOT / "dvc.yaml", project / "params.yaml")
    # No clip, teacher, judged fold or composed model is planned; other tests run the scripts of these stages.
    left_out = {"frames", "teacher", "judged", "compose"}
    assert len(commands) == len(PIPELINE["stages"].keys() - left_out)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC", "VITRINE"))}
    folders = (project / "blocked", project, ROOT / "tests/support")
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, folders)), SWITCH: str(fork_server)}
    done = subprocess.run(
        forked("plain_stages"), cwd=project, env=environment, input="\n".join(commands),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "a stage must not import dvc"
    for name, stage in PIPELINE["stages"].items():
        for out in [] if name in {"frames", "judged", "compose"} else [*stage["outs"], *stage.get("metrics", [])]:
            path = filled(out if isinstance(out, str) else next(iter(out)))
            assert (project / path).exists(), f"{name}: {path}"
    # The columns that `dvc plots show` draws.
    for plot in PIPELINE["plots"]:
        [definition] = plot.values()
        for file, columns in definition["y"].items():
            if "/train/" not in file or "/train/0/" in file:
                with (project / file).open(encoding="utf-8", newline="") as stream:
                    header = next(csv.reader(stream))
                assert {definition["x"], *([columns] if isinstance(columns, str) else columns)} <= set(header)
