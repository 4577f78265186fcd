"""A recipe with several training seeds: the same folds, each seed once, mean and standard deviation of each figure."""

import json
import re
import statistics
import subprocess
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy import stats
from typer.testing import CliRunner

from pipeline_lib.cli import seeds as cli_seeds
from pipeline_lib.cli.main import app
from pipeline_lib.experiments.recipes import seeds
from pipeline_lib.experiments.recipes.merging import Cell
from pipeline_lib.params.section import load_params

ROOT = Path(__file__).parents[3]
RECIPE = """about: Longer
log: A
reported: nothing
params: {train: {epochs: 11}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with two recipes, in which DVC is a function: it lists what it ran, and waits with what is queued."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    Path("recipes").mkdir()
    Path("recipes/tiny.yaml").write_text("{}", encoding="utf-8")
    Path("recipes/longer.yaml").write_text(RECIPE, encoding="utf-8")
    Path("recipes/two.yaml").write_text(RECIPE + "grid: {train.epochs: [8, 11]}\n", encoding="utf-8")
    made = SimpleNamespace(commands=[], ended=set(), waiting=set(), changed="")
    run_git = subprocess.run
    run_git(["git", "init", "-q"], check=True)

    def dvc(command, **words):
        if command[0] == "git":
            return run_git(command, **words)
        made.commands.append(command)
        (made.waiting if "--queue" in command else made.ended).update(options(command, "-n"))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", dvc)
    monkeypatch.setattr(seeds, "known_experiments", lambda: (set(made.ended), set(made.waiting)))
    monkeypatch.setattr(seeds, "changed_files", lambda: made.changed)
    monkeypatch.setattr(seeds, "read_metrics", metrics_of)
    return made


def metrics_of(experiment):
    """Metrics that follow from the seed at the end of the experiment's name."""
    seed = int(experiment.rpartition("-s")[2])
    retrieval = {"text_to_image": {"R@1": seed / 100, "num_queries": 50}}
    return {"test": {"retrieval": retrieval, "classification": {"top1": 0.5 + (seed == 9) / 4}}}


def options(command, name):
    return [value for option, value in pairwise(command) if option == name]


def vitrine(*words):
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["seeds", *words])
    if done.exception:
        raise done.exception
    return done


def test_each_seed_is_an_experiment_that_changes_train_seed_alone(project):
    vitrine("3", "longer")
    settings = [options(command, "-S") for command in project.commands]
    assert [one[-1] for one in settings] == ["train.seed=7", "train.seed=8", "train.seed=9"]
    assert {tuple(one[:-1]) for one in settings} == {("train.epochs=11",)}
    names = [options(command, "-n")[0] for command in project.commands]
    assert re.fullmatch("longer-[0-9a-f]{8}-s7", names[0])
    assert names == [names[0][:-1] + seed for seed in "789"]


def test_with_composed_models_their_seed_counts_up_as_well(project):
    composed = RECIPE.replace("{train: {epochs: 11}}", "{plan: {composed: [sum]}, composed: {seed: 40}}")
    Path("recipes/composed.yaml").write_text(composed, encoding="utf-8")
    vitrine("2", "composed")
    settings = [options(command, "-S")[-2:] for command in project.commands]
    assert settings == [["train.seed=7", "composed.seed=40"], ["train.seed=8", "composed.seed=41"]]
    with pytest.raises(ValueError, match="-S composed.seed: the seeds count up"):
        vitrine("2", "composed", "-S", "composed.seed=3")


COMPOSED = RECIPE.replace("{train: {epochs: 11}}", "{plan: {composed: [sum]}, composed: {epochs: 5}}")


def names_of(project):
    return [options(command, "-n")[0] for command in project.commands]


@pytest.mark.parametrize("change", [[], ["-S", "plan.composed=[sum]"]])
def test_another_seed_of_composed_models_is_another_setting(project, change):
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("recipes/composed.yaml").write_text(RECIPE if change else COMPOSED, encoding="utf-8")
    vitrine("2", "composed", *change)
    section = text.index("\ncomposed:")
    other = text[:section] + text[section:].replace("  seed: 7\n", "  seed: 11\n", 1)
    Path("params.yaml").write_text(other, encoding="utf-8")
    vitrine("2", "composed", *change)
    seeds_of = [dict(one.split("=") for one in options(command, "-S")[-2:]) for command in project.commands]
    assert [(int(one["train.seed"]), int(one["composed.seed"])) for one in seeds_of] == [
        (7, 7), (8, 8), (7, 11), (8, 12),
    ]  # fmt: skip
    assert len(set(names_of(project))) == 4 and len({name.rpartition("-s")[0] for name in names_of(project)}) == 2


