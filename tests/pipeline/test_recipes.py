"""Recipes of different kinds end to end with tiny towers, one under DVC; the queue of a grid; a missing start."""

import json
import resource

import pytest
from forked import process_of
from stage_commands import stage_commands

# The small shop replaces the built-in sample, because generating that takes longer than all stages.
SHOP = ("data.root=data/raw/shop", "data.max_reject_fraction=0.2", "shards.size=40", "runtime.workers=1")


@pytest.fixture(scope="module")
def project(built_project, fork_server, tmp_path_factory):
    return built_project.copy(tmp_path_factory.mktemp("recipes") / "project", fork_server)


def cpu_seconds(server) -> float:
    """Return the CPU time of all commands and stages so far, which does not depend on other load of the machine."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime + sum(process_of(server).cpu_times()[:4])


def vitrine(project, *words, check=True):
    changes = [word for change in SHOP for word in ("-S", change)]
    return project.run_vitrine("recipe", *words, "--tiny", *changes, check=check)


def check_outs(project, image, text):
    """The trained model has towers of these kinds, and the report and its figures are written."""
    model = json.loads((project.folder / "data/work/train/0/model.json").read_text())["description"]
    assert (model["image"]["kind"], model["text"]["kind"]) == (image, text)
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    assert 0 <= metrics["test"]["retrieval"]["text_to_image"]["MeanRecall"] <= 1
    assert (project.folder / "reports/index.html").is_file()


def test_a_recipe_runs_as_an_experiment_up_to_the_report_in_a_minute_of_cpu_time(project):
    before = (project.folder / "params.yaml").read_bytes()
    start = cpu_seconds(project.server)
    experiment = vitrine(project, "run", "a09-early").stdout.split()[-1]
    assert cpu_seconds(project.server) - start < 60
    assert (project.folder / "params.yaml").read_bytes() == before
    check_outs(project, "timm", "hf")
    assert experiment.startswith("a09-early-tiny-")
    assert experiment in project.run("dvc", "exp", "list", "--name-only").stdout


@pytest.mark.parametrize(
    ("name", "image", "text"),
    [
        ("b06-small-vocab", "open_clip", "open_clip"),
        ("d02-staged", "timm", "hf"),
        ("d03-cliptext", "timm", "open_clip"),
    ],
)
def test_an_applied_recipe_runs_up_to_the_report_in_a_minute_of_cpu_time(project, name, image, text):
    """Without DVC: tests/experiments/recipes has what `dvc exp run -S` makes of every recipe."""
    start = cpu_seconds(project.server)
    project.run("git", "checkout", "-q", ".")
    project.run_vitrine("recipe", "apply", name, "--tiny")
    project.set_params(*SHOP)
    lines = stage_commands(project.folder / "dvc.yaml", project.folder / "params.yaml")
    lines.remove("python -m stages.code")  # DVC alone reads its outs
    assert len(lines) > 5
    for path in ("data/work/train/0/model.json", "reports/metrics.json", "reports/index.html"):
        (project.folder / path).unlink()
    project.run_forked("plain_stages", stdin="\n".join(lines))
    assert cpu_seconds(project.server) - start < 60
    check_outs(project, image, text)
    project.run("git", "checkout", "-q", ".")


def test_a_grid_is_queued(project):
    names = vitrine(project, "run", "a06-image2").stdout.split()
    status = project.run("dvc", "queue", "status").stdout
    queued = [name for name in names if name.startswith("a06-image2-")]
    assert len(queued) == 2
    assert all(name in status for name in queued)


def test_a_missing_start_is_one_line(project):
    done = vitrine(project, "run", "a02-warm-start", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("vitrine: error: data/starts/a01-baseline-tiny holds no models to start from; ")
    assert len(done.stderr.splitlines()) == 1
