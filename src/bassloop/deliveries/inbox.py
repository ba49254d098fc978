"""The inbox: verifies deliveries, stores them, answers them, and has them handled, in this order.

*Stored* means committed to disk, so a 202 is a promise. After a crash, unfinished deliveries are resumed. Deliveries
about the same head keep their order. A bounded number is handled at a time, each in a task of its own, so that a
failure affects only one.

A delivery that can't be handled is tried again, as `scheduling` says, and then set aside for the operator.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from weakref import WeakValueDictionary

import structlog
import trio

from bassloop.concurrency import AutoResetEvent, Backoff, shielded
from bassloop.deliveries.backlog import Pace
from bassloop.deliveries.queue import DeliveryQueue, QueuedDelivery
from bassloop.deliveries.scheduling import (
    BACKOFF,
    LONGEST_DELAY,
    MAX_CRASHES,
    AdaptiveLimit,
    postponed_until,
    retried_at,
)
from bassloop.github import Event, MalformedEvent, Purpose, parse_event, spending
from bassloop.github.webhook_events import WebhookResponse, refusal, well_formed
from bassloop.lifecycle import DELIVERY_FINAL, DeliveryState
from bassloop.store import (
    Delivery,
    NotStored,
    Recorded,
    Replacement,
    Store,
    StoreConflict,
    StoreError,
    StoreFull,
)
from bassloop.telemetry.spans import span

log = structlog.get_logger(__name__)

HANDLED_PER_SLOT = 16
"""How many deliveries may be waiting for their checks, for each slot."""

PUT_BACK_SECONDS = 5.0
STORE_SECONDS = 60.0
_LARGE = 1 << 20
"""Bytes. A larger body is verified and parsed in a thread."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of handling a delivery.

    Args:
        state: the delivery's final state.
        note: the reason, for the operator.
        approved: deliveries that it has approved, which were held and can be handled now.
        is_handed_over: whether another node handles the delivery now. Then its state doesn't matter here.
    """

    state: DeliveryState
    note: str | None = None
    approved: tuple[Delivery, ...] = ()
    is_handed_over: bool = False


@dataclass(eq=False)
class Slot:
    """A delivery's slot: one of a bounded number, and the only one for its head.

    Both methods are idempotent.
    """

    _on_free: Callable[[], None]
    _on_unblock_head: Callable[[], None]
    _is_free: bool = False

    def free(self) -> None:
        """Let a delivery about another head have the slot, because this one is only waiting."""
        if not self._is_free:
            self._is_free = True
            self._on_free()

    def unblock_head(self) -> None:
        """Let deliveries about the same head be handled as well, because this one only waits for checks from now on."""
        self.free()
        self._on_unblock_head()


Handle = Callable[[Delivery, Slot], Awaitable[Outcome]]
"""Handles a delivery and returns its outcome. Raises if another attempt may succeed."""


@dataclass(eq=False)
class Inbox:
    """Accepts deliveries and has them handled.

    Args:
        secret: the webhook's secret. If it's None, all deliveries are refused, since anybody could send them.
        at_once: the number of slots, while the event loop isn't busy.
        attempts: how often a failing delivery is tried before it is set aside.
        on_set_aside: called with a delivery that was set aside, and the reason.
        may_begin: returns, for an installation's id and a repository's name, whether GitHub's limits allow new work
            there. Call :meth:`recheck` when that may have changed.
        backoff: the delays between attempts at GitHub.
        answers: the number of answers, by event and HTTP status. The event is empty unless the signature was valid.
        outcomes: the number of attempts, by event and outcome: a final state, `failed` or `postponed`.
        pace: the rate at which deliveries end.
        fetch_soon: set when deliveries may have been missed, because some were refused, or another node was lost.
    """

    store: Store
    handle: Handle
    secret: bytes | None
    at_once: int = 64
    attempts: int = 3
    on_set_aside: Callable[[Delivery, str], Awaitable[None]] | None = None
    may_begin: Callable[[int | None, str | None], bool] = lambda _, __: True
    backoff: Backoff = BACKOFF
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    pace: Pace = field(default_factory=Pace)
    fetch_soon: AutoResetEvent = field(default_factory=AutoResetEvent)
    _queue: DeliveryQueue = field(default_factory=DeliveryQueue)
    _changed: AutoResetEvent = field(default_factory=AutoResetEvent)
    _slots_taken: int = 0
    _limit: AdaptiveLimit = field(init=False)
    _handling: int = 0
    _finished: WeakValueDictionary[str, trio.Event] = field(default_factory=WeakValueDictionary)
    _known: set[str] = field(default_factory=set)
    """The deliveries that are queued or being handled."""
    _requeued: set[str] = field(default_factory=set)
    """Those of them that are queued again when they are finished."""
    is_draining: bool = field(default=False, init=False)
    """True once no more deliveries are started here."""
    is_running: bool = field(default=False, init=False)
    """True from when :meth:`run` begins until :meth:`drain` is called."""

    def __post_init__(self) -> None:
        self._limit = AdaptiveLimit(self.at_once)

    def __repr__(self) -> str:
        return f"<Inbox: {self._handling} handled, {len(self._queue)} waiting>"

    def statistics(self) -> dict[str, int]:
        """Return how many deliveries are being handled, and how many are waiting."""
        return {"handling": self._handling, "waiting": len(self._queue)}

    def recheck(self) -> None:
        """Check again which deliveries may be started."""
        self._changed.set()

    def retry_now(self) -> None:
        """Retry postponed deliveries now, oldest first, and fetch missed ones, because GitHub is back."""
        self._queue.end_delays()
        self._changed.set()
        self.fetch_soon.set()

    async def accept(self, headers: Mapping[str, str], body: bytes) -> WebhookResponse:
        """Verify and store the delivery of a webhook request. If the answer is 202, it is on disk.

        Names in `headers` are in lower case. The body isn't parsed before its signature is verified. If
        cancelled, the delivery is either stored, and will be handled, or not stored, and is fetched later as
        one that GitHub got no answer for.
        """
        answer = await self._accept(headers, body)
        verified = answer.status in (202, 507)
        event = headers.get("x-github-event", "") if verified else ""
        self.answers[event, answer.status] += 1
        return answer

    async def _accept(self, headers: Mapping[str, str], body: bytes) -> WebhookResponse:
        if self.is_draining and not self.store.nodes.own_id:
            return WebhookResponse(503, "the loop is shutting down; deliver again later")
        event, guid = headers.get("x-github-event", ""), headers.get("x-github-delivery", "")
        if (refused := await _refusal(headers, body, self.secret)) is not None:
            if refused.status in (401, 403):
                why = "not signed" if refused.status == 401 else "wrong signature"
                log.warning("delivery refused", delivery=guid, event_name=event, why=why)
            return refused
        try:
            new = await self._record(guid, event, body)
        except MalformedEvent as error:
            return WebhookResponse(400, f"the payload can't be read: {error}")
        except StoreError as error:
            log.error("delivery not stored", delivery=guid, error=str(error))
            self.fetch_soon.set()
            if isinstance(error, StoreFull):
                return WebhookResponse(507, "the loop's disk is full; deliver again later")
            return WebhookResponse(503, "the loop can't store it now; deliver again later")
        return WebhookResponse(202, "accepted" if new else "this delivery is known already")

    async def add_fetched(self, guid: str, event: str, body: bytes) -> bool:
        """Store a delivery that was fetched from GitHub or made by the loop, and return whether it is new.

        It has no signature, because it didn't arrive as a webhook. Waits while the disk is full. Raises
        MalformedEvent for a payload that can't be read, and StoreError.
        """
        if not well_formed(event, guid):
            raise MalformedEvent(f"{event!r} or {guid!r} can't be an event or a delivery's id")
        return await self._record(guid, event, body, wait=True)

    async def replay(self, guid: str) -> bool:
        """Handle a delivery again that failed or was set aside.

        Return False if it is unknown, waiting, being handled, or done.
        """
        if self.is_draining:
            return False
        # The person may close the page, but the delivery must be queued.
        with _shielded_from_hangup():
            if not await self.store.deliveries.replay(guid):
                return False
            log.info("delivery replayed", delivery=guid)
            delivery = await self.store.deliveries.get(guid)
            assert delivery is not None
            if delivery.node == self.store.nodes.own_id:
                self._enqueue(QueuedDelivery.of(delivery))
            return True

    def queue_approved(self, deliveries: Iterable[Delivery]) -> None:
        """Queue deliveries that were held, or found no runner, and are `received` again after an approval."""
        for delivery in deliveries:
            log.info("delivery approved", delivery=delivery.guid)
            self._enqueue(QueuedDelivery.of(delivery))

    async def queue_stored_late(self) -> None:
        """Queue deliveries that were stored after their senders had been told that it took too long."""
        for delivery in await self.store.deliveries.unfinished(own=True):
            if delivery.guid not in self._known:
                log.info("delivery stored late", delivery=delivery.guid)
                self._enqueue(QueuedDelivery.of(delivery), delivery.not_before)

    def queue_taken_over(self, deliveries: Iterable[Delivery]) -> None:
        """Queue deliveries that another node had, or accepted for this one."""
        for delivery in deliveries:
            if delivery.guid not in self._known:
                log.info("delivery taken over", delivery=delivery.guid, attempts=delivery.attempts)
            self._enqueue(QueuedDelivery.of(delivery), delivery.not_before)

    async def _record(self, guid: str, name: str, body: bytes, *, wait: bool = False) -> bool:
        """Store a delivery, and queue it if it's for this node. Return whether it is new.

        Args:
            wait: store it however long the database takes, unless cancelled.
        """
        event = await read_event(name, body)
        order_key = None
        if event.repository is not None and event.head is not None:
            order_key = f"{event.repository.id}:{event.head.sha}"
        repository = event.repository.full_name if event.repository else None
        record = partial(
            self.store.deliveries.record,
            guid,
            name,
            event.action,
            body,
            repository=repository,
            head_sha=event.head.sha if event.head else None,
            sender=event.sender.login if event.sender else None,
            order_key=order_key,
            installation_id=event.installation_id,
            replaces=_replacement(event),
            wait=wait,
        )
        shield = nullcontext() if wait else _shielded_from_hangup()
        with span("accept", trace=guid, delivery=guid, event=name), shield:
            recorded = await record()
        if recorded:
            log.info("delivery accepted", delivery=guid, event_name=name, action=event.action)
        if recorded is Recorded.HERE:
            installation = event.installation_id
            self._enqueue(QueuedDelivery(guid, order_key, repository, installation, time.time()))
        return bool(recorded)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Handle deliveries until :meth:`drain` was called and the last one is done, or until cancelled.

        It begins with those that an earlier process didn't finish.
        """
        for delivery in await self.store.deliveries.unfinished(own=True):
            log.info("delivery resumed", delivery=delivery.guid, attempts=delivery.attempts)
            self._enqueue(QueuedDelivery.of(delivery), delivery.not_before)
        self.is_running = not self.is_draining
        task_status.started()
        async with trio.open_nursery() as nursery:
            while True:
                while (queued := self._take()) is not None:
                    self._slots_taken += 1
                    self._handling += 1
                    nursery.start_soon(self._handle, queued, trio.current_time())
                if self.is_draining and not self._handling:
                    return
                now = trio.current_time()
                room = self._queue.next_time() if self._has_room() else self._limit.next_time(now)
                with trio.move_on_at(room):
                    await self._changed.wait()

    def drain(self) -> None:
        """Start no more deliveries, and let :meth:`run` return when those being handled are done.

        Waiting deliveries stay in the store for the next process.
        """
        self.is_draining, self.is_running = True, False
        self._queue.clear()  # other nodes, or the next process, take over its deliveries
        self._changed.set()

    async def finished(self, guid: str) -> Delivery:
        """Wait until a delivery is in a final state, and return it."""
        while True:
            # Before it's looked up, so that its end isn't missed. The event lasts as long as somebody waits for it.
            if (event := self._finished.get(guid)) is None:
                event = self._finished[guid] = trio.Event()
            delivery = await self.store.deliveries.get(guid)
            if delivery is not None and delivery.state in DELIVERY_FINAL:
                return delivery
            await event.wait()

    def _enqueue(self, queued: QueuedDelivery, not_before: float | None = None) -> None:
        """Queue a delivery, if necessary again after it is finished. `not_before` is in seconds since the epoch.

        It may be queued twice: one that is stored while the inbox starts is also found among the unfinished ones.
        But it must not be handled twice at the same time. The second time, it is skipped unless its state has changed.
        """
        at = -math.inf
        if not_before is not None and (seconds := not_before - time.time()) > 0:
            at = trio.current_time() + min(seconds, LONGEST_DELAY)
        if queued.guid in self._known:
            self._requeued.add(queued.guid)
        elif not self.is_draining:
            self._known.add(queued.guid)
            self._queue.add(queued, at)
        self._changed.set()

    def _has_room(self) -> bool:
        return (
            not self.is_draining
            and self._slots_taken < self._limit.at(trio.current_time())
            and self._handling < self.at_once * HANDLED_PER_SLOT
        )

    def _take(self) -> QueuedDelivery | None:
        if not self._has_room():
            return None
        return self._queue.take(trio.current_time(), self.may_begin)

    async def _handle(self, queued: QueuedDelivery, ready_at: float) -> None:
        self._limit.note_delay(trio.current_time() - ready_at, trio.current_time())

        def free() -> None:
            self._slots_taken -= 1
            self._changed.set()

        def unblock_head() -> None:
            self._queue.unblock_next(queued)
            self._changed.set()

        slot = Slot(free, unblock_head)
        try_again_at: float | None = None
        with structlog.contextvars.bound_contextvars(delivery=queued.guid):
            try:
                with span("delivery", trace=queued.guid, delivery=queued.guid):
                    try_again_at = await self._attempt(queued.guid, slot)
            except (StoreConflict, NotStored) as error:
                # It's another node's now, or was changed from outside. That mustn't affect other deliveries.
                log.warning("delivery not handled any more", why=str(error))
            finally:
                self._handling -= 1
                self._known.discard(queued.guid)
                if try_again_at is None:
                    self.pace.note(trio.current_time())
                    slot.unblock_head()
                    if (event := self._finished.pop(queued.guid, None)) is not None:
                        event.set()
                    if queued.guid in self._requeued:
                        self._requeued.discard(queued.guid)
                        self._enqueue(queued)
                else:
                    # if it's still the active delivery of its head, it stays that
                    slot.free()
                    self._enqueue(queued, try_again_at)
                self._changed.set()

    async def _attempt(self, guid: str, slot: Slot) -> float | None:
        """Handle a delivery once.

        Return when to try it again, in seconds since the epoch, or None if it is finished.
        """
        store = self.store
        try:
            await store.deliveries.set_state(guid, DeliveryState.HANDLING)
        except StoreConflict:  # an operator has skipped it meanwhile, or another node has it
            log.info("delivery skipped")
            return None
        delivery = await store.deliveries.get(guid)
        assert delivery is not None
        if delivery.evaluations >= MAX_CRASHES:
            message = f"the loop ended {MAX_CRASHES} times while it evaluated this delivery's hook"
            await self._set_aside(delivery, message)
            return None
        try:
            with spending(
                Purpose.START, since=delivery.received_at, repository=delivery.repository
            ):
                outcome = await self.handle(delivery, slot)
        except Exception as error:  # noqa: BLE001  (stored and logged by _reschedule)
            return await self._reschedule(delivery, error)
        except BaseException:
            with shielded(PUT_BACK_SECONDS):
                await store.deliveries.put_back(guid)
            raise
        if outcome.is_handed_over:
            log.info("delivery handed over")
            return None
        await store.deliveries.set_state(guid, outcome.state, outcome.note)
        self.outcomes[delivery.event, outcome.state] += 1
        self.queue_approved(outcome.approved)
        return None

    async def _reschedule(self, delivery: Delivery, error: Exception) -> float | None:
        """Postpone a delivery that couldn't be handled, schedule another attempt, or set it aside.

        Return when to try it again, in seconds since the epoch, or None if it was set aside.
        """
        guid, store = delivery.guid, self.store
        message = f"{type(error).__name__}: {error}"
        until = postponed_until(delivery, error, self.backoff, time.time())
        if until is not None:
            await store.deliveries.postpone(guid, message, until)
            self.outcomes[delivery.event, "postponed"] += 1
            log.warning("delivery postponed", why=message, seconds=round(until - time.time()))
            return until
        log.error("delivery failed", exc_info=error)
        until = retried_at(delivery, time.time())
        failures = await store.deliveries.fail(guid, message, until)
        if failures < self.attempts:
            self.outcomes[delivery.event, "failed"] += 1
            return until
        await self._set_aside(delivery, message)
        return None

    async def _set_aside(self, delivery: Delivery, message: str) -> None:
        log.error("delivery set aside", why=message)
        self.outcomes[delivery.event, "set_aside"] += 1
        await self.store.deliveries.set_state(delivery.guid, DeliveryState.SET_ASIDE, message)
        if self.on_set_aside is not None:
            try:
                await self.on_set_aside(delivery, message)
            except Exception:  # must not affect other deliveries
                log.exception("checks of a delivery that was set aside not ended")


