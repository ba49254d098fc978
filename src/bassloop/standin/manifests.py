"""Making an App from a manifest: the page that asks its owner, and the exchange of the code.

Nobody signs in here, so that the page is anybody's; the rest is as on GitHub's web host.
"""

from __future__ import annotations

import json
import secrets
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from quart import Response, redirect, request

from bassloop.standin import objects
from bassloop.standin.answers import Refusal, answer_json

if TYPE_CHECKING:
    from quart_trio import QuartTrio
    from werkzeug import Response as AnyResponse

    from bassloop.standin.standin import StandIn

MAX_NAME = 34


def add_routes(web: QuartTrio, standin: StandIn) -> None:
    """Add the routes."""

    @web.post("/settings/apps/new")
    async def personal() -> Response:
        return await _asked(standin)

    @web.post("/organizations/<login>/settings/apps/new")
    async def of_organization(login: str) -> Response:
        if login.lower() not in standin.accounts:
            raise Refusal(404, "Not Found")
        return await _asked(standin)

    @web.post("/settings/apps/manifest")
    async def confirmed() -> AnyResponse:
        given = await request.form
        standin.manifest = json.loads(given["manifest"])
        standin.manifest_code = secrets.token_hex(20)
        query = urlencode({"code": standin.manifest_code, "state": given["state"]})
        return redirect(f"{standin.manifest['redirect_url']}?{query}", 302)

    @web.get("/apps/<slug>/installations/new")
    async def install(slug: str) -> Response:
        if slug != standin.app_slug:
            raise Refusal(404, "Not Found")
        return Response(f"<h1>Install {escape(slug)}</h1>", content_type="text/html")

    @web.post("/app-manifests/<code>/conversions")
    async def conversion(code: str) -> Response:
        if not standin.manifest_code or code != standin.manifest_code:
            raise Refusal(404, "Not Found")
        standin.manifest_code = ""
        if standin.manifest:
            standin.permissions = dict(standin.manifest["default_permissions"])
            standin.events = tuple(standin.manifest["default_events"])
            address = standin.manifest["hook_attributes"]["url"]
            standin.hook_config.update(url=address, content_type="form")
            standin.sign_ins.callback_urls[:] = standin.manifest.get("callback_urls", [])
            standin.app_slug = "-".join(standin.manifest["name"].lower().split())
        made = {
            "client_secret": standin.sign_ins.client_secret,
            "webhook_secret": standin.webhook_secret,
            "pem": standin.app_private_key,
        }
        return answer_json({**objects.app(standin), **made}, 201)


async def _asked(standin: StandIn) -> Response:
    """The page that asks the owner whether the App is to be made."""
    given = await request.form
    try:
        manifest = json.loads(given.get("manifest", ""))
        why = _refusal(manifest)
    except ValueError:
        manifest, why = {}, "it is not JSON"
    if why is not None:
        page = f"<h1>Invalid GitHub App configuration</h1><p>{escape(why)}</p>"
        return Response(page, 422, content_type="text/html")
    hidden = {"manifest": json.dumps(manifest), "state": request.args.get("state", "")}
    fields = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in hidden.items()
    )
    name = escape(manifest["name"])
    page = (
        f'<link rel="icon" href="data:,"><title>Create GitHub App</title><h1>Create GitHub App {name}</h1>'
        f'<form method="post" action="/settings/apps/manifest">{fields}'
        f"<button>Create GitHub App for {escape(standin.login)}</button></form>"
    )
    return Response(page, content_type="text/html")


def _refusal(manifest: Any) -> str | None:
    """Why GitHub would not take a manifest; None when it would."""
    if not isinstance(manifest, dict):
        return "it is no object"
    if not isinstance(manifest.get("name"), str) or not 1 <= len(manifest["name"]) <= MAX_NAME:
        return f"name has 1 to {MAX_NAME} characters"
    addresses = {
        "url": manifest.get("url"),
        "hook_attributes.url": (manifest.get("hook_attributes") or {}).get("url"),
        "redirect_url": manifest.get("redirect_url"),
    }
    for name, address in addresses.items():
        if not isinstance(address, str) or not address.startswith(("http://", "https://")):
            return f"{name} must be a valid URL"
    own = {"check_run", "check_suite"} & set(manifest.get("default_events") or ())
    if own:
        return f"Default events unsupported: {', '.join(sorted(own))}"
    return None
