"""`/login`: how people show an App who they are, in a browser (one click as whom one likes) or for a
terminal, and the users' tokens that come of it."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from quart import Response, redirect, request

from bassloop.standin import access, objects
from bassloop.standin.answers import Refusal, answer_json, json_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quart_trio import QuartTrio
    from werkzeug import Response as AnyResponse

    from bassloop.standin.standin import StandIn

CODE_SECONDS = 600.0
DEVICE_SECONDS = 900.0
TOKEN_SECONDS = 8 * 3600.0
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_ASKED = ("client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method")


@dataclass(slots=True)
class Code:
    """What a browser brings back: whose it is, for which address, and with which challenge."""

    login: str
    redirect_uri: str
    challenge: str
    expires_at: float


@dataclass(slots=True)
class Device:
    """A terminal that waits for somebody to type in its `user_code`. `login` is who did."""

    user_code: str
    expires_at: float
    interval: float
    asked_at: float = 0.0
    login: str = ""
    denied: bool = False


@dataclass(eq=False)
class SignIns:
    """Codes, devices and users' tokens of the stand-in's App.

    Args:
        callback_urls: what is registered as such in the App's settings; a browser is led nowhere else.
        interval: seconds between a terminal's questions, at least.
    """

    client_secret: str = field(default="client-secret", repr=False)
    callback_urls: list[str] = field(default_factory=list)
    interval: float = 5.0
    codes: dict[str, Code] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    issued: int = 0

    def new_code(self, login: str, asked: Mapping[str, str]) -> str:
        """A code for somebody who said yes."""
        code = secrets.token_hex(10)
        challenge = asked.get("code_challenge", "")
        self.codes[code] = Code(login, asked["redirect_uri"], challenge, time.time() + CODE_SECONDS)
        return code

    def new_token(self, login: str) -> dict[str, Any]:
        """A user's token, as it is told."""
        value = "ghu_" + secrets.token_urlsafe(27)
        self.tokens[value] = login
        self.issued += 1
        return {
            "access_token": value,
            "expires_in": int(TOKEN_SECONDS),
            "refresh_token": "ghr_" + secrets.token_urlsafe(57),
            "refresh_token_expires_in": 15_897_600,
            "scope": "",
            "token_type": "bearer",
        }

    def decide(self, user_code: str, login: str, *, allow: bool = True) -> None:
        """Let somebody type a terminal's code in, and say yes or no. KeyError for an unknown code."""
        waiting = {device.user_code: device for device in self.devices.values()}[user_code]
        waiting.login, waiting.denied = login, not allow


def add_routes(web: QuartTrio, standin: StandIn) -> None:
    """Add the routes."""
    _add_browser(web, standin)
    _add_device(web, standin)

    @web.post("/login/oauth/access_token")
    async def access_token() -> Response:
        given = await request.form
        if given.get("client_id") != standin.client_id:
            raise Refusal(404, "Not Found")
        if given.get("grant_type") == DEVICE_GRANT:
            return answer_json(_of_device(standin, given.get("device_code", "")))
        return answer_json(_of_code(standin, given))

    @web.delete("/applications/<client_id>/token")
    async def revoke_users(client_id: str) -> Response:
        asking = request.authorization
        theirs = (standin.client_id, standin.sign_ins.client_secret)
        if asking is None or (asking.username, asking.password) != theirs or client_id != theirs[0]:
            raise Refusal(401, "Requires authentication")
        if standin.sign_ins.tokens.pop((await json_body()).get("access_token", ""), None) is None:
            raise Refusal(404, "Not Found")
        return Response(b"", 204)

    @web.get("/user")
    async def whose() -> Response:
        account = standin.account(access.signed_in(standin))
        return answer_json(objects.public_user(standin, account))


def _add_browser(web: QuartTrio, standin: StandIn) -> None:
    @web.get("/login/oauth/authorize")
    async def authorize() -> Response:
        if request.args.get("client_id") != standin.client_id:
            raise Refusal(404, "Not Found")
        asked = {name: request.args[name] for name in _ASKED if name in request.args}
        if asked.get("redirect_uri") not in standin.sign_ins.callback_urls:
            page = "<h1>Be careful!</h1><p>The redirect_uri is not associated with this application.</p>"
            return Response(page, 400, content_type="text/html")
        if asked.get("code_challenge_method", "S256") != "S256":
            raise Refusal(400, "Only S256 is supported")
        return Response(_asking(standin, asked), content_type="text/html")

    @web.post("/login/oauth/authorize")
    async def authorized() -> AnyResponse:
        given = await request.form
        if given.get("redirect_uri") not in standin.sign_ins.callback_urls:
            raise Refusal(400, "Bad Request")
        back = {"state": given.get("state", "")}
        if given["login"]:
            back["code"] = standin.sign_ins.new_code(standin.account(given["login"]).login, given)
        else:
            back |= {"error": "access_denied", "error_description": "The user has denied access"}
        return redirect(f"{given['redirect_uri']}?{urlencode(back)}", 302)


