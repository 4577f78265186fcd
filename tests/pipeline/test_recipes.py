"""Recipes of different kinds from end to end through DVC, their towers tiny; what a queue and a start ask of it."""

import json
import resource

import pytest
from small_shop import Project

# The small shop stands for the built-in sample, whose drawing takes longer than all the rest.
SHOP = ("data.root=data/raw/shop", "data.max_reject_fraction=0.2", "shards.size=40", "runtime.workers=1")

# The command of the copy, whatever project the installed `vitrine` belongs to.
VITRINE = "from pipeline_lib.cli.main import main; main()"


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_image_folder, tiny_text_folder):
    return Project(tmp_path_factory.mktemp("project"), tiny_image_folder, tiny_text_folder)


def computed() -> float:
    """Seconds that all commands so far have computed; a busy machine does not lengthen them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def vitrine(project, *words, check=True):
    changes = [word for change in SHOP for word in ("-S", change)]
    return project.run("python", "-c", VITRINE, "recipe", *words, "--tiny", *changes, check=check)


@pytest.mark.parametrize(
    ("name", "image", "text"),
    [
        ("a09-early", "timm", "hf"),
        ("b06-small-vocab", "open_clip", "open_clip"),
        ("d02-staged", "timm", "hf"),
        ("d03-cliptext", "timm", "open_clip"),
    ],
)
def test_a_recipe_runs_from_the_table_to_the_report_in_a_minute_of_computing(project, name, image, text):
    before = (project.folder / "params.yaml").read_bytes()
    begun = computed()
    experiment = vitrine(project, "run", name).stdout.split()[-1]
    assert computed() - begun < 60
    assert (project.folder / "params.yaml").read_bytes() == before
    model = json.loads((project.folder / "data/work/train/0/model.json").read_text())["description"]
    assert (model["image"]["kind"], model["text"]["kind"]) == (image, text)
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    assert 0 <= metrics["test"]["retrieval"]["text_to_image"]["MeanRecall"] <= 1
    assert (project.folder / "reports/index.html").is_file()
    assert experiment.startswith(f"{name}-tiny-")
    assert experiment in project.run("dvc", "exp", "list", "--name-only").stdout


def test_a_grid_is_queued(project):
    names = vitrine(project, "run", "a06-image2").stdout.split()
    status = project.run("dvc", "queue", "status").stdout
    queued = [name for name in names if name.startswith("a06-image2-")]
    assert len(queued) == 2
    assert all(name in status for name in queued)


def test_a_start_that_is_not_there_is_one_line(project):
    done = vitrine(project, "run", "a02-warm-start", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("vitrine: error: data/starts/a01-baseline-tiny holds no models to start from; ")
    assert len(done.stderr.splitlines()) == 1
