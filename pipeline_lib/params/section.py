"""Reads params.yaml and checks one section of it.

Every key must be present and no other key may be, so params.yaml is a complete record of the settings. The classes
check values and never change them. `ruamel.yaml` reads YAML 1.2, as DVC does (PyYAML reads `1e-4` as a string).
"""

import difflib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from annotated_types import Le
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, ValidationInfo, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

# The largest 32-bit integer, and about the largest 32-bit float: more overflows in a library.
LARGEST_INTEGER, LARGEST = 2**31 - 1, 3.4e38
# Characters of a value in a message.
SHOWN = 100


class Keys(BaseModel):
    """A group of settings: frozen, no unknown key, no NaN or infinity, no value of another type ("3", true for 3).

    A whole number is a number: 3 is read as 3.0, but not 3.0 as 3.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    @field_validator("*")
    @classmethod
    def _in_range(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse numbers that no library takes; a field with a largest value of its own has been checked."""
        field = cls.model_fields.get(info.field_name or "")
        if field is None or not any(isinstance(one, Le) for one in field.metadata):
            for number in _numbers(value):
                largest = LARGEST_INTEGER if isinstance(number, int) else LARGEST
                if abs(number) > largest:
                    raise ValueError(f"input should be between -{largest} and {largest}")
        return value


class Section(Keys):
    """A top-level group of params.yaml, named by `section`."""

    section: ClassVar[str]


SectionT = TypeVar("SectionT", bound=Section)
ValueT = TypeVar("ValueT")


def load_params(path: Path = Path("params.yaml")) -> dict[str, Any]:
    """Return the content of params.yaml; ValueError if it is missing or not a YAML mapping."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; run from the project's root") from None
    return parse_params(content, str(path))


def parse_params(content: bytes, path: str) -> dict[str, Any]:
    """Return the mapping that the bytes of a YAML file have; `path` is how messages name the file."""
    try:
        loaded = deepcopy(_parsed(content))
    except (YAMLError, ValueError, RecursionError) as error:  # not UTF-8, no such date, brackets without end
        fault = " ".join(str(error).split()).replace(' in "<unicode string>",', " at")
        raise ValueError(f"{path}: not valid YAML: {fault}") from None
    if not isinstance(loaded, dict):
        raise ValueError(f"{path}: expected a mapping of sections, found {type(loaded).__name__}")
    return loaded


@lru_cache(maxsize=16)
def _parsed(content: bytes) -> Any:
    """Return what YAML says. A stage asks for its settings at six places, and ruamel takes 7 ms for params.yaml."""
    return YAML(typ="safe").load(content.decode("utf-8"))


def pick(params: dict[str, Any], key: str) -> Any:
    """Return the value under a dotted key; ValueError names the first part that is missing."""
    value: Any = params
    path = ""
    for part in key.split("."):
        path = f"{path}.{part}".lstrip(".")
        if not isinstance(value, dict) or part not in value:
            raise ValueError(f"params.yaml: {path} is missing; add it (docs/settings.md lists every key)")
        value = value[part]
    return value


def parse_section(kind: type[SectionT], params: dict[str, Any]) -> SectionT:
    """Return one checked section; ValueError in one line for the first fault: key, value, what to do."""
    try:
        return kind.model_validate(pick(params, kind.section))
    except ValidationError as error:
        raise ValueError(fault_message(kind, kind.section, error)) from None


def parse_value(key: str, kind: type[ValueT], params: dict[str, Any]) -> ValueT:
    """Return one checked value under a dotted key."""
    try:
        return TypeAdapter(kind).validate_python(pick(params, key), strict=True)
    except ValidationError as error:
        raise ValueError(fault_message(None, key, error)) from None


def fault_message(kind: type[Keys] | None, prefix: str, error: ValidationError) -> str:
    """Return one line for the first fault of a section whose keys are under `prefix`."""
    faults = error.errors()
    # A misspelt key is also a missing one; the message about the spelling is the helpful one.
    fault = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])
    parts = [str(part) for part in fault["loc"]]
    key = ".".join([prefix, *parts])
    if fault["type"] == "missing":
        return f"params.yaml: {key} is missing; add it (docs/settings.md lists every key)"
    if fault["type"] == "extra_forbidden":
        known = _known_keys(kind, parts[:-1])
        near = difflib.get_close_matches(parts[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"params.yaml: {key} is not a setting; {hint}"
    text = fault["msg"].removeprefix("Value error, ")
    shown = repr(fault["input"])
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}... ({len(shown):,} characters)"
    return f"params.yaml: {key} = {shown}: {text[0].lower()}{text[1:]}"


def _numbers(value: object) -> Iterator[int | float]:
    """Yield the numbers of a value, also those in its lists and mappings."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _known_keys(kind: type[Keys] | None, path: list[str]) -> list[str]:
    for part in path:
        field = kind.model_fields.get(part) if kind else None
        inner = field.annotation if field else None
        kind = inner if isinstance(inner, type) and issubclass(inner, Keys) else None
    return list(kind.model_fields) if kind else []
