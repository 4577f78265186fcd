"""`vitrine experiments`: what each experiment changed against its parent, and its primary figures with intervals."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pipeline_lib.cli.output import AsJson, Result, show, table

if TYPE_CHECKING:
    from pipeline_lib.experiments.listing.rows import Experiment
    from pipeline_lib.report.headline import Figure

# Task -> its primary figure; of composed retrieval the first of its protocol.
PRIMARY = {"text_to_image": "MeanRecall", "image_to_text": "MeanRecall", "classification": "macro_f1"}
TITLES = {"text_to_image": "text → image", "image_to_text": "image → text"}
BEFORE = ("experiment", "state", "date", "changed against its parent")
UNFINISHED = ("queued", "running", "failed")
SMALLER_IS_BETTER = ("_rank", "ece")
MAX_CHANGES = 8  # in a terminal


class Key(NamedTuple):
    """A figure's place: split, task and metric."""

    split: str
    task: str
    metric: str


def experiments(
    all_commits: Annotated[bool, typer.Option("--all-commits", "-A", help="Experiments of all commits.")] = False,
    sort: Annotated[
        str, typer.Option(help="date, name, state, or a figure, best first: R@1, image_to_text.R@5, oof.…")
    ] = "date",
    as_markdown: Annotated[bool, typer.Option("--md", help="Print a Markdown table.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the experiments of HEAD: what each changed against the commit that it started from, and its figures.

    Queued, running and failed ones are listed with their state. Figures are of test, or else out of fold, with 95 %
    intervals; whether two differ is a question for `vitrine compare`, which pairs them.

    In a pipe: name, state, date, changes and primary figures, one experiment a line.

    A commit, or the working tree, whose settings were changed after its run has no figures, and a line names them.

    JSON: experiments (with name, state, date, parent, changes with key, old and new, changed_since with the keys that
    were changed after the run, and all figures with split, task, metric, value, low and high).
    """
    from pipeline_lib.experiments.listing.rows import list_experiments

    found = list_experiments(all_commits)
    figures = [dict(_figures(one)) for one in found]
    order = sorted(range(len(found)), key=_sorter(sort, found, figures))
    found, figures = [found[place] for place in order], [figures[place] for place in order]
    shown = _primary(figures)
    headings = (*BEFORE, *(_heading(key) for key in shown))
    if as_markdown:
        print(_markdown(headings, [_texts(one, own, shown) for one, own in zip(found, figures, strict=True)]))
        return
    pairs = list(zip(found, figures, strict=True))
    rows = [_texts(one, own, shown) for one, own in pairs]
    columns = ("experiment", "date", "changed against its parent", *(_heading(key, "\n") for key in shown))
    drawn = table("Experiments (95 % interval below)", columns, [_lines(row) for row in rows], right=columns[3:])
    notes = [*_stale(found), "`vitrine compare A B` says whether a difference is more than chance"]
    data = {"experiments": [_record(one, own) for one, own in pairs]}
    show(Result(data, rows, [drawn], notes=notes), as_json)


def _stale(found: "Sequence[Experiment]") -> Iterator[str]:
    from pipeline_lib.experiments.unrun import named

    for one in found:
        if one.changed_since:
            yield f"{one.name} has no figures: {named(one.changed_since)} changed after its run; run `dvc repro`"


def _figures(one: "Experiment") -> "Iterator[tuple[Key, Figure]]":
    from pipeline_lib.report.composed_figures import composed_rows
    from pipeline_lib.report.headline import classification_rows, judged_rows, retrieval_rows, total_rows

    trees = one.metrics, one.intervals
    parts = (*retrieval_rows(*trees), *total_rows(*trees), *classification_rows(*trees), *judged_rows(*trees))
    for row in (*parts, *(row for _, row in composed_rows(*trees))):
        yield from ((Key(row.split, row.task, figure.key), figure) for figure in row.figures)


def _primary(figures: "Sequence[dict[Key, Figure]]") -> list[Key]:
    """Return the primary figure of each task that any experiment has, of test if any has it, else out of fold."""
    keys = list(dict.fromkeys(key for own in figures for key in own))
    chosen: dict[str, Key] = {}
    for key in sorted(keys, key=lambda key: key.split != "test"):
        if key.metric == PRIMARY.get(key.task) or (key.task.startswith("composed_") and key.task not in chosen):
            chosen.setdefault(key.task, key)
    return list(chosen.values())


def _heading(key: Key, between: str = " ") -> str:
    split = "" if key.split == "test" else f"{between}(out of fold)"
    return f"{TITLES.get(key.task, key.task.replace('_', ' '))}{between}{key.metric}{split}"


def _sorter(sort: str, found: "Sequence[Experiment]", figures: "Sequence[dict[Key, Figure]]") -> Any:
    """Return the key of a place in the list; ValueError if nothing has the figure."""
    stamps = [one.date.timestamp() if one.date else float("inf") for one in found]
    simple: dict[str, list[Any]] = {
        "date": stamps,
        "name": [one.name for one in found],
        "state": [one.state for one in found],
    }
    if sort in simple:
        values = simple[sort]
        return lambda place: values[place]
    matching = [key for own in figures for key in own if ".".join(key).endswith(f".{sort}") or ".".join(key) == sort]
    if not matching:
        known = sorted({key.metric for own in figures for key in own})
        raise ValueError(f"--sort {sort}: no experiment has it; write date, name, state or one of {', '.join(known)}")
    key = next((one for one in matching if one.split == "test"), matching[0])
    sign = 1 if key.metric.endswith(SMALLER_IS_BETTER) else -1
    return lambda place: sign * figures[place][key].value if key in figures[place] else float("inf")


def _changes(one: "Experiment") -> list[str]:
    from pipeline_lib.experiments.recipes.overrides import ABSENT, as_value

    def text(value: Any) -> str:
        return value if isinstance(value, str) else as_value(value)

    return [
        f"{key}=removed" if new is ABSENT else f"{key}={text(new)} (was {'absent' if old is ABSENT else text(old)})"
        for key, old, new in one.changes
    ]


def _texts(one: "Experiment", figures: "dict[Key, Figure]", shown: Sequence[Key]) -> tuple[str, ...]:
    date = one.date.strftime("%m-%d %H:%M") if one.date else ""
    values = (f"{figures[key].text} {figures[key].interval_text}".strip() if key in figures else "-" for key in shown)
    return one.name, one.state, date, "; ".join(_changes(one)), *values


def _lines(row: Sequence[str]) -> tuple[str, ...]:
    """Return a row for a terminal: the state below the name, a change a line, the interval below the figure."""
    changes = row[3].split("; ")
    more = [f"and {len(changes) - MAX_CHANGES} more"] if len(changes) > MAX_CHANGES else []
    figures = (cell.replace(" % ", " %\n") for cell in row[4:])
    state = f"\n({row[1]})" if row[1] in UNFINISHED else ""
    return f"{row[0]}{state}", row[2].replace(" ", "\n"), "\n".join([*changes[:MAX_CHANGES], *more]), *figures


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    marks = ["---"] * len(BEFORE) + ["---:"] * (len(headings) - len(BEFORE))
    cells = [headings, marks, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _record(one: "Experiment", figures: "dict[Key, Figure]") -> dict[str, Any]:
    from pipeline_lib.experiments.recipes.overrides import ABSENT

    changes = [
        {"key": key} | {name: value for name, value in (("old", old), ("new", new)) if value is not ABSENT}
        for key, old, new in one.changes
    ]
    listed = []
    for key, figure in figures.items():
        low, high = figure.interval or (None, None)
        listed.append(key._asdict() | {"value": figure.value, "low": low, "high": high})
    date = one.date.isoformat() if one.date else None
    record = {"name": one.name, "state": one.state, "date": date, "parent": one.parent or None}
    return record | {"changes": changes, "changed_since": one.changed_since, "figures": listed}
