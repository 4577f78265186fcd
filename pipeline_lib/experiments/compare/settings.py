"""Which runs are compared: a run by its revision, or a setting by the runs of its training seeds.

`NAME=RUN,RUN,...` names the runs of a setting. So does the name that `vitrine seeds` gave: its experiments are called
`NAME-s<seed>`. The runs of a setting differ in their seeds alone, or their spread would not be that of seeds.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline_lib.experiments.compare.runs import Run
from pipeline_lib.experiments.recipes.overrides import ABSENT, UNTRACKED, differences
from pipeline_lib.experiments.recipes.seeds import SEEDED

# Keys in which the runs of one setting differ.
SEEDS = tuple(f"{section}.seed" for section in SEEDED)


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


def by_seed(setting: Setting) -> Setting:
    """Return a setting with its runs in the order of their seeds, so that runs of equal seeds have equal places."""
    return Setting(setting.name, sorted(setting.runs, key=_seeds))


def check_setting(setting: Setting) -> None:
    """Raise ValueError if two runs of a setting have the same seeds, or differ in more than their seeds."""
    first = setting.runs[0]
    known: dict[tuple[int, ...], str] = {}
    for run in setting.runs:
        if (seeds := _seeds(run)) in known:
            raise ValueError(
                f"{setting.name}: {known[seeds]} and {run.name} have the same {SEEDS[0]} = {seeds[0]}; the runs of a "
                "setting need different seeds"
            )
        known[seeds] = run.name
        for name, old, new in differences(dict(first.params), dict(run.params)):
            if name in SEEDS or name.split(".")[0] == UNTRACKED or old == new:
                continue
            both = " and ".join(value if value is ABSENT else repr(value) for value in (old, new))
            raise ValueError(
                f"{setting.name}: {first.name} and {run.name} are not one setting: {name} is {both}; only "
                f"{' and '.join(SEEDS)} may differ"
            )


def paired_seeds(a: Setting, b: Setting) -> bool:
    """Return whether both settings, in the order of `by_seed`, were trained with the same several seeds."""
    return len(a.runs) > 1 and [_seeds(run) for run in a.runs] == [_seeds(run) for run in b.runs]


def _seeds(run: Run) -> tuple[int, ...]:
    """Return the SEEDS of a run; -1 stands for one that it does not have."""
    return tuple(run.params.get(section, {}).get("seed", -1) for section in SEEDED)
