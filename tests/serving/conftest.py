"""A small project and a service over it, shared by the tests of the API and of the page."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from running_server import running
from served_project import write_served_project

from pipeline_lib.serving.api import build_app
from pipeline_lib.serving.limits import Limits
from pipeline_lib.serving.server import Place, ServerOptions, make_service
from pipeline_lib.serving.service import SearchService

Call = Callable[..., httpx.Response]


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
    """Return a function that sends one request to the application in this process."""
    app = build_app(service, ServerOptions().settled())

    def send(method: str, path: str, **options) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **options)

        return asyncio.run(once())

    return send


@pytest.fixture(scope="session")
def address(service) -> Iterator[str]:
    with running(service, Limits()) as url:
        yield url
