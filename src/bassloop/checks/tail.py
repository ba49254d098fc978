"""The tail: tells whoever follows a run that something has changed, and never what.

A follower that wakes reads the store from where it had got to. So nothing is queued for it: a slow page reads
later and more at once, a closed page costs nothing, and no visitor can hold up a check.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping


class LiveScreen(Protocol):
    """The lines of a log that may still change; they are numbered on from those that can't."""

    @property
    def first_line(self) -> int:
        """The number of the first one."""

    @property
    def line(self) -> int:
        """The number of the line that the cursor is on."""

    def screen(self) -> list[bytes]:
        """Return the lines, without blank ones at the end."""


@dataclass(slots=True, eq=False)
class _Version:
    """The version of a run that somebody follows. It is forgotten when the last follower leaves."""

    version: int = 0
    followers: int = 0
    changed: trio.Event = field(default_factory=trio.Event)

    def wake(self) -> None:
        self.version += 1
        self.changed.set()
        self.changed = trio.Event()


class Follower:
    """Somebody who follows a run, or all runs."""

    def __init__(self, followed: _Version) -> None:
        self._followed = followed
        self._seen = -1

    @property
    def version(self) -> int:
        """The change seen last. It grows as long as somebody follows the run."""
        return self._seen

    async def changed(self) -> None:
        """Wait until the run has changed since the last call returned. The first call returns at once.

        Changes while the follower is busy count as one. Always a checkpoint. Cancelled, nothing is lost: the
        next call returns for the same change.
        """
        await trio.lowlevel.checkpoint()
        while self._seen == self._followed.version:
            await self._followed.changed.wait()
        self._seen = self._followed.version


class Tail:
    """The live ends of all runs.

    Recorders call :meth:`publish` once a change is stored, and lend the lines that a terminal may still rewrite
    (which are not stored yet) through :meth:`lend_screen`.
    """

    def __init__(self) -> None:
        self._runs: dict[str | None, _Version] = {}
        self._screens: dict[int, LiveScreen] = {}

    def __repr__(self) -> str:
        followers = sum(followed.followers for followed in self._runs.values())
        return f"<Tail: {followers} following {len(self._runs)} runs>"

    def publish(self, run_id: str) -> None:
        """Wake the followers of this run and of all runs. Never blocks."""
        for key in (run_id, None):
            followed = self._runs.get(key)
            if followed is not None:
                followed.wake()

    def apply_notification(self, run_id: str | None) -> None:
        """Wake the followers of a run that a node has begun or ended; those of every run if it is None."""
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
        """Let followers see the lines of a live step that may still change; None takes them back."""
        if screen is None:
            self._screens.pop(step_row, None)
        else:
            self._screens[step_row] = screen

    def live(self, step_row: int) -> bool:
        """Return whether a step's log is being written."""
        return step_row in self._screens

    def live_rows(self, steps: Mapping[int, object]) -> list[int]:
        """Return those of some steps, by their rows, whose logs are being written."""
        return [row for row in self._screens if row in steps]

    def screen(self, step_row: int) -> list[bytes]:
        """Return the lines of a step's log that may still change; none if it isn't live."""
        screen = self._screens.get(step_row)
        return screen.screen() if screen is not None else []

    def whole_lines(self, step_row: int, *, ended: bool = False) -> tuple[int, list[bytes]]:
        """Return those lines of :meth:`screen` that a newline has ended, after the number of the first one.

        Args:
            ended: the command has ended, so the last line is whole without a newline, too.
        """
        screen = self._screens.get(step_row)
        if screen is None:
            return 0, []
        above_cursor, lines = screen.line - screen.first_line, screen.screen()
        lines += [b""] * (above_cursor - len(lines))
        return screen.first_line, lines if ended else lines[:above_cursor]

    def whole_count(self, step_row: int) -> tuple[int, int]:
        """Return the number of the first line of :meth:`screen`, and how many of them a newline has ended."""
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
