"""What the shell offers at the tab key: settings with their values, names of recipes, stages and experiments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.cli.completion import complete_recipe, complete_revision, complete_setting, complete_stage
from pipeline_lib.experiments.recipes.schema import recipe_names
from pipeline_lib.params.all_sections import check_all
from pipeline_lib.params.section import load_params

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_project(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("runtime.log", ["runtime.log_every=", "runtime.logger="]),
        ("runtime.logger=", ["runtime.logger=mlflow", "runtime.logger=tensorboard", "runtime.logger=trackio",
                             "runtime.logger=wandb"]),
        ("runtime.device=c", ["runtime.device=cpu", "runtime.device=cuda"]),
        ("embed.flip=", ["embed.flip=false", "embed.flip=true"]),
        ("losses.triplet.we", ["losses.triplet.weight="]),
        ("train.epochs=", []),
        ("nothing", []),
    ],
)  # fmt: skip
def test_settings_are_completed_with_their_values(typed, offered):
    assert complete_setting(typed) == offered


def leaves(value, key=""):
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}".lstrip("."))
    else:
        yield key


def test_every_setting_of_params_is_offered_and_every_value_fits():
    params = load_params()
    offered = {name.removesuffix("=") for name in complete_setting("")}
    free = {"phases", "model.image.args", "model.text.config", "train.schedule"}
    assert {key for key in leaves(params) if not key.startswith(tuple(free))} - offered <= {
        key for key in leaves(params) if key.rpartition(".")[0] not in offered
    }
    for choice in complete_setting("runtime.parallel="):
        params["runtime"]["parallel"] = choice.partition("=")[2]
        check_all(params, ROOT / "params.yaml")


def test_recipes_and_stages_are_those_that_exist():
    assert complete_recipe("") == sorted(recipe_names())
    assert set(complete_stage("")) == set(load_params(ROOT / "dvc.yaml")["stages"])
    assert complete_stage("em") == ["embed"]


def test_revisions_are_experiments_branches_and_tags(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "x")
    git("tag", "first/run")
    head = git("rev-parse", "HEAD")
    for ref in (f"{head[:2]}/{head[2:]}/deeper", "celery/stash", "exec/EXEC_HEAD", "stash"):
        git("update-ref", f"refs/exps/{ref}", head)
    monkeypatch.chdir(tmp_path)
    assert complete_revision("") == ["HEAD", "deeper", "first/run", "main", "workspace"]
    assert complete_revision("d") == ["deeper"]


def test_outside_a_project_nothing_is_offered_and_nothing_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complete_setting("") == complete_stage("") == complete_recipe("") == []


def test_the_shell_gets_its_answer_without_a_heavy_library():
    """As bash asks; a tab must not wait for torch, polars or DVC."""
    code = (
        "import sys\nfrom pipeline_lib.cli.main import app\ntry:\n    app(prog_name='vitrine')\nfinally:\n"
        "    print(sorted({'torch', 'polars', 'dvc', 'numpy', 'ruamel'} & set(sys.modules)), file=sys.stderr)"
    )
    words = {"COMP_WORDS": "vitrine plan -S runtime.parallel=", "COMP_CWORD": "3", "_VITRINE_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | words, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["runtime.parallel=dask", "runtime.parallel=loky", "runtime.parallel=ray"]
    assert done.stderr.strip() == "[]"
