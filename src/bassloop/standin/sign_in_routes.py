"""`/login`: sign in, in a browser (with one click, as anybody) or for a terminal, and get users' tokens."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from quart import Response, redirect, request

from bassloop.standin import authorization, objects
from bassloop.standin.authorization import CallRefused, json_body, json_response
from bassloop.standin.state import DeviceSignIn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quart_trio import QuartTrio
    from werkzeug import Response as AnyResponse

    from bassloop.standin.state import StandInState

DEVICE_SECONDS = 900.0
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_PARAMETERS = ("client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method")


def add_routes(web: QuartTrio, standin: StandInState) -> None:
    """Add the routes."""
    _add_browser(web, standin)
    _add_device(web, standin)

    @web.post("/login/oauth/access_token")
    async def access_token() -> Response:
        given = await request.form
        if given.get("client_id") != standin.client_id:
            raise CallRefused(404, "Not Found")
        if given.get("grant_type") == DEVICE_GRANT:
            return json_response(_of_device(standin, given.get("device_code", "")))
        return json_response(_of_code(standin, given))

    @web.delete("/applications/<client_id>/token")
    async def revoke_users(client_id: str) -> Response:
        caller = request.authorization
        expected = (standin.client_id, standin.sign_ins.client_secret)
        if (
            caller is None
            or (caller.username, caller.password) != expected
            or client_id != expected[0]
        ):
            raise CallRefused(401, "Requires authentication")
        if standin.sign_ins.tokens.pop((await json_body()).get("access_token", ""), None) is None:
            raise CallRefused(404, "Not Found")
        return Response(b"", 204)

    @web.get("/user")
    async def signed_in_user() -> Response:
        account = standin.account(authorization.require_user(standin))
        return json_response(objects.public_user(standin, account))


def _add_browser(web: QuartTrio, standin: StandInState) -> None:
    @web.get("/login/oauth/authorize")
    async def authorize() -> Response:
        if request.args.get("client_id") != standin.client_id:
            raise CallRefused(404, "Not Found")
        parameters = {name: request.args[name] for name in _PARAMETERS if name in request.args}
        if parameters.get("redirect_uri") not in standin.sign_ins.callback_urls:
            page = "<h1>Be careful!</h1><p>The redirect_uri is not associated with this application.</p>"
            return Response(page, 400, content_type="text/html")
        if parameters.get("code_challenge_method", "S256") != "S256":
            raise CallRefused(400, "Only S256 is supported")
        return Response(_authorize_page(standin, parameters), content_type="text/html")

    @web.post("/login/oauth/authorize")
    async def authorized() -> AnyResponse:
        given = await request.form
        if given.get("redirect_uri") not in standin.sign_ins.callback_urls:
            raise CallRefused(400, "Bad Request")
        back = {"state": given.get("state", "")}
        if given["login"]:
            back["code"] = standin.sign_ins.new_code(standin.account(given["login"]).login, given)
        else:
            back |= {"error": "access_denied", "error_description": "The user has denied access"}
        return redirect(f"{given['redirect_uri']}?{urlencode(back)}", 302)


def _add_device(web: QuartTrio, standin: StandInState) -> None:
    @web.post("/login/device/code")
    async def device_code() -> Response:
        given = await request.form
        if given.get("client_id") != standin.client_id:
            return json_response({"error": "Not Found"}, 404)
        if not standin.device_flow:
            return json_response({"error": "device_flow_disabled"})
        letters = "".join(secrets.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(8))
        device_code, sign_ins = secrets.token_hex(20), standin.sign_ins
        device = DeviceSignIn(
            f"{letters[:4]}-{letters[4:]}", time.time() + DEVICE_SECONDS, sign_ins.interval
        )
        sign_ins.devices[device_code] = device
        body = {
            "device_code": device_code,
            "user_code": device.user_code,
            "interval": device.interval,
        }
        page = f"{standin.url}/login/device"
        return json_response({**body, "expires_in": int(DEVICE_SECONDS), "verification_uri": page})

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
            raise CallRefused(404, "Not Found") from error
        return Response("<h1>All set</h1>", content_type="text/html")


def _of_code(standin: StandInState, given: Mapping[str, str]) -> dict[str, Any]:
    """Return a token for a code, which works once, or an error."""
    sign_ins = standin.sign_ins
    if given.get("client_secret") != sign_ins.client_secret:
        return _error(
            "incorrect_client_credentials", "The client_id and/or client_secret is wrong."
        )
    code = sign_ins.codes.pop(given.get("code", ""), None)
    if code is None or code.expires_at < time.time():
        return _error("bad_verification_code", "The code passed is incorrect or expired.")
    if given.get("redirect_uri") != code.redirect_uri:
        return _error("redirect_uri_mismatch", "The redirect_uri is not the one of before.")
    digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
    if code.challenge and base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != code.challenge:
        return _error("bad_verification_code", "The code_verifier is wrong.")
    return sign_ins.new_token(code.login)


def _of_device(standin: StandInState, device_code: str) -> dict[str, Any]:
    """Return a token for a device code that was entered, or an error."""
    sign_ins, now = standin.sign_ins, time.time()
    device = sign_ins.devices.get(device_code)
    if device is None:
        return _error("incorrect_device_code", "The device_code provided is not valid.")
    if device.expires_at < now:
        return _error("expired_token", "The device_code has expired.")
    if device.denied:
        return _error("access_denied", "The authorization request was denied.")
    if device.login:
        del sign_ins.devices[device_code]
        return sign_ins.new_token(device.login)
    early, device.polled_at = now < device.polled_at + device.interval, now
    if early:
        device.interval += 5
        return {**_error("slow_down", "Too many requests."), "interval": device.interval}
    return _error("authorization_pending", "The authorization request is still pending.")


def _error(reason: str, message: str) -> dict[str, Any]:
    return {"error": reason, "error_description": message, "error_uri": "https://docs.github.com"}


def _authorize_page(standin: StandInState, parameters: Mapping[str, str]) -> str:
    """Return the page for choosing a user."""
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in parameters.items()
    )
    return _page(standin, f"Authorize {standin.app_slug}", hidden)


def _page(standin: StandInState, title: str, inside: str) -> str:
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
