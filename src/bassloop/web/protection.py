"""What every request goes through: nothing is changed for a form that is not this session's, and what
is made for one visitor is kept for no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quart import Response, abort, has_request_context, request

from bassloop.web.guard import may_operate, who_asks

if TYPE_CHECKING:
    from quart_trio import QuartTrio

    from bassloop.web.context import WebContext

OPEN = frozenset({"hooks.github_events", "devices.begin", "devices.poll", "looks.chosen"})
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
