"""Which stages of dvc.yaml a setting reruns: those that name it, or its value, in params, deps or matrix.

What comes after these stages reruns as well, as far as their outs change.
"""

from typing import Any

ITEM = "${item."


def rerun_by(key: str, stages: dict[str, Any]) -> list[str]:
    """Return the stages of a dvc.yaml's `stages`, in their order, that a change of one setting reruns by itself."""
    return [name for name, stage in stages.items() if _tracks(stage, key) or f"${{{key}}}" in str(stage["deps"])]


def planned_by(key: str, stages: dict[str, Any]) -> list[str]:
    """Return the stages that have one member for each item of a setting's list."""
    return [name for name, stage in stages.items() if f"${{{key}}}" in str(stage.get("matrix", ""))]


def _tracks(stage: dict[str, Any], key: str) -> bool:
    # `phases.${item.step.name}` tracks every phase.
    names = (name.partition(ITEM)[0].rstrip(".") for name in stage.get("params", []))
    return any(f"{key}.".startswith(f"{name}.") for name in names)
