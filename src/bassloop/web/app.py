"""The application: routes, headers, errors."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quart import Response, render_template, url_for
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from bassloop.terminal import palette_css
from bassloop.web import (
    badges,
    controls,
    devices,
    feeds,
    health,
    hooks,
    lists,
    live,
    logs,
    outlines,
    outputs,
    pages,
    repositories,
    runners,
    search,
    signin,
    thunks,
    vertexes,
)
from bassloop.web.json import wants_json
from bassloop.web.protection import protect
from bassloop.web.views import duration, instant

if TYPE_CHECKING:
    from bassloop.web.context import WebContext

HERE = Path(__file__).parent
MAX_BODY = 25 << 20
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def create_app(context: WebContext) -> QuartTrio:
    """The application, ready to be served by any ASGI server on Trio."""
    app = QuartTrio(
        "bassloop.web", template_folder="templates", static_folder="static", root_path=str(HERE)
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["BODY_TIMEOUT"] = 30
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = timedelta(days=365)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["duration"] = duration
    app.jinja_env.filters["instant"] = instant
    versions = {path.name: _version(path) for path in (HERE / "static").iterdir()}
    colours = palette_css()
    description = (HERE / "openapi.json").read_bytes()

    @app.context_processor
    def shared() -> dict[str, Any]:
        def static(name: str) -> str:
            return url_for("static", filename=name, v=versions[name])

        return {
            "static": static,
            "loop_version": context.version,
            "external_url": context.external_url,
        }

    @app.get("/colours.css")
    async def palette() -> Response:
        return Response(
            colours,
            content_type="text/css; charset=utf-8",
            headers={"Cache-Control": "max-age=86400"},
        )

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return Response(description, content_type="application/json")

    app.after_request(_headers)
    protect(app, context)
    app.register_error_handler(HTTPException, _error)
    rooms = (
        hooks,
        health,
        signin,
        devices,
        lists,
        pages,
        vertexes,
        logs,
        outlines,
        outputs,
        live,
        search,
        repositories,
        badges,
        controls,
        feeds,
        thunks,
        runners,
    )
    for module in rooms:
        app.register_blueprint(module.routes(context))
    return app


async def _headers(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("Cache-Control", "no-store")
    return response


async def _error(error: HTTPException) -> tuple[str | dict[str, Any], int]:
    code, text = error.code or 500, error.description or "something went wrong"
    if wants_json():
        return {"error": text}, code
    return await render_template("error.html", code=code, text=text), code


def _version(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
