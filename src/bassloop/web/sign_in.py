"""Signing in with GitHub, in a browser or from a terminal, and signing out.

A browser uses OAuth's web flow. It gets a cookie with a random state, which GitHub returns together with its code. So a
code is valid only in the browser that started the sign-in, for ten minutes, and once. The PKCE verifier is derived from
the state, and not stored.

A terminal uses GitHub's device flow, which the loop runs for it. The terminal shows a code to enter on GitHub, and
polls the loop until that has happened. Then it gets a session of this loop. GitHub's token never leaves the loop.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

import structlog
from itsdangerous import BadSignature
from quart import Blueprint, Response, abort, jsonify, redirect, render_template, request

from bassloop.addresses import split_untrusted
from bassloop.concurrency import TokenBucket, TTLCache
from bassloop.github import GitHubError, SignInPending, SignInRefused, User
from bassloop.github.app_registration import CALLBACK_PATH
from bassloop.store import User as UserRecord
from bassloop.web.guard import current_visitor, may_operate
from bassloop.web.presentation import instant, wants_json

if TYPE_CHECKING:
    from werkzeug import Response as AnyResponse

    from bassloop.github import OAuth
    from bassloop.web.web_context import WebContext


log = structlog.get_logger(__name__)

FLOW_SECONDS = 600
MAX_NEXT = 500
MAX_CODE = 500

EXCHANGES, EXCHANGES_PER_SECOND = 60, 1.0
"""The limit (burst size and rate) on exchanging codes. Anybody can send one, and each exchange is a call to GitHub."""

MAX_USED_STATES = 10_000
"""How many used states are remembered: more than can be exchanged while they are valid."""

DEVICE_SECONDS = 1800
"""How long a terminal may poll after its sign-in began, in seconds."""

CODES, CODES_PER_SECOND = 20, 1 / 6
POLLS, POLLS_PER_SECOND = 60, 2.0
"""Limits (burst size and rate) on requests for codes, and on polls. Each of these requests is a call to GitHub."""

SLOW_DOWN_SECONDS = 10.0
MAX_DEVICE = 1000

REFUSALS = {
    "access_denied": "it was refused on GitHub",
    "expired_token": "the code has expired: begin again",
}

NOT_CONFIGURED = (
    "nobody can sign in here: GITHUB_APP_CLIENT_ID and GITHUB_APP_CLIENT_SECRET are not set"
)


def require_oauth(context: WebContext) -> OAuth:
    """Return GitHub's OAuth client, or abort with 404 if nobody can sign in."""
    if context.oauth is None:
        abort(404, NOT_CONFIGURED)
    return context.oauth


def safe_next(address: str) -> str:
    """Return the address if it is a path on this site, so that it's safe to redirect to; else the front page."""
    if len(address) > MAX_NEXT or not address.isprintable() or "\\" in address:
        return "/"
    if not address.startswith("/") or address.startswith("//"):
        return "/"
    parts = split_untrusted(address)
    if parts.scheme or parts.netloc:
        return "/"
    return "/" if parts.path.startswith("/sign-") else address


async def begin_session(context: WebContext, user: User, *, bearer: bool) -> tuple[str, float]:
    """Begin a session for a user whom GitHub has authenticated. Return its token and expiry time."""
    await context.store.users.put(UserRecord(user.id, user.node_id, user.login))
    log.info("signed in", user=user.id, login=user.login, by="device" if bearer else "browser")
    return await context.sessions.begin(user.id, bearer=bearer)


def _abort_stale() -> NoReturn:
    abort(
        400,
        "this sign-in has expired, was already used, or belongs to another browser: start again",
    )


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("sign_in", __name__)
    _add_web_flow(blueprint, context)
    _add_device_flow(blueprint, context)
    _add_account(blueprint, context)
    return blueprint


