"""Runs a search server in a thread of this process, or asks its application without one."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import uvicorn

from pipeline_lib.serving.api import build_app
from pipeline_lib.serving.limits import Limits
from pipeline_lib.serving.server import ServerOptions, bound, server_config
from pipeline_lib.serving.service import SearchService


def caller(service: SearchService) -> Callable[..., httpx.Response]:
    """Return a function that sends one request to the application."""
    app = build_app(service, ServerOptions().settled())

    def send(method: str, path: str, **options) -> httpx.Response:
        async def once() -> httpx.Response:
            # What goes wrong inside is answered as it is behind a real server.
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **options)

        return asyncio.run(once())

    return send


@contextlib.contextmanager
def running(service: SearchService, limits: Limits) -> Iterator[str]:
    """Run a real server in a thread, and yield its address."""
    options = ServerOptions(port=0, limits=limits)
    server = uvicorn.Server(server_config(build_app(service, options.settled()), options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive() and time.monotonic() < end
        time.sleep(0.01)
    host, port = bound(server)
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
