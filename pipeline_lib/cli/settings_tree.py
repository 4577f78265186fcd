"""The JSON Schema of params.yaml, and its settings as a tree of groups in the order of params.yaml."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from pipeline_lib.params.all_sections import Params

Schema = dict[str, Any]


class WithoutFieldTitles(GenerateJsonSchema):
    """Leaves out the title of each setting, which only repeats its key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False for every setting."""
        return False


@dataclass(frozen=True)
class Setting:
    """One setting: its dotted key and its JSON Schema."""

    key: str
    schema: Schema

    @property
    def description(self) -> str:
        """Return the description."""
        text: str = self.schema["description"]
        return text

    @property
    def is_container(self) -> bool:
        """Return True if the value may be a list or a mapping, which `dvc exp run -S` rewrites as several lines."""
        return any(kind.get("type") in ("array", "object") for kind in alternatives(self.schema))


@dataclass(frozen=True)
class Group:
    """A mapping of params.yaml: its dotted path ("" for the file), description, and members in order."""

    path: str
    description: str
    members: tuple["Setting | Group", ...]

    def groups(self) -> Iterator["Group"]:
        """Yield this group and all groups in it, in order."""
        yield self
        for member in self.members:
            if isinstance(member, Group):
                yield from member.groups()

    def settings(self) -> list[Setting]:
        """Return the settings that are direct members."""
        return [member for member in self.members if isinstance(member, Setting)]


def alternatives(schema: Schema) -> list[Schema]:
    """Return the schemas of which a value must match one."""
    found: list[Schema] = schema.get("anyOf", [schema])
    return found


def resolve(schema: Schema, reference: Schema) -> Schema:
    """Return what a {"$ref": "#/$defs/NAME"} refers to."""
    found: Schema = schema["$defs"][reference["$ref"].removeprefix("#/$defs/")]
    return found


def json_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of params.yaml."""
    return {
        "$schema": WithoutFieldTitles.schema_dialect,
        **Params.model_json_schema(schema_generator=WithoutFieldTitles),
    }


def settings_tree(schema: Schema) -> Group:
    """Return the tree of all settings of a JSON Schema."""
    return _group("", schema, schema)


def _group(path: str, node: Schema, schema: Schema) -> Group:
    members: list[Setting | Group] = []
    for name, member in node["properties"].items():
        key = f"{path}.{name}".lstrip(".")
        members.append(_group(key, resolve(schema, member), schema) if "$ref" in member else Setting(key, member))
    return Group(path, " ".join(node["description"].split()), tuple(members))
