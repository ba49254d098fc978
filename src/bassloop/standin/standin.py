"""The stand-in: its state, and the events that it delivers."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx

from bassloop.addresses import trusted_certificates
from bassloop.github import sign
from bassloop.github.app_registration import WEBHOOK_PATH
from bassloop.standin import payloads
from bassloop.standin.state import LoggedAttempt, StandInError, StandInState

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT_DELIVERIES = 10_000
HOOK_SECONDS = 60.0
"""How long a delivery waits for the loop's answer. GitHub waits for 10 s, but not on a machine that runs a trial."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The outcome of a delivery: its id, and the loop's response."""

    guid: str
    status: int
    message: str


@dataclass(eq=False)
class StandIn(StandInState):
    """A stand-in for github.com; see :class:`StandInState` for its parts."""

    async def payload(
        self, event: str, action: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Make a payload for an event; see :func:`bassloop.standin.payloads.make` for the options.

        Raises StandInError for an unsupported event.
        """
        return await payloads.make(self, event, action, **options)

    async def deliver(
        self, loop_url: str, event: str, payload: Mapping[str, Any], *, guid: str | None = None
    ) -> Delivered:
        """Sign a payload and post it, like GitHub. Raises StandInError if nobody answers.

        In both cases, the deliveries API lists the attempt.

        Args:
            loop_url: the loop's address, without the webhook's path.
            guid: the id of an earlier delivery that this one repeats.
        """
        body, number = json.dumps(payload).encode(), guid or str(uuid.uuid4())
        address = loop_url + WEBHOOK_PATH
        try:
            answer = await self._post(address, event, number, body)
        except httpx.HTTPError as error:
            self._note(number, event, payload, address, 0, redelivery=guid is not None)
            raise StandInError(f"the loop at {loop_url} did not answer: {error!r}") from error
        self._note(number, event, payload, address, answer.status_code, redelivery=guid is not None)
        return Delivered(number, answer.status_code, answer.text[:500])

    def lose(self, event: str, payload: Mapping[str, Any]) -> str:
        """Record a delivery that the loop never received, as if it was down. Return its guid."""
        guid = str(uuid.uuid4())
        self._note(guid, event, payload, WEBHOOK_PATH, 0, redelivery=False)
        return guid

    def backdate(self, guid: str, *, status: int, seconds: float) -> None:
        """Change the time and the status of all attempts of a delivery."""
        self.attempts = sorted(
            (
                replace(each, status=status, delivered_at=each.delivered_at - seconds)
                if each.guid == guid
                else each
                for each in self.attempts
            ),
            key=lambda each: each.delivered_at,
        )

    async def _post(self, address: str, event: str, guid: str, body: bytes) -> httpx.Response:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/standin",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": guid,
            "X-GitHub-Hook-ID": "1",
            "X-GitHub-Hook-Installation-Target-ID": str(self.app_id),
            "X-GitHub-Hook-Installation-Target-Type": "integration",
            "X-Hub-Signature-256": sign(self.webhook_secret.encode(), body),
        }
        async with httpx.AsyncClient(
            timeout=HOOK_SECONDS, trust_env=False, verify=trusted_certificates(address)
        ) as client:
            return await client.post(address, content=body, headers=headers)

    def _note(
        self,
        guid: str,
        event: str,
        payload: Mapping[str, Any],
        url: str,
        status: int,
        *,
        redelivery: bool,
    ) -> None:
        number, now = next(self.ids), time.time()
        self.attempts.append(
            LoggedAttempt(number, guid, event, payload, now, url, status, redelivery)
        )
        del self.attempts[:-KEPT_DELIVERIES]
