"""The web application: routes, headers, errors."""

from __future__ import annotations

import hashlib
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import trio
from jinja2 import BytecodeCache
from quart import Response, has_request_context, render_template, request, url_for
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from bassloop.failures import find_failures
from bassloop.quart_app import QuartApp
from bassloop.store import BucketError
from bassloop.units import format_duration, format_size
from bassloop.web import feeds, guard, service_endpoints, sign_in
from bassloop.web.colour_schemes import load_schemes, palette_css, schemes_css
from bassloop.web.logs import live_feed, log_endpoints, repository_search, run_search
from bassloop.web.pages import (
    changes_page,
    commit_page,
    deliveries_page,
    downloads,
    preferences,
    repository_page,
    run_page,
    runners_page,
    runs_page,
    statement_page,
    tests_page,
    thunk_page,
)
from bassloop.web.presentation import IMMUTABLE, instant, wants_json
from bassloop.web.service_endpoints import BODY_SECONDS, WebhookEndpoint

if TYPE_CHECKING:
    from types import CodeType

    from jinja2.bccache import Bucket

    from bassloop.web.web_context import WebContext

HERE = Path(__file__).parent

log = structlog.get_logger(__name__)

MAX_BODY = 16 << 10
"""The maximum size of a request, except for webhooks, in bytes. Parsing a form of 1 MB would take a second."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

ERROR_TITLES = {
    400: "Invalid request",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    409: "Not possible now",
    429: "Too many requests",
    500: "Something went wrong here",
    502: "GitHub doesn’t answer",
    503: "Not available now",
}

ERROR_TEXTS = {
    404: "there is no page at this address",
    500: "this page couldn’t be rendered because of a bug in the loop; try again in a moment",
}
"""The texts of errors that were raised without a message."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""The default headers of all responses."""


@cache
def _colours() -> tuple[list[str], str]:
    """Return the names of the colour schemes, and their style sheet, which takes 30 ms to compute."""
    schemes = load_schemes(HERE / "schemes")
    return [scheme.name for scheme in schemes], schemes_css(schemes) + palette_css(schemes)


class CompiledTemplates(BytecodeCache):
    """The code of templates, for all applications of this process that have the same options and filters."""

    def __init__(self) -> None:
        self._code: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._code.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._code[bucket.key, bucket.checksum] = bucket.code


_compiled_templates = CompiledTemplates()


def _create_empty_app() -> QuartApp:
    """Return an application that has templates and static files, and no pages."""
    app = QuartApp(
        "bassloop.web",
        template_folder="templates",
        static_folder="static",
        static_url_path=f"/static/{_version(HERE / 'static')}",
        root_path=str(HERE),
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["duration"] = format_duration
    app.jinja_env.filters["instant"] = instant
    app.jinja_env.filters["size"] = format_size
    app.jinja_env.bytecode_cache = _compiled_templates
    return app


def create_app(context: WebContext) -> QuartApp:
    """Return the application, ready to be served by any ASGI server on Trio."""
    app = _create_empty_app()
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["BODY_TIMEOUT"] = BODY_SECONDS
    themes, colours_css = _colours()
    known = preferences.known_preferences(themes)
    colours_version = hashlib.sha256(colours_css.encode()).hexdigest()[:12]
    api_description = (HERE / "openapi.json").read_bytes()

    @app.context_processor
    def shared_variables() -> dict[str, Any]:
        def static(name: str) -> str:
            return url_for("static", filename=name)

        cookie = request.cookies.get(preferences.COOKIE, "") if has_request_context() else ""
        return {
            "static": static,
            "colours": f"/colours.css?v={colours_version}",
            "preferences": preferences.read_cookie(cookie, known),
            "loop_version": context.version,
            "external_url": context.external_url,
        }

    @app.get("/colours.css")
    async def colours() -> Response:
        return Response(
            colours_css,
            content_type="text/css; charset=utf-8",
            headers={"Cache-Control": IMMUTABLE},
        )

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return Response(api_description, content_type="application/json")

    @app.before_serving
    async def start_preparing() -> None:
        app.add_background_task(prepare_pages, app)

    app.after_request(_finish_response)
    guard.install(app, context)
    app.register_error_handler(HTTPException, _error_page)
    app.register_error_handler(BucketError, _bucket_error_page)
    app.register_blueprint(preferences.routes(themes))
    modules = (
        service_endpoints,
        sign_in,
        deliveries_page,
        runs_page,
        run_page,
        changes_page,
        tests_page,
        statement_page,
        log_endpoints,
        downloads,
        live_feed,
        run_search,
        repository_search,
        repository_page,
        commit_page,
        feeds,
        thunk_page,
        runners_page,
    )
    for module in modules:
        app.register_blueprint(module.routes(context))
    app.asgi_app = WebhookEndpoint(app.asgi_app, context.inbox, HEADERS)  # type: ignore[assignment, method-assign]
    return app


def compile_templates() -> None:
    """Compile all templates, for the applications of this process and of those that are forked from it."""
    environment = _create_empty_app().jinja_env
    for name in environment.list_templates():
        environment.get_template(name)


async def prepare_pages(app: QuartApp) -> None:
    """Compile all templates and the rules for failures, in a thread.

    Otherwise, the first view of a run's page would take 0.3 s of processor time, and delay everybody else.
    """
    await trio.to_thread.run_sync(find_failures, ())
    for name in app.jinja_env.list_templates():
        await trio.to_thread.run_sync(app.jinja_env.get_template, name)


async def _finish_response(response: Response) -> Response:
    if request.method == "HEAD":
        # Otherwise, a log or a file would be read to its end, and nothing of it sent.
        response.response = response.data_body_class(b"")
    if request.endpoint == "static" and response.status_code == 200:
        response.headers["Cache-Control"] = IMMUTABLE
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def _error_page(error: HTTPException) -> tuple[str | dict[str, Any], int]:
    code, text = error.code or 500, error.description or "something went wrong"
    if wants_json():
        return {"error": text}, code
    if error.description == type(error).description:
        # Werkzeug's default texts are about servers and URLs.
        text = ERROR_TEXTS.get(code, text)
    title = ERROR_TITLES.get(code, error.name.capitalize())
    now = instant(time.time())
    return await render_template("error.html", code=code, title=title, text=text, now=now), code


async def _bucket_error_page(error: BucketError) -> tuple[str | dict[str, Any], int]:
    log.warning("a log or an artifact can't be read", error=str(error))
    text = "logs and artifacts of ended runs can't be read now; try again in a moment"
    return await _error_page(ServiceUnavailable(text))


def _version(folder: Path) -> str:
    """Return a hash of a folder's contents.

    It's part of the URLs of all static files, so that a script imports modules of its own version.
    """
    version = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        version.update(path.name.encode() + b"\0" + path.read_bytes())
    return version.hexdigest()[:12]
