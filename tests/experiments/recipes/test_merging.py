"""Patches over params: what they change, in which order, and every way in which one can be wrong."""

import re
from pathlib import Path

import pytest

from pipeline_lib.experiments.recipes.merging import REPLACED, cells, merge, nested
from pipeline_lib.experiments.recipes.schema import lineage, read_recipe, recipe_names
from pipeline_lib.params.all_sections import SECTIONS
from pipeline_lib.params.section import Keys, load_params

ROOT = Path(__file__).parents[3]
PARAMS = load_params(ROOT / "params.yaml")
HEAD = "about: an experiment\nlog: A\nreported: worse\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bases").mkdir()
    (tmp_path / "tiny.yaml").write_text("train: {epochs: 1}\n")
    return tmp_path


def write(folder, name, body, head=HEAD):
    (folder / f"{name}.yaml").write_text(head + body)


def test_a_patch_is_merged_into_mappings_and_replaces_other_values():
    before = {"a": {"b": 1, "c": [1, 2]}, "model": {"image": {"args": {"depth": 2}, "size": 1}}}
    after = merge(before, {"a": {"c": []}, "model": {"image": {"args": {"width": 3}}}})
    assert after == {"a": {"b": 1, "c": []}, "model": {"image": {"args": {"width": 3}, "size": 1}}}
    assert before["a"]["c"] == [1, 2]
    assert before["model"]["image"]["args"] == {"depth": 2}


def free_mappings(kind, prefix):
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Keys):
            yield from free_mappings(inner, f"{prefix}.{name}")
        elif str(inner).startswith("dict"):
            yield f"{prefix}.{name}"


def test_mappings_with_free_keys_are_replaced():
    """Except a phase's changes, whose keys are those of `train`: a patch of a phase is merged into them."""
    free = {key for kind in SECTIONS for key in free_mappings(kind, kind.section)}
    assert free - {"phases.train"} == set(REPLACED)


def test_a_recipe_overrides_its_bases_and_tiny_patches_override_both(folder):
    write(folder, "x", "params: {train: {epochs: 9, batch_size: 9}}\ntiny: {train: {batch_size: 2}}\n", "about: base\n")
    (folder / "x.yaml").rename(folder / "bases/x.yaml")
    write(folder, "one", "based_on: x\nparams: {train: {epochs: 8}}\n")
    write(folder, "two", "based_on: one\nparams: {train: {batch_size: 7}}\n")

    def trained(name, tiny):
        train = cells(name, PARAMS, tiny, folder)[0].params["train"]
        return train["epochs"], train["batch_size"]

    assert [trained(name, False) for name in ("one", "two")] == [(8, 9), (8, 7)]
    assert [trained(name, True) for name in ("one", "two")] == [(1, 2), (1, 2)]
    assert [path.name for path, _ in lineage("two", folder)] == ["x.yaml", "one.yaml", "two.yaml"]
    assert recipe_names(folder) == ["one", "two"]


def test_a_grid_is_one_experiment_a_cell_named_by_its_values(folder):
    write(folder, "g", "grid: {train.augment: [none, clip], train.epochs: [3, 5]}\n")
    grid = cells("g", PARAMS, folder=folder)
    assert [cell.name for cell in grid] == ["g-none-3", "g-none-5", "g-clip-3", "g-clip-5"]
    assert [(cell.params["train"]["augment"], cell.params["train"]["epochs"]) for cell in grid] == [
        ("none", 3), ("none", 5), ("clip", 3), ("clip", 5),
    ]  # fmt: skip
    for cell in grid:
        assert (
            merge(PARAMS, {"train": {key: cell.params["train"][key] for key in ("augment", "epochs")}}) == cell.params
        )


def test_the_grid_of_the_logs_has_nine_cells():
    grid = {cell.name: cell.params["train"] for cell in cells("a16", PARAMS, folder=ROOT / "recipes")}
    assert len(grid) == 9
    for name, train in grid.items():
        assert name == f"a16-{train['augment']}-{train['text_augment']}"
        assert train["epochs"] == 6
    assert "a16-jitter_flip-random_swap" in grid
    assert set(read_recipe("a16", ROOT / "recipes").reported) - {"unit"} < {name.removeprefix("a16-") for name in grid}


