"""The DVC commands of a recipe; params.yaml is restored whatever DVC does."""

import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.cli.main import app
from pipeline_lib.experiments.recipes import run, smoke
from pipeline_lib.experiments.recipes.merging import cells
from pipeline_lib.experiments.recipes.schema import recipe_names
from pipeline_lib.params.section import load_params

ROOT = Path(__file__).parents[3]
PARAMS = load_params(ROOT / "params.yaml")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with params.yaml and the recipes, in which DVC is a function that records its commands."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    commands, run_git = [], subprocess.run
    run_git(["git", "init", "-q"], check=True)

    def dvc(command, **options):
        if command[0] == "git":
            return run_git(command, **options)
        commands.append(command)
        Path("params.yaml").write_text("as dvc exp run leaves it\n")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", dvc)
    return SimpleNamespace(commands=commands, params=(ROOT / "params.yaml").read_text(encoding="utf-8"))


def options(command, name):
    return [value for option, value in pairwise(command) if option == name]


def vitrine(*words):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["recipe", *words])


def test_a_recipe_is_one_experiment_of_its_name_and_a_suffix(project):
    printed = vitrine("run", "a11-dot", "-S", "train.epochs=2", "--set-param", "train.seed=8").output
    (command,) = project.commands
    assert command[:5] == [sys.executable, "-m", "dvc", "exp", "run"]
    (name,) = options(command, "-n")
    assert name.removesuffix(name[-4:]) == "a11-dot-"
    assert int(name[-4:], 16) >= 0
    assert printed == f"{name}\n"
    assert "--queue" not in command
    assert "model.similarity='dot'" in options(command, "-S")
    assert options(command, "-S")[-2:] == ["train.epochs=2", "train.seed=8"]
    assert Path("params.yaml").read_text(encoding="utf-8") == project.params


def test_two_runs_are_two_experiments(project):
    names = {run.run_recipe("a11-dot", False, [], False)[0] for _ in range(3)}
    assert len(names) == 3


def test_a_grid_is_queued_one_experiment_a_cell_under_one_suffix(project):
    printed = vitrine("run", "a16", "--tiny").output
    names = [options(command, "-n")[0] for command in project.commands]
    assert [name.rpartition("-tiny-")[0] for name in names] == [
        cell.name for cell in cells("a16", PARAMS, folder=ROOT / "recipes")
    ]
    assert len({name[-4:] for name in names}) == 1
    assert all("--queue" in command for command in project.commands)
    assert printed.endswith("queued; `dvc queue start` runs them\n")
    settings = "train.augment='grayscale_blur'", "train.text_augment='random_swap'"
    assert set(settings) < set(options(project.commands[8], "-S"))


def test_a_recipe_that_starts_from_models_needs_them(project):
    with pytest.raises(ValueError, match="data/starts/a01-baseline holds no models") as caught:
        run.run_recipe("a02-warm-start", True, [], False)
    assert "`vitrine recipe run a01-baseline` trains them, `vitrine keep EXPERIMENT a01-baseline` saves" in str(
        caught.value
    )
    assert project.commands == []
    Path("data/starts/a01-baseline/0").mkdir(parents=True)
    Path("data/starts/a01-baseline/0/model.safetensors").touch()
    run.run_recipe("a02-warm-start", True, [], False)
    (command,) = project.commands
    assert options(command, "--copy-paths") == ["data/starts/a01-baseline"]
    assert "train.init_from='data/starts/a01-baseline'" in options(command, "-S")


