"""A run as the pages that follow it see it: what it has at one moment, how far each page is, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.store import Run, Step

MAX_SNAPSHOT = 16 << 20
"""Characters of updates, and of cursors, which are the page's to choose, that are cached with one snapshot."""

_CURSOR_ENTRY = 256
"""Characters that count for one entry of a cursor."""

Lines = tuple[bytes, ...]


class ShownScreen(NamedTuple):
    """The lines of a log that may still change.

    Args:
        first: the number of the first one.
        whole: how many of them a newline has ended.
    """

    lines: Lines = ()
    first: int = 0
    whole: int = 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """A page's wishes, and what it has got so far.

    Args:
        text: whether it wants lines as they settled, for a terminal, rather than HTML.
        only: the steps whose logs it wants; None for all.
        state: the run's state.
        version: the version of the steps.
        next_version: the version that the page will have once it has got the other steps, too.
        position: where those begin; -1 if it has all.
        lines: the number of lines of each log.
        screens: the screen of each log.
    """

    text: bool = False
    only: frozenset[int] | None = None
    state: str = ""
    version: int = 0
    next_version: int = 0
    position: int = -1
    lines: frozenset[tuple[int, int]] = frozenset()
    screens: frozenset[tuple[int, ShownScreen]] = frozenset()


class Update(NamedTuple):
    """An update for a page.

    Args:
        message: a text; None if there is nothing new.
        cursor: the page's cursor afterwards.
        more: whether there is more to send at once.
        ended: whether the run has ended.
    """

    message: str | None
    cursor: Cursor
    more: bool
    ended: bool


@dataclass(slots=True, eq=False)
class Snapshot:
    """A run at a version of the tail. The run is read before its logs, so that an ended run's are complete.

    Args:
        steps: by position.
        lines: how many lines each log has that has any, by the row of its step.
        cursor_lines: the same, as a cursor has it that has all of them.
        screen_html: the screens as HTML.
        updates: what pages were sent.
        size: the updates' size.
    """

    version: int
    run: Run
    steps: tuple[Step, ...]
    lines: Mapping[int, int]
    cursor_lines: frozenset[tuple[int, int]]
    screens: Mapping[int, ShownScreen]
    screen_html: Mapping[int, list[str]]
    updates: dict[Cursor, Update] = field(default_factory=dict)
    size: int = 0

    def cache(self, cursor: Cursor, update: Update) -> None:
        """Cache an update while there is room, unless its client reads a whole log, which few others do."""
        reads_all = cursor.text and update.more
        entries = 1 + len(cursor.lines) + len(cursor.only or ())
        size = len(update.message or "") + _CURSOR_ENTRY * entries
        if not reads_all and self.size + size <= MAX_SNAPSHOT:
            self.updates[cursor] = update
            self.size += size