def _add_web_flow(blueprint: Blueprint, context: WebContext) -> None:
    """Add the routes of the web flow."""
    sessions = context.sessions
    states = sessions.serializer("state")
    exchanges = TokenBucket(EXCHANGES, EXCHANGES_PER_SECOND)
    used_states: TTLCache[str, bool] = TTLCache(MAX_USED_STATES, FLOW_SECONDS)

    async def exchange(github: OAuth, state: str) -> User:
        """Exchange GitHub's code, and return the user."""
        code = request.args.get("code", "")[:MAX_CODE]
        verifier = sessions.derive("verifier", state)
        try:
            return await github.user_by_code(code, context.external_url + CALLBACK_PATH, verifier)
        except SignInRefused as error:
            log.warning("sign-in refused", why=str(error), reason=error.reason)
            _abort_stale()
        except GitHubError as error:
            log.warning("sign-in failed", why=str(error))
            abort(502, "GitHub can't tell who you are at the moment: start again in a while")

    @blueprint.get("/sign-in")
    async def begin() -> AnyResponse:
        """Redirect to GitHub, which redirects to the callback, which redirects to `next`."""
        github, target = require_oauth(context), safe_next(request.args.get("next", "/"))
        if await current_visitor(context) is not None:
            return redirect(target, 303)
        state = secrets.token_urlsafe(24)
        verifier = sessions.derive("verifier", state)
        callback_url = context.external_url + CALLBACK_PATH
        response = redirect(github.authorize_url(callback_url, state, verifier))
        response.set_cookie(
            sessions.flow_cookie,
            states.dumps([state, target]),
            max_age=FLOW_SECONDS,
            secure=sessions.secure,
            httponly=True,
            samesite="Lax",
        )
        return response

    @blueprint.get(CALLBACK_PATH)
    async def callback() -> AnyResponse:
        """Complete the sign-in with the code that GitHub sent, or report its error."""
        github = require_oauth(context)
        try:
            state, target = states.loads(
                request.cookies.get(sessions.flow_cookie, ""), max_age=FLOW_SECONDS
            )
        except BadSignature:
            _abort_stale()
        returned = request.args.get("state", "")
        if not hmac.compare_digest(state.encode(), returned.encode(errors="replace")):
            _abort_stale()
        if request.args.get("error"):
            abort(403, "you are not signed in: GitHub was not allowed to identify you")
        if not exchanges.take():
            abort(429, "too many people are signing in at the moment: start again in a minute")
        if state in used_states:
            _abort_stale()
        used_states.store(state, True)
        user = await exchange(github, state)
        if (previous := await current_visitor(context)) is not None:
            await sessions.end(previous)
        token, _ = await begin_session(context, user, bearer=False)
        response = redirect(safe_next(target), 303)
        response.delete_cookie(sessions.flow_cookie, secure=sessions.secure, httponly=True)
        response.set_cookie(
            sessions.cookie, token, secure=sessions.secure, httponly=True, samesite="Lax"
        )
        return response


def _add_account(blueprint: Blueprint, context: WebContext) -> None:
    """Add the page of the visitor who is signed in, and signing out."""
    sessions = context.sessions

    @blueprint.post("/sign-out")
    async def sign_out() -> AnyResponse:
        """End this session, or all sessions of the user with `everywhere=yes`."""
        visitor = await current_visitor(context)
        if visitor is not None:
            form = await request.form
            await sessions.end(visitor, everywhere=form.get("everywhere") == "yes")
            await context.permissions.forget_everywhere(user_id=visitor.id)
            log.info("signed out", user=visitor.id, login=visitor.login)
        response = redirect("/", 303)
        response.delete_cookie(sessions.cookie, secure=sessions.secure, httponly=True)
        return response

    @blueprint.get("/me")
    async def account() -> str | Response | AnyResponse:
        """Show who is signed in."""
        visitor = await current_visitor(context)
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


def _add_device_flow(blueprint: Blueprint, context: WebContext) -> None:
    """Add the routes of the device flow."""
    devices = context.sessions.serializer("device")
    codes = TokenBucket(CODES, CODES_PER_SECOND)
    polls = TokenBucket(POLLS, POLLS_PER_SECOND)

    @blueprint.post("/sign-in/device")
    async def begin_device() -> Response:
        """Return a code, the address at which to enter it, and a handle for polling."""
        github = require_oauth(context)
        if not codes.take():
            abort(429, "too many terminals are signing in at the moment: try again in a minute")
        try:
            code = await github.device_code()
        except SignInRefused as error:
            log.warning("no device code", why=str(error), reason=error.reason)
            abort(
                409,
                "nobody can sign in from a terminal: the loop's operator has to tick "
                "\u201cEnable Device Flow\u201d in the settings of its GitHub App",
            )
        except GitHubError as error:
            log.warning("no device code", why=str(error))
            abort(502, "GitHub issues no codes at the moment: try again in a while")
        return jsonify(
            {
                "device": devices.dumps(code.device_code),
                "user_code": code.user_code,
                "verification_uri": code.verification_uri,
                "interval": code.interval,
                "expires_in": code.expires_in,
            }
        )

    @blueprint.post("/sign-in/device/token")
    async def poll_device() -> tuple[Response, int] | Response:
        """Return a token once the code has been entered. Until then, return 202 with the seconds to wait."""
        github = require_oauth(context)
        body: Any = await request.get_json(force=True, silent=True)
        device = body.get("device") if isinstance(body, dict) else None
        if not isinstance(device, str) or len(device) > MAX_DEVICE:
            abort(400, "device must be the one that was returned when the sign-in began")
        try:
            code = devices.loads(device, max_age=DEVICE_SECONDS)
        except BadSignature:
            abort(400, "device is not the one returned when the sign-in began, or is too old")
        if not polls.take():
            return jsonify({"pending": "slow_down", "interval": SLOW_DOWN_SECONDS}), 202
        try:
            user = await github.user_by_device(code)
        except SignInPending as pending:
            return jsonify({"pending": pending.reason, "interval": pending.seconds}), 202
        except SignInRefused as error:
            abort(403, REFUSALS.get(error.reason, "the code is no longer valid: begin again"))
        except GitHubError as error:
            log.warning("sign-in failed", why=str(error))
            abort(502, "GitHub can't tell who you are at the moment")
        token, expires_at = await begin_session(context, user, bearer=True)
        return jsonify({"token": token, "login": user.login, "expires_at": instant(expires_at)})
