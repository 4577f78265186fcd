"""Errors of the API: one JSON form for all of them, and no trace of the program in an answer."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from pipeline_lib.serving.limits import error_body
from pipeline_lib.serving.replaced import ReplacedError
from pipeline_lib.serving.schemas import ErrorResponse

LOG = logging.getLogger("vitrine.serve")
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse} for status in (400, 403, 404, 408, 413, 415, 422, 500, 503, 504)
}
# Codes of errors that the web framework raises itself.
CODES = {404: "not_found", 405: "wrong_method", 400: "bad_request"}


class ApiError(Exception):
    """An answer that is not a success: its status, a code for programs, and one line."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


def add_error_handlers(app: FastAPI) -> None:
    """Answer every exception of a route with the JSON of an error."""

    def known(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return _answer(error.status, error.code, error.message)

    def replaced(_request: Request, error: Exception) -> Response:
        return _answer(503, "replaced", str(error))

    def of_framework(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _answer(error.status_code, CODES.get(error.status_code, "bad_request"), str(error.detail))

    def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return _answer(422, "bad_request", f"{where}: {first['msg']}"[:300])

    def unexpected(request: Request, error: Exception) -> Response:
        LOG.error("%s: %s", request.url.path, error, exc_info=error)
        return _answer(500, "internal", f"{type(error).__name__}; the log of the server has more")

    app.add_exception_handler(ApiError, known)
    app.add_exception_handler(ReplacedError, replaced)
    app.add_exception_handler(HTTPException, of_framework)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unexpected)


def _answer(status: int, code: str, message: str) -> Response:
    return Response(error_body(code, message), status, media_type="application/json")
