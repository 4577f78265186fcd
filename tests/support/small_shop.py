"""A copy of the project in its own git repository, with a small catalogue and tiny towers under data/."""

import csv
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from dvc.utils.hydra import apply_overrides
from forked import run_in_fork
from other_machine import VARIABLES, write_module
from PIL import Image, ImageDraw
from quick_dvc import run_dvc

from pipeline_lib.execution.forkserver import SWITCH

ROOT = Path(__file__).parents[2]
FIRST_OUTPUT = ".git/first-output"
COLOURS = {"red": (210, 40, 40), "blue": (40, 60, 210), "green": (40, 180, 60)}
KINDS = ("mug", "hat", "lamp")
SMALL = (
    "data.root=data/raw/shop", "model.weights_root=data/weights", "model.image.name=data/weights/image",
    "model.text.name=data/weights/text", "model.image.size=32", "model.embedding_dim=16", "plan.folds=[0,1]",
    "plan.scales=[32]", "split.num_folds=2", "train.epochs=1", "train.batch_size=16", "train.precision=fp32",
    "embed.precision=fp32", "evaluate.bootstrap=100", "shards.size=40", "shards.photos_per_shard=20",
    "runtime.workers=1", "data.max_reject_fraction=0.2", "train.unfreeze_layers=1", "train.text_augment=none",
    "embed.stored_views=true",
)  # fmt: skip


def draw(path: Path, number: int, colour: str, kind: str) -> None:
    rng = random.Random(number)
    picture = Image.new("RGB", (48, 44), tuple(rng.randrange(200, 256) for _ in range(3)))
    pen = ImageDraw.Draw(picture)
    left, top = rng.randrange(2, 14), rng.randrange(2, 12)
    box = (left, top, left + 28, top + 26)
    {"mug": pen.rectangle, "hat": pen.ellipse, "lamp": pen.chord}[kind](
        box, fill=COLOURS[colour], **({"start": 0, "end": 220} if kind == "lamp" else {})
    )
    for _ in range(60):
        picture.putpixel((rng.randrange(48), rng.randrange(44)), tuple(rng.randrange(256) for _ in range(3)))
    picture.save(path, quality=90)


def write_catalogue(folder: Path, count: int = 72) -> None:
    """Write products.csv and images/, with a missing photo, a duplicate id and an empty text."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(count):
        colour, kind = list(COLOURS)[number % 3], KINDS[number // 3 % 3]
        if number != 11:
            draw(folder / "images" / f"p{number}.jpg", number, colour, kind)
        title = f"{colour} {kind} " + " ".join(random.Random(number).sample(["striped", "plain", "红", "蓝"], 2))
        rows.append((f"p{number}", "" if number == 5 else title, kind))
    rows.append(("p0", "red mug again", "mug"))
    with (folder / "products.csv").open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "text", "label"))
        writer.writerows(rows)


class Project:
    """A project folder; `run` executes a command in it as a user would, with this Python first on the path.

    It believes to be on the `other_machine`, so that artefacts can be searched for its names.

    Stages and `run_vitrine` are forks of `server`, the address of a fork server, so that they need not import torch.
    Without it each `dvc repro` starts its own server.
    """

    def __init__(self, folder: Path, server: Path | None = None) -> None:
        self.folder = folder
        self.server = server

    @classmethod
    def create(cls, folder: Path, image_tower: Path, text_tower: Path) -> "Project":
        """Copy the working tree to `folder`, add the shop and the towers, and commit everything."""
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in listed.stdout.splitlines():
            if not name.startswith(("tests/", "bench/")) and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        shutil.copytree(image_tower, folder / "data/weights/image")
        shutil.copytree(text_tower, folder / "data/weights/text")
        write_catalogue(folder / "data/raw/shop")
        apply_overrides(folder / "params.yaml", list(SMALL))
        write_module(folder)
        project = cls(folder)
        project.run("git", "init", "-q")
        project.commit("start")
        return project

    def build(self) -> None:
        """Run all stages, commit, and save what `dvc repro` printed for `first_output`."""
        printed = self.run("dvc", "repro").stdout
        self.commit("built")
        (self.folder / FIRST_OUTPUT).write_text(printed, encoding="utf-8")

    @property
    def first_output(self) -> str:
        """What the `dvc repro` of `build` printed."""
        return (self.folder / FIRST_OUTPUT).read_text(encoding="utf-8")

    def copy(self, folder: Path, server: Path | None) -> "Project":
        """Return a copy with its outs, cache and repository."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder, server)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

    @property
    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
        names = {
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@t",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@t",
        }
        server = {SWITCH: str(self.server)} if self.server else {}
        # The code of this folder, whatever project the installed `vitrine` belongs to.
        return inherited | names | server | VARIABLES | {"PATH": path, "PYTHONPATH": str(self.folder)}

    def run(self, *command: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command; `dvc` is a fork where the stages are."""
        if command[0] == "dvc" and self.server:
            return run_dvc(self.folder, *command[1:], environment=self.environment, check=check)
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, input=stdin, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def run_vitrine(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line in a fork of the server."""
        return self.run_forked("pipeline_lib.cli.main", *arguments, check=check)

    def run_forked(
        self, module: str, *arguments: str, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run `main` of a module of the project or of this folder in a fork of the server."""
        assert self.server is not None
        search = ["", str(self.folder), str(Path(__file__).parent)]
        argv = (module, *arguments)
        return run_in_fork(self.server, module, argv, self.folder, self.environment, search, stdin=stdin, check=check)

    def run_stages(self, output: str) -> list[str]:
        """Return the stages that DVC has run, according to its output."""
        return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]

    def restore(self) -> None:
        """Restore the params and outs of the last commit, without the outs of the built-in sample."""
        self.run("git", "checkout", "-q", ".")
        self.run("dvc", "checkout", "--allow-missing")

    def set_params(self, *overrides: str) -> None:
        apply_overrides(self.folder / "params.yaml", list(overrides))
