"""Limits of the server: who may ask, how large and how slow a request may be, and how many may wait.

The body is read here, before the application sees the request, so that a size, a deadline or a broken connection ends
it in one place. What is refused gets a status and one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_lib.serving.telemetry import Telemetry

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = "/api/"
# Nothing is loaded from another site, and a page of another site cannot show this one in a frame.
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'",
    ),
)


@dataclass(frozen=True)
class Limits:
    """Largest bodies in bytes, deadlines in seconds, and how many requests and uploads may be under way.

    `hosts` are the names by which the server may be called, without ports; empty for any.
    """

    upload_bytes: int = 10_000_000
    other_bytes: int = 65_536
    body_seconds: float = 10.0
    answer_seconds: float = 30.0
    waiting: int = 128
    uploads: int = 8
    hosts: frozenset[str] = frozenset()


class RefusedError(Exception):
    """A request that is not passed on: its status, a code for programs, and one line."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


class LimitedApp:
    """An ASGI application behind limits; `telemetry` counts its requests."""

    def __init__(self, app: ASGIApp, limits: Limits, telemetry: Telemetry) -> None:
        self.app, self.limits, self.telemetry = app, limits, telemetry
        self._waiting = self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, response = time.perf_counter(), _Response(send)
        try:
            await self._within_limits(scope, receive, response)
        except RefusedError as refused:
            await response.refuse(refused)
        except TimeoutError:
            seconds = f"{self.limits.answer_seconds:g}"
            await response.refuse(RefusedError(504, "timeout", f"no answer within {seconds} seconds"))
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "unknown")
            self.telemetry.request(path, response.status, time.perf_counter() - start)

    async def _within_limits(self, scope: Scope, receive: Receive, response: _Response) -> None:
        headers = dict(scope["headers"])
        self._check_origin(scope["method"], headers)
        # The page and the health of the server are answered whatever waits.
        counted = scope["path"].startswith(API)
        upload = headers.get(b"content-type", b"").startswith(b"multipart/form-data")
        if counted and self._waiting >= self.limits.waiting:
            raise RefusedError(503, "busy", f"{self._waiting} requests wait already; try again in a second")
        if upload and self._uploads >= self.limits.uploads:
            raise RefusedError(503, "busy", f"{self._uploads} pictures wait already; try again in a second")
        self._waiting += counted
        self._uploads += upload
        try:
            largest = self.limits.upload_bytes if upload else self.limits.other_bytes
            body = await self._body(headers, receive, largest)
            async with asyncio.timeout(self.limits.answer_seconds):
                await self.app(scope, _Replayed(body, receive), response)
        finally:
            self._waiting -= counted
            self._uploads -= upload

    def _check_origin(self, method: str, headers: dict[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self.limits.hosts and name not in self.limits.hosts:
            raise RefusedError(
                421, "wrong_host", f"this server is not {name[:100]!r}; start it with --name {name[:100]}"
            )
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if method not in ("GET", "HEAD") and origin and origin.partition("://")[2] != host:
            raise RefusedError(403, "wrong_origin", "a page of another site may not write here")

    async def _body(self, headers: dict[bytes, bytes], receive: Receive, largest: int) -> bytes:
        """Return the body; RefusedError if it is too large, too slow, or ends early."""
        too_large = RefusedError(413, "too_large", f"the request has more than {largest:,} bytes")
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > largest:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError(400, "incomplete", "the connection closed before the request was complete")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > largest:
                        raise too_large
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            seconds = f"{self.limits.body_seconds:g}"
            raise RefusedError(408, "slow", f"the request was not complete after {seconds} seconds") from None


class _Replayed:
    """Gives a body that has been read to an application."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Response:
    """Sends a response with the headers of safety, and remembers its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
        await self._send(message)

    async def refuse(self, refused: RefusedError) -> None:
        """Send a refusal; nothing if a response has started."""
        if self.status:
            return
        body = error_body(refused.code, refused.message)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if refused.status == 503:
            headers.append((b"retry-after", b"1"))
        elif refused.status in (400, 408, 413):
            headers.append((b"connection", b"close"))  # the rest of the body is not read
        start: dict[str, Any] = {"type": "http.response.start", "status": refused.status, "headers": headers}
        await self(start)
        await self({"type": "http.response.body", "body": body})


def error_body(code: str, message: str) -> bytes:
    """Return the JSON of an error: a code for programs and one line for people."""
    return json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False).encode()
