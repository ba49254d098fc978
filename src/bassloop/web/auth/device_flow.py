"""Signing in from a terminal: GitHub's device flow, asked by the loop for whoever runs a command.

The terminal is told a code to type in on GitHub, and asks here until that was done. What it gets is a
session of this loop; GitHub's token never leaves the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from itsdangerous import BadSignature
from quart import Blueprint, Response, abort, jsonify, request

from bassloop.concurrency import TokenBucket
from bassloop.github import GitHubError, SignInPending, SignInRefused
from bassloop.web.auth.sign_in import NOT_SET, begun
from bassloop.web.presentation import instant

if TYPE_CHECKING:
    from bassloop.github import OAuth
    from bassloop.web.context import WebContext

log = structlog.get_logger(__name__)

FLOW_SECONDS = 1800
CODES = 20, 10 / 60
QUESTIONS = 60, 120 / 60
"""Codes, and questions whether one was typed in, at once and a second: each is one to GitHub."""

MAX_DEVICE = 1000


def routes(context: WebContext) -> Blueprint:
    """The device flow's routes."""
    blueprint = Blueprint("devices", __name__)
    handles = context.sessions.serializer("device")
    codes, questions = TokenBucket(*CODES), TokenBucket(*QUESTIONS)

    def oauth() -> OAuth:
        if context.oauth is None:
            abort(404, NOT_SET)
        return context.oauth

    @blueprint.post("/sign-in/device")
    async def begin() -> Response:
        """A code to type in, where, and what to ask with."""
        github = oauth()
        if not codes.take():
            abort(429, "too many terminals sign in at this moment: try again in a minute")
        try:
            code = await github.device_code()
        except SignInRefused as error:
            log.warning("no device code", why=str(error), reason=error.reason)
            abort(
                409,
                "the loop's App lets nobody sign in from a terminal: its operator has to "
                "tick \u201cEnable Device Flow\u201d in the App's settings",
            )
        except GitHubError as error:
            log.warning("no device code", why=str(error))
            abort(502, "GitHub gives no code at this moment: try again in a while")
        return jsonify(
            {
                "device": handles.dumps(code.device_code),
                "user_code": code.user_code,
                "verification_uri": code.verification_uri,
                "interval": code.interval,
                "expires_in": code.expires_in,
            }
        )

    @blueprint.post("/sign-in/device/token")
    async def poll() -> tuple[Response, int] | Response:
        """A session, once the code was typed in; until then 202, with how long to wait."""
        github = oauth()
        asked: Any = await request.get_json(force=True, silent=True)
        device = asked.get("device") if isinstance(asked, dict) else None
        if not isinstance(device, str) or len(device) > MAX_DEVICE:
            abort(400, "device is what was given when the sign-in was begun")
        try:
            code = handles.loads(device, max_age=FLOW_SECONDS)
        except BadSignature:
            abort(400, "device is not what was given when the sign-in was begun, or is too old")
        if not questions.take():
            return jsonify({"pending": "slow_down", "interval": 10.0}), 202
        try:
            user = await github.user_by_device(code)
        except SignInPending as pending:
            return jsonify({"pending": pending.reason, "interval": pending.seconds}), 202
        except SignInRefused as error:
            said = {
                "access_denied": "it was refused on GitHub",
                "expired_token": "the code has expired: begin again",
            }
            abort(403, said.get(error.reason, "the code is not good any more: begin again"))
        except GitHubError as error:
            log.warning("sign-in failed", why=str(error))
            abort(502, "GitHub can't say who you are at this moment")
        token, expires_at = await begun(context, user, bearer=True)
        return jsonify({"token": token, "login": user.login, "expires_at": instant(expires_at)})

    return blueprint
