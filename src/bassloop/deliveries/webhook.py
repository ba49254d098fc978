"""A webhook request before anything of it is stored: what a sender has to get right. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.github import verify_signature

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_GUID = re.compile(r"[A-Za-z0-9-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a webhook request: an HTTP status and a sentence."""

    status: int
    message: str


def well_formed(event: str, guid: str) -> bool:
    """Return whether these can be the name of an event and the id of a delivery."""
    return bool(_EVENT_NAME.match(event) and _GUID.match(guid))


def refusal(headers: Mapping[str, str], body: bytes, secret: bytes | None) -> Answer | None:
    """Return why a request is refused, or None if it is well formed and its signature is right.

    Nothing of the body is parsed.

    Args:
        headers: names in lower case.
        secret: what deliveries are signed with; None refuses all of them.
    """
    event, guid = headers.get("x-github-event", ""), headers.get("x-github-delivery", "")
    if not event:
        return Answer(400, "the header X-GitHub-Event is missing")
    if not well_formed(event, guid):
        return Answer(400, "the header X-GitHub-Event or X-GitHub-Delivery is malformed")
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        message = "set the webhook's content type to application/json in the App's settings"
        return Answer(415, message)
    if secret is None:
        return Answer(
            503, "this loop has no GITHUB_APP_WEBHOOK_SECRET, so it accepts no deliveries"
        )
    signature = headers.get("x-hub-signature-256", "")
    if not signature:
        return Answer(
            401, "the delivery is not signed; set the webhook secret in the App's settings"
        )
    if not verify_signature(secret, body, signature):
        return Answer(403, "the signature is wrong; is GITHUB_APP_WEBHOOK_SECRET the App's secret?")
    return None
