"""Experiments that DVC's queue knows and that have no result: waiting, running, failed."""

from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline_lib.experiments.listing.commits import Commit, git

CELERY = Path(".dvc/tmp/exps/celery")
SUCCESS = "Success"  # these are commits below refs/exps


def queued_commits() -> dict[str, list[Commit]]:
    """Return state (queued, running, failed) -> experiments; DVC is imported only if it has a queue."""
    if not CELERY.is_dir():
        return {}
    from dvc.exceptions import DvcException
    from dvc.repo import Repo  # slow to import

    try:
        with closing(Repo()) as repo:
            tasks = repo.experiments.celery_queue.status()
    except DvcException as error:
        raise ValueError(f"DVC's queue: {' '.join(str(error).split())}") from None
    found: dict[str, list[Commit]] = {}
    for task in tasks:
        if task["status"] != SUCCESS:
            found.setdefault(task["status"].lower(), []).append(_commit(task))
    return found


def _commit(task: dict[str, Any]) -> Commit:
    """Return a task as a commit: the queue stores its files as a stash of the commit that it starts from."""
    parent = git("rev-parse", f"{task['rev']}^").decode().strip()
    when = task["timestamp"]
    return Commit(task["name"] or task["rev"][:7], task["rev"], parent, int(when.timestamp()) if when else 0)
