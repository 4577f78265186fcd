"""The recipes of the logs: one for each row or a reason why not, consistent with its name, with existing towers."""

import re
from pathlib import Path

import open_clip
import pytest
import timm
import torch

from pipeline_lib.experiments.recipes.description import description, warnings
from pipeline_lib.experiments.recipes.merging import cells, merge
from pipeline_lib.experiments.recipes.pending import PENDING
from pipeline_lib.experiments.recipes.schema import lineage, log_names, read_recipe, recipe_names
from pipeline_lib.models.multimodal import ImageTextModel, describe
from pipeline_lib.optim.freezing import set_epoch, unfreeze_epochs
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.params.train import TrainParams
from pipeline_lib.towers.clip_models import CLIP_MODELS
from pipeline_lib.towers.kinds import resolve_towers

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "recipes"
NAMES = log_names(FOLDER)
PARAMS = load_params(ROOT / "params.yaml")
LOGS = ROOT.parent / "shared" / "LOGS.md"
# The rows of LOGS.md, which is not in the repository.
ROWS = [
    "a00-mean-pool", "a01-baseline", "a02-warm-start", "a04-pool-attentive", "a04-pool-cls", "a05-unfreeze4",
    "a05-unfreeze8", "a06-image2", "a06-convnext-tiny", "a06-vit", "a07-gap", "a07-pseudo-fc", "a07-true-fc",
    "a08-llrd", "a09-late", "a09-early", "a10-shared-projector", "a11-dot", "a12-temperature-shared",
    "a12-temperature-separate", "a13-convnext", "a14-convnext-llrd", "a15-hard-negatives", "a15-memory-queue",
    "a16-IMAGE-TEXT", "a-projector-mlp", "a-lr-schedule", "a-temperature-mlp", "a-clip", "b01-61m32",
    "b01-61m32-freeze6-4", "b01-61m32-freeze9-6", "b02-39m16", "b02-39m16-freeze6-3", "b02-39m16-freeze8-4",
    "b03-40m32", "b04-cnn", "b05-register", "b06-small-vocab", "b07-poscnn", "c-stage1", "c-stage2", "c-multiscale",
    "d01-nofreeze", "d02-staged", "d03-cliptext", "d04-3stage", "d05-distill-frozen", "d06-distill-unfreeze",
    "d07-headalign", "d08-video-9k", "d08-video-7k", "d08-video-locked", "e01-baseline", "e02-gated",
]  # fmt: skip


def named(cell: str) -> list[str]:
    """The recipes that the first cell of a row names; a name that begins with a dash continues the one before."""
    names: list[str] = []
    for word in re.findall(r"[\w-]+", re.sub(r"\([^-)][^)]*\)", "", cell)):
        if word.startswith("-") and names:
            head = re.match(r"-[a-z]+", word)
            stem, cut, _ = names[-1].partition(head[0]) if head else (names[-1], "", "")
            if not cut and "(" not in cell:
                stem = names[-1].rpartition("-")[0]
            word = stem + word
        if re.fullmatch(r"[a-e]\d*-.+", word):
            names.append(word)
    return names


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("a06-image2 (3 / 5 epochs)", ["a06-image2"]),
        ("a12-temperature-shared / -separate", ["a12-temperature-shared", "a12-temperature-separate"]),
        ("b01-61m32-freeze6-4, -freeze9-6", ["b01-61m32-freeze6-4", "b01-61m32-freeze9-6"]),
        ("b02-39m16 (-freeze6-3, -freeze8-4)", ["b02-39m16", "b02-39m16-freeze6-3", "b02-39m16-freeze8-4"]),
        ("d08-video-9k / -7k / -locked", ["d08-video-9k", "d08-video-7k", "d08-video-locked"]),
        ("a-projector-mlp, a-clip", ["a-projector-mlp", "a-clip"]),
        ("recipe", []),
    ],
)
def test_the_names_in_a_row_of_the_logs(cell, names):
    assert named(cell) == names


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_fits_a_project_that_has_made_the_sample(name, tmp_path, monkeypatch):
    """Local towers that are there are checked against model.weights_root, which a base may set before the towers."""
    monkeypatch.chdir(tmp_path)
    for tower in ("weights/image", "weights/text", "clip_weights/image", "clip_weights/text"):
        Path("data/sample", tower).mkdir(parents=True)
    for tiny in (False, True):
        assert cells(name, PARAMS, tiny, FOLDER)


