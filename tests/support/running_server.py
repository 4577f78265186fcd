"""Runs a search server in a thread of this process."""

import contextlib
import threading
import time
from collections.abc import Iterator

import uvicorn

from pipeline_lib.serving.api import build_app
from pipeline_lib.serving.limits import Limits
from pipeline_lib.serving.server import ServerOptions, bound, server_config
from pipeline_lib.serving.service import SearchService


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