@contextmanager
def _shielded_from_hangup() -> Generator[None]:
    """Let the body finish although whoever sent the request may hang up, which cancels it.

    Raises StoreError after `STORE_SECONDS`.
    """
    with shielded(STORE_SECONDS) as scope:
        yield
    if scope.cancelled_caught:
        raise StoreError(f"the database took longer than {STORE_SECONDS:.0f} s")


def _replacement(event: Event) -> Replacement | None:
    """Return the head that an event's head replaces, and its branch or pull request."""
    before = event.replaced_head
    if before is None or event.repository is None or event.head is None:
        return None
    if (branch_or_pull := event.head.branch_or_pull) is None:
        return None
    return Replacement(event.repository.id, before, branch_or_pull, event.head.sha)


async def read_event(name: str, body: bytes) -> Event:
    """Parse a webhook's body; a large one in a thread. Raises MalformedEvent."""
    if len(body) < _LARGE:
        return parse_event(name, body)
    return await trio.to_thread.run_sync(parse_event, name, body)


async def _refusal(
    headers: Mapping[str, str], body: bytes, secret: bytes | None
) -> WebhookResponse | None:
    """Return why a request is refused, or None. The signature of a large body is verified in a thread."""
    if len(body) < _LARGE:
        return refusal(headers, body, secret)
    return await trio.to_thread.run_sync(refusal, headers, body, secret)
