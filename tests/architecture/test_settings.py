"""Settings describe themselves: params.yaml, its JSON Schema and docs/settings.md come from the params classes."""

import re
from pathlib import Path

import jsonschema
import pytest
from dvc.utils.serialize import load_yaml

from pipeline_lib.cli.params_comments import with_comments
from pipeline_lib.cli.schema import generated
from pipeline_lib.cli.settings_tree import Group, Setting, alternatives, json_schema, settings_tree
from pipeline_lib.params.all_sections import SECTIONS, Params
from pipeline_lib.params.section import Keys, load_params, parse_section

ROOT = Path(__file__).parents[2]
SCHEMA = json_schema()
TREE = settings_tree(SCHEMA)
PARAMS = load_params(ROOT / "params.yaml")
SETTINGS = [setting for group in TREE.groups() for setting in group.settings()]
ITEMS = [
    Setting(f"{name}.{key}", one)
    for name in ("OpeningStep", "PhaseStep")
    for key, one in SCHEMA["$defs"][name]["properties"].items()
]


@pytest.mark.parametrize("path", generated(ROOT), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path):
    assert path.read_text(encoding="utf-8") == generated(ROOT)[path], "run `vitrine schema`"


@pytest.mark.parametrize("setting", SETTINGS + ITEMS, ids=lambda setting: setting.key)
def test_every_setting_is_described_with_all_its_choices(setting):
    assert setting.description.endswith((".", ")"))
    for kind in alternatives(setting.schema):
        for choice in kind.get("enum", []):
            assert re.search(rf"(?<!\w){choice}(?!\w)", setting.description), f"{choice} is not explained"


def test_every_group_is_described():
    assert not [group.path for group in TREE.groups() if not group.description.endswith((".", "}"))]


def test_what_null_means_is_written():
    for group in TREE.groups():
        for setting in group.settings():
            if {"type": "null"} in alternatives(setting.schema):
                assert "null = " in setting.description + group.description, setting.key


def order(kind: type[Keys]) -> dict[str, dict]:
    fields = {name: field.annotation for name, field in kind.model_fields.items()}
    return {name: order(one) if isinstance(one, type) and issubclass(one, Keys) else {} for name, one in fields.items()}


def written(value, like: dict) -> dict:
    return {key: written(inner, like[key]) if like[key] else {} for key, inner in value.items()}


def test_params_yaml_has_the_order_of_the_classes():
    as_written, as_declared = written(PARAMS, order(Params)), order(Params)
    assert str(as_written) == str({**as_declared, "phases": {"train": {}}})


def test_sections_are_named_as_their_classes_say():
    assert [kind.section for kind in SECTIONS] == list(Params.model_fields)


def test_there_are_no_hidden_defaults():
    for node in (SCHEMA, *SCHEMA["$defs"].values()):
        assert node["required"] == list(node["properties"])
        assert not [name for name, one in node["properties"].items() if "default" in one]


def test_params_yaml_fits_the_schema_and_a_wrong_one_does_not():
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.check_schema(SCHEMA)
    assert not list(validator.iter_errors(PARAMS))
    for section, key, value in (("train", "batch_size", 0), ("train", "epoch", 3), ("model", "similarity", "cos")):
        assert list(validator.iter_errors({**PARAMS, section: {**PARAMS[section], key: value}}))


@pytest.mark.parametrize("kind", SECTIONS, ids=lambda kind: kind.section)
def test_the_classes_check_values_and_change_none(kind):
    """Params are tracked by value, so stages need no dep on the classes (pipeline_lib/execution/stage_code.py)."""
    assert parse_section(kind, PARAMS).model_dump(mode="json") == PARAMS[kind.section]


def test_dvc_tracks_the_same_values_that_stages_read():
    assert load_yaml(ROOT / "params.yaml") == PARAMS


def test_no_comment_follows_a_list_or_mapping_that_may_be_rewritten():
    containers = {setting.key for setting in SETTINGS if setting.is_container}
    path, last = [], ""
    for line in filter(str.strip, (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()):
        if line.strip().startswith("#"):
            assert last not in containers, f"{last}, then {line}"
        elif not line.strip().startswith("- "):
            depth = (len(line) - len(line.lstrip())) // 2
            path = [*path[:depth], line.strip().partition(":")[0]]
            last = ".".join(path)
    assert last in containers


def test_values_of_any_form_get_the_same_comments():
    """Nested values, lists in both styles and comments of others: values stay, comments are those of the classes."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    changed = text.replace("    args: {}", "    args:\n      depths:\n      - 1\n      size: 3  ").replace(
        "  folds:\n  - 0\n  - 1\n  - 2\n", "  folds: [0, 1]\n"
    )
    assert changed.count("depths") == 1 and "folds: [0, 1]" in changed
    bare = "\n".join(line for line in changed.splitlines() if not line.strip().startswith("#"))
    assert with_comments(bare, SCHEMA) == changed
    assert with_comments(f"# mine\n{bare}\n", SCHEMA) == changed


def test_a_repeated_description_is_written_once_in_a_section():
    setting = {"type": "integer", "description": "Size; 0 = off."}
    group = {"description": "Sizes.", "properties": {"size": setting}}
    outer = {"description": "All.", "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/B"}}}
    schema = {
        "description": "Root.",
        "properties": {"one": {"$ref": "#/$defs/One"}},
        "$defs": {"One": outer, "A": group, "B": {**group, "description": "More."}},
    }
    assert isinstance(settings_tree(schema).members[0], Group)
    made = with_comments("one:\n  a:\n    size: 1\n  b:\n    size: 2\n", schema)
    assert made.partition("\n\n")[2] == (
        "one:\n  # All.\n  a:\n    # Sizes.\n\n    # Size; 0 = off.\n    size: 1\n  b:\n    # More.\n    size: 2\n"
    )
