"""The web application: the page and its files, the JSON API, health and metrics, all behind the limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources

from fastapi import FastAPI, Response

from pipeline_lib.serving.errors import add_error_handlers
from pipeline_lib.serving.limits import LimitedApp, Limits
from pipeline_lib.serving.routes import Routes
from pipeline_lib.serving.schemas import HealthResponse
from pipeline_lib.serving.service import SearchService

# Files of the page: path -> (name, media type). Nothing else is read from disk for a path.
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/address.js": ("address.js", "text/javascript"),
    "/ask.js": ("ask.js", "text/javascript"),
    "/filters.js": ("filters.js", "text/javascript"),
    "/reference.js": ("reference.js", "text/javascript"),
    "/results.js": ("results.js", "text/javascript"),
    "/status.js": ("status.js", "text/javascript"),
    "/why.js": ("why.js", "text/javascript"),
    "/judged.js": ("judged.js", "text/javascript"),
    "/words.js": ("words.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def build_app(service: SearchService, limits: Limits) -> LimitedApp:
    """Return the ASGI application of a service."""
    # The pages of documentation that FastAPI has load their scripts from another site.
    app = FastAPI(title="Vitrine search", version="1", docs_url=None, redoc_url=None)
    add_error_handlers(app)
    app.include_router(Routes(service).router)
    for path, (name, media_type) in FILES.items():
        app.add_api_route(path, _file(name, media_type), include_in_schema=False)

    @app.get("/health", response_model=HealthResponse)
    async def health() -> Response:
        """Answer that the server runs, with the models and the number of products."""
        models = [one.model.name for one in service.opened]
        found = HealthResponse(status="ok", models=models, products=len(service.opened[0].model.catalogue.ids))
        return Response(found.model_dump_json(), media_type="application/json")

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return counters and times in the text format of Prometheus."""
        return Response(service.telemetry.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return LimitedApp(app, limits, service.telemetry)


def _file(name: str, media_type: str) -> Callable[[], Awaitable[Response]]:
    content = resources.files(__package__).joinpath("page", name).read_bytes()

    async def file() -> Response:
        return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    return file
