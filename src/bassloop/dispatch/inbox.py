"""The inbox: a delivery is verified, stored, answered, and then handled, in this order.

Stored means committed to disk, so that an answer of 202 is a promise. Handling resumes after a crash
with what is not finished; deliveries about the same head keep their order; a bounded number is
handled at once, each in a nursery of its own, so that one that fails takes nothing with it.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from bassloop.dispatch.delivery import Outcome
from bassloop.github import MalformedEvent, parse_event, verify_signature
from bassloop.store import Delivery, Store

log = structlog.get_logger(__name__)

_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_GUID = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_FINISHED = frozenset({"done", "ignored", "failed", "set_aside"})

Handle = Callable[[Delivery], Awaitable[Outcome]]
"""Handles a delivery and returns how it ended; raises when another attempt may mend it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender of a delivery is told: an HTTP status and a sentence."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A delivery that waits: its body stays on disk until it is handled."""

    guid: str
    order_key: str | None
    attempts: int


@dataclass(eq=False)
class Inbox:
    """Accepts deliveries, and has them handled.

    Args:
        secret: what deliveries are signed with; None refuses all of them, for anybody could send one.
        at_once: how many are handled at the same time.
        attempts: how often one that fails is tried before it is set aside.
    """

    store: Store
    handle: Handle
    secret: bytes | None
    at_once: int = 64
    attempts: int = 3
    _waiting: deque[_Waiting] = field(default_factory=deque)
    _arrived: trio.Event = field(default_factory=trio.Event)
    _busy_keys: set[str] = field(default_factory=set)
    _active: int = 0
    _finished: dict[str, trio.Event] = field(default_factory=dict)
    _closed: bool = False

    def __repr__(self) -> str:
        return f"<Inbox: {self._active} handled, {len(self._waiting)} waiting>"

    def statistics(self) -> dict[str, int]:
        """How many deliveries are being handled, and how many wait."""
        return {"handling": self._active, "waiting": len(self._waiting)}

    async def accept(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Verify and store one delivery. It is on disk when the answer is 202.

        Names in `headers` are in lower case.

        Nothing of the body is parsed before its signature was found right. Cancelled, it is either
        stored (and will be handled) or not; the sender, unanswered, sends it again.
        """
        if self._closed:
            return Answer(503, "the loop is shutting down; deliver again later")
        name, guid = headers.get("x-github-event", ""), headers.get("x-github-delivery", "")
        if not name:
            return Answer(400, "the header X-GitHub-Event is missing")
        if not _EVENT_NAME.match(name) or not _GUID.match(guid):
            return Answer(400, "the header X-GitHub-Event or X-GitHub-Delivery is malformed")
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            message = "set the webhook's content type to application/json in the App's settings"
            return Answer(415, message)
        if self.secret is None:
            return Answer(503, "this loop has no GITHUB_APP_WEBHOOK_SECRET; it takes no deliveries")
        signature = headers.get("x-hub-signature-256", "")
        if not signature:
            log.warning("delivery refused", guid=guid, event_name=name, why="not signed")
            return Answer(401, "the delivery is not signed; set the webhook secret in the App")
        if not verify_signature(self.secret, body, signature):
            log.warning("delivery refused", guid=guid, event_name=name, why="wrong signature")
            return Answer(403, "the signature is wrong; is the webhook secret the same?")
        try:
            payload = await _parse_json(body)
            event = parse_event(name, payload)
        except MalformedEvent as error:
            return Answer(400, f"the payload can't be read: {error}")
        order_key = _order_key(event)
        new = await self.store.record_delivery(
            guid,
            name,
            event.action,
            body,
            repository=event.repository.full_name if event.repository else None,
            head_sha=event.head.sha if event.head else None,
            sender=event.sender.login if event.sender else None,
            order_key=order_key,
        )
        if not new:
            return Answer(202, "this delivery is known already")
        log.info("delivery accepted", guid=guid, event_name=name, action=event.action)
        self._enqueue(_Waiting(guid, order_key, 0))
        return Answer(202, "accepted")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Handle deliveries until :meth:`close` and the last one is done, or until cancelled.

        What an earlier process did not finish comes first.
        """
        for delivery in await self.store.unfinished_deliveries():
            log.info("delivery resumed", guid=delivery.guid, attempts=delivery.attempts)
            self._enqueue(_Waiting(delivery.guid, delivery.order_key, delivery.attempts))
        task_status.started()
        async with trio.open_nursery() as nursery:
            while True:
                while (waiting := self._next()) is not None:
                    self._active += 1
                    if waiting.order_key:
                        self._busy_keys.add(waiting.order_key)
                    nursery.start_soon(self._one, waiting)
                if self._closed and not self._active:
                    return
                self._arrived = trio.Event()
                await self._arrived.wait()

    def close(self) -> None:
        """Take no more; :meth:`run` returns when what it handles is done. What waits stays stored."""
        self._closed = True
        self._waiting.clear()
        self._arrived.set()

    async def finished(self, guid: str) -> Delivery:
        """Wait until a delivery has been handled, set aside or ignored, and return it."""
        while True:
            event = self._finished.setdefault(guid, trio.Event())
            delivery = await self.store.delivery(guid)
            if delivery is not None and delivery.state in _FINISHED:
                self._finished.pop(guid, None)
                return delivery
            await event.wait()

    def _enqueue(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._arrived.set()

    def _next(self) -> _Waiting | None:
        """The oldest delivery that may be handled now: there is room, and its head is not busy."""
        if self._active >= self.at_once or self._closed:
            return None
        for index, waiting in enumerate(self._waiting):
            if waiting.order_key is None or waiting.order_key not in self._busy_keys:
                del self._waiting[index]
                return waiting
        return None

    async def _one(self, waiting: _Waiting) -> None:
        with structlog.contextvars.bound_contextvars(delivery=waiting.guid):
            try:
                await self._attempts(waiting.guid, waiting.attempts)
            finally:
                self._active -= 1
                self._busy_keys.discard(waiting.order_key or "")
                self._arrived.set()
                if (event := self._finished.pop(waiting.guid, None)) is not None:
                    event.set()

    async def _attempts(self, guid: str, before: int) -> None:
        """Handle one delivery, again after a failure, until it is done or has failed too often."""
        for attempt in range(before + 1, self.attempts + 1):
            await self.store.set_delivery_state(guid, "handling")
            delivery = await self.store.delivery(guid)
            assert delivery is not None
            try:
                outcome = await self.handle(delivery)
            except Exception as error:
                log.exception("delivery failed", attempt=attempt)
                message = f"{type(error).__name__}: {error}"
                await self.store.set_delivery_state(guid, "received", message)
                if attempt < self.attempts:
                    await trio.sleep(2.0**attempt)
            else:
                await self.store.set_delivery_state(guid, outcome.state, outcome.note)
                return
        log.error("delivery set aside", attempts=self.attempts)
        await self.store.set_delivery_state(guid, "set_aside")


async def _parse_json(body: bytes) -> dict[str, Any]:
    """Parse a body; a large one in a thread, for `json` holds the interpreter until it returns."""
    try:
        if len(body) < 64 * 1024:
            payload = json.loads(body)
        else:
            payload = await trio.to_thread.run_sync(json.loads, body)
    except (ValueError, RecursionError) as error:
        raise MalformedEvent(f"it is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise MalformedEvent("it is not a JSON object")
    return payload


def _order_key(event: Any) -> str | None:
    if event.repository is None or event.head is None:
        return None
    return f"{event.repository.id}:{event.head.sha}"
