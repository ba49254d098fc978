"""Who is connected, and whose turn it is."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from bassloop.runtimes.errors import NoRuntime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from bassloop.runtimes.platform import Platform
    from bassloop.runtimes.runtime import Runtime


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """What a page may show of a runtime."""

    id: str
    user_id: int
    login: str
    platform: Platform
    priority: int
    connected_at: float
    kind: str
    runs: tuple[str, ...]
    caveats: tuple[str, ...]


class Pool:
    """The runtimes that are connected now."""

    def __init__(self) -> None:
        self._runtimes: dict[str, Runtime] = {}
        self._changed = trio.Event()
        self._waiting = 0
        self._registered = 0
        self._outcomes: Counter[tuple[str, str]] = Counter()

    @asynccontextmanager
    async def registered(self, runtime: Runtime) -> AsyncIterator[None]:
        """Offer a runtime while the body runs.

        On the way out, also when cancelled, it is offered to nobody any more, and its calls raise
        RuntimeLost. Raises ValueError when its id is taken.
        """
        if runtime.id in self._runtimes:
            raise ValueError(f"a runtime {runtime.id} is registered already")
        self._runtimes[runtime.id] = runtime
        self._registered += 1
        self.look_again()
        try:
            yield
        finally:
            del self._runtimes[runtime.id]
            runtime.lose(f"{runtime} disconnected")
            self._outcomes.update(runtime.outcomes)
            runtime.outcomes = self._outcomes  # for the calls that end because of it

    def candidates(self, user_id: int, platform: Platform | None = None) -> list[Runtime]:
        """A user's runtimes that serve a platform, the first to be used first.

        That is the highest priority; among equals the least busy, then the longest connected. One that
        did not answer lately comes after all that did.
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

    def first(self, user_ids: Iterable[int], platform: Platform | None = None) -> Runtime | None:
        """The first candidate of the first of these users who has one; None when nobody has."""
        for user_id in user_ids:
            for runtime in self.candidates(user_id, platform):
                return runtime
        return None

    def look_again(self) -> None:
        """Let who waits look again: who is waited for has changed."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for(
        self, user_id: int, platform: Platform | None = None, *, timeout: float
    ) -> Runtime:
        """The first candidate of a user, as soon as there is one. Otherwise as :meth:`wait_for_any`."""
        return await self.wait_for_any(lambda: (user_id,), platform, timeout=timeout)

    async def wait_for_any(
        self,
        users: Callable[[], Sequence[int]],
        platform: Platform | None = None,
        *,
        timeout: float,
    ) -> Runtime:
        """The first candidate of the first of some users who has one, as soon as there is one.

        `users` is asked each time that somebody connects, and after :meth:`look_again`. Raises
        NoRuntime when none is there after `timeout` seconds; 0 doesn't wait.
        """
        self._waiting += 1
        try:
            with trio.move_on_after(timeout):
                while True:
                    changed = self._changed
                    if (found := self.first(users(), platform)) is not None:
                        return found
                    await changed.wait()
        finally:
            self._waiting -= 1
        raise NoRuntime(self._missing(users(), platform, timeout))

    def _missing(self, user_ids: Sequence[int], platform: Platform | None, timeout: float) -> str:
        waited = f" after {timeout:g} s" if timeout else ""
        found = [each for user_id in user_ids for each in self.candidates(user_id)]
        others = sorted({str(each.platform) for each in found})
        if not others:
            return f"no runner is connected{waited}"
        return f"no runner for {platform} is connected{waited}, only for {', '.join(others)}"

    def snapshot(self) -> list[RuntimeStatus]:
        """Who is connected, the longest first."""
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
        """Numbers for logs and metrics. `registered` counts all there ever were."""
        runtimes = self._runtimes.values()
        return {
            "runtimes": len(runtimes),
            "users": len({each.user_id for each in runtimes}),
            "calls": sum(each.active for each in runtimes),
            "waiting": self._waiting,
            "registered": self._registered,
        }

    def outcomes(self) -> Counter[tuple[str, str]]:
        """How many calls ended how, by method, of all runtimes there ever were."""
        total = Counter(self._outcomes)
        for runtime in self._runtimes.values():
            total.update(runtime.outcomes)
        return total

    def __repr__(self) -> str:
        now = self.statistics()
        connected = f"{now['runtimes']} connected of {now['users']} users"
        return f"<Pool: {connected}, {now['calls']} calls active, {now['waiting']} waiting>"
