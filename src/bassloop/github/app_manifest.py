"""Creating an App from a manifest.

The operator's browser posts the manifest to GitHub's *web* host, GitHub asks them, and sends the
browser back with a code, which is exchanged for the App's credentials within the hour. The private
key is shown this once. A manifest can't switch the device flow on, have deliveries come as JSON, or
install the App.

https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from bassloop.github.errors import GitHubError, NotFound

if TYPE_CHECKING:
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
