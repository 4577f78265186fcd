"""A small project and a service over it, shared by the tests of the API and of the page."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from running_server import caller, running
from served_project import write_served_project

from pipeline_lib.serving.limits import Limits
from pipeline_lib.serving.server import Place, make_service
from pipeline_lib.serving.service import SearchService


@pytest.fixture(scope="session")
def served_root(tmp_path_factory, tiny_image_folder, tiny_text_folder) -> Path:
    root = tmp_path_factory.mktemp("served")
    return write_served_project(root, tiny_image_folder, tiny_text_folder, ("flat", "ivf", "hnsw"), folds=(0, 1))


@pytest.fixture(scope="session")
def service(served_root, tmp_path_factory) -> Iterator[SearchService]:
    """Two models side by side, and a file of judgements that does not exist yet."""
    judgements = tmp_path_factory.mktemp("judged") / "made" / "judgements.csv"
    with contextlib.chdir(served_root):
        made = make_service([Place(0), Place(1)], judgements, Limits())
    yield made
    made.close()


@pytest.fixture(scope="session")
def call(service) -> Callable[..., httpx.Response]:
    return caller(service)


@pytest.fixture(scope="session")
def address(service) -> Iterator[str]:
    with running(service, Limits()) as url:
        yield url
