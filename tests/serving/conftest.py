"""A small project and a service over it, and a browser on its page, shared by the tests of the API and of the page."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from chromium import headless
from running_server import caller, running
from search_page import opener
from served_composed import compose
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


@pytest.fixture(scope="module")
def composing(served_root, tmp_path_factory) -> Iterator[SearchService]:
    """The service of a project with a composed model, in whose folder the tests of the module run."""
    root = shutil.copytree(served_root, tmp_path_factory.mktemp("composed") / "project")
    with contextlib.chdir(root):
        compose(root)
        made = make_service([Place(0)], None, Limits())
        yield made
        made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A browser for one module: while it runs, its library's event loop is that of the thread."""
    with headless() as started:
        yield started


@pytest.fixture(scope="session")
def ask(address) -> Iterator[Callable[..., httpx.Response]]:
    """Return a function that sends one request to the server that the page asks, from outside the browser."""
    with httpx.Client(base_url=address) as client:
        yield client.request


@pytest.fixture
def open_page(browser, address) -> Iterator:
    """Return a function that opens the page of the service; see `opener`."""
    with opener(browser, address) as open_one:
        yield open_one
