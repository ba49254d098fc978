"""Who may see and do what: the one place that decides.

Runs of public repositories are for everybody, those of others for people who GitHub says may read the
repository. What somebody may not see is not listed, not counted, and not told from what does not
exist. Everything that answers a visitor (pages, JSON, websockets, badges, feeds, search) asks here and
never the store; a websocket asks again when it sends, every few seconds
at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from quart import Response, abort, g, has_request_context, has_websocket_context, request, websocket

from bassloop.access.permissions import at_least

if TYPE_CHECKING:
    from quart.wrappers.base import BaseRequestWebsocket
    from quart_trio import QuartTrio

    from bassloop.store import Page, Run, Store, ThunkRecord
    from bassloop.web.auth.web_sessions import Visitor
    from bassloop.web.context import WebContext

_UNKNOWN = object()


async def who_asks(context: WebContext) -> Visitor | None:
    """Who sent the request that is answered; None for a stranger. During a websocket's life it is
    looked up at each call, for they may sign out meanwhile."""
    if has_websocket_context():
        return await _visitor(context, websocket)
    known = g.get("visitor", _UNKNOWN)
    if known is _UNKNOWN:
        known = g.visitor = await _visitor(context, request)
    return known  # type: ignore[no-any-return]


async def _visitor(context: WebContext, asking: BaseRequestWebsocket) -> Visitor | None:
    scheme, _, token = asking.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return await context.sessions.visitor(token.strip(), bearer=True)
    if has_websocket_context() and not _is_own_page(context, asking):
        return None
    return await context.sessions.visitor(asking.cookies.get(context.sessions.cookie, ""))


def _is_own_page(context: WebContext, asking: BaseRequestWebsocket) -> bool:
    """Whether a browser's websocket is opened by a page of this loop. Browsers let any site open one
    with the visitor's cookies, if it is a neighbour under the same domain, and read what it says."""
    origin = asking.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc in (
        asking.host,
        urlsplit(context.external_url).netloc,
    )


async def may_read(context: WebContext, visitor: Visitor | None, run: Run) -> bool:
    """Whether a visitor may see a run, its logs and all that it made."""
    if run.public:
        return True
    return await _allowed(context, visitor, run, "read")


async def may_write(context: WebContext, visitor: Visitor | None, run: Run) -> bool:
    """Whether a visitor may write to a run's repository: approve, cancel and rerun what is others'."""
    return await _allowed(context, visitor, run, "write")


async def may_cancel(context: WebContext, visitor: Visitor | None, run: Run) -> bool:
    """Whether a visitor may cancel or rerun a run: their own, or one of a repository that they may
    write to. (Approving takes `may_write`: nobody approves their own.)"""
    if visitor is None or not await may_read(context, visitor, run):
        return False
    return visitor.id == run.user_id or await may_write(context, visitor, run)


def may_operate(context: WebContext, visitor: Visitor | None) -> bool:
    """Whether a visitor is one of the loop's operators (`OPERATORS`), who see runners and deliveries.
    It says nothing about private runs."""
    if visitor is None:
        return False
    return not context.operators.isdisjoint({str(visitor.id), visitor.login.lower()})


async def _allowed(context: WebContext, visitor: Visitor | None, run: Run, level: str) -> bool:
    if visitor is None:
        return False
    return at_least(level, await context.permissions.level(visitor, run.repository_id))


async def _readable(context: WebContext) -> frozenset[int]:
    """The private repositories that whoever asks may read. It is asked for before anything is looked
    up, so that how long an answer takes does not tell what there is."""
    visitor = await who_asks(context)
    return frozenset() if visitor is None else await context.permissions.readable(visitor)


async def visible_run(context: WebContext, run_id: str) -> Run | None:
    """A run, if whoever asks may see it; None as if there were none otherwise."""
    if not 1 <= len(run_id) <= 64:
        return None
    visitor = await who_asks(context)
    run = await context.store.run(run_id)
    return run if run is not None and await may_read(context, visitor, run) else None


async def visible_runs(
    context: WebContext, limit: int, before: str | None = None, **narrowed: Any
) -> Page[Run]:
    """The runs that whoever asks may see, narrowed as `Store.runs` is."""
    readable = await _readable(context)
    return await context.store.runs(limit, before, readable=readable, **narrowed)


async def visible_checks(context: WebContext, repository: str, **narrowed: Any) -> list[Run]:
    """The newest run of each check of a repository, among those that whoever asks may see."""
    readable = await _readable(context)
    return await context.store.checks(repository, readable=readable, **narrowed)


async def visible_thunk(
    context: WebContext, digest: str, limit: int, before: str | None = None
) -> tuple[ThunkRecord, Page[Run]] | None:
    """A thunk with its runs, if whoever asks may see one of them."""
    if not 1 <= len(digest) <= 200:
        return None
    runs = await visible_runs(context, limit, before, thunk_digest=digest)
    if not runs.items and not (await visible_runs(context, 1, thunk_digest=digest)).items:
        return None
    record = await context.store.thunk(digest)
    return None if record is None else (record, runs)


async def current_run(store: Store, run_id: str) -> Run | None:
    """A run as it is now, on behalf of visitors who each were found to see it by `visible_run`."""
    return await store.run(run_id)


OPEN = frozenset({"service.github_events", "devices.begin", "devices.poll", "looks.chosen"})
"""What may be posted by who has no session: it is signed itself, or changes nothing of anybody's."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def protect(app: QuartTrio, context: WebContext) -> None:
    """Protect an application's routes, also those that are added later."""

    @app.before_request
    async def forms() -> None:
        if request.method in _SAFE or request.routing_exception or request.endpoint in OPEN:
            return
        visitor = await who_asks(context)
        if visitor is None:
            abort(401, "sign in first")
        if visitor.bearer:
            return
        given = request.headers.get("X-CSRF-Token") or (await request.form).get("csrf", "")
        from_elsewhere = request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin"
        if from_elsewhere or not context.sessions.is_csrf(visitor, given):
            abort(403, "this form is not of your session; load its page again, and try once more")

    @app.after_request
    async def keeping(response: Response) -> Response:
        if request.endpoint in ("static", "palette"):
            return response
        response.vary.update(("Cookie", "Authorization"))
        if await who_asks(context) is not None:
            kept = response.headers.get("Cache-Control", "no-store")
            response.headers["Cache-Control"] = (
                "no-store" if kept == "no-store" else "private, no-cache"
            )
        return response

    @app.context_processor
    async def visiting() -> dict[str, Any]:
        visitor = await who_asks(context) if has_request_context() else None
        return {
            "visitor": visitor,
            "operates": may_operate(context, visitor),
            "csrf": context.sessions.csrf(visitor) if visitor is not None else "",
            "can_sign_in": context.oauth is not None,
            "here": request.full_path.rstrip("?") if has_request_context() else "/",
        }
