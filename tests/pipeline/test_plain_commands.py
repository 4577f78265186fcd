"""Every stage runs as a plain command: no DVC, only the folders and files that dvc.yaml names."""

import contextlib
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
from teacher_project import keep
from whole_shop import WHOLE, complete_shop

from pipeline_lib.execution.forkserver import SWITCH

ROOT = Path(__file__).parents[2]
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
TEACHER = "earlier"
ITEM = {"step.name": "head", "step.after": "none", "fold": "0", "scale": "32"}
# What `name` and `kind` are, by stage.
MEMBERS = {
    "frames": {"name": "clips"},
    "features": {"name": "trunk"},
    "teacher": {"name": TEACHER},
    "index": {"kind": "flat"},
    "compose": {"kind": "sum"},
}
CHANGES = (*WHOLE, "plan.folds=[0]", "evaluate.bootstrap=100")


def filled(stage: str, text: str) -> str:
    """Text of dvc.yaml for one member of a stage's matrix."""
    item = ITEM | MEMBERS.get(stage, {})
    return re.sub(r"\$\{item\.([\w.]+)\}", lambda match: item[match[1]], text)


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
    complete_shop(folder)
    blocked = folder / "blocked/dvc/__init__.py"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("raise ImportError('a stage must not import dvc')\n", encoding="utf-8")
    return folder


def run_plain(project: Path, commands: list[str], fork_server: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC", "VITRINE"))}
    folders = (project / "blocked", project, ROOT / "tests/support")
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, folders)), SWITCH: str(fork_server)}
    done = subprocess.run(
        forked("plain_stages"), cwd=project, env=environment, input="\n".join(commands),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "a stage must not import dvc"


def test_every_stage_runs_without_dvc(project, fork_server):
    run_plain(project, stage_commands(ROOT / "dvc.yaml", project / "params.yaml"), fork_server)
    with contextlib.chdir(project):  # a model names the weights of its towers from the project's root
        keep(Path("data/work/train/0"), Path("data/starts", TEACHER, "0"))
    apply_overrides(project / "params.yaml", [f"plan.teachers=[{TEACHER}]"])
    commands = stage_commands(ROOT / "dvc.yaml", project / "params.yaml")
    assert {command.split()[2] for command in commands} == {
        stage["cmd"].split()[2] for stage in PIPELINE["stages"].values()
    }
    run_plain(project, [command for command in commands if "stages.teacher" in command], fork_server)
    for name, stage in PIPELINE["stages"].items():
        for out in [*stage["outs"], *stage.get("metrics", [])]:
            path = filled(name, out if isinstance(out, str) else next(iter(out)))
            assert (project / path).exists(), f"{name}: {path}"
    # The columns that `dvc plots show` draws.
    for plot in PIPELINE["plots"]:
        [definition] = plot.values()
        for file, columns in definition["y"].items():
            if "/train/" not in file or "/train/0/" in file:
                with (project / file).open(encoding="utf-8", newline="") as stream:
                    header = next(csv.reader(stream))
                assert {definition["x"], *([columns] if isinstance(columns, str) else columns)} <= set(header)
