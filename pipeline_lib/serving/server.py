"""Opens the models and runs the server until it is stopped.

Only what a search by text needs is loaded before the first answer. A connection that does not send the headers of its
request in time is closed: uvicorn waits for them without limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeline_lib.artifacts import paths
from pipeline_lib.params.section import load_params, parse_value
from pipeline_lib.serving.api import build_app
from pipeline_lib.serving.explain import open_parts
from pipeline_lib.serving.judgements import JudgementFile
from pipeline_lib.serving.limits import LimitedApp, Limits
from pipeline_lib.serving.model import load_all, open_served
from pipeline_lib.serving.photos import ProductPhotos
from pipeline_lib.serving.service import Opened, SearchService
from pipeline_lib.serving.telemetry import Telemetry

HEADER_SECONDS = 10.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
# Open connections beyond this get 503; each needs a file, and so do shards and the index.
CONNECTIONS = 2_000
SPARE_FILES = 128
BACKLOG = 2_048


@dataclass(frozen=True)
class Place:
    """A model to serve: a fold of the project in a folder, and a kind of its index (None = the first of plan.index)."""

    fold: int
    root: Path = Path()
    kind: str | None = None

    @property
    def name(self) -> str:
        """What the page calls the model."""
        fold = f"fold {self.fold}"
        return fold if self.root == Path() else f"{self.root.resolve().name}, {fold}"


@dataclass(frozen=True)
class ServerOptions:
    """Where the server listens; `names` are further host names by which it may be called."""

    host: str = "127.0.0.1"
    port: int = 8000
    names: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)

    def settled(self) -> Limits:
        """Return the limits with the host names: those of this machine, or any if the server listens to others."""
        own = self.host in ("127.0.0.1", "localhost", "::1")
        hosts = (LOOPBACK | self.names) if own else self.names
        return replace(self.limits, hosts=frozenset(name.lower() for name in hosts))


def open_place(place: Place) -> Opened:
    """Open a model with its photos; ValueError if the project has no index of it."""
    root = place.root.resolve()
    if not (root / "params.yaml").is_file():
        raise ValueError(f"{place.root}: no project here (its params.yaml is missing)")
    here = root == Path.cwd()
    # Weights may be named by paths relative to their project.
    with contextlib.nullcontext() if here else contextlib.chdir(root):
        model = open_served(place.name, root, place.fold, place.kind)
        if not here:
            load_all(model)
    url: str | None = parse_value("runtime.shards_url", str | None, load_params(root / "params.yaml"))  # type: ignore[arg-type]
    gallery = open_parts(root / paths.gallery_of(place.fold), model.texts.fingerprint)
    return Opened(model, ProductPhotos(root / paths.SHARDS, url), gallery)


def make_service(places: Sequence[Place], judgements: Path | None, limits: Limits) -> SearchService:
    """Return the service of one or two models; ValueError as `open_place` and `JudgementFile`."""
    judged = None if judgements is None else JudgementFile(judgements)
    return SearchService([open_place(place) for place in places], judged, Telemetry(), limits.upload_bytes)


def run_server(service: SearchService, options: ServerOptions, announce: Callable[[str], None]) -> None:
    """Answer requests until the process is interrupted; `announce` gets the address once it answers.

    Raises OSError if the port is taken.
    """
    try:
        with _listening(options.host, options.port) as listener:
            leave_a_core()
            config = server_config(build_app(service, options.settled()), options)
            AnnouncingServer(config, announce).run([listener])
    finally:
        service.close()


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; OSError with the address if it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen to {host}:{port}: {error.strerror}; give another --listen") from None


def leave_a_core() -> None:
    """Let the libraries compute with all cores but one, which reads requests and writes answers meanwhile.

    The settings are those of the process, so a server calls this once.
    """
    import faiss
    import torch

    cores = max(1, len(os.sched_getaffinity(0)) - 1)
    torch.set_num_threads(cores)
    faiss.omp_set_num_threads(cores)


class AnnouncingServer(uvicorn.Server):
    """Announces its address when it answers."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[str], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        if self.started:
            host, port = bound(self)
            self._announce(f"http://{f'[{host}]' if ':' in host else host}:{port}/")


def server_config(app: LimitedApp, options: ServerOptions) -> uvicorn.Config:
    """Return the settings of uvicorn for an application."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    logging.getLogger("vitrine.serve").setLevel(logging.INFO)
    return uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        limit_concurrency=min(CONNECTIONS, max(64, files - SPARE_FILES)),
        backlog=BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
    )


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a deadline for the headers of each request."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request."""
        super().connection_made(transport)
        self._start()

    def on_message_begin(self) -> None:
        """Start the deadline of a request."""
        super().on_message_begin()
        self._start()

    def on_headers_complete(self) -> None:
        """End the deadline."""
        self._cancel()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the deadline of a closed connection."""
        self._cancel()
        super().connection_lost(exc)

    def _start(self) -> None:
        self._cancel()
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._late)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self.transport.close()


def bound(server: Any) -> tuple[str, int]:
    """Return the address of a started server, whose port may have been chosen by the system."""
    name: tuple[str, int] = server.servers[0].sockets[0].getsockname()[:2]
    return name
