"""`/app` and `/installation`: the App, its tokens and deliveries, and creating it from a manifest.

Creating an App doesn't require signing in, so anybody can open the page. Otherwise it works like on GitHub's web host.
"""

from __future__ import annotations

import json
import secrets
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from quart import Response, redirect, request

from bassloop.github.app_registration import WEBHOOK_PATH
from bassloop.standin import authorization, objects
from bassloop.standin.authorization import CallRefused, json_body, json_response, link_next, page
from bassloop.standin.state import StandInError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import trio
    from quart_trio import QuartTrio
    from werkzeug import Response as AnyResponse

    from bassloop.standin.standin import StandIn
    from bassloop.standin.state import LoggedAttempt


MAX_NAME = 34


def add_routes(web: QuartTrio, standin: StandIn, nursery: trio.Nursery) -> None:
    """Add the routes. Redeliveries run in the nursery."""
    _add_app(web, standin)
    _add_tokens(web, standin)
    _add_deliveries(web, standin, nursery)
    _add_manifests(web, standin)


def _add_app(web: QuartTrio, standin: StandIn) -> None:
    @web.get("/app")
    async def app() -> Response:
        authorization.require_app(standin)
        return json_response({**objects.app(standin), "installations_count": 1})

    @web.get("/app/installations")
    async def installations() -> Response:
        authorization.require_app(standin)
        return page([objects.installation(standin)])

    @web.get("/app/installations/<int:number>")
    async def installation(number: int) -> Response:
        authorization.require_app(standin)
        _ours(standin, number)
        return json_response(objects.installation(standin))

    @web.get("/app/hook/config")
    async def config() -> Response:
        authorization.require_app(standin)
        return json_response(_hook_config(standin))

    @web.patch("/app/hook/config")
    async def configure() -> Response:
        authorization.require_app(standin)
        data = await json_body()
        if data.get("content_type", "json") not in ("json", "form"):
            raise CallRefused(422, "Content type is not included in the list")
        for name in ("content_type", "insecure_ssl"):
            if name in data:
                standin.hook_config[name] = str(data[name])
        if "url" in data:
            standin.hook_config["url"] = data["url"]
        if "secret" in data:
            standin.webhook_secret = data["secret"]
        return json_response(_hook_config(standin))

    @web.get("/rate_limit")
    async def rate_limit() -> Response:
        headers = standin.rate_limits.headers(authorization.identify(standin))
        names = ("Limit", "Remaining", "Used", "Reset")
        core = {name.lower(): int(headers[f"X-RateLimit-{name}"]) for name in names}
        return json_response({"resources": {"core": core, "search": core}, "rate": core})


def _hook_config(standin: StandIn) -> dict[str, str]:
    defaults = {
        "content_type": "json",
        "insecure_ssl": "0",
        "url": standin.hook_url + WEBHOOK_PATH,
    }
    secret = {"secret": "********"} if standin.webhook_secret else {}
    return {**defaults, **standin.hook_config, **secret}


def _add_tokens(web: QuartTrio, standin: StandIn) -> None:
    @web.post("/app/installations/<int:number>/access_tokens")
    async def access_tokens(number: int) -> Response:
        authorization.require_app(standin)
        _ours(standin, number)
        data = await json_body()
        permissions = _narrowed(standin, data)
        value, expires = standin.new_token(permissions)
        whole = "repository_ids" not in data and "repositories" not in data
        selected: dict[str, Any] = {"repository_selection": "all" if whole else "selected"}
        if not whole:
            selected["repositories"] = [objects.repository(standin)]
        token = {
            "token": value,
            "expires_at": objects.timestamp(expires),
            "permissions": permissions,
        }
        return json_response({**token, **selected}, 201)

    @web.delete("/installation/token")
    async def revoke() -> Response:
        del standin.tokens[authorization.require_installation(standin)]
        return Response(b"", 204)


def _ours(standin: StandIn, number: int) -> None:
    if number != standin.installation_id:
        raise CallRefused(404, "Not Found")


def _narrowed(standin: StandIn, data: Mapping[str, Any]) -> dict[str, str]:
    """Return the permissions of a new token. Refuses permissions that weren't granted."""
    numbers, names = data.get("repository_ids"), data.get("repositories")
    unknown = (numbers is not None and numbers != [standin.repository_id]) or (
        names is not None and names != [standin.name]
    )
    if unknown:
        message = "There is at least one repository that does not exist or is not accessible"
        raise CallRefused(422, f"{message} to the parent installation.")
    granted = dict(standin.permissions)
    wanted = data.get("permissions")
    if wanted is None:
        return granted
    levels = ("read", "write", "admin")
    for name, level in wanted.items():
        has = granted.get(name)
        if level not in levels or has is None or levels.index(level) > levels.index(has):
            raise CallRefused(
                422, "The permissions requested are not granted to this installation."
            )
    return dict(wanted)


