"""Kinds of tasks that runs are compared in, and what each does for a comparison.

A new kind is a module with these functions, and a line in KINDS.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline_lib.experiments.compare import classified, judged, ranked
from pipeline_lib.experiments.compare.parts import Answer, Part, Parts, RunsOfSettings, Values
from pipeline_lib.experiments.compare.runs import Run
from pipeline_lib.experiments.compare.test_sets import Names, Overlap, RunPair

TITLES = {
    "text_to_image": "text > image",
    "image_to_text": "image > text",
    "text_to_image_subset": "text > image of its subset",
}


@dataclass(frozen=True)
class Kind:
    """A kind of task; `beginnings` are those of its tasks' names.

    `tasks` lists those that a run has, `alike` says in which splits two runs were measured alike in one of them, and
    `parts` makes the parts of a split. For the units that changed most, `losses` has what is lower in a better setting,
    (units,), `answer` what one run returned for a unit with a loss, and `right` its right answers.
    """

    beginnings: tuple[str, ...]
    title: Callable[[str, str], str]
    tasks: Callable[[Run], list[str]]
    alike: Callable[[RunPair, str], Overlap]
    parts: Callable[[str, str, RunsOfSettings], Parts]
    losses: Callable[[Part, int], Values]
    answer: Callable[[Part, Run, int, float], Answer]
    right: Callable[[Part, Run, int], list[str]]


def split_title(split: str, task: str) -> str:
    """Return the heading of one split of a task.

    >>> split_title("test", "text_to_image"), split_title("oof", "composed_sum")
    ('test text > image', 'oof composed sum')
    """
    return f"{split} {TITLES.get(task, task.replace('_', ' '))}"


# Functions that kinds of ranks have in common.
RANKS = (ranked.ranks_alike, ranked.ranked_parts, ranked.log_ranks, ranked.ranked_answer, ranked.relevant)
# In the order of the tables.
KINDS = {
    "text": Kind(ranked.TEXT_TASKS, split_title, ranked.text_tasks, *RANKS),
    "classification": Kind(
        (classified.CLASSIFICATION,),
        split_title,
        classified.class_tasks,
        classified.classes_alike,
        classified.classified_parts,
        classified.wrong_classes,
        classified.class_answer,
        classified.classified_product,
    ),
    "composed": Kind((ranked.COMPOSED,), split_title, ranked.composed_tasks, *RANKS),
    "judged": Kind(
        (judged.JUDGED,),
        judged.judged_title,
        judged.judged_tasks,
        judged.judged_alike,
        judged.judged_parts,
        judged.lost_figure,
        judged.judged_answer,
        judged.judged_right,
    ),
}


def kind_of(task: str) -> Kind:
    """Return the kind of a task."""
    return next(kind for kind in KINDS.values() if task.startswith(kind.beginnings))


def tasks_of(run: Run) -> list[str]:
    """Return the tasks that a run has results of."""
    return [task for kind in KINDS.values() for task in kind.tasks(run)]


def overlap(first: Run, second: Run, names: Names, only: list[str]) -> Overlap:
    """Return the parts that two runs were measured on alike; `names` are those of both in messages.

    `only` limits the tasks; an empty list is all.
    """
    found, pair = Overlap(), RunPair(first, second, names)
    own, other = (tasks_of(run) for run in pair.runs)
    for task in dict.fromkeys([*own, *other]):
        if only and task not in only:
            continue
        if task not in own or task not in other:
            found.left_out.append(f"{task} is left out: only {names[task not in own]} has it")
            continue
        one = kind_of(task).alike(pair, task)
        found.same += one.same
        found.left_out += one.left_out
        found.refused += one.refused
    found.refused = list(dict.fromkeys(found.refused))
    return found
