"""Signing in with GitHub in a browser, and out again.

A browser that sets out gets a cookie with a state, which GitHub hands back with its code: so a code
counts only in the browser that asked for it, for some minutes, and once. The verifier that proves the
same to GitHub (PKCE) is made of the state, and kept nowhere.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import structlog
import trio
from itsdangerous import BadSignature
from quart import Blueprint, Response, abort, jsonify, redirect, render_template, request

from bassloop.concurrency import TokenBucket
from bassloop.github import GitHubError, SignInRefused, User
from bassloop.github.manifest import CALLBACK_PATH as CALLBACK
from bassloop.store import User as KnownUser
from bassloop.web.guard import may_operate, who_asks
from bassloop.web.presentation import instant
from bassloop.web.responses import wants_json

if TYPE_CHECKING:
    from werkzeug import Response as AnyResponse

    from bassloop.github import OAuth
    from bassloop.web.context import WebContext

log = structlog.get_logger(__name__)

FLOW_SECONDS = 600
MAX_NEXT = 500
MAX_CODE = 500
AT_ONCE, A_MINUTE = 60, 60
"""Codes that are exchanged; each is a question to GitHub, and anybody can send one."""

NOT_SET = "nobody can sign in here: GITHUB_APP_CLIENT_ID and GITHUB_APP_CLIENT_SECRET are not set"
STALE = "this sign-in was begun elsewhere, too long ago, or is over: begin it again"


def safe_next(address: str) -> str:
    """Where to go after signing in: a path of this site, and the front page for anything else. Pure."""
    if len(address) > MAX_NEXT or not address.isprintable() or "\\" in address:
        return "/"
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or not address.startswith("/") or address.startswith("//"):
        return "/"
    return "/" if parts.path.startswith("/sign-") else address


@dataclass(eq=False)
class Once:
    """States that came back already, while they could come back again."""

    _used: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def use(self, state: str) -> bool:
        """Use one up; False if it was."""
        now = trio.current_time()
        while self._used and next(iter(self._used.values())) < now:
            self._used.popitem(last=False)
        if state in self._used:
            return False
        self._used[state] = now + FLOW_SECONDS
        return True


def routes(context: WebContext) -> Blueprint:
    """The routes of signing in and out."""
    blueprint = Blueprint("signin", __name__)
    sessions = context.sessions
    states = sessions.serializer("state")
    once, allowance = Once(), TokenBucket(AT_ONCE, A_MINUTE / 60)

    def oauth() -> OAuth:
        if context.oauth is None:
            abort(404, NOT_SET)
        return context.oauth

    @blueprint.get("/sign-in")
    async def sign_in() -> AnyResponse:
        """Lead the browser to GitHub, which leads it back; afterwards to `next`."""
        github, where = oauth(), safe_next(request.args.get("next", "/"))
        if await who_asks(context) is not None:
            return redirect(where, 303)
        state = secrets.token_urlsafe(24)
        verifier = sessions.derived("verifier", state)
        answer = redirect(github.authorize_url(context.external_url + CALLBACK, state, verifier))
        answer.set_cookie(
            sessions.flow_cookie,
            states.dumps([state, where]),
            max_age=FLOW_SECONDS,
            secure=sessions.secure,
            httponly=True,
            samesite="Lax",
        )
        return answer

    @blueprint.get(CALLBACK)
    async def callback() -> AnyResponse:
        """Where GitHub leads the browser back to, with a code or a refusal."""
        github = oauth()
        try:
            state, where = states.loads(
                request.cookies.get(sessions.flow_cookie, ""), max_age=FLOW_SECONDS
            )
        except BadSignature:
            abort(400, STALE)
        given = request.args.get("state", "")
        if not hmac.compare_digest(state.encode(), given.encode(errors="replace")):
            abort(400, STALE)
        if request.args.get("error"):
            abort(403, "GitHub was not allowed to say who you are, so you are not signed in")
        if not allowance.take():
            abort(429, "too many people sign in at this moment: begin again in a minute")
        if not once.use(state):
            abort(400, STALE)
        code, verifier = (
            request.args.get("code", "")[:MAX_CODE],
            sessions.derived("verifier", state),
        )
        try:
            user = await github.user_by_code(code, context.external_url + CALLBACK, verifier)
        except SignInRefused as error:
            log.warning("sign-in refused", why=str(error), reason=error.reason)
            abort(400, STALE)
        except GitHubError as error:
            log.warning("sign-in failed", why=str(error))
            abort(502, "GitHub can't say who you are at this moment: begin again in a while")
        if (before := await who_asks(context)) is not None:
            await sessions.end(before)
        token, _ = await begun(context, user, bearer=False)
        answer = redirect(safe_next(where), 303)
        answer.delete_cookie(sessions.flow_cookie, secure=sessions.secure, httponly=True)
        answer.set_cookie(
            sessions.cookie, token, secure=sessions.secure, httponly=True, samesite="Lax"
        )
        return answer

    @blueprint.post("/sign-out")
    async def sign_out() -> AnyResponse:
        """End this session, or with `everywhere=yes` all of the same person's."""
        visitor = await who_asks(context)
        if visitor is not None:
            form = await request.form
            await sessions.end(visitor, everywhere=form.get("everywhere") == "yes")
            context.permissions.forget(user_id=visitor.id)
            log.info("signed out", user=visitor.id, login=visitor.login)
        answer = redirect("/", 303)
        answer.delete_cookie(sessions.cookie, secure=sessions.secure, httponly=True)
        return answer

    @blueprint.get("/me")
    async def me() -> str | Response | AnyResponse:
        """Who is signed in."""
        visitor = await who_asks(context)
        if visitor is None:
            if wants_json() or context.oauth is None:
                abort(401, "you are not signed in")
            return redirect(f"/sign-in?{urlencode({'next': '/me'})}", 303)
        if wants_json():
            return jsonify(
                {
                    "login": visitor.login,
                    "id": visitor.id,
                    "operator": may_operate(context, visitor),
                    "expires_at": instant(visitor.expires_at),
                }
            )
        return await render_template("account.html", expires_at=visitor.expires_at)

    return blueprint


async def begun(context: WebContext, user: User, *, bearer: bool) -> tuple[str, float]:
    """A session of somebody who showed who they are: what to hand out, and when it ends."""
    await context.store.put_user(KnownUser(user.id, user.node_id, user.login))
    log.info("signed in", user=user.id, login=user.login, by="device" if bearer else "browser")
    return await context.sessions.begin(user.id, bearer=bearer)
