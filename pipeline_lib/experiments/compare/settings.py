"""Which runs are compared: a run by its revision, or a setting by the runs of its training seeds.

`NAME=RUN,RUN,...` names the runs of a setting. So does the name that `vitrine seeds` gave: its experiments are called
`NAME-s<seed>`. The runs of a setting differ in their seeds alone, or their spread would not be that of seeds.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_lib.experiments.compare.runs import Run

# Keys that differ between the runs of one setting: the seeds, and what changes no result.
SEEDS = ("train.seed", "composed.seed")
NO_RESULT = ("runtime",)


@dataclass(frozen=True)
class Setting:
    """A name and its runs: one is a checkpoint, more are training seeds of one setting."""

    name: str
    runs: list[Run]

    @property
    def seeds(self) -> list[int]:
        """Return train.seed of each run."""
        return [int(run.params["train"]["seed"]) for run in self.runs]


def resolve(argument: str, experiments: Callable[[], Sequence[str]]) -> tuple[str, list[str]]:
    """Return the name of what an argument names, and its revisions; `experiments` lists the known names.

    Raises ValueError for an empty list, for a run that is listed twice, and for a name of several settings.
    """
    name, equals, listed = argument.partition("=")
    if equals:
        revisions = [one.strip() for one in listed.split(",")]
        if not name or not all(revisions):
            raise ValueError(f"{argument!r}: write NAME=RUN,RUN,... with the runs of a setting's seeds")
        if len(set(revisions)) < len(revisions):
            raise ValueError(f"{argument!r} lists a run twice; another seed is another run")
        return name, revisions
    known = list(experiments())
    if argument in known:
        return argument, [argument]
    found: dict[str, list[tuple[int, str]]] = {}
    for experiment in known:
        if match := re.fullmatch(r"(?P<setting>(?P<recipe>.+)-[0-9a-f]{8})-s(?P<seed>\d+)", experiment):
            for key in (match["setting"], match["recipe"]):
                if key == argument:
                    found.setdefault(match["setting"], []).append((int(match["seed"]), experiment))
    if len(found) > 1:
        raise ValueError(f"{argument} has seeds of {len(found)} settings; name one: {', '.join(sorted(found))}")
    for runs in found.values():
        return argument, [experiment for _, experiment in sorted(runs)]
    return argument, [argument]


def check_setting(setting: Setting) -> None:
    """Raise ValueError if two runs of a setting have the same seed, or differ in more than their seeds."""
    first = setting.runs[0]
    by_seed: dict[tuple[Any, ...], str] = {}
    for run in setting.runs:
        values = _flat(run.params)
        key = tuple(values.get(name) for name in SEEDS)
        if key in by_seed:
            raise ValueError(
                f"{setting.name}: {by_seed[key]} and {run.name} have the same train.seed = {values.get(SEEDS[0])}; the "
                "runs of a setting need different seeds"
            )
        by_seed[key] = run.name
        expected = _flat(first.params)
        for name in sorted(expected.keys() | values.keys()):
            if name in SEEDS or name.split(".")[0] in NO_RESULT or values.get(name) == expected.get(name):
                continue
            both = f"{expected.get(name)!r} and {values.get(name)!r}"
            raise ValueError(
                f"{setting.name}: {first.name} and {run.name} are not one setting: {name} is {both}; only "
                f"{' and '.join(SEEDS)} may differ"
            )


def paired_seeds(a: Setting, b: Setting) -> bool:
    """Return whether both settings were trained with the same several seeds."""
    return len(a.runs) > 1 and sorted(a.seeds) == sorted(b.seeds)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return flat
