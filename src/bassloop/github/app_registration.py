"""The App's registration on GitHub: how it's created, its settings, and its webhook with the delivery attempts.

To create an App, the operator's browser posts a manifest to GitHub's *web* host, GitHub asks them, and sends the
browser back with a code, which is exchanged for the App's credentials within the hour. The private key is shown this
once. A manifest can't switch the device flow on, have deliveries come as JSON, or install the App.

GitHub lists delivery attempts for three days (an Enterprise Server for seven), newest first, without a filter by
time; the attempts of one event share its `guid`, which is the delivery's `X-GitHub-Delivery`. The payload of an attempt
comes as parsed JSON and not as the bytes that were signed: it is trusted because it was fetched over the App's own
connection.

https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
https://docs.github.com/rest/apps/webhooks
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from bassloop.github.errors import GitHubError, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bassloop.github.app_credentials import App
    from bassloop.github.rest_client import RestClient


PERMISSIONS = {
    "checks": "write",
    "contents": "read",
    "merge_queues": "read",
    "metadata": "read",
    "pull_requests": "read",
}
EVENTS = ("merge_group", "pull_request", "push", "repository")
"""The events to subscribe to. The permission `checks` includes check_run and check_suite."""

WEBHOOK_PATH = "/integrations/github/events"
"""The path of the webhook, below the loop's external URL."""

CALLBACK_PATH = "/sign-in/callback"
"""The path to which GitHub redirects browsers after signing in, below the loop's external URL."""

_CODE = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")
_ORGANIZATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")

MAX_PAGES = 1_000


@dataclass(frozen=True, slots=True)
class NewApp:
    """An App that GitHub created. `webhook_secret` is None when GitHub sent none."""

    id: int
    slug: str
    html_url: str
    client_id: str
    client_secret: str = field(repr=False)
    private_key: str = field(repr=False)
    webhook_secret: str | None = field(repr=False)


def manifest(name: str, external_url: str, redirect_url: str) -> dict[str, Any]:
    """Return the manifest.

    Args:
        external_url: the loop's, without a slash at its end.
        redirect_url: the page to which GitHub redirects the browser with the code.
    """
    return {
        "name": name,
        "url": external_url,
        "description": "Runs a project's checks on the machine of whoever pushed.",
        "hook_attributes": {"url": f"{external_url}{WEBHOOK_PATH}", "active": True},
        "redirect_url": redirect_url,
        "callback_urls": [f"{external_url}{CALLBACK_PATH}"],
        "public": False,
        "default_permissions": dict(PERMISSIONS),
        "default_events": list(EVENTS),
    }


def form_url(web_url: str, state: str, organization: str | None = None) -> str:
    """Return the URL that the browser posts the manifest to, as the form field ``manifest``.

    Raises ValueError if the organization isn't a login.

    Args:
        state: comes back with the code, and must be compared with what was sent.
    """
    if organization is None:
        path = "/settings/apps/new"
    elif _ORGANIZATION.match(organization):
        path = f"/organizations/{organization}/settings/apps/new"
    else:
        raise ValueError(f"{organization[:50]!r} is not an organization's login")
    return f"{web_url.rstrip('/')}{path}?state={quote(state, safe='')}"


def web_url(api_url: str) -> str:
    """Return the web URL that belongs to an API's base URL, for github.com and Enterprise Servers."""
    parts = urlsplit(api_url)
    host = parts.netloc
    if host == "api.github.com" or (host.startswith("api.") and host.endswith(".ghe.com")):
        host = host.removeprefix("api.")
    return f"{parts.scheme}://{host}"


