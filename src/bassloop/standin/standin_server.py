"""The stand-in's HTTP server: the REST calls that the loop makes, and Git's smart HTTP for clones."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import hypercorn.trio
import trio
from hypercorn.config import Config
from quart import Response, g, request
from werkzeug.exceptions import HTTPException

from bassloop.quart_app import QuartApp
from bassloop.standin import (
    app_routes,
    authorization,
    check_run_routes,
    repository_routes,
    sign_in_routes,
)
from bassloop.standin.authorization import CallRefused, tagged
from bassloop.standin.git import GitFailed
from bassloop.standin.state import StandInError

if TYPE_CHECKING:
    from bassloop.standin.faults import Fault
    from bassloop.standin.standin import StandIn

MAX_BODY = 64 << 20
KEPT_REQUESTS = 10_000
API = ("/repos/", "/users/", "/user", "/app", "/installation/")
"""The paths that count against rate limits. According to GitHub's documentation, requesting the rate limit doesn't."""


async def serve_standin(
    standin: StandIn, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve on a free loopback port until cancelled. The task status is its URL.

    Raises StandInError if the repository can't be read.
    """
    try:
        await standin.git.run("rev-parse", "--git-dir")
    except GitFailed as error:
        raise StandInError(f"{standin.repository_path} can't be served: {error}") from error
    config = Config()
    config.bind = ["127.0.0.1:0"]
    # Longer than clients keep idle connections, so that none is closed just when it's used again.
    config.keep_alive_timeout = 60.0
    config.graceful_timeout = 0.5
    config.shutdown_timeout = 1.0
    config.accesslog = config.errorlog = None
    await standin.prepare()
    try:
        async with trio.open_nursery() as nursery:
            serve = partial(hypercorn.trio.serve, create_app(standin, nursery), config, mode="asgi")
            bound: list[str] = await nursery.start(serve)
            standin.url = bound[0].rstrip("/")
            task_status.started(standin.url)
    finally:
        await standin.git.aclose()


def create_app(standin: StandIn, nursery: trio.Nursery) -> QuartApp:
    """Return the application. Work that continues after a response runs in the nursery."""
    web = QuartApp("bassloop.standin")
    web.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    web.config["RESPONSE_TIMEOUT"] = None
    web.config["BODY_TIMEOUT"] = 600
    web.url_map.merge_slashes = False

    @web.errorhandler(CallRefused)
    async def refused(error: CallRefused) -> Response:
        return error.response()

    @web.errorhandler(GitFailed)
    async def git_failed(error: GitFailed) -> Response:
        return CallRefused(500, str(error)).response()

    @web.errorhandler(HTTPException)
    async def unknown(error: HTTPException) -> Response:
        status = error.code or 500
        return CallRefused(status, "Not Found" if status == 404 else error.name).response()

    @web.before_request
    async def limited() -> Response | None:
        return await _before(standin)

    @web.after_request
    async def finished(response: Response) -> Response:
        return await _after(standin, response)

    app_routes.add_routes(web, standin, nursery)
    sign_in_routes.add_routes(web, standin)
    repository_routes.add_routes(web, standin)
    check_run_routes.add_routes(web, standin, nursery)
    return web


async def _before(standin: StandIn) -> Response | None:
    """Apply faults that come first, then rate limits. Return None to accept the call."""
    g.caller = authorization.identify(standin) if request.path.startswith(API) else None
    g.fault = standin.faults.take(request.method, request.path)
    exceeded = standin.rate_limits.begin(g.caller, request.method) if g.caller else None
    if g.fault is not None and g.fault.delay:
        await trio.sleep(g.fault.delay)
    if exceeded == "primary":
        return CallRefused(403, f"API rate limit exceeded for {g.caller}.").response()
    if exceeded == "secondary":
        message = "You have exceeded a secondary rate limit. Please wait a few minutes."
        seconds = max(math.ceil(standin.rate_limits.closed_for(g.caller)), 1)
        return CallRefused(403, message, Retry_After=str(seconds)).response()
    if g.fault is not None and not g.fault.after and g.fault.status is not None:
        return _broken(g.fault, Response(b""))
    return None


async def _after(standin: StandIn, response: Response) -> Response:
    """Add ETags and the rate limit's headers, apply faults that come last, and log the call."""
    fault: Fault | None = g.get("fault")
    if g.get("caller"):
        response = await tagged(response)
        standin.rate_limits.end(g.caller, free=response.status_code == 304)
        response.headers.update(standin.rate_limits.headers(g.caller))
    if fault is not None and (fault.after or fault.status is None):
        response = _broken(fault, response)
    path = request.full_path.rstrip("?")
    standin.requests.append((request.method, path, response.status_code))
    del standin.requests[:-KEPT_REQUESTS]
    return response


def _broken(fault: Fault, response: Response) -> Response:
    if fault.status is not None:
        form = "text/html" if fault.body and fault.body.startswith(b"<") else "application/json"
        body = b'{"message": "Server Error"}' if fault.body is None else fault.body
        response = Response(body, fault.status, content_type=form)
    response.headers.update(fault.headers)
    if fault.cut:
        # Announce more than is sent, so that the response is incomplete when the connection ends.
        response.headers["Content-Length"] = str((response.content_length or 0) + 1000)
    return response