def test_seeds_of_composed_models_that_count_up_from_a_later_one_are_the_same_runs(project):
    Path("recipes/composed.yaml").write_text(COMPOSED, encoding="utf-8")
    vitrine("3", "composed")
    text = Path("params.yaml").read_text(encoding="utf-8")
    for section in ("\ntrain:", "\ncomposed:"):
        start = text.index(section)
        text = text[:start] + text[start:].replace("  seed: 7\n", "  seed: 8\n", 1)
    Path("params.yaml").write_text(text, encoding="utf-8")
    vitrine("2", "composed")
    assert len(project.commands) == 3


def test_a_name_without_composed_models_does_not_depend_on_their_seed(project):
    text = Path("params.yaml").read_text(encoding="utf-8")
    vitrine("2", "longer")
    section = text.index("\ncomposed:")
    Path("params.yaml").write_text(text[:section] + text[section:].replace("  seed: 7\n", "  seed: 11\n", 1))
    vitrine("2", "longer")
    assert len(project.commands) == 2


def test_queued_seeds_get_what_params_and_changes_name(project):
    for name in ("mine", "other"):
        Path(f"data/predictions/{name}").mkdir(parents=True)
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("fuse_with: data/predictions/none", "fuse_with: data/predictions/mine"))
    vitrine("2", "longer")
    vitrine("2", "longer", "-S", "ensemble.fuse_with=data/predictions/other")
    vitrine("2", "-S", "ensemble.fuse_with=data/predictions/other")
    assert [options(command, "--copy-paths") for command in project.commands] == [
        *[["data/predictions/mine"]] * 2, *[["data/predictions/other"]] * 4,
    ]  # fmt: skip


def test_the_figures_are_the_mean_and_the_deviation_of_a_sample(project):
    done = vitrine("3", "longer", "--now")
    top1 = [0.5, 0.5, 0.75]
    low, high = stats.t.interval(0.95, 2, statistics.mean(top1), stats.sem(top1))
    assert done.stdout.splitlines() == [
        "longer\ttest\ttext_to_image\tR@1\t0.08\t0.01\t0.0551586\t0.104841\t3",
        f"longer\ttest\tclassification\ttop1\t{1.75 / 3:.6g}\t{statistics.stdev(top1):.3g}\t{low:.6g}\t{high:.6g}\t3",
    ]
    (setting,) = {
        line.split(": ")[1].rpartition("-s")[0] for line in done.stderr.splitlines() if line.startswith("seed ")
    }
    assert f"vitrine compare {setting} OTHER" in done.stderr
    data = json.loads(vitrine("3", "longer", "--now", "--json").stdout)
    assert data["figures"][0] == {
        "recipe": "longer", "split": "test", "task": "text_to_image", "metric": "R@1", "values": [0.07, 0.08, 0.09],
        "mean": pytest.approx(0.08), "standard_deviation": pytest.approx(0.01),
        "low": pytest.approx(0.08 - 4.302653 * 0.01 / 3**0.5), "high": pytest.approx(0.08 + 4.302653 * 0.01 / 3**0.5),
    }  # fmt: skip
    assert [one["seed"] for one in data["experiments"]] == [7, 8, 9]


def test_intervals_of_two_seeds_end_where_their_figures_do_and_a_line_says_why(project, monkeypatch):
    def metrics(experiment):
        far = int(experiment.rpartition("-s")[2]) - 7
        ranked = {"R@1": 0.02 + 0.1 * far, "R@10": 0.99 - 0.1 * far, "mean_rank": 3.0 + 6 * far, "num_gallery": 40}
        both = {"text_to_image": ranked, "sum": 5.4 + 0.001 * far}
        return {"test": {"retrieval": both, "classification": {"top1": 1.0, "ece": 0.1 * far}}}

    monkeypatch.setattr(seeds, "read_metrics", metrics)
    done = vitrine("2", "longer", "--now")
    limits = {line.split("\t")[3]: line.split("\t")[6:8] for line in done.stdout.splitlines()}
    half = stats.t.ppf(0.975, 1) * 0.05
    assert limits == {
        "R@1": ["0", f"{0.07 + half:.6g}"], "R@10": [f"{0.94 - half:.6g}", "1"], "mean_rank": ["1", "40"],
        "sum": [f"{5.4005 - half / 100:.6g}", f"{5.4005 + half / 100:.6g}"], "top1": ["1", "1"],
        "ece": ["0", f"{0.05 + half:.6g}"],
    }  # fmt: skip
    assert done.stderr.splitlines()[-1] == (
        "4 of 6 intervals are cut at 0 or 100 %, rank 1 or the gallery's size: with 2 seeds they reach 9.0 standard "
        "deviations to each side, with 3 2.5"
    )