def test_a_start_is_the_folder_of_that_recipes_saved_models(folder):
    write(folder, "first", "params: {train: {epochs: 8}}\n")
    write(folder, "second", "starts_from: first\n")
    for tiny, start in ((False, "data/starts/first"), (True, "data/starts/first-tiny")):
        assert cells("second", PARAMS, tiny, folder)[0].params["train"]["init_from"] == start


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("params: {train: {lr_deca: 8}}", "train.lr_deca is not a setting; did you mean 'lr_decay'?"),
        ("params: {trian: {epochs: 8}}", "trian is not a section"),
        ("params: {train: {epochs: many}}", "train.epochs = 'many': input should be a valid integer"),
        ("params: {train: 3}", "train = 3: input should be a valid dictionary"),
        ("params: {model: {pooling: cls}}", "model.pooling is not a setting"),
        ("params: {plan: {folds: [7]}}", "plan.folds has 7"),
        ("tiny: {train: {epoch: 1}}", "train.epoch is not a setting; did you mean 'epochs'?"),
        ("grid: {train.epoch: [3, 5]}", "train.epoch is not a setting; did you mean 'epochs'?"),
        ("grid: {train.epochs: [3]}", "grid: value error, train.epochs needs two values or more"),
        ("grid: {train.epochs: [3, 3]}", "needs two values or more, each once"),
        ("param: {train: {epochs: 1}}", "param: extra inputs are not permitted; known: about, note, based_on"),
        ("", "changes nothing: params.yaml has all of its values already"),
        ("params: {train: {unfreeze_layers: 4}}", "changes nothing: params.yaml has all of its values already"),
        ("based_on: nobody", "based_on = 'nobody' is neither a recipe nor a base"),
        ("based_on: bad", "based_on = 'bad' leads back to itself"),
        ("starts_from: nobody", "no recipe 'nobody'"),
        ("params: [", "not valid YAML"),
    ],
)  # fmt: skip
def test_an_invalid_recipe_is_refused_in_one_line_that_names_it(folder, body, message):
    changes = (
        body
        if body.startswith(("params: ", "grid", "param:", "based", "starts")) or not body
        else f"params: {{train: {{seed: 8}}}}\n{body}"
    )
    write(folder, "bad", changes)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        cells("bad", PARAMS, body.startswith("tiny"), folder)
    assert "\n" not in str(caught.value)
    assert re.search("bad|nobody", str(caught.value))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("log: A\nreported: worse\n", "about: field required"),
        ("about: |\n  two\n  lines\nlog: A\nreported: worse\n", "about: string should match pattern"),
        ("about: x\nlog: F\nreported: worse\n", "log: input should be 'A', 'B', 'C', 'D' or 'E'"),
        (
            "about: x\nlog: A\nreported: {R@1: .5}\n",
            "reported: value error, write the log's words, or its figures with",
        ),
    ],
)
def test_a_recipe_of_the_logs_needs_its_log_and_figures(folder, head, message):
    write(folder, "bad", "params: {train: {seed: 8}}\n", head)
    with pytest.raises(ValueError, match=re.escape(message)):
        cells("bad", PARAMS, folder=folder)


def test_an_unknown_name_is_answered_with_similar_names():
    with pytest.raises(ValueError, match=r"no recipe 'a08-lrd'; near: a08-llrd"):
        read_recipe("a08-lrd", ROOT / "recipes")


def test_nested_is_the_mapping_of_a_dotted_key():
    assert nested("seed", 1) == {"seed": 1}
    assert nested("a.b.c", []) == {"a": {"b": {"c": []}}}


@pytest.mark.parametrize(
    ("body", "plan"),
    [
        ("params: {plan: {folds: [0, 2]}}", ([0, 2], [2], [2])),
        ("params: {plan: {folds: [1]}}", ([1], [1], [1])),
        ("params: {plan: {folds: [0]}}", ([0], [0], [])),
        ("params: {plan: {search: [0, 1]}}", ([0, 1, 2], [0, 1], [1])),
        ("params: {train: {lr_decay: 0.5}}\ntiny: {plan: {folds: [0]}}", ([0], [0], [])),
        ("grid: {plan.search: [[0], []]}", ([0, 1, 2], [0], [])),
    ],
)
def test_searched_and_judged_folds_follow_a_patch_of_the_folds_before_them(folder, body, plan):
    write(folder, "one", body)
    params = merge(PARAMS, {"plan": {"folds": [0, 1, 2], "search": [2, 1], "judged": [2, 1]}})
    found = cells("one", params, "tiny:" in body, folder)[0].params["plan"]
    assert tuple(sorted(found[name]) for name in ("folds", "search", "judged")) == plan


def test_judged_folds_that_a_recipe_names_itself_are_checked(folder):
    write(folder, "one", "params: {plan: {search: [0], judged: [2]}}")
    with pytest.raises(ValueError, match="one.yaml: plan.judged has fold 2, which plan.search has not"):
        cells("one", PARAMS, folder=folder)


def test_a_plan_that_is_no_plan_is_reported_in_one_line(folder):
    write(folder, "one", "params: {plan: {folds: 3}}")
    with pytest.raises(ValueError, match="one.yaml: plan.folds = 3: input should be a valid list"):
        cells("one", PARAMS, folder=folder)
