"""Authorization of visitors: the only module that decides who may see what, and which buttons they get.

Runs of public repositories are visible to everybody, other runs to people who can read the repository on
GitHub. Hidden runs aren't listed or counted, and are indistinguishable from runs that don't exist. Everything that
serves visitors (pages, JSON, websockets, badges, feeds, search) reads runs through this module, not from the
store. A websocket checks again every few seconds. When somebody presses a button, `checks.user_actions` asks GitHub
whether they may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from quart import Response, abort, g, has_request_context, has_websocket_context, request, websocket

from bassloop.access.permissions import at_least
from bassloop.addresses import split_untrusted
from bassloop.web.presentation import abort_not_found

if TYPE_CHECKING:
    from quart.wrappers.base import BaseRequestWebsocket
    from quart_trio import QuartTrio

    from bassloop.store import (
        ErrorSearch,
        FilterQuery,
        IndexedLogs,
        Page,
        RepositoryRecord,
        Run,
        Store,
        ThunkRecord,
    )
    from bassloop.web.web_context import WebContext
    from bassloop.web.web_sessions import Visitor

WITHOUT_SESSION = frozenset(
    {
        "sign_in.begin_device",
        "sign_in.poll_device",
        "preferences.save",
    }
)
"""Endpoints that accept a POST without a session, since it changes nobody's data."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_NOT_LOOKED_UP = object()


async def current_visitor(context: WebContext) -> Visitor | None:
    """Return the visitor who sent the request, or None for an anonymous one.

    The visitor is looked up once for a request, but in each call for a websocket, since they may sign out meanwhile.
    """
    if has_websocket_context():
        return await _visitor(context, websocket)
    visitor = g.get("visitor", _NOT_LOOKED_UP)
    if visitor is _NOT_LOOKED_UP:
        visitor = g.visitor = await _visitor(context, request)
    return visitor  # type: ignore[no-any-return]


async def _visitor(context: WebContext, asking: BaseRequestWebsocket) -> Visitor | None:
    scheme, _, token = asking.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return await context.sessions.visitor(token.strip(), bearer=True)
    if has_websocket_context() and not _is_same_origin(context, asking):
        return None
    return await context.sessions.visitor(asking.cookies.get(context.sessions.cookie, ""))


def _is_same_origin(context: WebContext, asking: BaseRequestWebsocket) -> bool:
    """Return whether a websocket was opened by a page of this loop.

    Browsers let other sites under the same domain open websockets with the visitor's cookies, and read their messages.
    """
    origin = asking.headers.get("Origin")
    return origin is None or split_untrusted(origin).netloc in (
        asking.host,
        urlsplit(context.external_url).netloc,
    )


async def may_read(context: WebContext, visitor: Visitor | None, run: Run) -> bool:
    """Return whether a visitor may see a run, its logs and its output."""
    return run.public or await _has_level(context, visitor, run, "read")


async def may_write(context: WebContext, visitor: Visitor | None, run: Run) -> bool:
    """Return whether a visitor can write to a run's repository, and so approve, cancel and rerun any of its runs."""
    return await _has_level(context, visitor, run, "write")


async def may_rerun(context: WebContext, visitor: Visitor | None, run: Run) -> bool:
    """Return whether a visitor may cancel or rerun a run.

    It must be their own, or belong to a repository that they can write to. To approve it, they need `may_write`, so
    that nobody can approve their own run without that.
    """
    if visitor is None or not await may_read(context, visitor, run):
        return False
    return visitor.id == run.user_id or await may_write(context, visitor, run)


def may_operate(context: WebContext, visitor: Visitor | None) -> bool:
    """Return whether a visitor is an operator (setting `OPERATORS`), who may see runners and deliveries.

    This gives no access to private runs.
    """
    if visitor is None:
        return False
    return not context.operators.isdisjoint({str(visitor.id), visitor.login.lower()})


async def _has_level(context: WebContext, visitor: Visitor | None, run: Run, level: str) -> bool:
    if visitor is None:
        return False
    return at_least(level, await context.permissions.level(visitor, run.repository_id))


async def _readable(context: WebContext) -> frozenset[int]:
    """Return the ids of the private repositories that the visitor may read.

    Call this before reading from the store, so that response times don't reveal what exists.
    """
    visitor = await current_visitor(context)
    return frozenset() if visitor is None else await context.permissions.readable(visitor)


async def run_ids_by_runtime(context: WebContext) -> dict[str, tuple[str, ...]]:
    """Return the ids of all unfinished runs by runtime, for counting. Show only those that `visible_run` returns."""
    found: dict[str, tuple[str, ...]] = {}
    for run in await context.store.runs.unfinished():
        if run.runtime_id is not None:
            found[run.runtime_id] = (*found.get(run.runtime_id, ()), run.id)
    return found


