"""Replaying a delivery: the running daemon gets it again, as if GitHub had redelivered it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from bassloop.github import sign
from bassloop.tools.local_daemon import DaemonError, daemon_address

if TYPE_CHECKING:
    from bassloop.settings import Settings
    from bassloop.store import Delivery

TIMEOUT_SECONDS = 30.0


def redeliver(settings: Settings, delivery: Delivery, body: bytes, url: str | None = None) -> str:
    """Post a delivery to the daemon, and return what it answers.

    Args:
        body: its payload.
        url: where the daemon listens, if not where the settings say.

    Raises DaemonError if the daemon refuses the delivery, or doesn't answer.
    """
    secret = settings.webhook_secret()
    if secret is None:
        raise DaemonError("GITHUB_APP_WEBHOOK_SECRET is not set, but the daemon needs it")
    where = (url or daemon_address(settings)).rstrip("/")
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": delivery.event,
        "X-GitHub-Delivery": delivery.guid,
        "X-Hub-Signature-256": sign(secret, body),
    }
    try:
        with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            answer = client.post(
                f"{where}/integrations/github/events", content=body, headers=headers
            )
    except httpx.HTTPError as error:
        raise DaemonError(
            f"the daemon at {where} did not answer: {error} (--url says where it listens)"
        ) from error
    if answer.status_code != 202:
        raise DaemonError(
            f"the daemon at {where} refused the delivery: {answer.status_code} {answer.text}"
        )
    return answer.text
