"""Jobs that wait are answered together, each with its own answer or its own error."""

import asyncio
import threading
import time

import pytest

from pipeline_lib.serving.batching import Batcher
from pipeline_lib.serving.catalogue import Range
from pipeline_lib.serving.query import Filters, Job, Query
from pipeline_lib.serving.server import Place, ServerOptions


def test_a_lone_job_does_not_wait_and_others_share_a_call():
    sizes, free = [], threading.Event()

    def compute(jobs):
        sizes.append(len(jobs))
        if len(sizes) == 1:
            free.wait(10)
        return [job * 2 for job in jobs]

    async def run():
        batcher = Batcher(compute, largest=4)
        first = asyncio.create_task(batcher.submit(1))
        while not sizes:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(batcher.submit(number)) for number in range(2, 9)]
        await asyncio.sleep(0)
        free.set()
        return [await first, *(await asyncio.gather(*others))]

    assert asyncio.run(run()) == [2 * number for number in range(1, 9)]
    assert sizes == [1, 4, 3]


def test_an_error_belongs_to_its_job_or_to_its_batch():
    def compute(jobs):
        if "stop" in jobs:
            raise RuntimeError("all of them")
        return [ValueError(job) if job == "bad" else job for job in jobs]

    async def run(*jobs):
        batcher = Batcher(compute)
        return await asyncio.gather(*(batcher.submit(job) for job in jobs), return_exceptions=True)

    good, bad, other = asyncio.run(run("good", "bad", "other"))
    assert (good, other) == ("good", "other") and isinstance(bad, ValueError)
    assert all(isinstance(one, RuntimeError) for one in asyncio.run(run("good", "stop")))


def test_a_client_that_has_gone_costs_no_answer():
    seen = []

    def compute(jobs):
        time.sleep(0.05)
        seen.extend(jobs)
        return jobs

    async def run():
        batcher = Batcher(compute)
        first = asyncio.create_task(batcher.submit("first"))
        await asyncio.sleep(0.01)
        gone = asyncio.create_task(batcher.submit("gone"))
        await asyncio.sleep(0)
        gone.cancel()
        await first
        return await batcher.submit("last")

    assert asyncio.run(run()) == "last" and seen == ["first", "last"]


def test_waiting_searches_with_different_filters_equal_each_alone(service):
    model = service.opened[0].model
    jobs = [
        Job(Query("red mug"), 5),
        Job(Query("blue hat striped"), 9, Filters(categories=("hat",))),
        Job(Query("red mug"), 3, Filters(categories=("hat",))),
        Job(Query("蓝 杯"), 4, Filters(ranges=(Range("price", 10.0, None),), hide_duplicates=True)),
        Job(Query("mug"), 2, Filters(categories=("nothing",))),
        Job(Query(like="p5"), 6),
    ]
    jobs[-1] = Job(jobs[-1].query, 6, encoded=model.encode(jobs[-1].query))
    together = model.answer(jobs)
    for job, answer in zip(jobs, together, strict=True):
        (alone,) = model.answer([job])
        if isinstance(answer, ValueError):
            assert "category 'nothing'" in str(answer) and str(alone) == str(answer)
            continue
        assert [one.row for one in answer.found] == [one.row for one in alone.found]
        assert [one.score for one in answer.found] == pytest.approx([one.score for one in alone.found], abs=1e-6)
    assert len(together[1].found) == 9 and len(together[5].found) == 6


def test_host_names_follow_the_address():
    assert "localhost" in ServerOptions().settled().hosts
    assert ServerOptions("0.0.0.0").settled().hosts == frozenset()
    assert ServerOptions("0.0.0.0", names=frozenset({"Shop.example"})).settled().hosts == {"shop.example"}
    assert Place(2).name == "fold 2"
