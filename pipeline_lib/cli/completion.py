"""What the shell completes: experiments, recipes, stages, and settings with the values that they allow.

Completion runs at every press of the tab key, so that it reads text files and git alone: no torch, no polars, no DVC.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMA, DVC = Path("params.schema.json"), Path("dvc.yaml")
TINY_PATCH = "tiny.yaml"  # beside the recipes, and none of them


def complete_recipe(incomplete: str) -> list[str]:
    """Return the recipes and profiles that start with what is typed."""
    files = [path for pattern in ("*.yaml", "profiles/*.yaml") for path in Path("recipes").glob(pattern)]
    return _matching((path.stem for path in files if path.name != TINY_PATCH), incomplete)


def complete_revision(incomplete: str) -> list[str]:
    """Return `workspace`, `HEAD`, experiments, branches and tags that start with what is typed."""
    command = ["git", "for-each-ref", "--format=%(refname)", "refs/exps", "refs/heads", "refs/tags"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    names = [
        name.rpartition("/")[2] if name.startswith("refs/exps/") else name.split("/", 2)[2]
        for name in done.stdout.split()
        if not name.startswith(("refs/exps/celery", "refs/exps/exec", "refs/exps/apply", "refs/exps/stash"))
    ]
    return _matching(["workspace", "HEAD", *names], incomplete)


def complete_stage(incomplete: str) -> list[str]:
    """Return the stages of dvc.yaml that start with what is typed."""
    text = DVC.read_text(encoding="utf-8") if DVC.is_file() else ""
    return _matching(re.findall(r"^  (\w+):$", text, re.MULTILINE), incomplete)


def complete_setting(incomplete: str) -> list[str]:
    """Return the settings that start with what is typed, and after `=` the values that a setting allows."""
    if not SCHEMA.is_file():
        return []
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    key, is_set, _ = incomplete.partition("=")
    settings = dict(_leaves(schema, schema, ""))
    if not is_set:
        return _matching((f"{name}=" for name in settings), incomplete)
    return _matching((f"{key}={value}" for value in _values(settings.get(key, {}), schema)), incomplete)


def _matching(names: Any, incomplete: str) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})


def _leaves(node: dict[str, Any], schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dotted key of each setting of a JSON Schema, with its part of the schema."""
    node = _resolved(node, schema)
    for name, part in node.get("properties", {}).items():
        key, inner = f"{prefix}.{name}".lstrip("."), _resolved(part, schema)
        if inner.get("properties"):
            yield from _leaves(inner, schema, key)
        else:
            yield key, inner


def _values(part: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    part = _resolved(part, schema)
    for inner in part.get("anyOf", []):
        yield from _values(inner, schema)
    yield from (value if isinstance(value, str) else json.dumps(value) for value in part.get("enum", []))
    if "const" in part:
        yield str(part["const"])
    if part.get("type") == "boolean":
        yield from ("true", "false")
    if part.get("type") == "null":
        yield "null"


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return a part of a schema with its reference followed."""
    while "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        part = {key: value for key, value in part.items() if key != "$ref"} | schema["$defs"][name]
    return part
