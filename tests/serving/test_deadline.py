"""A model that takes longer than a request may: 504 in time, and the server goes on; the page says it in words."""

import contextlib
import threading
import time

import httpx
import pytest
from running_server import running
from search_page import found, search_for, status

from pipeline_lib.serving.limits import Limits
from pipeline_lib.serving.model import ServedModel
from pipeline_lib.serving.server import Place, make_service

ANSWER_SECONDS = 0.4


@pytest.fixture(scope="module")
def slow(served_root):
    """A server with a short deadline, and an event: while it is not set, the model waits for it."""
    may_answer = threading.Event()
    may_answer.set()
    answer, encode = ServedModel.answer, ServedModel.encode

    def later(work):
        def wait_and_work(*arguments):
            assert may_answer.wait(60)
            return work(*arguments)

        return wait_and_work

    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(served_root):
        patch.setattr(ServedModel, "answer", later(answer))
        patch.setattr(ServedModel, "encode", later(encode))
        service = make_service([Place(0)], None, Limits())
        with running(service, Limits(answer_seconds=ANSWER_SECONDS)) as url:
            yield url, may_answer
        may_answer.set()
        service.close()


def get(url, path, **asked):
    return httpx.get(url + path, params=asked, timeout=30)


@pytest.mark.parametrize("asked", [{"q": "red mug"}, {"like": "p3"}], ids=["text", "product"])
def test_a_search_that_takes_too_long_is_a_504_and_the_next_is_answered(asked, slow):
    url, may_answer = slow
    wanted = get(url, "/api/search", k=3, **asked).json()["results"]
    may_answer.clear()
    start = time.monotonic()
    answers = [get(url, "/api/search", k=3, **asked) for _ in range(3)]
    assert ANSWER_SECONDS * 3 <= time.monotonic() - start < ANSWER_SECONDS * 3 + 5
    error = {"code": "timeout", "message": "no answer within 0.4 seconds"}
    assert [(one.status_code, one.json()) for one in answers] == [(504, {"error": error})] * 3
    assert get(url, "/health").json()["status"] == "ok"  # what needs no model is answered
    may_answer.set()
    end = time.monotonic() + 20
    while (answer := get(url, "/api/search", k=3, **asked)).status_code == 504:
        assert time.monotonic() < end
    assert answer.json()["results"] == wanted
    assert 'vitrine_requests_total{path="/api/search",status="504"}' in get(url, "/metrics").text


@pytest.mark.parametrize(
    ("locale", "words"), [("en-US", "The model took too long. Try again."), ("zh-CN", "模型处理超时，请重试。")]
)
def test_the_page_says_so_and_a_second_try_is_answered(locale, words, slow, browser):
    url, may_answer = slow
    context = browser.new_context(locale=locale)  # its console has the answer 504
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#categories input", state="attached")
    may_answer.clear()
    search_for(page, "red mug")
    status(page, words)
    assert "no answer within 0.4 seconds" in page.inner_text("#status small")
    assert page.get_attribute("#results", "aria-busy") is None
    may_answer.set()
    page.wait_for_timeout(200)
    search_for(page, "red mug")
    assert len(found(page)) == 24
    context.close()
