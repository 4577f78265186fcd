"""dvc.yaml tells the truth: code deps are the import closure, params are what the code asks for, both ways."""

import ast
import re
import shlex
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from scmrepo.git import Git

from pipeline_lib.artifacts import paths
from pipeline_lib.cli.stage_deps import code_deps, declared_code, module_of
from pipeline_lib.execution.stage import Stage
from pipeline_lib.params.all_sections import SECTIONS
from stages import train as train_script

ROOT = Path(__file__).parents[2]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
SECTION_OF = {kind.__name__: kind.section for kind in SECTIONS}
SCRIPTS = {name: module_of(stage["cmd"]) for name, stage in STAGES.items()}
# Stages that run one script with different arguments.
SHARING = {"phase": "stages.train", "train": "stages.train"}


@pytest.mark.parametrize("name", STAGES)
def test_code_deps_are_exactly_the_import_closure(name):
    module = module_of(STAGES[name]["cmd"])
    assert declared_code(STAGES[name]) == code_deps(module, ROOT), "run `vitrine deps --write`"


def asked_params(path: Path) -> set[str]:
    """Sections and keys that a stage script asks its Stage for."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "section":
                found.add(SECTION_OF[node.args[0].id])
            elif node.func.attr == "value":
                found.add(literal(node.args[0]))
    return found


def literal(node: ast.expr) -> str:
    """A key as it is written, what an f-string puts in it as {}."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value


def script_of(name: str) -> Path:
    return ROOT / (SCRIPTS[name].replace(".", "/") + ".py")


@pytest.mark.parametrize("name", STAGES.keys() - SHARING.keys())
def test_params_are_exactly_what_the_code_asks_for(name):
    declared = [re.sub(r"\$\{item[^}]*\}", "{}", key) for key in STAGES[name]["params"]]
    assert sorted(declared) == sorted(asked_params(script_of(name)))


def filled(text: str) -> str:
    """Text of dvc.yaml with the item of one member of a matrix: fold 1, of phase `head`, which comes after `none`."""
    item = {"fold": "1", "step.name": "head", "step.after": "none"}
    return re.sub(r"\$\{item\.([\w.]+)\}", lambda match: item[match[1]], text)


class RecordingStage(Stage):
    """A stage that remembers the sections and keys it was asked for."""

    def __init__(self, module: str) -> None:
        super().__init__(module)
        self.read: set[str] = set()

    def section(self, kind):
        self.read.add(kind.section)
        return super().section(kind)

    def value(self, key, kind):
        self.read.add(key)
        return super().value(key, kind)


def params_read(name: str, folder: Path, monkeypatch) -> set[str]:
    """Run a stage's own command up to the training, and return the params that it read."""
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["phases"]["head"] = {"epochs": 1}
    with (folder / "params.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("VITRINE_LAUNCH", raising=False)
    run = RecordingStage(SCRIPTS[name])
    monkeypatch.setattr(train_script, "stage", lambda module: nullcontext(run))
    monkeypatch.setattr("pipeline_lib.training.phase.train_phase", lambda *_: None)
    monkeypatch.setattr(sys, "argv", shlex.split(filled(STAGES[name]["cmd"]))[2:])
    train_script.main()
    return run.read


def test_stages_that_share_a_script_declare_exactly_what_each_command_reads(tmp_path, monkeypatch):
    reads = {name: params_read(name, tmp_path, monkeypatch) for name in SHARING}
    for name, read in reads.items():
        assert read == {filled(key) for key in STAGES[name]["params"]}, name
    # Every key in the script is read by one of the commands, so the lists above leave none out.
    phases = {"phases.head": "phases.{}", "phases.train": "phases.{}"}
    assert asked_params(script_of("train")) == {phases.get(key, key) for read in reads.values() for key in read}


def test_runtime_is_never_tracked():
    assert not [name for name, stage in STAGES.items() if "runtime" in stage["params"]]


def test_every_stage_script_is_a_stage():
    scripts = {f"stages.{path.stem}" for path in ROOT.glob("stages/*.py")} - {"stages.__init__"}
    assert scripts == set(SCRIPTS.values())
    assert {name: f"stages.{name}" for name in STAGES} | SHARING == SCRIPTS
    shared = {module for module, count in Counter(SCRIPTS.values()).items() if count > 1}
    assert shared == set(SHARING.values())


@pytest.mark.parametrize("name", STAGES)
def test_cmd_holds_item_values_alone(name):
    inside = re.findall(r"\$\{([^}]*)\}", STAGES[name]["cmd"])
    assert all(value.startswith("item.") for value in inside)


def outs(stage) -> list[str]:
    listed = [*stage.get("outs", []), *stage.get("metrics", [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in listed]


def test_outs_are_where_paths_says():
    made = {out.split("/${")[0] for stage in STAGES.values() for out in outs(stage)}
    wanted = (
        paths.CATALOGUE, paths.FOLDS, paths.SHARDS, paths.FEATURES, paths.TRAIN, paths.EMBED, paths.ENSEMBLE,
        paths.EVALUATION, paths.METRICS, paths.INTERVALS, paths.PAGE, paths.FIGURES, paths.PHASES,
        paths.PHASES / paths.NO_PHASE,
    )  # fmt: skip
    assert made == {path.as_posix() for path in wanted} | {(paths.INDEX / "${item.kind}-").as_posix().split("/${")[0]}


def test_optional_branches_keep_their_folder():
    """A dep on a folder that no stage makes is an error in DVC, so an emptied plan list would break the DAG."""
    for folder in (paths.FEATURES, paths.INDEX):
        assert (ROOT / folder / ".gitkeep").is_file()
    assert ".gitkeep" in (ROOT / ".dvcignore").read_text(encoding="utf-8")


def test_dvc_looks_into_the_folders_that_users_add_to():
    """DVC asks whether a folder is ignored with a slash behind it; one that is, is not searched for .dvc files."""
    repository = Git(str(ROOT))
    for name in ("raw", "weights", "starts", "predictions"):
        folder = f"{ROOT}/data/{name}/"
        assert not repository.is_ignored(folder) and not repository.is_ignored(f"{folder}mine.dvc"), name
        assert repository.is_ignored(f"{folder}mine") and repository.is_ignored(f"{folder}mine/"), name
        assert not repository.is_ignored(f"{folder}.gitkeep") or name in ("starts", "predictions")
    for folder in (paths.NO_START, paths.NO_PREDICTIONS):
        assert not repository.is_ignored(f"{ROOT}/{folder.as_posix()}/.gitkeep")
