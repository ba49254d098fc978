"""The inbox: a delivery is verified, stored, answered, and then handled, in this order.

Stored means committed to disk, so that an answer of 202 is a promise. Handling resumes after a crash
with what is not finished; deliveries about the same head keep their order; a bounded number is
handled at once, each in a nursery of its own, so that one that fails takes nothing with it.

One that meets a GitHub that is down or limits us is postponed, for as long as it takes (days); one that
fails for a reason of its own is tried a few times, then set aside and shown.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from bassloop.deliveries.queue import Line, Waiting
from bassloop.deliveries.retry import advised, pause
from bassloop.github import MalformedEvent, parse_event, verify_signature
from bassloop.store import Delivery, Store, StoreError, StoreFull
from bassloop.telemetry.spans import span

log = structlog.get_logger(__name__)

_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_GUID = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_FINISHED = frozenset({"done", "held", "ignored", "failed", "set_aside"})

MAX_POSTPONED = 500
"""How often in a row a delivery is postponed, at most: for more than three days."""

MAX_CRASHES = 10
"""How often the loop may end unasked while it handles a delivery, before that one is suspected."""

AT_WORK = 16
"""How many deliveries may have had their turn and still wait for their checks, for each turn."""

RELEASE_SECONDS = 5.0
LONGEST_WAIT = 2 * 3600.0
"""A delivery that is to be tried later than this waits for a clock that was set, and is tried then."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A delivery's final state, a note for the operator, and the deliveries that are to be handled now
    because of it."""

    state: str
    note: str | None = None
    released: tuple[Delivery, ...] = ()


@dataclass(eq=False)
class Turn:
    """A delivery's turn: while it lasts, no other about the same head begins to be handled, and a
    bounded number of others."""

    _let_others: Callable[[], None]
    _let_the_same: Callable[[], None]
    idle: bool = False

    def rest(self) -> None:
        """Let deliveries about other heads begin, for this one waits. May be repeated."""
        if not self.idle:
            self.idle = True
            self._let_others()

    def end(self) -> None:
        """Let others begin, also about the same head: what is left is waiting for checks. May be
        repeated."""
        self.rest()
        self._let_the_same()


Handle = Callable[[Delivery, Turn], Awaitable[Outcome]]
"""Handles a delivery and returns how it ended; raises when another attempt may mend it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender of a delivery is told: an HTTP status and a sentence."""

    status: int
    message: str


@dataclass(eq=False)
class Inbox:
    """Accepts deliveries, and has them handled.

    Args:
        secret: what deliveries are signed with; None refuses all of them, for anybody could send one.
        at_once: how many have their turn at the same time.
        attempts: how often one that fails is tried before it is set aside.
        aside: told of a delivery that was set aside, and why.
        answers: how many were answered how, by event and HTTP status; the event is empty unless the
            delivery's signature was right.
        outcomes: how many attempts ended how, by event: in a final state, `failed` or `postponed`.
    """

    store: Store
    handle: Handle
    secret: bytes | None
    at_once: int = 64
    attempts: int = 3
    aside: Callable[[Delivery, str], Awaitable[None]] | None = None
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    _line: Line = field(default_factory=Line)
    _arrived: trio.Event = field(default_factory=trio.Event)
    _turns: int = 0
    _at_work: int = 0
    _finished: dict[str, trio.Event] = field(default_factory=dict)
    _closed: bool = False
    _running: bool = False

    def __repr__(self) -> str:
        return f"<Inbox: {self._at_work} handled, {len(self._line)} waiting>"

    def statistics(self) -> dict[str, int]:
        """How many deliveries are being handled, and how many wait."""
        return {"handling": self._at_work, "waiting": len(self._line)}

    @property
    def running(self) -> bool:
        """Whether deliveries are being handled."""
        return self._running and not self._closed

    async def accept(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Verify and store one delivery. It is on disk when the answer is 202.

        Names in `headers` are in lower case.

        Nothing of the body is parsed before its signature was found right. Cancelled, it is either
        stored (and will be handled) or not; the sender, unanswered, sends it again.
        """
        answer = await self._answer(headers, body)
        verified = answer.status in (202, 507)
        event = headers.get("x-github-event", "") if verified else ""
        self.answers[event, answer.status] += 1
        return answer

    async def _answer(self, headers: Mapping[str, str], body: bytes) -> Answer:
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
            log.warning("delivery refused", delivery=guid, event_name=name, why="not signed")
            return Answer(401, "the delivery is not signed; set the webhook secret in the App")
        if not verify_signature(self.secret, body, signature):
            log.warning("delivery refused", delivery=guid, event_name=name, why="wrong signature")
            return Answer(403, "the signature is wrong; is the webhook secret the same?")
        return await self._keep(guid, name, body)

    async def take(self, guid: str, event: str, body: bytes) -> bool:
        """Store a delivery that was fetched from GitHub, over the App's own connection; whether it is
        new. Raises MalformedEvent for what can't be read, and StoreError."""
        if not _EVENT_NAME.match(event) or not _GUID.match(guid):
            raise MalformedEvent(f"{event!r} or {guid!r} is no name of an event or a delivery")
        return await self._store(guid, event, body, wait=True)

    async def replay(self, guid: str) -> bool:
        """Handle a delivery anew that failed or was set aside; False
        when it is unknown, waits, is being handled, or is done."""
        if self._closed or not await self.store.replay_delivery(guid):
            return False
        delivery = await self.store.delivery(guid)
        assert delivery is not None
        log.info("delivery replayed", delivery=guid)
        self._enqueue(Waiting(guid, delivery.order_key))
        return True

    def resume(self, deliveries: Iterable[Delivery]) -> None:
        """Handle deliveries that the store has as `received` again."""
        for delivery in deliveries:
            log.info("delivery released", delivery=delivery.guid)
            self._enqueue(Waiting(delivery.guid, delivery.order_key))

    async def _keep(self, guid: str, name: str, body: bytes) -> Answer:
        try:
            new = await self._store(guid, name, body)
        except MalformedEvent as error:
            return Answer(400, f"the payload can't be read: {error}")
        except StoreError as error:
            log.error("delivery not stored", delivery=guid, error=str(error))
            if isinstance(error, StoreFull):
                return Answer(507, "the loop's disk is full; deliver again later")
            return Answer(503, "the loop can't store it now; deliver again later")
        return Answer(202, "accepted" if new else "this delivery is known already")

    async def _store(self, guid: str, name: str, body: bytes, *, wait: bool = False) -> bool:
        payload = await _parse_json(body)
        event = parse_event(name, payload)
        order_key = _order_key(event)
        with span("accept", trace=guid, delivery=guid, event=name):
            new = await self.store.record_delivery(
                guid,
                name,
                event.action,
                body,
                repository=event.repository.full_name if event.repository else None,
                head_sha=event.head.sha if event.head else None,
                sender=event.sender.login if event.sender else None,
                order_key=order_key,
                wait=wait,
            )
        if new:
            log.info("delivery accepted", delivery=guid, event_name=name, action=event.action)
            self._enqueue(Waiting(guid, order_key))
        return new

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Handle deliveries until :meth:`close` and the last one is done, or until cancelled.

        What an earlier process did not finish comes first.
        """
        for delivery in await self.store.unfinished_deliveries():
            log.info("delivery resumed", delivery=delivery.guid, attempts=delivery.attempts)
            self._enqueue(Waiting(delivery.guid, delivery.order_key), delivery.not_before)
        self._running = True
        task_status.started()
        async with trio.open_nursery() as nursery:
            while True:
                while (waiting := self._next()) is not None:
                    self._turns += 1
                    self._at_work += 1
                    nursery.start_soon(self._one, waiting)
                if self._closed and not self._at_work:
                    return
                self._arrived = trio.Event()
                with trio.move_on_at(self._line.next_time() if self._room() else math.inf):
                    await self._arrived.wait()

    def close(self) -> None:
        """Take no more; :meth:`run` returns when what it handles is done. What waits stays stored."""
        self._closed = True
        self._line.clear()
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

    def _enqueue(self, waiting: Waiting, not_before: float | None = None) -> None:
        """Put a delivery in the line. `not_before` is in seconds since the epoch."""
        at = -math.inf
        if not_before is not None and (seconds := not_before - time.time()) > 0:
            at = trio.current_time() + min(seconds, LONGEST_WAIT)
        if not self._closed:
            self._line.add(waiting, at)
        self._arrived.set()

    def _room(self) -> bool:
        return (
            not self._closed
            and self._turns < self.at_once
            and self._at_work < self.at_once * AT_WORK
        )

    def _next(self) -> Waiting | None:
        return self._line.take(trio.current_time()) if self._room() else None

    async def _one(self, waiting: Waiting) -> None:
        def let_others() -> None:
            self._turns -= 1
            self._arrived.set()

        def let_the_same() -> None:
            self._line.release(waiting)
            self._arrived.set()

        turn = Turn(let_others, let_the_same)
        again: float | None = None
        with structlog.contextvars.bound_contextvars(delivery=waiting.guid):
            try:
                with span("delivery", trace=waiting.guid, delivery=waiting.guid):
                    again = await self._attempt(waiting.guid, turn)
            finally:
                self._at_work -= 1
                if again is None:
                    turn.end()
                    if (event := self._finished.pop(waiting.guid, None)) is not None:
                        event.set()
                else:
                    # It keeps its place before others of its head, if it still has it.
                    turn.rest()
                    self._enqueue(waiting, again)
                self._arrived.set()

    async def _attempt(self, guid: str, turn: Turn) -> float | None:
        """Handle a delivery once. Returns when to try it again, in seconds since the epoch; None when
        it is over, or the loop is ending."""
        store, ended = self.store, False
        attempts = await store.set_delivery_state(guid, "handling")
        delivery = await store.delivery(guid)
        assert delivery is not None
        if attempts - delivery.failures > MAX_CRASHES:
            message = f"the loop ended {MAX_CRASHES} times while it handled this delivery"
            await self._set_aside(delivery, message)
            return None
        try:
            outcome = await self.handle(delivery, turn)
            ended = True
        except Exception as error:  # noqa: BLE001  (kept, and told by _put_back)
            ended = True
            return await self._put_back(delivery, error)
        finally:
            if not ended:
                with trio.move_on_after(RELEASE_SECONDS, shield=True):
                    await store.release_delivery(guid)
        await store.set_delivery_state(guid, outcome.state, outcome.note)
        self.outcomes[delivery.event, outcome.state] += 1
        self.resume(outcome.released)
        return None

    async def _put_back(self, delivery: Delivery, error: Exception) -> float | None:
        """Put a delivery back that could not be handled. Returns when to try it again, if at all."""
        guid, store = delivery.guid, self.store
        message = f"{type(error).__name__}: {error}"
        wait = advised(error)
        if wait is not None and delivery.postponed < MAX_POSTPONED:
            until = time.time() + max(wait, pause(delivery.postponed))
            await store.postpone_delivery(guid, message, until)
            self.outcomes[delivery.event, "postponed"] += 1
            log.warning("delivery postponed", why=message, seconds=round(until - time.time()))
            return until
        log.error("delivery failed", exc_info=error)
        until = time.time() + 2.0 ** (delivery.failures + 1)
        failures = await store.fail_delivery(guid, message, until)
        if failures < self.attempts:
            self.outcomes[delivery.event, "failed"] += 1
            return until
        await self._set_aside(delivery, message)
        return None

    async def _set_aside(self, delivery: Delivery, message: str) -> None:
        log.error("delivery set aside", why=message)
        self.outcomes[delivery.event, "set_aside"] += 1
        await self.store.set_delivery_state(delivery.guid, "set_aside", message)
        if self.aside is not None:
            await self.aside(delivery, message)


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
