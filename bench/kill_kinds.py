"""What `kills` kills: every stage of dvc.yaml, DVC, launchers and their ranks, workers, a fork server, commands."""

import contextlib
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from kill_project import REPO
from stage_commands import stage_commands

from pipeline_lib.execution.forkserver import SWITCH

SERVER = "pipeline_lib.execution.forkserver"


@dataclass(frozen=True)
class Kind:
    """A command that is killed: `victim` chooses the process, `paths` are what it writes, `again` runs after it.

    `variables` are added to the environment; with `group` the signal goes to the whole process group, as Ctrl-C does.
    """

    name: str
    command: tuple[str, ...]
    paths: tuple[str, ...]
    victim: Callable[[psutil.Process], psutil.Process | None] = lambda process: process
    variables: dict[str, str] = field(default_factory=dict)
    number: signal.Signals = signal.SIGKILL
    group: bool = False
    ends: bool = True  # False for a server, which runs until it is killed

    @property
    def is_launched(self) -> bool:
        """Whether several processes compute the outs."""
        return "VITRINE_LAUNCH" in self.variables

    @property
    def outs(self) -> tuple[object, ...]:
        """What determines the bytes of the outs."""
        return self.is_launched, *self.paths

    @property
    def key(self) -> tuple[object, ...]:
        """What determines the duration of a run."""
        return self.command, *self.variables.items()


def is_stage_alone(kind: Kind) -> bool:
    """Return whether a kind is one stage without DVC and without processes that import torch themselves."""
    return not kind.variables and "-m stages." in " ".join(kind.command)


def descendant(condition: Callable[[psutil.Process], bool]) -> Callable[[psutil.Process], psutil.Process | None]:
    """Return a choice of a process below the command that meets a condition."""

    def choose(process: psutil.Process) -> psutil.Process | None:
        found = []
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if condition(child):
                    found.append(child)
        return random.choice(found) if found else None

    return choose


def stage_outs(words: list[str]) -> tuple[str, ...]:
    """Return the outs of a stage's command, as dvc.yaml names them."""
    name = words[2].removeprefix("stages.")
    options = dict(zip(words[3::2], words[4::2], strict=True))
    fold, scale, kind = (options.get(f"--{key}", "") for key in ("fold", "scale", "kind"))
    work = {
        "features": "features/trunk", "teacher": f"features/{options.get('--name')}", "views": f"views/{scale}",
        "embed": f"embed/{fold}/{scale}", "gallery": f"gallery/{fold}", "index": f"index/{kind}-{fold}",
        "judged": f"judged/{fold}", "compose": f"composed/{kind}/{fold}", "frames": "frames/clips",
        "train": f"phases/{options['--phase']}/{fold}" if "--phase" in options else f"train/{fold}",
    }  # fmt: skip
    other = {
        "report": ("reports/index.html", "reports/figures"),
        "evaluate": ("data/work/evaluation", "reports/metrics.json", "reports/intervals.json"),
    }
    return other.get(name) or (f"data/work/{work.get(name, name)}",)


def kinds(folder: Path) -> tuple[list[Kind], list[Kind]]:
    """Return the kinds that are killed with SIGKILL, and those that get Ctrl-C."""
    python, own = sys.executable, {SWITCH: "0"}
    launcher = {"VITRINE_LAUNCH": f"{python} {REPO / 'tests/support/forked.py'} 2"}
    torchrun = {"VITRINE_LAUNCH": f"{python} -m torch.distributed.run --nproc-per-node 2", SWITCH: "0"}
    stages = []
    for line in stage_commands(REPO / "dvc.yaml", folder / "params.yaml"):
        words = line.split()
        stages.append(Kind(" ".join(words[2:]), (python, *words[1:]), stage_outs(words)))
    by_name = {kind.name: kind for kind in stages}
    train, features, shards = by_name["stages.train --fold 0"], by_name["stages.features"], by_name["stages.shards"]

    def variant(kind: Kind, name: str, **changes: object) -> Kind:
        return Kind(**{**vars(kind), "name": f"{name}: {kind.name}", **changes})  # type: ignore[arg-type]

    def dvc(address: str, kind: Kind, shell: str, **variables: str) -> Kind:
        command = (python, "-m", "dvc", "repro", "--single-item", "--force", address)
        return Kind(f"dvc repro {address}, {Path(shell).name}", command, kind.paths,
                    variables={"SHELL": shell, **variables})  # fmt: skip

    own_server = dvc("train@0", train, "/bin/bash", **{SWITCH: ""})
    vitrine = (python, "-c", "from pipeline_lib.cli.main import main; main()")
    killed = [
        *stages,
        *(dvc(*one) for one in (("train@0", train, "/bin/sh"), ("features@trunk", features, "/bin/bash"),
                                ("shards", shards, "/bin/sh"))),
        own_server,
        variant(own_server, "the fork server", victim=descendant(lambda one: SERVER in one.cmdline())),
        variant(shards, "a worker", victim=descendant(lambda one: "loky" in " ".join(one.cmdline()))),
        variant(train, "in its own process", variables=own),
        variant(train, "torchrun's stage", variables=torchrun),
        variant(train, "torchrun", variables=torchrun, victim=descendant(lambda one: "torch.distributed.run"
                                                                         in one.cmdline())),
        variant(train, "a rank", variables=torchrun, victim=descendant(lambda one: "RANK" in one.environ())),
        variant(train, "the stage of forked ranks", variables=launcher),
        Kind("vitrine keep", (*vitrine, "keep", "workspace", "again"), ("data/starts/again",)),
        Kind("vitrine serve", (*vitrine, "serve", "--listen", "0"), ("data/judgements",), ends=False),
        Kind("dvc exp run", (python, "-m", "dvc", "exp", "run", "-f", "-s", "-S", "train.epochs=3", "train@0"),
             train.paths),
    ]  # fmt: skip
    keys = {"number": signal.SIGINT, "group": True}
    others = ("a ", "torchrun:", "the fork server")
    interrupted = [variant(kind, "Ctrl-C", **keys) for kind in killed if not kind.name.startswith(others)]
    return killed, interrupted