@pytest.mark.skipif(not LOGS.is_file(), reason="LOGS.md is not in the repository")
def test_the_list_of_rows_is_that_of_the_logs():
    lines = LOGS.read_text(encoding="utf-8").splitlines()
    assert sorted(name for line in lines if line.startswith("|") for name in named(line.split("|")[1])) == sorted(ROWS)


def test_every_row_has_a_recipe_or_a_reason_and_none_has_both():
    rows = [read_recipe(name, FOLDER).row or name for name in NAMES]
    assert sorted([*rows, *PENDING]) == sorted(ROWS)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_fits_params_names_its_log_and_does_not_contradict_its_name(name):
    for tiny in (False, True):
        assert warnings(cells(name, PARAMS, tiny, FOLDER)) == []
    assert read_recipe(name, FOLDER).log == name[0].upper()
    assert len(description(name, FOLDER)) >= 2


@pytest.mark.skipif(not LOGS.is_file(), reason="LOGS.md is not in the repository")
@pytest.mark.parametrize("name", NAMES)
def test_every_reported_figure_is_in_the_logs(name):
    text = LOGS.read_text(encoding="utf-8")

    def figures(value):
        for key, inner in value.items():
            if isinstance(inner, dict):
                yield from figures(inner)
            elif key != "unit":
                yield inner

    reported = read_recipe(name, FOLDER).reported
    if isinstance(reported, str):
        assert reported in text
        return
    places = 4 if reported["unit"] == "fraction" else 2
    for figure in figures(reported):
        assert f"{figure:.{places}f}".lstrip("0") in text


def real_params(name):
    return cells(name, PARAMS, folder=FOLDER)[0].params


@pytest.mark.parametrize("name", NAMES)
def test_the_real_towers_exist_under_their_names(name):
    model = real_params(name)["model"]
    if model["image"]["kind"] == "timm":
        assert timm.is_model_pretrained(model["image"]["name"])
    for tower in (model["image"], model["text"]):
        if tower["kind"] == "open_clip" and tower["name"] not in CLIP_MODELS:
            assert tower["weights"] in open_clip.list_pretrained_tags_by_model(tower["name"])
        elif tower["kind"] == "open_clip":
            assert tower["weights"].startswith(f"data/weights/{tower['name']}")


# Models that need no hub: parameters of the image tower, of the text tower, and of all layers open at first.
SIZES = {
    "b01-61m32": (61_411_200, 53_970_944, 61_411_200 + 53_970_944),
    "b02-39m16": (38_587_392, 44_513_792, 38_587_392 + 44_513_792),
    "b03-40m32": (39_691_776, 44_513_792, 39_691_776 + 44_513_792),
    "d01-nofreeze": (27_866_496 + 2_203_904, 124_439_808, 27_866_496 + 2_203_904 + 125_259_008 + 1),
    "d02-staged": (27_866_496 + 2_203_904, 124_439_808, 3_023_105),
    "d03-cliptext": (27_866_496 + 2_203_904, 63_428_096, 65_632_001),
    # The text projection of 640 x 640 is open too, as a group of the tower.
    "d04-3stage": (87_566_464 + 3_856_000, 91_163_520, 4_265_600 + 640 * 640 + 1),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_real_recipe_builds_the_model_of_the_log_and_opens_its_layers(name):
    params = real_params(name)
    offline = {"weights": None, "pretrained": False}
    bare = {"name": "gpt2"} if params["model"]["text"]["kind"] == "hf" else {}
    params = merge(params, {"model": {"image": offline, "text": {**offline, **bare}}})
    model, train = parse_section(ModelParams, params), parse_section(TrainParams, params)
    with torch.device("meta"):
        built = ImageTextModel(describe(model, resolve_towers(model), True, []))
    for tower_name, tower in built.towers().items():
        groups = tower.layer_groups()
        set_epoch(tower, groups, unfreeze_epochs(len(groups), tower_name, train), 0)
    sizes = [sum(value.numel() for value in tower.parameters()) for tower in built.towers().values()]
    assert (*sizes, sum(value.numel() for value in built.parameters() if value.requires_grad)) == SIZES[name]


def test_the_bases_are_all_used():
    used = {
        path.stem for name in recipe_names(FOLDER) for path, _ in lineage(name, FOLDER) if path.parent.name == "bases"
    }
    assert used == {path.stem for path in FOLDER.glob("bases/*.yaml")}


def test_the_tiny_files_stay_small():
    assert sum(path.stat().st_size for path in FOLDER.glob("tiny/**/*") if path.is_file()) < 30_000
