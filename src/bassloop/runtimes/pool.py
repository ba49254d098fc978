"""The pool of connected runtimes, and the choice among them."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import trio

from bassloop.bridge.grpc import MessageRoom
from bassloop.concurrency import Backoff
from bassloop.runtimes.runner_call import RuntimesError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from bassloop.runtimes.runtime import Platform, Runtime

LOCKED_OUT_SECONDS = 120.0
"""How long runners count as locked out after one was; longer than they wait between attempts."""


AGAIN = Backoff(first=1.0, longest=60.0, jitter=0.2)
"""How long a check waits before retrying a runtime that was lost before it answered."""

_NO_TIME = 1e-6
"""Seconds. Shorter times count as zero, since they may be rounding errors."""

DISMISSED_AFTER = 3.0
"""How long a draining node's runtime must be without a call to count as idle, since a check makes several."""

TRIED_AT_ONCE = 3
"""How many runtimes of one user a check tries before it waits for others."""


USER_BYTES, ALL_BYTES = 16 << 20, 64 << 20
"""The memory, in bytes, for large messages that are being read or processed, for one user and for all."""


class NoRuntime(RuntimesError):
    """No runtime of these users serves this platform, or none of them answered."""


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """A runtime's state, as pages show it."""

    id: str
    user_id: int
    login: str
    platform: Platform
    priority: int
    connected_at: float
    kind: str
    runs: tuple[str, ...]
    caveats: tuple[str, ...]


@dataclass(eq=False)
class RunnerWait:
    """The time that a check waits for runners, including after one that didn't answer.

    Args:
        seconds: the time limit; 0 doesn't wait.
        left: what is left of it.
        locked_out: the seconds that didn't count, because no runner could connect.
        reason: why the last runtime that was tried was lost.
    """

    seconds: float
    left: float = field(init=False)
    locked_out: float = field(default=0.0, init=False)
    reason: str | None = field(default=None, init=False)
    _try_again: dict[str, float] = field(default_factory=dict, init=False)
    _losses: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.left = self.seconds

    def note_lost(self, runtime: Runtime, seconds: float, reason: str, pool: Pool) -> None:
        """Note that a runtime was lost, and don't try it again for a while.

        If a machine is too busy to answer on some of its runtimes, trying its others doesn't help. So after
        the first few, all that are connected now aren't tried either.

        Args:
            seconds: how long it was tried, which counts towards the limit.
        """
        self.left -= seconds
        self.reason = reason
        self._losses += 1
        lost = [runtime]
        if self._losses >= TRIED_AT_ONCE:
            lost += pool.candidates(runtime.user_id)
        at = trio.current_time() + AGAIN.delay(self._losses)
        self._try_again.update((each.id, at) for each in lost)

    def may_try(self, runtime_id: str) -> bool:
        """Return whether a runtime may be tried now."""
        return trio.current_time() >= self._try_again.get(runtime_id, -math.inf)

    def next_try(self) -> float:
        """Return when the next lost runtime may be tried again; infinity if none was lost."""
        now = trio.current_time()
        return min((at for at in self._try_again.values() if at > now), default=math.inf)


