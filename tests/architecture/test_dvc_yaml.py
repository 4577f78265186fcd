"""dvc.yaml tells the truth: code deps are the import closure, params are what the code asks for, both ways."""

import ast
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from scmrepo.git import Git

from pipeline_lib.artifacts import paths
from pipeline_lib.cli.stage_deps import code_deps, declared_code, module_of
from pipeline_lib.params.all_sections import SECTIONS

ROOT = Path(__file__).parents[2]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
SECTION_OF = {kind.__name__: kind.section for kind in SECTIONS}


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


@pytest.mark.parametrize("name", STAGES)
def test_params_are_exactly_what_the_code_asks_for(name):
    script = ROOT / (module_of(STAGES[name]["cmd"]).replace(".", "/") + ".py")
    declared = [re.sub(r"\$\{item[^}]*\}", "{}", key) for key in STAGES[name]["params"]]
    assert sorted(declared) == sorted(asked_params(script))


def test_runtime_is_never_tracked():
    assert not [name for name, stage in STAGES.items() if "runtime" in stage["params"]]


def test_every_stage_script_is_a_stage():
    scripts = {path.stem for path in ROOT.glob("stages/*.py")} - {"__init__"}
    assert scripts == {module_of(stage["cmd"]).split(".")[1] for stage in STAGES.values()} == set(STAGES)


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
