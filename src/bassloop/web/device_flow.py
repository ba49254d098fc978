"""Signing in from a terminal: GitHub's device flow, run by the loop for the terminal.

The terminal shows a code to enter on GitHub, and polls the loop until that has happened. Then it gets a session of
this loop. GitHub's token never leaves the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from itsdangerous import BadSignature
from quart import Blueprint, Response, abort, jsonify, request

from bassloop.concurrency import TokenBucket
from bassloop.github import GitHubError, SignInPending, SignInRefused
from bassloop.web.presentation import instant
from bassloop.web.sign_in import begin_session, require_oauth

if TYPE_CHECKING:
    from bassloop.web.web_context import WebContext


log = structlog.get_logger(__name__)

FLOW_SECONDS = 1800

CODES, CODES_PER_SECOND = 20, 1 / 6
POLLS, POLLS_PER_SECOND = 60, 2.0
"""Limits (burst size and rate) on requests for codes, and on polls. Each of these requests is a call to GitHub."""

SLOW_DOWN_SECONDS = 10.0
MAX_DEVICE = 1000

REFUSALS = {
    "access_denied": "it was refused on GitHub",
    "expired_token": "the code has expired: begin again",
}


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("device_flow", __name__)
    devices = context.sessions.serializer("device")
    codes = TokenBucket(CODES, CODES_PER_SECOND)
    polls = TokenBucket(POLLS, POLLS_PER_SECOND)

    @blueprint.post("/sign-in/device")
    async def begin() -> Response:
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
    async def poll() -> tuple[Response, int] | Response:
        """Return a token once the code has been entered. Until then, return 202 with the seconds to wait."""
        github = require_oauth(context)
        body: Any = await request.get_json(force=True, silent=True)
        device = body.get("device") if isinstance(body, dict) else None
        if not isinstance(device, str) or len(device) > MAX_DEVICE:
            abort(400, "device must be the one that was returned when the sign-in began")
        try:
            code = devices.loads(device, max_age=FLOW_SECONDS)
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

    return blueprint
