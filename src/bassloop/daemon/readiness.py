"""Readiness: tells if the loop can do its work, and if not, which part can't."""

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
"""The parts, in the order in which they are told."""

KEPT_SECONDS = 5.0
"""How long an answer is given again: whoever asks often costs no more than who asks now and then."""

LATELY_SECONDS = 120.0
"""How long ago GitHub may have answered last, without being asked again."""

PROBE_SECONDS = 5.0
STORE_PROBE_SECONDS = 7.0
"""Longer than SQLite waits for another process that has the database locked, so that it says so."""

FAILING_SECONDS = 10.0
"""How long requests to the bucket may fail before the loop isn't ready."""

START_BACKOFF = Backoff(first=KEPT_SECONDS, longest=10.0)
"""The rests between looks at what isn't ready since the start."""

LITTLE_DISK = 64 << 20
MOST_SKEW = 60.0
"""Seconds that the clock may be off; GitHub refuses who signs with one that is further ahead."""


@dataclass(eq=False)
class Readiness:
    """Looks at the parts when it is asked, and at each not more often than every few seconds.

    Made once the gateway listens, which then does until the daemon ends.
    """

    store: Store
    inbox: Inbox
    github: GitHub
    evaluators: Evaluators
    _looking: KeyedLock[str] = field(default_factory=KeyedLock)
    _found: dict[str, tuple[float, PartStatus]] = field(default_factory=dict)
    """What was found of each part, and when."""
    _bucket_written: bool = False
    """Whether the bucket has taken an object as the loop needs it, which it can't while it is away at the start."""

    async def follow_start(self) -> None:
        """Look at the parts until all have been ready once, so that the log says what isn't, and when it is."""
        looks, waiting = 0, set(PARTS)
        while waiting:
            waiting = {each.part for each in await self.findings(waiting) if not each.ready}
            looks += 1
            if waiting:
                await trio.sleep(START_BACKOFF.delay(looks))

    async def findings(self, only: Collection[str] | None = None) -> tuple[PartStatus, ...]:
        """Return the state of each part, or of those that `only` names; none of them waits for another."""
        looks = {"store": self._store, "bucket": self._bucket, "github": self._github}
        if self.store.statistics().shipping is None:
            del looks["bucket"]
        asked = [name for name in looks if only is None or name in only]
        await run_all(partial(self._look, name, looks[name]) for name in asked)
        # What costs nothing is looked at last: the inbox starts while the others are asked for the first time.
        found = {name: self._found[name][1] for name in asked}
        for status in (self._gateway(), self._inbox()):
            found[status.part] = status
            self._note(status)
        return tuple(
            found[name] for name in PARTS if name in found and (only is None or name in only)
        )

    async def _look(self, name: str, look: Callable[[], Awaitable[PartStatus]]) -> None:
        """Look at a part, unless that was done a moment ago."""
        async with self._looking.hold(name):
            looked_at = self._found[name][0] if name in self._found else -math.inf
            if trio.current_time() - looked_at >= KEPT_SECONDS:
                self._note(await look())

    def _note(self, found: PartStatus) -> None:
        """Note what was found of a part, and log it if it is something else than before."""
        was_ready = self._found[found.part][1].ready if found.part in self._found else True
        if was_ready and not found.ready:
            log.warning("not ready", part=found.part, why=found.why)
        elif found.ready and not was_ready:
            log.info("ready again", part=found.part)
        self._found[found.part] = trio.current_time(), found

    async def _store(self) -> PartStatus:
        why = ""
        with trio.move_on_after(STORE_PROBE_SECONDS) as patience:
            try:
                await self.store.probe()
                free = (await self.store.figures()).free_bytes
                why = "" if free > LITTLE_DISK else f"only {free >> 20} MiB of disk are free"
            except StoreError as error:
                log.warning("store not writable", error=str(error))
                why = _explain(error)
        if patience.cancelled_caught:
            why = f"nothing was committed within {STORE_PROBE_SECONDS:g} s"
            if self.store.trouble is not None:
                why = _explain(self.store.trouble)
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
        """Ask the bucket for something, since no log may have gone there lately; return what is wrong."""
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
        return PartStatus("gateway", True)  # should it end, so does the daemon, and nobody answers

    def _inbox(self) -> PartStatus:
        if self.evaluators.failing:
            why = "the program that evaluates hooks does not start; the loop's log says why"
            return PartStatus("inbox", False, why)
        if self.inbox.running:
            return PartStatus("inbox", True, self._backlog())
        return PartStatus(
            "inbox", False, "deliveries are not handled: the loop starts, or shuts down"
        )

    def _backlog(self) -> str:
        """Return how much there is to do and when it will be through, if anything waits."""
        now = self.inbox.statistics()
        if not now["waiting"]:
            return ""
        left = self.inbox.pace.seconds_for(sum(now.values()), trio.current_time())
        through = "" if left is None else f"; through in about {format_duration(left)}"
        waiting = now["waiting"]
        return f"{waiting:,} {'deliveries wait' if waiting > 1 else 'delivery waits'}{through}"

    def _limited(self) -> str:
        """Return what GitHub's rate limits keep waiting, if they do."""
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
            with trio.move_on_after(PROBE_SECONDS) as patience:
                try:
                    await api.clock_skew()
                except GitHubError as error:
                    log.warning("github not reached", error=str(error))
            if patience.cancelled_caught:
                return PartStatus("github", False, f"it doesn't answer within {PROBE_SECONDS:g} s")
        why = api.trouble or ""
        if not why and abs(ahead := api.clock_ahead or 0.0) > MOST_SKEW:
            why = f"this machine's clock is {ahead:+.0f} s from GitHub's; set it right"
        elif not why and api.app_refused:
            why = "GitHub refuses the App's id or key (GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY)"
        return PartStatus("github", not why, why or self._limited())


def _explain(error: StoreError) -> str:
    """Return what is wrong with the store, without its place: anybody may ask."""
    match error:
        case StoreFull():
            return "the disk is full"
        case StoreLocked():
            return "another process keeps the database locked"
        case StoreUnreachable():
            return "the database can't be reached"
        case _:
            return "it can't be written; the loop's log says why"