def test_what_ran_is_not_run_again_and_what_changed_is(project):
    vitrine("2", "longer")
    vitrine("3", "longer")
    assert [options(command, "-S")[-1] for command in project.commands] == [f"train.seed={n}" for n in (7, 8, 9)]
    vitrine("2", "longer", "-S", "train.tower_lr=0.1")
    assert len(project.commands) == 5
    project.changed = "another loss"
    vitrine("2", "longer")
    assert len(project.commands) == 7


def test_seeds_wait_in_the_queue_until_dvc_runs_them(project):
    done = vitrine("2", "longer")
    assert all("--queue" in command for command in project.commands) and len(project.commands) == 2
    assert done.stdout.split() == [options(command, "-n")[0] for command in project.commands]
    project.ended, project.waiting = project.waiting, set()
    assert vitrine("2", "longer").stdout.startswith("longer\ttest\ttext_to_image\tR@1\t0.075\t")
    assert len(project.commands) == 2


def test_without_a_recipe_params_yaml_is_run_as_it_is_with_the_folders_that_it_names(project):
    vitrine("2", "--now")
    names = [options(command, "-n")[0] for command in project.commands]
    assert re.fullmatch("params-[0-9a-f]{8}-s7", names[0]) and "--queue" not in project.commands[0]
    assert [options(command, "-S") for command in project.commands] == [["train.seed=7"], ["train.seed=8"]]
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("init_from: data/starts/none", "init_from: data/starts/mine"))
    Path("data/starts/mine").mkdir(parents=True)
    vitrine("2")
    assert options(project.commands[-1], "--copy-paths") == ["data/starts/mine"]
    assert options(project.commands[-1], "-n") != names[1:]


def test_a_grid_waits_in_the_queue_and_has_its_figures_by_cell_when_it_has_ended(project):
    done = vitrine("2", "two")
    assert all("--queue" in command for command in project.commands) and len(project.commands) == 4
    assert done.stdout.split() == [options(command, "-n")[0] for command in project.commands]
    assert done.stderr == "4 of 4 queued; `dvc queue start` runs them, then this command has the figures\n"
    assert json.loads(vitrine("2", "two", "--json").stdout)["figures"] == []
    assert len(project.commands) == 4
    project.ended, project.waiting = project.waiting, set()
    lines = vitrine("2", "two").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["two-8", "two-8", "two-11", "two-11"]
    assert len(project.commands) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["1", "longer"], "1 seeds: a standard deviation needs 2 or more"),
        (["2", "longer", "-S", "train.seed=1"], "-S train.seed: the seeds count up from the recipe's own"),
        (["2", "--tiny"], "--tiny is of recipes"),
    ],
)
def test_seeds_that_mean_nothing_are_refused(project, words, message):
    with pytest.raises(ValueError, match=message):
        vitrine(*words)
    assert project.commands == []


def test_the_hash_does_not_depend_on_the_machine_and_depends_on_every_other_setting():
    params = load_params(ROOT / "params.yaml")
    own = seeds.settings_hash(Cell("x", params), [])

    def other(section, **values):
        return seeds.settings_hash(Cell("x", params | {section: params[section] | values}), [])

    assert other("runtime", workers=31) == other("train", seed=31) == own
    others = (other("train", epochs=31), other("split", seed=31), seeds.settings_hash(Cell("x", params), ["a.b=c"]))
    assert own not in others


def test_a_figure_that_a_seed_lacks_is_left_out():
    whole = {"test": {"classification": {"top1": 0.5, "ece": 0.1}}}
    part = {"test": {"classification": {"top1": 0.7}}}
    assert cli_seeds.figure_spreads("x", [whole, part]) == [
        cli_seeds.Spread("x", "test", "classification", "top1", [0.5, 0.7])
    ]