async def visible_run(context: WebContext, run_id: str) -> Run | None:
    """Return a run if the visitor may see it, else None."""
    if not 1 <= len(run_id) <= 64:
        return None
    visitor = await current_visitor(context)
    run = await context.store.runs.get(run_id)
    return run if run is not None and await may_read(context, visitor, run) else None


async def run_or_404(context: WebContext, run_id: str, requested: str = "run") -> Run:
    """Return a run if the visitor may see it, else abort with 404.

    Args:
        requested: the word for what was requested: the run, or something of it.
    """
    run = await visible_run(context, run_id)
    if run is None:
        abort_not_found(requested)
    return run


async def visible_runs(
    context: WebContext, limit: int, before: str | None = None, **filters: Any
) -> Page[Run]:
    """Return the runs that the visitor may see, filtered as by `Runs.newest`."""
    readable = await _readable(context)
    return await context.store.runs.newest(limit, before, readable=readable, **filters)


async def visible_errors(
    context: WebContext, repository: str, text: str, limit: int, before: str | None = None
) -> ErrorSearch:
    """Return the errors that contain a text in those of a repository's runs that the visitor may see."""
    readable = await _readable(context)
    return await context.store.error_lines.search(
        repository, text, limit, before=before, readable=readable
    )


async def visible_logs(
    context: WebContext, repository: str, query: FilterQuery, before: str | None = None
) -> IndexedLogs:
    """Search the index of logs (`LogIndex.search`) for those of a repository's runs that the visitor may see."""
    readable = await _readable(context)
    return await context.store.log_index.search(repository, query, before=before, readable=readable)


async def repository_or_404(context: WebContext, full_name: str) -> RepositoryRecord:
    """Return a repository whose runs the visitor may see, else abort with 404."""
    newest = await visible_runs(context, 1, repository=full_name)
    runs = newest.items
    found = await context.store.repositories.get(runs[0].repository_id) if runs else None
    if found is None:
        abort_not_found("repository")
    return found


async def visible_checks(context: WebContext, repository: str, **filters: Any) -> list[Run]:
    """Return the newest run of each check of a repository, among those that the visitor may see."""
    readable = await _readable(context)
    return await context.store.runs.latest_per_check(repository, readable=readable, **filters)


async def visible_thunk(
    context: WebContext, digest: str, limit: int, before: str | None = None
) -> tuple[ThunkRecord, Page[Run]] | None:
    """Return a thunk with its runs if the visitor may see one of them, else None."""
    if not 1 <= len(digest) <= 200:
        return None
    runs = await visible_runs(context, limit, before, thunk_digest=digest)
    if not runs.items and not (await visible_runs(context, 1, thunk_digest=digest)).items:
        return None
    record = await context.store.thunks.get(digest)
    return None if record is None else (record, runs)


async def thunk_of(context: WebContext, run: Run) -> ThunkRecord | None:
    """Return the thunk of a run. The caller must have checked that the visitor may see the run."""
    return await context.store.thunks.get(run.thunk_digest)


async def current_run(store: Store, run_id: str) -> Run | None:
    """Return the current state of a run. The caller must have checked with `visible_run` that visitors may see it."""
    return await store.runs.get(run_id)


def install(app: QuartTrio, context: WebContext) -> None:
    """Make an application check its forms (against CSRF), and keep visitors' own responses out of shared caches."""

    @app.before_request
    async def check_form() -> None:
        endpoint = request.endpoint
        if (
            request.method in _SAFE_METHODS
            or request.routing_exception
            or endpoint in WITHOUT_SESSION
        ):
            return
        visitor = await current_visitor(context)
        if visitor is None:
            abort(401, "sign in first")
        if visitor.bearer:
            return
        token = request.headers.get("X-CSRF-Token") or (await request.form).get("csrf", "")
        cross_site = request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin"
        if cross_site or not context.sessions.is_csrf(visitor, token):
            abort(403, "this form belongs to another session: reload its page, and try again")

    @app.after_request
    async def set_caching(response: Response) -> Response:
        if request.endpoint in ("static", "colours"):
            return response
        response.vary.update(("Cookie", "Authorization"))
        if await current_visitor(context) is not None:
            cached = response.headers.get("Cache-Control", "no-store")
            private = "no-store" if cached == "no-store" else "private, no-cache"
            response.headers["Cache-Control"] = private
        return response

    @app.context_processor
    async def visitor_variables() -> dict[str, Any]:
        visitor = await current_visitor(context) if has_request_context() else None
        return {
            "visitor": visitor,
            "operates": may_operate(context, visitor),
            "csrf": context.sessions.csrf(visitor) if visitor is not None else "",
            "can_sign_in": context.oauth is not None,
            "here": request.full_path.rstrip("?") if has_request_context() else "/",
        }