def make(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("{}", encoding="utf-8")


def test_a_queued_run_gets_what_params_and_changes_name(project):
    make("data/splits/none/.gitkeep")
    subprocess.run(["git", "add", "."], check=True)
    make("data/predictions/mine/x.parquet", "data/predictions/other/x.parquet", "data/splits/held.parquet")
    make("data/starts/start/0/model.json", "data/starts/teacher/model.json")
    params = project.params.replace("fuse_with: data/predictions/none", "fuse_with: data/predictions/mine")
    Path("params.yaml").write_text(params, encoding="utf-8")
    run.run_recipe("a11-dot", True, [], False)
    changes = [
        "ensemble.fuse_with=data/predictions/other",
        "params.yaml:train.init_from=data/starts/start",
        "plan.teachers=[teacher]",
        "split.assignment=data/splits/held.parquet",
    ]
    run.run_recipe("a11-dot", True, changes, False)
    run.run_recipe("a11-dot", True, ["ensemble.fuse_with=data/predictions/mine,data/predictions/other"], False)
    run.run_recipe("a11-dot", False, changes, False)
    assert [options(command, "--copy-paths") for command in project.commands] == [
        ["data/predictions/mine"],
        ["data/starts/start", "data/predictions/other", "data/splits/held.parquet", "data/starts/teacher"],
        ["data/predictions/mine", "data/predictions/other"],
        [],
    ]


def test_a_queued_run_gets_what_the_recipe_needs_and_what_else_is_named_each_once(project):
    make("data/starts/a01-baseline/0/model.safetensors", "data/predictions/mine/x.parquet")
    run.run_recipe("a02-warm-start", True, ["ensemble.fuse_with=data/predictions/mine"], False)
    (command,) = project.commands
    assert options(command, "--copy-paths") == ["data/starts/a01-baseline", "data/predictions/mine"]


def test_what_is_in_another_folder_or_is_checked_out_by_dvc_is_not_copied(project):
    """DVC stops at a folder that the first copy has made already, and at a file whose folder only a checkout makes."""
    make("data/starts/a01-baseline/0/model.safetensors", "data/raw/shop.dvc", "data/starts/mine.dvc")
    subprocess.run(["git", "add", "data/raw/shop.dvc", "data/starts/mine.dvc"], check=True)
    make("data/raw/shop/folds.csv", "data/starts/mine/model.json")
    changes = ["train.init_from=data/starts/a01-baseline/0", "split.assignment=data/raw/shop/folds.csv"]
    run.run_recipe("a02-warm-start", True, [*changes, "plan.teachers=[mine]"], False)
    (command,) = project.commands
    assert options(command, "--copy-paths") == ["data/starts/a01-baseline"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("split.assignment=data/alone/folds.csv", "data/alone/folds.csv: git tracks nothing in data/alone"),
        ("train.init_from=../start", "../start is outside the project, and a queued run is in another folder"),
    ],
)
def test_a_file_that_no_copy_can_have_is_one_line_and_queues_nothing(project, change, message):
    make("data/alone/folds.csv", "../start/0/model.json")
    with pytest.raises(ValueError, match=re.escape(message)):
        run.run_recipe("a11-dot", True, [change], False)
    assert project.commands == []


