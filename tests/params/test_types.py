"""A value of another type is refused with its key; no setting is read as something that was not written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from pipeline_lib.params.all_sections import SECTIONS, check_all
from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import Keys, load_params, parse_section, parse_value
from pipeline_lib.params.train import TrainParams
from pipeline_lib.params.values import Seed

PARAMS = Path("params.yaml")


def changed(key: str, value: Any) -> dict[str, Any]:
    """Return params.yaml with one other value."""
    params = load_params(PARAMS)
    *folders, last = key.split(".")
    inner = params
    for part in folders:
        inner = inner[part]
    assert last in inner
    inner[last] = value
    return params


def settings(kind: type[Keys], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the type of each setting of a group."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Keys):
            yield from settings(field.annotation, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", field.annotation


SETTINGS = [one for section in SECTIONS for one in settings(section, section.section)]
OF_TYPE = {
    wanted: [key for key, kind in SETTINGS if wanted in (kind, *get_args(kind))] for wanted in (int, float, bool)
}


@pytest.mark.parametrize("wrong", ["3", "3.0", "", True, None, [3], {"value": 3}, float("nan"), float("inf")])
def test_a_number_is_neither_a_text_nor_a_switch(wrong: Any) -> None:
    for wanted in (int, float):
        assert OF_TYPE[wanted]
        for key in OF_TYPE[wanted]:
            if wrong is None and type(None) in get_args(dict(SETTINGS)[key]):
                continue
            with pytest.raises(ValueError, match=rf"^params\.yaml: {key} = ") as error:
                check_all(changed(key, wrong), PARAMS)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", ["true", "yes", 1, 0, 1.0, None])
def test_a_switch_is_true_or_false(wrong: Any) -> None:
    assert OF_TYPE[bool]
    for key in OF_TYPE[bool]:
        with pytest.raises(ValueError, match=rf"^params\.yaml: {key} = "):
            check_all(changed(key, wrong), PARAMS)


@pytest.mark.parametrize("key", [key for key in OF_TYPE[int] if key not in OF_TYPE[float]])
def test_a_whole_number_has_no_decimals(key: str) -> None:
    with pytest.raises(ValueError, match=rf"^params\.yaml: {key} = 2\.0: "):
        check_all(changed(key, 2.0), PARAMS)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("data.root", ""), ("data.table", ""), ("data.queries", ""), ("data.columns.id", ""),
        ("data.columns.text", [""]),
        ("train.init_from", ""), ("split.assignment", ""), ("ensemble.fuse_with", ""), ("model.weights_root", ""),
        ("model.image.name", ""), ("model.text.tokenizer", ""), ("data.root", 7), ("data.columns.id", 7),
        ("runtime.workers", 1_000_000), ("runtime.workers", 0), ("plan.folds", "0"), ("plan.folds", ["0"]),
        ("plan.scales", [True]), ("train.schedule", {}),
        ("train.schedule", [{"epoch": "3", "tower": "text", "layers": 6}]),
        ("model.image.mean", ["0.5", 0.5, 0.5]), ("model.image.mean", [0.5, 0.5]),
    ],
)  # fmt: skip
def test_an_empty_name_or_an_item_of_another_type_is_refused(key: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=rf"^params\.yaml: {key}"):
        check_all(changed(key, wrong), PARAMS)


@pytest.mark.parametrize("key", [key for key, _ in SETTINGS if key.endswith("seed")])
def test_a_seed_is_one_that_every_library_takes(key: str) -> None:
    check_all(changed(key, 2**32 - 1), PARAMS)
    with pytest.raises(ValueError, match=rf"^params\.yaml: {key} = 4294967296: "):
        check_all(changed(key, 2**32), PARAMS)
    with pytest.raises(ValueError, match=rf"^params\.yaml: {key} = -1: "):
        check_all(changed(key, -1), PARAMS)


def test_what_yaml_writes_for_a_number_is_read() -> None:
    written = YAML(typ="safe").load("[3, 3.0, 1e-4, 1E-4, .5, 0x10]")
    assert [parse_section(TrainParams, changed("train.clip_norm", one)).clip_norm for one in written] == [
        3.0, 3.0, 1e-4, 1e-4, 0.5, 16.0,
    ]  # fmt: skip
    assert type(parse_section(TrainParams, changed("train.clip_norm", 3)).clip_norm) is float


def test_lists_of_yaml_are_read_where_a_setting_is_a_tuple() -> None:
    model = parse_section(ModelParams, changed("model.image.mean", [0, 0.5, 1]))
    assert model.image.mean == (0.0, 0.5, 1.0)
    steps = [{"epoch": 3, "tower": "text", "layers": "all"}]
    train = parse_section(TrainParams, changed("train.schedule", steps))
    assert train.schedule[0].layers == "all"
    # Phases check the content of the class again, and saved models that of JSON.
    assert TrainParams.model_validate(train.model_dump()) == train
    assert TrainParams.model_validate(train.model_dump(mode="json")) == train
    assert ModelParams.model_validate(model.model_dump(mode="json")) == model


def test_single_values_are_as_strict_as_sections() -> None:
    assert parse_value("features.max_gb", float, changed("features.max_gb", 3)) == 3.0
    for wrong in ("3", True):
        with pytest.raises(ValueError, match=r"^params\.yaml: features\.max_gb = "):
            parse_value("features.max_gb", float, changed("features.max_gb", wrong))
    with pytest.raises(ValueError, match=r"^params\.yaml: plan\.folds\.0 = '0'"):
        parse_value("plan.folds", list[int], changed("plan.folds", ["0"]))
    trunk = changed("model.image.mean", [0, 0.5, 1])
    assert parse_value("model", ModelParams, trunk).image.mean == (0.0, 0.5, 1.0)
    assert TypeAdapter(Seed).validate_python(7) == 7 and FeaturesParams.model_config["strict"]
