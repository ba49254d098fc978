"""Who follows a run, told that something changed and never what.

A follower that is woken reads the store from where it had got to. So nothing is queued for it: a slow
page reads later and more at once, a gone page costs nothing, and no visitor can hold up a check.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

Screen = Callable[[], list[bytes]]


@dataclass(slots=True, eq=False)
class _Followed:
    """One run that somebody follows. It is forgotten when the last follower leaves."""

    version: int = 0
    followers: int = 0
    changed: trio.Event = field(default_factory=trio.Event)


class Following:
    """One follower's place: the version that it has seen."""

    def __init__(self, followed: _Followed) -> None:
        self._followed = followed
        self._seen = -1

    @property
    def version(self) -> int:
        """The change that was seen last: it grows as long as somebody follows the run."""
        return self._seen

    async def changed(self) -> None:
        """Return when the run has changed since this last returned; the first call returns at once.

        Changes that come while the follower is busy are one change. Always a checkpoint; cancelling
        it loses nothing, the next call returns for the same change.
        """
        await trio.lowlevel.checkpoint()
        while self._seen == self._followed.version:
            await self._followed.changed.wait()
        self._seen = self._followed.version


class Tail:
    """The live end of every run's log.

    Recorders call :meth:`publish` after the store has what changed, and lend the lines that a
    terminal may still rewrite (they are not in the store yet) through :meth:`lend_screen`.
    """

    def __init__(self) -> None:
        self._runs: dict[str | None, _Followed] = {}
        self._screens: dict[int, Screen] = {}

    def __repr__(self) -> str:
        followers = sum(followed.followers for followed in self._runs.values())
        return f"<Tail: {followers} following {len(self._runs)} runs>"

    def publish(self, run_id: str) -> None:
        """Wake whoever follows this run, or all runs. Never blocks; free when nobody does."""
        for key in (run_id, None):
            followed = self._runs.get(key)
            if followed is not None:
                followed.version += 1
                followed.changed.set()
                followed.changed = trio.Event()

    @asynccontextmanager
    async def follow(self, run_id: str | None) -> AsyncGenerator[Following]:
        """Follow a run (it need not exist yet), or with None all of them, while the context lasts."""
        followed = self._runs.setdefault(run_id, _Followed())
        followed.followers += 1
        try:
            yield Following(followed)
        finally:
            followed.followers -= 1
            if not followed.followers:
                del self._runs[run_id]

    def lend_screen(self, vertex_row: int, screen: Screen | None) -> None:
        """Let followers see a live vertex's changing lines; None takes it back."""
        if screen is None:
            self._screens.pop(vertex_row, None)
        else:
            self._screens[vertex_row] = screen

    def live(self, vertex_row: int) -> bool:
        """Whether a vertex's log is being written."""
        return vertex_row in self._screens

    def screen(self, vertex_row: int) -> list[bytes]:
        """The lines of a vertex's log that may still change; none when it is not live."""
        screen = self._screens.get(vertex_row)
        return screen() if screen is not None else []

    def statistics(self) -> dict[str, int]:
        """Counts for metrics: runs followed, followers, live terminals."""
        return {
            "runs_followed": len(self._runs),
            "followers": sum(followed.followers for followed in self._runs.values()),
            "live_screens": len(self._screens),
        }
