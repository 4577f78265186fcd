"""A file of judgements that cannot be written or locked, and one that two threads use."""

import errno
import fcntl
import os
import threading
from dataclasses import replace

import pytest
from running_server import caller

from pipeline_lib.serving.judgements import JudgementFile, read_judgements


@pytest.fixture
def judging(service, tmp_path):
    """The application over a file of judgements of its own, and this file."""
    own = replace(service, judgements=JudgementFile(tmp_path / "own" / "judged.csv"))
    yield caller(own), own.judgements
    own.close()


def refuse_locks(monkeypatch, number):
    """Make locks fail as in a network folder without them."""

    def flock(_file, _operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_folder_without_locks_gives_its_own_reason_and_no_line(tmp_path, monkeypatch, number):
    file = JudgementFile(tmp_path / "judged.csv")
    file.add("red mug", "p1", 1, "fold 0")
    before = file.path.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(OSError, match=os.strerror(number)) as caught:
        refuse_locks(patch, number)
        file.add("red mug", "p2", 1, "fold 0")
    assert caught.value.errno == number
    assert file.path.read_bytes() == before and file.of_query("red mug") == {"p1": 1}


def test_a_judgement_that_cannot_be_saved_is_an_error_in_one_line(judging, monkeypatch, caplog):
    call, file = judging
    body = {"query": "hat", "product_id": "p5", "grade": 1}

    def error_of(answer):
        assert answer.status_code == 503, answer.text
        assert "\n" not in answer.json()["error"]["message"] and str(file.path) not in answer.text
        assert str(file.path) in caplog.records[-1].getMessage()
        return answer.json()["error"]["code"], answer.json()["error"]["message"]

    with monkeypatch.context() as patch:
        refuse_locks(patch, errno.ENOLCK)
        code, message = error_of(call("POST", "/api/judgements", json=body))
    assert code == "not_saved" and "the judgement is not saved: No locks available" in message
    file.path.unlink()
    file.path.mkdir()
    assert "Is a directory" in error_of(call("POST", "/api/judgements", json=body))[1]
    assert call("GET", "/api/judgements", params={"query": "hat"}).json()["grades"] == {}
    file.path.rmdir()
    assert call("POST", "/api/judgements", json=body).json()["grades"] == {"p5": 1}
    assert len(read_judgements(file.path)) == 1


class WatchedQuery(str):
    """A text that calls a function the next time a dict is given it."""

    __slots__ = ("then",)

    def __hash__(self):
        then, self.then = getattr(self, "then", None), None
        if then is not None:
            then()
        return super().__hash__()


def test_all_grades_are_returned_while_another_thread_adds_one(tmp_path):
    file, query = JudgementFile(tmp_path / "judged.csv"), WatchedQuery("red mug")
    file.add(query, "p1", 1, "fold 0")
    adding = threading.Thread(target=lambda: file.add("blue hat", "p2", 0, "fold 0"))

    def add_now():
        adding.start()
        adding.join(0.5)  # it may have to wait until all grades are read

    query.then = add_now
    assert file.all_grades()["red mug"] == {"p1": 1}
    adding.join()
    assert file.all_grades() == {"red mug": {"p1": 1}, "blue hat": {"p2": 0}}
