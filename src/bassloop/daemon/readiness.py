"""Readiness: whether the loop can do its work and, if not, which part can't."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.concurrency import Backoff, KeyedLock, run_all
from bassloop.github import GitHubError, Purpose
from bassloop.store import (
    BucketError,
    BucketUnreachable,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreUnreachable,
)
from bassloop.units import format_duration, format_size
from bassloop.web import PartStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from bassloop.deliveries.inbox import Inbox
    from bassloop.evaluator.evaluators import Evaluators
    from bassloop.github import GitHub
    from bassloop.store import Store

log = structlog.get_logger(__name__)

PARTS = ("store", "bucket", "gateway", "inbox", "github")
"""The parts, in the order in which they are reported."""

KEPT_SECONDS = 5.0
"""How long a finding is reused, in seconds, so that frequent requests cost no more than occasional ones."""

LATELY_SECONDS = 120.0
"""How recently GitHub must have answered not to be asked again, in seconds."""

PROBE_SECONDS = 5.0
STORE_PROBE_SECONDS = 7.0
"""Seconds; longer than SQLite waits for a lock, so that the reason is known."""

FAILING_SECONDS = 10.0
"""How long requests to the bucket may fail before the loop isn't ready, in seconds."""

START_BACKOFF = Backoff(first=KEPT_SECONDS, longest=10.0)
"""The delays between checks of parts that haven't been ready since the start."""

LITTLE_DISK = 64 << 20
MOST_SKEW = 60.0
"""How many seconds the clock may be off. GitHub refuses signatures by a clock that is further ahead."""


