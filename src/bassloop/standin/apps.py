"""`/app` and `/installation`: the App, its tokens, and its deliveries."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from quart import Response, request

from bassloop.standin import access, objects
from bassloop.standin.answers import Refusal, answer_json, json_body, link_next, page
from bassloop.standin.standin import StandInError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import trio
    from quart_trio import QuartTrio

    from bassloop.standin.standin import Attempt, StandIn


def add_routes(web: QuartTrio, standin: StandIn, nursery: trio.Nursery) -> None:
    """Add the routes. What is redelivered lives in the nursery."""
    _add_app(web, standin)
    _add_tokens(web, standin)
    _add_deliveries(web, standin, nursery)


def _add_app(web: QuartTrio, standin: StandIn) -> None:
    @web.get("/app")
    async def app() -> Response:
        access.app(standin)
        return answer_json({**objects.app(standin), "installations_count": 1})

    @web.get("/app/installations")
    async def installations() -> Response:
        access.app(standin)
        return page([objects.installation(standin)])

    @web.get("/app/installations/<int:number>")
    async def installation(number: int) -> Response:
        access.app(standin)
        _ours(standin, number)
        return answer_json(objects.installation(standin))

    @web.get("/app/hook/config")
    async def config() -> Response:
        access.app(standin)
        return answer_json(_hook_config(standin))

    @web.patch("/app/hook/config")
    async def configure() -> Response:
        access.app(standin)
        data = await json_body()
        if data.get("content_type", "json") not in ("json", "form"):
            raise Refusal(422, "Content type is not included in the list")
        for name in ("content_type", "insecure_ssl"):
            if name in data:
                standin.hook_config[name] = str(data[name])
        if "url" in data:
            standin.hook_config["url"] = data["url"]
        if "secret" in data:
            standin.webhook_secret = data["secret"]
        return answer_json(_hook_config(standin))

    @web.get("/rate_limit")
    async def rate_limit() -> Response:
        headers = standin.allowances.headers(access.who(standin))
        names = ("Limit", "Remaining", "Used", "Reset")
        core = {name.lower(): int(headers[f"X-RateLimit-{name}"]) for name in names}
        return answer_json({"resources": {"core": core, "search": core}, "rate": core})


def _hook_config(standin: StandIn) -> dict[str, str]:
    usual = {
        "content_type": "json",
        "insecure_ssl": "0",
        "url": f"{standin.hook_url}/integrations/github/events",
    }
    secret = {"secret": "********"} if standin.webhook_secret else {}
    return {**usual, **standin.hook_config, **secret}


def _add_tokens(web: QuartTrio, standin: StandIn) -> None:
    @web.post("/app/installations/<int:number>/access_tokens")
    async def access_tokens(number: int) -> Response:
        access.app(standin)
        _ours(standin, number)
        data = await json_body()
        permissions = _narrowed(standin, data)
        value, expires = standin.new_token(permissions)
        whole = "repository_ids" not in data and "repositories" not in data
        selected: dict[str, Any] = {"repository_selection": "all" if whole else "selected"}
        if not whole:
            selected["repositories"] = [objects.repository(standin)]
        made = {"token": value, "expires_at": objects.stamp(expires), "permissions": permissions}
        return answer_json({**made, **selected}, 201)

    @web.delete("/installation/token")
    async def revoke() -> Response:
        del standin.tokens[access.installation(standin)]
        return Response(b"", 204)


def _ours(standin: StandIn, number: int) -> None:
    if number != standin.installation_id:
        raise Refusal(404, "Not Found")


def _narrowed(standin: StandIn, data: Mapping[str, Any]) -> dict[str, str]:
    """The permissions that a token is asked for. Refuses more than there are."""
    numbers, names = data.get("repository_ids"), data.get("repositories")
    unknown = (numbers is not None and numbers != [standin.repository_id]) or (
        names is not None and names != [standin.name]
    )
    if unknown:
        message = "There is at least one repository that does not exist or is not accessible"
        raise Refusal(422, f"{message} to the parent installation.")
    granted = dict(standin.permissions)
    wanted = data.get("permissions")
    if wanted is None:
        return granted
    levels = ("read", "write", "admin")
    for name, level in wanted.items():
        has = granted.get(name)
        if level not in levels or has is None or levels.index(level) > levels.index(has):
            raise Refusal(422, "The permissions requested are not granted to this installation.")
    return dict(wanted)


def _add_deliveries(web: QuartTrio, standin: StandIn, nursery: trio.Nursery) -> None:
    @web.get("/app/hook/deliveries")
    async def deliveries() -> Response:
        access.app(standin)
        size = min(max(request.args.get("per_page", 30, int), 1), 100)
        below = request.args.get("cursor", None, int)
        newest = [
            attempt for attempt in reversed(standin.attempts) if below is None or attempt.id < below
        ]
        response = answer_json([_summary(standin, attempt) for attempt in newest[:size]])
        if len(newest) > size:
            following = urlencode({"per_page": size, "cursor": newest[size - 1].id})
            link_next(response, f"{request.base_url}?{following}")
        return response

    @web.get("/app/hook/deliveries/<int:number>")
    async def delivery(number: int) -> Response:
        access.app(standin)
        return answer_json(_whole(standin, _attempt(standin, number)))

    @web.post("/app/hook/deliveries/<int:number>/attempts")
    async def again(number: int) -> Response:
        access.app(standin)
        nursery.start_soon(partial(_redeliver, standin, _attempt(standin, number)))
        return answer_json({}, 202)


async def _redeliver(standin: StandIn, attempt: Attempt) -> None:
    loop_url = attempt.url.removesuffix("/integrations/github/events")
    try:
        await standin.deliver(loop_url, attempt.event, attempt.payload, guid=attempt.guid)
    except StandInError:
        # Nobody answered; the attempt says so, as GitHub's list would.
        return


def _attempt(standin: StandIn, number: int) -> Attempt:
    for attempt in standin.attempts:
        if attempt.id == number:
            return attempt
    raise Refusal(404, "Not Found")


def _summary(standin: StandIn, attempt: Attempt) -> dict[str, Any]:
    repository = attempt.payload.get("repository") or {}
    installation = attempt.payload.get("installation") or {}
    answered = 200 <= attempt.status < 300
    return {
        "id": attempt.id,
        "guid": attempt.guid,
        "delivered_at": objects.stamp(attempt.delivered_at),
        "redelivery": attempt.redelivery,
        "duration": 0.1,
        "status": "OK" if answered else "failed to connect to host",
        "status_code": attempt.status,
        "event": attempt.event,
        "action": attempt.payload.get("action"),
        "installation_id": installation.get("id"),
        "repository_id": repository.get("id"),
        "throttled_at": None,
    }


def _whole(standin: StandIn, attempt: Attempt) -> dict[str, Any]:
    headers = {"X-GitHub-Event": attempt.event, "X-GitHub-Delivery": attempt.guid}
    return {
        **_summary(standin, attempt),
        "url": attempt.url,
        "request": {"headers": headers, "payload": attempt.payload},
        "response": {"headers": {}, "payload": ""},
    }
