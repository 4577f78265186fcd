"""Phases of training: stages of the DAG that train one after the other, each with its own changes to `train`.

DVC skips a stage only if none of its params changed. Every phase therefore tracks `train`, which all phases share, and
its own changes under `phases`, so a changed setting of a later phase does not rerun an earlier one.
"""

from typing import Any, ClassVar

from pydantic import ConfigDict, Field, ValidationError

from pipeline_lib.artifacts.paths import NO_PHASE
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import Section, fault_message, parse_section
from pipeline_lib.params.train import TrainParams

Changes = dict[str, Any]
# The last phase, which always exists.
LAST = "train"


class PhasesParams(Section):
    """Settings of `train` that a training phase changes, by the name of the phase, e.g. head: {unfreeze_layers: 0}."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Changes]

    section: ClassVar[str] = "phases"
    train: Changes = Field(description="Changes in the last phase, which is the stage `train`.")


def train_params(base: TrainParams, changes: Changes, phase: str) -> TrainParams:
    """Return `train` with a phase's changes, mappings merged key by key; ValueError if a change does not fit."""
    try:
        return TrainParams.model_validate(_merged(base.model_dump(), changes))
    except ValidationError as error:
        raise ValueError(fault_message(TrainParams, f"phases.{phase}", error)) from None


def continued(train: TrainParams, changes: Changes, start: str) -> TrainParams:
    """Return the settings of a phase that starts from the models in `start`, those of the phase before it.

    `train.init_heads` is about `train.init_from`: a further phase takes the heads too, unless its `changes` say not.
    """
    heads = train.init_heads if "init_heads" in changes else True
    return train.model_copy(update={"init_from": start, "init_heads": heads})


def check_phases(params: dict[str, Any], steps: list[tuple[str, str]], last: str) -> None:
    """Raise ValueError unless `steps` (phase, the one before it) lead from none to `last`, each with changes.

    Or if the phases cut the vocabulary.

    >>> check_phases({}, [("head", "stem")], "head")
    Traceback (most recent call last):
    ValueError: params.yaml: plan.phases: 'head' comes after 'stem', but the one before it is 'none'; write after: none
    """
    before = NO_PHASE
    for name, after in steps:
        if after != before:
            raise ValueError(
                f"params.yaml: plan.phases: {name!r} comes after {after!r}, but the one before it is {before!r}; "
                f"write after: {before}"
            )
        before = name
    if last != before:
        raise ValueError(
            f"params.yaml: plan.last = {last!r}, but the last phase of plan.phases is {before!r}; write {before}"
        )
    names = [name for name, _ in steps]
    if len(set(names)) < len(names) or {LAST, NO_PHASE} & set(names):
        raise ValueError(f"params.yaml: plan.phases: each needs a unique name, not train or none: {names}")
    changes = parse_section(PhasesParams, params).model_dump()
    for name in sorted({LAST, *names} ^ changes.keys()):
        if name in changes:
            raise ValueError(f"params.yaml: phases.{name} is not a phase of plan.phases; add it there or remove it")
        raise ValueError(f"params.yaml: phases.{name} is missing; write the settings of train that the phase changes")
    base = parse_section(TrainParams, params)
    for name, own in changes.items():
        train_params(base, own, name)
    if steps and parse_section(ModelParams, params).text_vocabulary == "cut":
        raise ValueError(
            f"params.yaml: plan.phases = {names}, but model.text_vocabulary = cut: no phase can cut the vocabulary "
            "that the one before it has cut; set it to full, or plan.phases = [] and plan.last = none"
        )


def _merged(base: Changes, changes: Changes) -> Changes:
    result = dict(base)
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result
