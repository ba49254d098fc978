"""Live runs: who follows them, and what their terminals show. Followers learn that something has changed, but not what.

A follower that wakes up reads the store from where it left off. So nothing is queued for it: a slow page reads more
at once later, a closed page costs nothing, and no visitor can hold up a check.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping


class LiveScreen(Protocol):
    """The lines of a log that may still change. Their numbers follow those of the final lines."""

    @property
    def first_line(self) -> int:
        """The number of the first line."""

    @property
    def line(self) -> int:
        """The number of the cursor's line."""

    def screen(self) -> list[bytes]:
        """Return the lines, without blank ones at the end."""


@dataclass(slots=True, eq=False)
class _Version:
    """The version of a run that somebody follows. It is dropped when the last follower leaves."""

    version: int = 0
    followers: int = 0
    changed: trio.Event = field(default_factory=trio.Event)

    def wake(self) -> None:
        self.version += 1
        self.changed.set()
        self.changed = trio.Event()


class Follower:
    """A follower of one run, or of all runs."""

    def __init__(self, followed: _Version) -> None:
        self._followed = followed
        self._seen = -1

    @property
    def version(self) -> int:
        """The version of the last change seen. It grows as long as somebody follows the run."""
        return self._seen

    async def changed(self) -> None:
        """Wait until the run has changed since the last call returned. The first call returns at once.

        Changes while the follower is busy count as one. Always a checkpoint. If cancelled, nothing is lost: the next
        call returns for the same change.
        """
        await trio.lowlevel.checkpoint()
        while self._seen == self._followed.version:
            await self._followed.changed.wait()
        self._seen = self._followed.version


class LiveRuns:
    """The live ends of all runs.

    Recorders call :meth:`publish` after storing a change. With :meth:`lend_screen` they provide the lines that a
    terminal may still rewrite, which aren't stored yet.
    """

    def __init__(self) -> None:
        self._runs: dict[str | None, _Version] = {}
        self._screens: dict[int, LiveScreen] = {}

    def __repr__(self) -> str:
        followers = sum(followed.followers for followed in self._runs.values())
        return f"<LiveRuns: {followers} following {len(self._runs)} runs>"

    def publish(self, run_id: str) -> None:
        """Wake the followers of this run and of all runs. Never blocks."""
        for key in (run_id, None):
            followed = self._runs.get(key)
            if followed is not None:
                followed.wake()

    def apply_notification(self, run_id: str | None) -> None:
        """Wake the followers of a run that a node has started or ended; of all runs if it is None."""
        if run_id is not None:
            self.publish(run_id)
            return
        for followed in self._runs.values():
            followed.wake()

    @asynccontextmanager
    async def follow(self, run_id: str | None) -> AsyncGenerator[Follower]:
        """Follow a run, which need not exist yet, or all runs if it is None."""
        followed = self._runs.setdefault(run_id, _Version())
        followed.followers += 1
        try:
            yield Follower(followed)
        finally:
            followed.followers -= 1
            if not followed.followers:
                del self._runs[run_id]

    def lend_screen(self, step_row: int, screen: LiveScreen | None) -> None:
        """Provide the lines of a live step that may still change; None withdraws them."""
        if screen is None:
            self._screens.pop(step_row, None)
        else:
            self._screens[step_row] = screen

    def live(self, step_row: int) -> bool:
        """Return whether a step's log is being written."""
        return step_row in self._screens

    def live_rows(self, steps: Mapping[int, object]) -> list[int]:
        """Return which of these steps, by their rows, have a log that is being written."""
        return [row for row in self._screens if row in steps]

    def screen(self, step_row: int) -> list[bytes]:
        """Return the lines of a step's log that may still change; none if it isn't being written."""
        screen = self._screens.get(step_row)
        return screen.screen() if screen is not None else []

    def whole_lines(self, step_row: int, *, ended: bool = False) -> tuple[int, list[bytes]]:
        """Return the number of the first line of :meth:`screen`, and those lines that end with a newline.

        Args:
            ended: whether the command has ended, so that the last line is complete even without a newline.
        """
        screen = self._screens.get(step_row)
        if screen is None:
            return 0, []
        above_cursor, lines = screen.line - screen.first_line, screen.screen()
        lines += [b""] * (above_cursor - len(lines))
        return screen.first_line, lines if ended else lines[:above_cursor]

    def whole_count(self, step_row: int) -> tuple[int, int]:
        """Return the number of the first line of :meth:`screen`, and how many lines end with a newline."""
        screen = self._screens.get(step_row)
        return (
            (screen.first_line, screen.line - screen.first_line) if screen is not None else (0, 0)
        )

    def statistics(self) -> dict[str, int]:
        """Return counts for metrics."""
        return {
            "runs_followed": len(self._runs),
            "followers": sum(followed.followers for followed in self._runs.values()),
            "live_screens": len(self._screens),
        }