@dataclass(eq=False)
class Readiness:
    """Checks the parts on request, and each at most every few seconds.

    Created once the gateway listens, which it then does until the daemon ends.
    """

    store: Store
    inbox: Inbox
    github: GitHub
    evaluators: Evaluators
    _checking: KeyedLock[str] = field(default_factory=KeyedLock)
    _found: dict[str, tuple[float, PartStatus]] = field(default_factory=dict)
    """The latest finding for each part, and its time."""
    _bucket_written: bool = False
    """Whether the bucket has passed the test at the start, which it can't while it is away."""

    async def follow_start(self) -> None:
        """Check the parts until all have been ready once, so that the log says which aren't, and when they are."""
        attempts, waiting = 0, set(PARTS)
        while waiting:
            waiting = {each.part for each in await self.findings(waiting) if not each.ready}
            attempts += 1
            if waiting:
                await trio.sleep(START_BACKOFF.delay(attempts))

    async def findings(self, only: Collection[str] | None = None) -> tuple[PartStatus, ...]:
        """Return the state of each part, or of those in `only`. Parts are checked concurrently."""
        checks = {"store": self._store, "bucket": self._bucket, "github": self._github}
        if self.store.statistics().shipping is None:
            del checks["bucket"]
        checked = [name for name in checks if only is None or name in only]
        await run_all(partial(self._check, name, checks[name]) for name in checked)
        # The cheap ones come last: the inbox starts while the others are checked for the first time.
        found = {name: self._found[name][1] for name in checked}
        for status in (self._gateway(), self._inbox()):
            found[status.part] = status
            self._note(status)
        return tuple(
            found[name] for name in PARTS if name in found and (only is None or name in only)
        )

    async def _check(self, name: str, check: Callable[[], Awaitable[PartStatus]]) -> None:
        """Check a part, unless that was just done."""
        async with self._checking.hold(name):
            checked_at = self._found[name][0] if name in self._found else -math.inf
            if trio.current_time() - checked_at >= KEPT_SECONDS:
                self._note(await check())

    def _note(self, found: PartStatus) -> None:
        """Store a finding, and log it if it has changed."""
        was_ready = self._found[found.part][1].ready if found.part in self._found else True
        if was_ready and not found.ready:
            log.warning("not ready", part=found.part, why=found.why)
        elif found.ready and not was_ready:
            log.info("ready again", part=found.part)
        self._found[found.part] = trio.current_time(), found

    async def _store(self) -> PartStatus:
        why = ""
        with trio.move_on_after(STORE_PROBE_SECONDS) as scope:
            try:
                await self.store.probe()
                free = (await self.store.figures()).free_bytes
                why = "" if free > LITTLE_DISK else f"only {free >> 20} MiB of disk are free"
            except StoreError as error:
                log.warning("store not writable", error=str(error))
                why = _explain(error)
        if scope.cancelled_caught:
            why = f"nothing was committed within {STORE_PROBE_SECONDS:g} s"
            if self.store.write_error is not None:
                why = _explain(self.store.write_error)
        return PartStatus("store", not why, why)

    async def _bucket(self) -> PartStatus:
        shipping = self.store.statistics().shipping
        assert shipping is not None, "there is a bucket"
        waiting = f"{format_size(shipping.waiting_bytes)} of logs wait on this machine's disk"
        why = ""
        if shipping.full:
            why = f"commands have to wait: {waiting}, which is the most (BLOBS_WAITING)"
        elif shipping.failing_seconds > FAILING_SECONDS:
            why = f"nothing was stored for {format_duration(shipping.failing_seconds)}: {waiting}"
        elif not shipping.failing_seconds:
            why = await self._probe_bucket()
        if not why and shipping.failing_seconds:
            return PartStatus("bucket", True, waiting)
        return PartStatus("bucket", not why, why)

    async def _probe_bucket(self) -> str:
        """Make a request to the bucket, since there may have been none lately, and return what is wrong."""
        with trio.move_on_after(PROBE_SECONDS):
            try:
                await self.store.probe_bucket(write=not self._bucket_written)
            except BucketUnreachable as error:
                log.warning("bucket not reached", error=str(error))
                return "it can't be reached; the loop's log says why"
            except BucketError as error:
                log.error("bucket can't be used", error=str(error))
                return "it refuses what the loop needs; the loop's log says why"
            self._bucket_written = True
            return ""
        return f"it doesn't answer within {PROBE_SECONDS:g} s"

    def _gateway(self) -> PartStatus:
        # If it ended, so would the daemon, and nobody would answer.
        return PartStatus("gateway", True)

    def _inbox(self) -> PartStatus:
        if self.evaluators.failing:
            why = "the program that evaluates hooks does not start; the loop's log says why"
            return PartStatus("inbox", False, why)
        if self.inbox.is_running:
            return PartStatus("inbox", True, self._backlog())
        return PartStatus(
            "inbox", False, "deliveries are not handled: the loop starts, or shuts down"
        )

    def _backlog(self) -> str:
        """Return how many deliveries wait, and when they will be done, if any wait."""
        now = self.inbox.statistics()
        if not now["waiting"]:
            return ""
        left = self.inbox.pace.seconds_for(sum(now.values()), trio.current_time())
        through = "" if left is None else f"; done in about {format_duration(left)}"
        waiting = now["waiting"]
        return f"{waiting:,} {'deliveries wait' if waiting > 1 else 'delivery waits'}{through}"

    def _limited(self) -> str:
        """Return how many calls wait for GitHub's rate limits, if any do."""
        budgets = self.github.api.budgets().values()
        now = trio.current_time()
        closed = max((each.opens_at(Purpose.START, now) - now for each in budgets), default=0.0)
        waiting = sum(each.waiting.total() for each in budgets)
        if closed:
            return f"its rate limit lets nothing be started for {format_duration(closed)}"
        if not waiting:
            return ""
        return f"{waiting:,} {'calls wait' if waiting > 1 else 'call waits'} for its rate limit"

    async def _github(self) -> PartStatus:
        api = self.github.api
        if self.github.app is None:
            return PartStatus("github", True, "no App is set, so it is not asked")
        if api.trouble is not None or trio.current_time() - api.heard_at > LATELY_SECONDS:
            with trio.move_on_after(PROBE_SECONDS) as scope:
                try:
                    await api.clock_skew()
                except GitHubError as error:
                    log.warning("github not reached", error=str(error))
            if scope.cancelled_caught:
                return PartStatus("github", False, f"it doesn't answer within {PROBE_SECONDS:g} s")
        why = api.trouble or ""
        if not why and abs(ahead := api.clock_ahead or 0.0) > MOST_SKEW:
            why = f"this machine's clock is {ahead:+.0f} s from GitHub's; set it right"
        elif not why and api.app_refused:
            why = "GitHub refuses the App's id or key (GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY)"
        return PartStatus("github", not why, why or self._limited())


def _explain(error: StoreError) -> str:
    """Return what is wrong with the store, without its location, since anybody may ask."""
    match error:
        case StoreFull():
            return "the disk is full"
        case StoreLocked():
            return "another process keeps the database locked"
        case StoreUnreachable():
            return "the database can't be reached"
        case _:
            return "it can't be written; the loop's log says why"
