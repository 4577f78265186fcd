"""The limit of the memory that a library may take while it reads a file."""

import resource

import numpy as np
import pytest

from pipeline_lib.artifacts.memory import more_memory


def test_more_than_the_limit_is_refused_and_less_is_not():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with more_memory(1 << 28):
        assert np.zeros(1 << 26, np.uint8).size
        with pytest.raises(MemoryError):
            np.zeros(1 << 33, np.uint8)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert np.zeros(1 << 29, np.uint8).size


def test_an_error_takes_the_limit_back():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(RuntimeError), more_memory(1 << 28):
        raise RuntimeError
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_lower_limit_of_the_user_stays(monkeypatch):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 20, 1 << 30))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    with more_memory(1 << 40):
        pass
    assert asked == [(1 << 20, 1 << 30), (1 << 20, 1 << 30)]
