"""Which stages the next run reaches and what each costs: pure functions of DVC's answers and of earlier durations.

A stage with a reason of its own runs. A stage after it runs only if the outs before it change, which nobody knows
before. An estimate takes the best record there is: the same command with the same settings, with other settings, or
another member of the same matrix.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_lib.execution.durations import Duration, settings_hash
from pipeline_lib.experiments.next_run.status import StageStatus
from pipeline_lib.experiments.repro.memory import kind_of
from pipeline_lib.params.section import pick

PREFIX = "python -m "
RECENT = 3  # runs of which the median is taken
# What becomes of a stage.
RUNS, RESTORED, FOLLOWS = "runs", "restored", "follows"


@dataclass(frozen=True)
class Estimate:
    """Seconds that a stage will take, and the earlier runs that they are from."""

    seconds: float
    basis: str


@dataclass(frozen=True)
class PlannedStage:
    """One stage of the next run: why, after which stages, what it costs, and the bytes of its outs.

    `state` is runs, restored (DVC's run cache has its outs) or follows (it runs if the outs of `because` change).
    `size` is None if no stage of its kind has run; `size_is_own` is false if it is that of another member.
    """

    status: StageStatus
    state: str
    because: tuple[str, ...]
    estimate: Estimate | None
    size: int | None
    size_is_own: bool


def forecast(
    statuses: Sequence[StageStatus], runs: Sequence[Duration], params: Mapping[str, Any], products: int | None
) -> list[PlannedStage]:
    """Return the stages that the next run reaches, in the order of the DAG; `products` is the catalogue's present size.

    Seconds of a run on another number of products are scaled in proportion.
    """
    coming: dict[str, PlannedStage] = {}
    sizes = {kind_of(status.name): status.size for status in statuses if status.size is not None}
    for status in statuses:
        because = tuple(name for name in status.upstream if name in coming)
        if status.reasons or because:
            state = FOLLOWS if not status.reasons else RESTORED if status.restorable and not because else RUNS
            own = status.size is not None
            coming[status.name] = PlannedStage(
                status=status,
                state=state,
                because=because,
                estimate=estimate(status.command, runs, params, products),
                size=status.size if own else sizes.get(kind_of(status.name)),
                size_is_own=own,
            )
    return list(coming.values())


def total_seconds(planned: Sequence[PlannedStage], *states: str) -> tuple[float, int]:
    """Return the seconds of the stages in some states, one after the other, and how many of them have no estimate."""
    chosen = [stage for stage in planned if stage.state in states]
    known = [stage.estimate.seconds for stage in chosen if stage.estimate]
    return sum(known), len(chosen) - len(known)


def estimate(
    command: str, runs: Sequence[Duration], params: Mapping[str, Any], products: int | None
) -> Estimate | None:
    """Return what a command will take by the best record of it, None without any."""
    name = command.removeprefix(PREFIX)
    module = name.partition(" ")[0]
    same, similar = [run for run in runs if run.command == name], [run for run in runs if _module(run) == module]
    candidates: tuple[tuple[list[Duration], Callable[[int, str], str]], ...] = (
        ([run for run in same if _has_settings(run, params)], lambda count, _: _plural(count)),
        (same, lambda count, _: f"{_plural(count)}, other settings"),
        ([run for run in similar if _has_settings(run, params)], lambda _, last: f"from `{last}`"),
        (similar, lambda _, last: f"from `{last}`, other settings"),
    )
    for found, describe in candidates:
        if recent := found[-RECENT:]:
            seconds = statistics.median(run.seconds * _growth(run, products) for run in recent)
            scaled = "" if all(_growth(run, products) == 1 for run in recent) else ", scaled by products"
            return Estimate(seconds, describe(len(recent), recent[-1].command.removeprefix(f"{module} ")) + scaled)
    return None


def _module(run: Duration) -> str:
    return run.command.partition(" ")[0]


def _growth(run: Duration, products: int | None) -> float:
    return products / run.products if products and run.products else 1.0


def _has_settings(run: Duration, params: Mapping[str, Any]) -> bool:
    """Return whether every setting that a run has read has the same value in `params`."""
    try:
        return all(settings_hash(pick(dict(params), key)) == value for key, value in run.settings.items())
    except ValueError:  # a setting of then is no setting of today
        return False


def _plural(count: int) -> str:
    return f"{count} run{'s' * (count > 1)}"
