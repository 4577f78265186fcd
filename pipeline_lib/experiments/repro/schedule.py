"""Which stages of a DAG can start: pure bookkeeping, without processes."""

from collections.abc import Mapping, Set


class Schedule:
    """A stage is ready once every stage that it depends on has ended well; after a failure it never starts."""

    def __init__(self, deps: Mapping[str, Set[str]]) -> None:
        self._waiting = {name: set(before) for name, before in deps.items()}
        self._running: set[str] = set()
        self.failed: list[str] = []

    def ready(self) -> list[str]:
        """Return the stages that can start now, in the order of the DAG."""
        return [name for name, before in self._waiting.items() if not before]

    def start(self, name: str) -> None:
        """Record that a ready stage runs."""
        assert not self._waiting[name], name
        del self._waiting[name]
        self._running.add(name)

    def end(self, name: str, succeeded: bool) -> None:
        """Record that a running stage has ended."""
        self._running.remove(name)
        if not succeeded:
            self.failed.append(name)
            return
        for before in self._waiting.values():
            before.discard(name)

    def not_started(self) -> list[str]:
        """Return the stages that wait, in the order of the DAG; at the end, those that a failure has stopped."""
        return list(self._waiting)