class Pool:
    """The pool of connected runtimes."""

    def __init__(self) -> None:
        self._runtimes: dict[str, Runtime] = {}
        self._room = MessageRoom(ALL_BYTES)
        self._rooms = WeakValueDictionary[int, MessageRoom]()
        self._changed = trio.Event()
        self._waiting = 0
        self._registered = 0
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._locked_out_until = -math.inf
        self._is_offering = True
        self._dismissing = trio.Event()

    @asynccontextmanager
    async def registered(self, runtime: Runtime) -> AsyncGenerator[None]:
        """Offer a runtime while the body runs.

        On exit, even if cancelled, it is no longer offered, and its calls raise RuntimeLost. Raises ValueError if its
        id is taken.
        """
        if runtime.id in self._runtimes:
            raise ValueError(f"a runtime {runtime.id} is registered already")
        runtime.room = self._rooms.get(runtime.user_id)
        if runtime.room is None:
            runtime.room = self._rooms[runtime.user_id] = MessageRoom(USER_BYTES, self._room)
        self._runtimes[runtime.id] = runtime
        self._registered += 1
        self.notify()
        try:
            yield
        finally:
            del self._runtimes[runtime.id]
            runtime.lose(f"{runtime} disconnected")
            self._outcomes.update(runtime.outcomes)
            # The calls that end because of this are still to be counted.
            runtime.outcomes = self._outcomes

    def candidates(self, user_id: int, platform: Platform | None = None) -> list[Runtime]:
        """Return a user's runtimes that serve a platform, in the order of preference.

        The highest priority comes first, then the least busy, then the longest connected. One that hasn't answered
        lately comes after all others.
        """
        fit = [
            runtime
            for runtime in self._runtimes.values()
            if runtime.user_id == user_id and runtime.platform.serves(platform)
        ]
        return sorted(
            fit,
            key=lambda each: (
                each.is_silent,
                -each.priority,
                each.active,
                each.connected_at,
                each.id,
            ),
        )

    @property
    def is_offering(self) -> bool:
        """False once no more runtimes are given out."""
        return self._is_offering

    def stop_offering(self) -> None:
        """Give out no more runtimes. Tasks that wait for one keep waiting until they are cancelled."""
        self._is_offering = False
        self.notify()

    @property
    def is_dismissing(self) -> bool:
        """True once runtimes should move to another node."""
        return self._dismissing.is_set()

    def dismiss_idle(self) -> None:
        """Let runtimes move to another node, each as soon as it is idle."""
        self._dismissing.set()

    async def dismissal(self, runtime: Runtime) -> None:
        """Wait until a runtime should move to another node."""
        await self._dismissing.wait()
        await runtime.quiet(DISMISSED_AFTER)

    def first(
        self,
        user_ids: Iterable[int],
        platform: Platform | None = None,
        wait: RunnerWait | None = None,
    ) -> Runtime | None:
        """Return the first candidate of the first of these users who has one, or None.

        Args:
            wait: knows which runtimes are not to be tried yet.
        """
        if not self._is_offering:
            return None
        for user_id in user_ids:
            for runtime in self.candidates(user_id, platform):
                if wait is None or wait.may_try(runtime.id):
                    return runtime
        return None

    def notify(self) -> None:
        """Wake the tasks that wait for a runtime, because their users may have changed."""
        self._changed.set()
        self._changed = trio.Event()

    def note_lookup(self, admitted: bool) -> None:
        """Note whether runners can connect, according to the last attempt.

        While they can't, because GitHub doesn't say whose keys are whose, waiting for one doesn't count
        towards a check's limit. This state expires if nobody tries to connect any more.
        """
        now = trio.current_time()
        was_locked_out = now < self._locked_out_until
        self._locked_out_until = now if admitted else now + LOCKED_OUT_SECONDS
        if was_locked_out == admitted:
            self.notify()

    async def wait_for(
        self, user_id: int, platform: Platform | None = None, *, timeout: float
    ) -> Runtime:
        """Wait for the first candidate of a user; see :meth:`wait_for_any`."""
        return await self.wait_for_any(lambda: (user_id,), platform, RunnerWait(timeout))

    async def wait_for_any(
        self, users: Callable[[], Sequence[int]], platform: Platform | None, wait: RunnerWait
    ) -> Runtime:
        """Wait for the first candidate of the first of some users who has one, and return it.

        `users` is called whenever a runtime connects, and after :meth:`notify`. Raises NoRuntime when the time is
        over, of which only the part counts in which runners could connect.
        """
        self._waiting += 1
        try:
            while True:
                if not self._is_offering:
                    await trio.sleep_forever()
                changed, began = self._changed, trio.current_time()
                if (found := self.first(users(), platform, wait)) is not None:
                    return found
                if wait.left <= _NO_TIME:
                    raise NoRuntime(self._missing(users(), platform, wait))
                counts = began >= self._locked_out_until
                until = began + wait.left if counts else self._locked_out_until
                try:
                    with trio.move_on_at(min(until, wait.next_try())):
                        await changed.wait()
                finally:  # also if another node has a runtime, and the wait goes on after that one was no use
                    waited = trio.current_time() - began
                    if counts:
                        wait.left -= waited
                    else:
                        wait.locked_out += waited
        finally:
            self._waiting -= 1

    def _missing(self, user_ids: Sequence[int], platform: Platform | None, wait: RunnerWait) -> str:
        waited = f" after {wait.seconds:g} s" if wait.seconds else ""
        if wait.locked_out:
            waited += f" (not counting {wait.locked_out:.0f} s in which GitHub did not say whose keys are whose)"
        found = [each for user_id in user_ids for each in self.candidates(user_id)]
        if wait.reason and any(each.platform.serves(platform) for each in found):
            return f"no runner has answered{waited}: {wait.reason}"
        others = sorted({str(each.platform) for each in found})
        if not others:
            return f"no runner is connected{waited}"
        return f"no runner for {platform} is connected{waited}, only for {', '.join(others)}"

    def snapshot(self) -> list[RuntimeStatus]:
        """Return the connected runtimes, the longest connected first."""
        return [
            RuntimeStatus(
                id=each.id,
                user_id=each.user_id,
                login=each.login,
                platform=each.platform,
                priority=each.priority,
                connected_at=each.connected_at,
                kind=each.kind,
                runs=each.runs,
                caveats=each.caveats,
            )
            for each in sorted(
                self._runtimes.values(), key=lambda each: (each.connected_at, each.id)
            )
        ]

    def statistics(self) -> dict[str, int]:
        """Return numbers for logs and metrics; `registered` counts all runtimes since the start."""
        runtimes = self._runtimes.values()
        return {
            "runtimes": len(runtimes),
            "users": len({each.user_id for each in runtimes}),
            "calls": sum(each.active for each in runtimes),
            "waiting": self._waiting,
            "registered": self._registered,
        }

    def outcomes(self) -> Counter[tuple[str, str]]:
        """Return the number of finished calls since the start, by method and outcome."""
        total = Counter(self._outcomes)
        for runtime in self._runtimes.values():
            total.update(runtime.outcomes)
        return total

    def __repr__(self) -> str:
        now = self.statistics()
        connected = f"{now['runtimes']} connected of {now['users']} users"
        return f"<Pool: {connected}, {now['calls']} calls active, {now['waiting']} waiting>"
