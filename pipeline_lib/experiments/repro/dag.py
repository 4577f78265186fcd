"""The stages of a DVC project: what each depends on, whether it has changed, and their order in the lock files.

DVC itself answers, so `vitrine repro` runs what `dvc repro` would run. DVC appends a new stage to dvc.lock when it
ends. The order of stages that ran side by side is therefore restored, and dvc.lock is that of `dvc repro`, byte for
byte.
"""

from collections.abc import Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from pipeline_lib.experiments.revisions import one_line_errors


class Dag:
    """The stages that `dvc repro TARGETS` would visit, in its order. Use it as a context manager."""

    def __init__(self, targets: Sequence[str]) -> None:
        from dvc.repo import Repo  # slow to import
        from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

        with one_line_errors(" ".join(targets) or "dvc.yaml", "its stages"):
            self._repo = Repo()
            graph = get_active_graph(self._repo.index.graph)
            stages = plan_repro(graph, collect_stages(self._repo, targets or ["dvc.yaml"]))
        self._stages: dict[str, Any] = {stage.addressing: stage for stage in stages}
        self._edges = {stage.addressing: {dep.addressing for dep in graph.successors(stage)} for stage in stages}
        self._listed = {path: _names(path) for path in self._lock_files()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._repo.close()
        self._restore_order()

    @property
    def deps(self) -> dict[str, Set[str]]:
        """The stages that each stage depends on, in the order of `dvc repro`."""
        return {name: self._edges[name] for name in self._stages}

    def command(self, name: str) -> str:
        """Return the command of a stage; a file that `dvc add` tracks has none."""
        command = self._stages[name].cmd or ""
        return command if isinstance(command, str) else "\n".join(command)

    def has_changed(self, name: str) -> bool | None:
        """Return whether `dvc repro` would run this stage now; all stages before it must have ended.

        None means that another DVC process has held the lock for 3 seconds.
        """
        from dvc.lock import LockError

        try:
            with self._repo.lock:
                return bool(self._stages[name].changed())
        except LockError:
            return None

    def _lock_files(self) -> list[Path]:
        files = {Path(stage.path).with_suffix(".lock") for stage in self._stages.values() if hasattr(stage, "name")}
        return sorted(files)

    def _restore_order(self) -> None:
        """Order each lock file: first the stages that it had before, then the new ones in the order of `dvc repro`."""
        from dvc.repo import Repo
        from dvc.utils.serialize import modify_yaml

        for path, before in self._listed.items():
            new = [
                stage.name for stage in self._stages.values()
                if hasattr(stage, "name") and Path(stage.path).with_suffix(".lock") == path
            ]  # fmt: skip
            order = [*before, *(name for name in new if name not in before)]
            present = _names(path)
            order = [name for name in order if name in present]
            if order != present:
                with closing(Repo(_wait_for_lock=True)) as repo, repo.lock, modify_yaml(str(path)) as data:
                    for name in order:
                        data["stages"][name] = data["stages"].pop(name)


def _names(path: Path) -> list[str]:
    """Return the names of the stages in a lock file, in its order."""
    from dvc.utils.serialize import load_yaml

    return list(load_yaml(str(path)).get("stages", {})) if path.exists() else []