async def exchange(api: RestClient, code: str) -> NewApp:
    """Exchange a code, which can be used once within an hour, for the App. Raises GitHubError."""
    if not _CODE.match(code):
        raise GitHubError("GitHub came back with something that isn't a code")
    try:
        found = await api.call("POST", f"/app-manifests/{code}/conversions", data={})
    except NotFound as error:
        message = "GitHub does not know this code: it is older than an hour, or was used already"
        raise NotFound(f"{message}; start again", error.status) from error
    try:
        secret = found.get("webhook_secret")
        return NewApp(
            id=int(found["id"]),
            slug=str(found.get("slug") or ""),
            html_url=str(found["html_url"]),
            client_id=str(found["client_id"]),
            client_secret=str(found["client_secret"]),
            private_key=str(found["pem"]),
            webhook_secret=secret if isinstance(secret, str) and secret else None,
        )
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        message = "GitHub made an App, but its answer can't be read; delete the App and start again"
        raise GitHubError(message, uncertain=True) from error


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One of GitHub's attempts at a delivery. `delivered_at` is in seconds since the epoch.

    Args:
        status: the HTTP status that the loop answered; 0 if it didn't answer.
    """

    id: int
    guid: str
    event: str
    action: str | None
    delivered_at: float
    status: int
    redelivery: bool

    @property
    def arrived(self) -> bool:
        """True if the loop accepted it."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """The settings of the webhook; `content_type` must be ``json``."""

    url: str
    content_type: str
    insecure_ssl: bool
    has_secret: bool


@dataclass(frozen=True, slots=True)
class AppInfo:
    """The App's registration: its permissions by name, and the events that it subscribes to.

    Args:
        organization: its owner, or None if a person owns it.
    """

    id: int
    slug: str
    html_url: str
    permissions: Mapping[str, str]
    events: tuple[str, ...]
    installations: int
    organization: str | None = None

    @property
    def settings_url(self) -> str:
        """The page where the owner edits its settings."""
        parts = urlsplit(self.html_url)
        web = f"{parts.scheme}://{parts.netloc}"
        owner = f"/organizations/{self.organization}" if self.organization else ""
        return f"{web}{owner}/settings/apps/{self.slug}"


@dataclass(frozen=True, eq=False)
class AppWebhook:
    """The App's webhook. Every operation raises GitHubError."""

    app: App

    async def config(self) -> WebhookConfig:
        """Return the webhook's settings."""
        found = await self._get("/app/hook/config")
        insecure = str(found.get("insecure_ssl", "0")) == "1"
        url, form = str(found.get("url") or ""), str(found.get("content_type") or "form")
        return WebhookConfig(url, form, insecure, bool(found.get("secret")))

    async def configure(self, *, url: str, secret: str) -> None:
        """Set the webhook's URL and secret. Deliveries are sent as JSON, and the URL's certificate is verified."""
        config = {"url": url, "content_type": "json", "insecure_ssl": "0", "secret": secret}
        await self.app.api.call(
            "PATCH", "/app/hook/config", credential=self.app.credential, data=config
        )

    async def info(self) -> AppInfo:
        """Return the App's registration."""
        found = await self._get("/app")
        try:
            owner = found.get("owner") or {}
            organization = owner.get("login") if owner.get("type") == "Organization" else None
            return AppInfo(
                id=int(found["id"]),
                slug=str(found.get("slug") or ""),
                html_url=str(found.get("html_url") or ""),
                permissions=dict(found.get("permissions") or {}),
                events=tuple(found.get("events") or ()),
                installations=int(found.get("installations_count") or 0),
                organization=organization,
            )
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            raise GitHubError("GitHub's answer is not an App") from error

    async def attempts(self, since: float, *, most: int | None = None) -> list[DeliveryAttempt]:
        """Return the attempts since a time (seconds since the epoch), newest first, at most `most`."""
        url: str | None = "/app/hook/deliveries?per_page=100"
        found: list[DeliveryAttempt] = []
        for _ in range(MAX_PAGES):
            if url is None:
                break
            page, url = await self.app.api.page(url, credential=self.app.credential)
            if not isinstance(page, list):
                raise GitHubError("GitHub's answer is not a list of deliveries")
            attempts = [_attempt(item) for item in page]
            found += [attempt for attempt in attempts if attempt.delivered_at >= since]
            if any(attempt.delivered_at < since for attempt in attempts):
                break
            if most is not None and len(found) >= most:
                break
        return found[:most]

    async def body(self, attempt: DeliveryAttempt) -> bytes:
        """Return an attempt's payload as JSON, which differs from the bytes that were signed."""
        found = await self._get(f"/app/hook/deliveries/{attempt.id}")
        request = found.get("request")
        payload = request.get("payload") if isinstance(request, dict) else None
        if not isinstance(payload, dict):
            raise GitHubError(f"GitHub's answer has no payload for the delivery {attempt.guid}")
        return json.dumps(payload).encode()

    async def redeliver(self, attempt: DeliveryAttempt) -> None:
        """Ask GitHub to redeliver it, which happens some moments later and with the same guid."""
        path = f"/app/hook/deliveries/{attempt.id}/attempts"
        await self.app.api.call("POST", path, credential=self.app.credential)

    async def _get(self, path: str) -> dict[str, Any]:
        found = await self.app.api.call("GET", path, credential=self.app.credential)
        if not isinstance(found, dict):
            raise GitHubError(f"GitHub's answer to GET {path} is not an object")
        return found


def missing_deliveries(
    attempts: Collection[DeliveryAttempt], known: Collection[str]
) -> list[DeliveryAttempt]:
    """Return one attempt of each delivery that isn't stored here, oldest first.

    Args:
        known: the guids of stored deliveries. An attempt that the loop answered with success may be missing.
    """
    by_guid: dict[str, DeliveryAttempt] = {}
    for attempt in sorted(attempts, key=lambda each: (each.delivered_at, each.id)):
        if attempt.guid not in known:
            by_guid.setdefault(attempt.guid, attempt)
    return list(by_guid.values())


def _attempt(item: Any) -> DeliveryAttempt:
    try:
        action = item.get("action")
        return DeliveryAttempt(
            id=int(item["id"]),
            guid=str(item["guid"]),
            event=str(item["event"]),
            action=action if isinstance(action, str) else None,
            delivered_at=datetime.fromisoformat(item["delivered_at"]).timestamp(),
            status=int(item.get("status_code") or 0),
            redelivery=bool(item.get("redelivery")),
        )
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise GitHubError("GitHub's answer is not a list of deliveries") from error
