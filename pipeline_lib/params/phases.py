"""Phases of training: stages of the DAG that train one after the other, each with its own changes to `train`.

DVC can only skip what is a stage with params of its own. So every phase tracks `train`, which is common to all, and
its own changes under `phases`; a change of a later phase's is none of an earlier one's.
"""

from typing import Any, ClassVar

from pydantic import ConfigDict, ValidationError

from pipeline_lib.artifacts.paths import NO_PHASE
from pipeline_lib.params.section import Section, parse_section, said_of
from pipeline_lib.params.train import TrainParams

Changes = dict[str, Any]
# The last phase, which is always there.
LAST = "train"


class PhasesParams(Section):
    """What each phase changes in `train`, by its name; `train` itself is the last phase."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Changes]

    section: ClassVar[str] = "phases"
    train: Changes


def train_params(base: TrainParams, changes: Changes, phase: str) -> TrainParams:
    """Return `train` with a phase's changes on it, mappings merged key by key; ValueError for what does not fit."""
    try:
        return TrainParams.model_validate(_merged(base.model_dump(), changes))
    except ValidationError as error:
        raise ValueError(said_of(TrainParams, f"phases.{phase}", error)) from None


def check_phases(params: dict[str, Any], steps: list[tuple[str, str]], last: str) -> None:
    """Raise ValueError unless `steps` (phase, the one it comes after) lead from none to `last`, each with changes.

    >>> check_phases({}, [("head", "stem")], "head")
    Traceback (most recent call last):
    ValueError: params.yaml: plan.phases: 'head' comes after 'stem', but before it stands none; write none there
    """
    before = NO_PHASE
    for name, after in steps:
        if after != before:
            raise ValueError(
                f"params.yaml: plan.phases: {name!r} comes after {after!r}, but before it stands {before}; "
                f"write {before} there"
            )
        before = name
    if last != before:
        raise ValueError(f"params.yaml: plan.last = {last!r}, but the last of plan.phases is {before}; write {before}")
    names = [name for name, _ in steps]
    if len(set(names)) < len(names) or {LAST, NO_PHASE} & set(names):
        raise ValueError(f"params.yaml: plan.phases: each needs a name of its own, not train or none: {names}")
    changes = parse_section(PhasesParams, params).model_dump()
    for name in sorted({LAST, *names} ^ changes.keys()):
        if name in changes:
            raise ValueError(f"params.yaml: phases.{name} is no phase of plan.phases; name it there, or take it out")
        raise ValueError(f"params.yaml: phases.{name} is missing; write what the phase changes in train")
    base = parse_section(TrainParams, params)
    for name, own in changes.items():
        train_params(base, own, name)


def _merged(base: Changes, changes: Changes) -> Changes:
    found = dict(base)
    for key, value in changes.items():
        inner = found.get(key)
        found[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return found
