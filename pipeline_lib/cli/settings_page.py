"""docs/settings.md: a table of settings for each group of params.yaml, made from the JSON Schema."""

import json
import re
from typing import Any

from pipeline_lib.cli.settings_tree import Schema, Setting, alternatives, resolve, settings_tree
from pipeline_lib.cli.tracked_settings import planned_by, rerun_by
from pipeline_lib.params.section import pick

HEAD = """\
# Settings

Every setting of `params.yaml`, in its order. `vitrine schema` generates this page from the descriptions in
`pipeline_lib/params`; a test compares the two. The sample is the built-in catalogue, with the values of the committed
`params.yaml`. Every key must be present: there are no hidden defaults.

The column `reruns` names the stages that a change of the setting reruns, as dvc.yaml has it; the stages after them
rerun if their outs change. "One train each" means that the stage has a member for each item of the list. A setting
with `-` reruns nothing.

```bash
vitrine check                                  # check params.yaml before anything runs
dvc exp run -S train.unfreeze_layers=8         # change a setting for one experiment
dvc exp run -S 'plan.scales=[64,96]'           # a list, in quotes
```

An editor with a YAML language server completes keys and checks values while you type: line 1 of `params.yaml` names the
schema, `params.schema.json`.
"""
HEADINGS = ("key", "value", "sample", "reruns", "description")
NAMES = {"boolean": "`true` | `false`", "string": "text"}
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def settings_page(schema: Schema, params: dict[str, Any], stages: dict[str, Any]) -> str:
    """Return the page; `params` are the values of the column `sample`, and `stages` are those of dvc.yaml."""
    parts = [HEAD]
    for group in settings_tree(schema).groups():
        if group.path:
            level = "##" if "." not in group.path else "###"
            parts.append(f"\n{level} {group.path}\n\n{_escaped(group.description)}\n")
        if group.settings():
            rows = [_row(setting, schema, (params, stages)) for setting in group.settings()]
            parts.append("\n" + _table(rows))
        for setting in group.settings():
            parts += _items(setting, schema)
    return "".join(parts)


def value_kind(node: Schema, schema: Schema) -> str:
    """Return which values a setting may have.

    >>> value_kind({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}, {})
    'integer >= 0 or null'
    >>> value_kind({"enum": ["sum", "mean"], "type": "string"}, {})
    '`sum` | `mean`'
    """
    return " or ".join(_one_kind(kind, schema) for kind in alternatives(node))


def _one_kind(node: Schema, schema: Schema) -> str:
    if "enum" in node or "const" in node:
        return " | ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
    if "$ref" in node:
        return "{" + ", ".join(resolve(schema, node)["properties"]) + "}"
    if node["type"] == "array":
        items = node.get("items") or node["prefixItems"][0]
        count = f"{node['minItems']} " if "prefixItems" in node else ""
        return f"list of {count}{value_kind(items, schema)}"
    if node["type"] == "object":
        inner = node["additionalProperties"]
        return f"mapping to {value_kind(inner, schema)}" if isinstance(inner, dict) else "mapping"
    kind = NAMES.get(node["type"], str(node["type"]))
    bounds = [f"{sign} {node[name]}" for name, sign in BOUNDS.items() if name in node]
    return " ".join([kind, ", ".join(bounds)]).strip()


def _row(setting: Setting, schema: Schema, project: tuple[dict[str, Any], dict[str, Any]] | None) -> tuple[str, ...]:
    name = setting.key.rpartition(".")[2]
    more: tuple[str, ...] = ()
    if project is not None:
        params, stages = project
        more = (f"`{_written(pick(params, setting.key))}`", _reruns(setting.key, stages))
    return (f"`{name}`", value_kind(setting.schema, schema), *more, setting.description)


def _reruns(key: str, stages: dict[str, Any]) -> str:
    planned = [f"one {name} each" for name in planned_by(key, stages)]
    return ", ".join([*planned, *(name for name in rerun_by(key, stages))]) or "-"


def _items(setting: Setting, schema: Schema) -> list[str]:
    """Return the table of the keys of a list's items, if the items are mappings."""
    reference = setting.schema.get("items", {})
    if "$ref" not in reference:
        return []
    node = resolve(schema, reference)
    rows = [_row(Setting(name, one), schema, None) for name, one in node["properties"].items()]
    return [f"\nKeys of an item of `{setting.key}`:\n\n" + _table(rows, ("key", "value", "description"))]


def _table(rows: list[tuple[str, ...]], headings: tuple[str, ...] = HEADINGS) -> str:
    lines = [headings, tuple("---" for _ in headings), *(tuple(_escaped(cell) for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _escaped(text: str) -> str:
    """Return text for Markdown: a bar does not end a cell, <id> is not a tag, an asterisk is no emphasis."""
    return re.sub(r"<(?=\w)", "&lt;", text).replace("|", "\\|").replace("*", "\\*")


def _written(value: Any) -> str:
    """Return a value as YAML writes it on one line."""
    return value if isinstance(value, str) else json.dumps(value).replace('"', "")
