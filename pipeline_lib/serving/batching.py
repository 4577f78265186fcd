"""Answers requests that wait together in one call: while a batch is computed, the next one gathers.

No request waits for others on purpose, so a single request is answered at once, and under load a batch grows to what
arrives during one computation.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

JobT = TypeVar("JobT")
AnswerT = TypeVar("AnswerT")


class Batcher(Generic[JobT, AnswerT]):
    """Gathers jobs for `compute`, which runs in one thread; `observe` gets the size of each batch."""

    def __init__(
        self,
        compute: Callable[[Sequence[JobT]], Sequence[AnswerT | Exception]],
        largest: int = 64,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._compute = compute
        self._largest = largest
        self._observe = observe
        self._waiting: list[tuple[JobT, asyncio.Future[AnswerT]]] = []
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "search")

    async def submit(self, job: JobT) -> AnswerT:
        """Return the answer of a job; raises its exception, or that of its batch."""
        future: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
            batch = [(job, future) for job, future in batch if not future.done()]  # a client may have gone
            if not batch:
                continue
            self._observe(len(batch))
            try:
                answers = await loop.run_in_executor(self._thread, self._compute, [job for job, _ in batch])
            except Exception as error:
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def close(self) -> None:
        """Stop the thread after its batch."""
        self._thread.shutdown(wait=False, cancel_futures=True)