def _add_deliveries(web: QuartTrio, standin: StandIn, nursery: trio.Nursery) -> None:
    @web.get("/app/hook/deliveries")
    async def deliveries() -> Response:
        authorization.require_app(standin)
        size = min(max(request.args.get("per_page", 30, int), 1), 100)
        below = request.args.get("cursor", None, int)
        newest = [
            attempt for attempt in reversed(standin.attempts) if below is None or attempt.id < below
        ]
        response = json_response([_summary(standin, attempt) for attempt in newest[:size]])
        if len(newest) > size:
            next_query = urlencode({"per_page": size, "cursor": newest[size - 1].id})
            link_next(response, f"{request.base_url}?{next_query}")
        return response

    @web.get("/app/hook/deliveries/<int:number>")
    async def delivery(number: int) -> Response:
        authorization.require_app(standin)
        return json_response(_whole(standin, _attempt(standin, number)))

    @web.post("/app/hook/deliveries/<int:number>/attempts")
    async def again(number: int) -> Response:
        authorization.require_app(standin)
        nursery.start_soon(partial(_redeliver, standin, _attempt(standin, number)))
        return json_response({}, 202)


async def _redeliver(standin: StandIn, attempt: LoggedAttempt) -> None:
    loop_url = attempt.url.removesuffix(WEBHOOK_PATH)
    try:
        await standin.deliver(loop_url, attempt.event, attempt.payload, guid=attempt.guid)
    except StandInError:
        # Nobody answered; the list of attempts records that, like GitHub's.
        return


def _attempt(standin: StandIn, number: int) -> LoggedAttempt:
    for attempt in standin.attempts:
        if attempt.id == number:
            return attempt
    raise CallRefused(404, "Not Found")


def _summary(standin: StandIn, attempt: LoggedAttempt) -> dict[str, Any]:
    repository = attempt.payload.get("repository") or {}
    installation = attempt.payload.get("installation") or {}
    is_answered = 200 <= attempt.status < 300
    return {
        "id": attempt.id,
        "guid": attempt.guid,
        "delivered_at": objects.timestamp(attempt.delivered_at),
        "redelivery": attempt.redelivery,
        "duration": 0.1,
        "status": "OK" if is_answered else "failed to connect to host",
        "status_code": attempt.status,
        "event": attempt.event,
        "action": attempt.payload.get("action"),
        "installation_id": installation.get("id"),
        "repository_id": repository.get("id"),
        "throttled_at": None,
    }


def _whole(standin: StandIn, attempt: LoggedAttempt) -> dict[str, Any]:
    headers = {"X-GitHub-Event": attempt.event, "X-GitHub-Delivery": attempt.guid}
    return {
        **_summary(standin, attempt),
        "url": attempt.url,
        "request": {"headers": headers, "payload": attempt.payload},
        "response": {"headers": {}, "payload": ""},
    }


def _add_manifests(web: QuartTrio, standin: StandIn) -> None:
    @web.post("/settings/apps/new")
    async def personal() -> Response:
        return await _confirmation_page(standin)

    @web.post("/organizations/<login>/settings/apps/new")
    async def of_organization(login: str) -> Response:
        if login.lower() not in standin.accounts:
            raise CallRefused(404, "Not Found")
        return await _confirmation_page(standin)

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
            raise CallRefused(404, "Not Found")
        return Response(f"<h1>Install {escape(slug)}</h1>", content_type="text/html")

    @web.post("/app-manifests/<code>/conversions")
    async def conversion(code: str) -> Response:
        if not standin.manifest_code or code != standin.manifest_code:
            raise CallRefused(404, "Not Found")
        standin.manifest_code = ""
        if standin.manifest:
            standin.permissions = dict(standin.manifest["default_permissions"])
            standin.events = tuple(standin.manifest["default_events"])
            address = standin.manifest["hook_attributes"]["url"]
            standin.hook_config.update(url=address, content_type="form")
            standin.sign_ins.callback_urls[:] = standin.manifest.get("callback_urls", [])
            standin.app_slug = "-".join(standin.manifest["name"].lower().split())
        credentials = {
            "client_secret": standin.sign_ins.client_secret,
            "webhook_secret": standin.webhook_secret,
            "pem": standin.app_private_key,
        }
        return json_response({**objects.app(standin), **credentials}, 201)


async def _confirmation_page(standin: StandIn) -> Response:
    """Return the page that asks the owner whether to create the App."""
    given = await request.form
    try:
        manifest = json.loads(given.get("manifest", ""))
        why = _manifest_error(manifest)
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


def _manifest_error(manifest: Any) -> str | None:
    """Return why GitHub would refuse a manifest, or None."""
    if not isinstance(manifest, dict):
        return "it is not an object"
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