def test_what_git_tracks_is_in_the_copy_already(project):
    """DVC stops where a folder to copy is there already: of one that git tracks in part, the rest is copied."""
    make("data/judgements/.gitkeep", "data/starts/public/model.yaml", "data/starts/mixed/model.yaml")
    subprocess.run(["git", "add", "."], check=True)
    make("data/judgements/ann.csv", "data/judgements/bob.csv", "data/starts/mixed/0/model.json")
    run.run_recipe("a11-dot", True, ["plan.judged=[0]", "plan.teachers=[public,mixed]"], False)
    (command,) = project.commands
    assert options(command, "--copy-paths") == [
        "data/starts/mixed/0", "data/judgements/ann.csv", "data/judgements/bob.csv",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.epoch=3", "-S train.epoch=3: Could not override 'train.epoch'"),
        ("train.epochs=[3", "-S train.epochs=[3: no viable alternative at input"),
        ("train=3", "params.yaml: train = 3: input should be a valid dictionary"),
    ],
)
def test_a_change_that_does_not_fit_queues_nothing(project, change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        run.run_recipe("a16", True, [change], True)
    assert project.commands == []
    assert Path("params.yaml").read_text(encoding="utf-8") == project.params


@pytest.mark.parametrize("ends", ["badly", "interrupted"])
def test_params_are_restored_when_dvc_fails(project, monkeypatch, ends):
    def dvc(*_, **__):
        Path("params.yaml").write_text("half\n")
        if ends == "interrupted":
            raise KeyboardInterrupt
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(subprocess, "run", dvc)
    with pytest.raises(ValueError if ends == "badly" else KeyboardInterrupt):
        run.run_recipe("a11-dot", False, [], False)
    assert Path("params.yaml").read_text(encoding="utf-8") == project.params


def test_apply_writes_the_recipe_and_then_there_is_nothing_to_change(project):
    assert "settings changed" in vitrine("apply", "d02-staged").output
    assert load_params(Path("params.yaml")) == cells("d02-staged", PARAMS, folder=ROOT / "recipes")[0].params
    again = vitrine("apply", "d02-staged")
    assert "changes nothing: params.yaml has all of its values already" in str(again.exception)
    assert "is a grid (a06-image2-3, a06-image2-5)" in str(vitrine("apply", "a06-image2").exception)


@pytest.fixture
def smoked(project, monkeypatch):
    """DVC that writes metrics, but fails for one recipe."""

    def dvc(command, stdout, **_):
        (name,) = options(command, "-n")
        stdout.write(f"running {name}\n")
        Path("params.yaml").write_text("changed\n")
        Path("dvc.lock").write_text(name)
        write_json(paths.METRICS, {"test": {"retrieval": {"text_to_image": {"R@1": 0.0125, "MeanRecall": 0.5}}}})
        Path(paths.train_of(0)).mkdir(parents=True, exist_ok=True)
        (paths.train_of(0) / "model.safetensors").write_text(name)
        project.commands.append(command)
        return SimpleNamespace(returncode=1 if name.startswith("a11") else 0)

    paths.METRICS.parent.mkdir()
    monkeypatch.setattr(subprocess, "run", dvc)
    return project


def test_run_all_continues_after_a_failure_and_reports_it(smoked):
    done = vitrine("run-all", "a02-warm-start", "a11-dot", "a16")
    assert done.exit_code == 1
    assert done.output.endswith("3 of 4 recipes ran; reports/recipes.md\n")
    text = Path("reports/recipes.md").read_text(encoding="utf-8")
    assert "Smoke figures" in text
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| a")]
    assert [row[0] for row in rows] == ["a01-baseline", "a02-warm-start", "a11-dot", "a16"]
    assert [row[2] for row in rows] == ["ran", "ran", "failed, see logs/recipes/a11-dot.txt", "ran"]
    assert [row[4:] for row in rows] == [[".013", ".500"], [".013", ".500"], ["-", "-"], [".013", ".500"]]
    assert Path("logs/recipes/a11-dot.txt").read_text().startswith("running a11-dot-tiny-")


def test_run_all_restores_the_workspace_and_saves_models_for_others(smoked):
    vitrine("run-all", "a02-warm-start")
    assert Path("params.yaml").read_text(encoding="utf-8") == smoked.params
    assert not Path("dvc.lock").exists()
    assert not paths.METRICS.exists()
    saved = Path("data/starts/a01-baseline-tiny/0/model.safetensors").read_text()
    assert saved.startswith("a01-baseline-tiny-")
    assert "train.init_from='data/starts/a01-baseline-tiny'" in options(smoked.commands[1], "-S")


def test_a_recipe_runs_after_those_it_starts_from(project):
    order = smoke.in_order(recipe_names())
    assert sorted(order) == sorted(recipe_names())
    assert order.index("a01-baseline") < order.index("a02-warm-start")
    assert smoke.in_order(["a02-warm-start"]) == ["a01-baseline", "a02-warm-start"]