def _add_device(web: QuartTrio, standin: StandIn) -> None:
    @web.post("/login/device/code")
    async def device_code() -> Response:
        given = await request.form
        if given.get("client_id") != standin.client_id:
            return answer_json({"error": "Not Found"}, 404)
        if not standin.device_flow:
            return answer_json({"error": "device_flow_disabled"})
        letters = "".join(secrets.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(8))
        made, signing = secrets.token_hex(20), standin.sign_ins
        device = Device(
            f"{letters[:4]}-{letters[4:]}", time.time() + DEVICE_SECONDS, signing.interval
        )
        signing.devices[made] = device
        told = {"device_code": made, "user_code": device.user_code, "interval": device.interval}
        page = f"{standin.url}/login/device"
        return answer_json({**told, "expires_in": int(DEVICE_SECONDS), "verification_uri": page})

    @web.get("/login/device")
    async def device_page() -> Response:
        known = [device.user_code for device in standin.sign_ins.devices.values()]
        code = '<p><label>Code <input name="user_code" value="{}"></label></p>'.format(
            known[-1] if known else ""
        )
        return Response(_page(standin, "Device activation", code), content_type="text/html")

    @web.post("/login/device")
    async def device_decided() -> Response:
        given = await request.form
        try:
            allow = bool(given["login"])
            standin.sign_ins.decide(given["user_code"], given["login"], allow=allow)
        except KeyError as error:
            raise Refusal(404, "Not Found") from error
        return Response("<h1>All set</h1>", content_type="text/html")


def _of_code(standin: StandIn, given: Mapping[str, str]) -> dict[str, Any]:
    """A token for a code, which is good once, or why not."""
    signing = standin.sign_ins
    if given.get("client_secret") != signing.client_secret:
        return _error(
            "incorrect_client_credentials", "The client_id and/or client_secret is wrong."
        )
    code = signing.codes.pop(given.get("code", ""), None)
    if code is None or code.expires_at < time.time():
        return _error("bad_verification_code", "The code passed is incorrect or expired.")
    if given.get("redirect_uri") != code.redirect_uri:
        return _error("redirect_uri_mismatch", "The redirect_uri is not the one of before.")
    digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
    if code.challenge and base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != code.challenge:
        return _error("bad_verification_code", "The code_verifier is wrong.")
    return signing.new_token(code.login)


def _of_device(standin: StandIn, device_code: str) -> dict[str, Any]:
    """A token for a device code that was typed in, or what it waits for."""
    signing, now = standin.sign_ins, time.time()
    device = signing.devices.get(device_code)
    if device is None:
        return _error("incorrect_device_code", "The device_code provided is not valid.")
    if device.expires_at < now:
        return _error("expired_token", "The device_code has expired.")
    if device.denied:
        return _error("access_denied", "The authorization request was denied.")
    if device.login:
        del signing.devices[device_code]
        return signing.new_token(device.login)
    early, device.asked_at = now < device.asked_at + device.interval, now
    if early:
        device.interval += 5
        return {**_error("slow_down", "Too many requests."), "interval": device.interval}
    return _error("authorization_pending", "The authorization request is still pending.")


def _error(reason: str, said: str) -> dict[str, Any]:
    return {"error": reason, "error_description": said, "error_uri": "https://docs.github.com"}


def _asking(standin: StandIn, asked: Mapping[str, str]) -> str:
    """The page that asks who one is."""
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in asked.items()
    )
    return _page(standin, f"Authorize {standin.app_slug}", hidden)


def _page(standin: StandIn, title: str, inside: str) -> str:
    people = [each.login for each in standin.accounts.values() if each.type == "User"]
    buttons = "".join(
        f'<p><button name="login" value="{escape(login)}">Authorize as {escape(login)}</button></p>'
        for login in people
    )
    cancel = '<p><button name="login" value="">Cancel</button></p>'
    return (
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><h1>{escape(title)}</h1>'
        f'<form method="post">{inside}{buttons}{cancel}</form>'
    )
