"""A value of another type is refused with its key; no setting is read as something that was not written."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from pipeline_lib.params.all_sections import SECTIONS, check_all
from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import Keys, load_params, parse_params, parse_section, parse_value, pick
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


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_that_no_library_takes_is_refused(sign: int) -> None:
    """10**30 overflows every integer of a library, 1e300 and 10**40 the float32 of a loss."""
    for wrong, wanted in ((sign * 10**30, int), (sign * 1e300, float), (sign * 10**40, float)):
        for key in OF_TYPE[wanted]:
            with pytest.raises(ValueError, match=rf"^params\.yaml: {key} = {re.escape(repr(wrong))}: ") as error:
                check_all(changed(key, wrong), PARAMS)
            assert "\n" not in str(error.value)
    for key, wrong in (("plan.scales", [10**30]), ("model.image.args", {"a": {"b": [10**30]}})):
        with pytest.raises(ValueError, match=rf"^params\.yaml: {key}"):
            check_all(changed(key, wrong), PARAMS)
    assert parse_section(TrainParams, changed("train.tower_lr", 1e38)).tower_lr == 1e38
    with pytest.raises(ValueError, match="epochs = 2147483648: input should be between -2147483647 and 2147483647$"):
        check_all(changed("train.epochs", 2**31), PARAMS)


TEXTS = [key for key, kind in SETTINGS if str in (kind, *get_args(kind)) or "Annotated[str" in str(kind)]
NAMED = [key for key in TEXTS if not key.startswith(("plan.", "runtime.")) and "dict[" not in str(dict(SETTINGS)[key])]


@pytest.mark.parametrize("wrong", [" ", "\t", "a\nb", "a\0b", "a\x1bb"])
def test_a_name_is_neither_blank_nor_broken(wrong: str) -> None:
    assert len(NAMED) > 20 and {"data.root", "data.columns.id", "model.text.tokenizer", "train.init_from"} <= set(NAMED)
    for key in set(NAMED) - ({"data.image_folder"} if wrong == " " else set()):
        with pytest.raises(ValueError, match=rf"^params\.yaml: {key}\b.* = {re.escape(repr(wrong))}: ") as error:
            check_all(changed(key, wrong), PARAMS)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", [key for key, _ in SETTINGS])
def test_no_message_quotes_a_value_without_end(key: str) -> None:
    """A file that was pasted into a setting, say; names of columns and of a hub may be of any length."""
    try:
        check_all(changed(key, "x" * 100_000), PARAMS)
    except ValueError as error:
        assert re.match(rf"params\.yaml: {key}\b.* = 'x{{99}}\.\.\. \(100,002 characters\): ", str(error))
        assert len(str(error)) < 400
    else:
        assert key in NAMED and key not in ("data.root", "data.table", "train.init_from", "model.weights_root")


WRONG = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=5), st.dates(),
    st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)  # fmt: skip


@settings_of_hypothesis(max_examples=400)
@given(st.sampled_from([key for key, _ in SETTINGS]), WRONG)
def test_whatever_is_written_is_read_as_it_is_or_refused_in_one_line(key: str, value: Any) -> None:
    params = changed(key, value)
    try:
        check_all(params, PARAMS)
    except ValueError as error:
        line = str(error)
        assert "\n" not in line and len(line) < 600
        assert line.startswith("params.yaml: ")
    else:
        section = next(one for one in SECTIONS if one.section == key.partition(".")[0])
        read = pick({section.section: parse_section(section, params).model_dump(mode="json")}, key)
        assert read == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("model.positional_conv.stride", True),
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


def test_the_file_is_parsed_once_and_a_change_of_what_was_read_stays_with_its_reader(monkeypatch) -> None:
    content, parsed, load = b"a: {b: [1]}\nc: 2\n", [], YAML.load
    monkeypatch.setattr(YAML, "load", lambda yaml, text: parsed.append(text) or load(yaml, text))
    first = parse_params(content, "params.yaml")
    first["a"]["b"].append(2)
    assert parse_params(content, "params.yaml") == {"a": {"b": [1]}, "c": 2} and len(parsed) == 1
    assert parse_params(content + b"d: 3\n", "params.yaml")["d"] == 3
