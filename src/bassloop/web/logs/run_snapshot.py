"""Snapshots of a run for the pages that follow it, the pages' cursors, and their updates."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from bassloop.concurrency import TTLCache
from bassloop.web import presentation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.store import Run, Step

MAX_SNAPSHOT = 16 << 20
"""The limit on what is cached with one snapshot: characters of updates, and of cursors, whose size pages control."""

MAX_STEP_JSON = 32 << 20
"""The maximum size of the JSON of steps that is cached for all pages, in characters."""

_CURSOR_ENTRY = 256
"""How many characters one entry of a cursor counts as."""

Lines = tuple[bytes, ...]


class ShownScreen(NamedTuple):
    """The lines of a log that may still change.

    Args:
        first: the number of the first line.
        whole: how many of them are ended by a newline.
    """

    lines: Lines = ()
    first: int = 0
    whole: int = 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """A page's options, and what it has got so far.

    Args:
        text: whether it gets settled lines as text, for a terminal, rather than HTML.
        only: the rows of the steps whose logs it gets; None for all.
        state: the run's state.
        version: the version up to which it has all steps.
        next_version: the version that applies once it has got the remaining steps of the current round.
        position: the position of the last step that it got in the current round; -1 if none is going on.
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
        message: JSON; None if there is nothing new.
        cursor: the page's cursor afterwards.
        more: whether there is more to send immediately.
        ended: whether the run has ended.
    """

    message: str | None
    cursor: Cursor
    more: bool
    ended: bool


@dataclass(slots=True, eq=False)
class Snapshot:
    """A run at a version of `LiveRuns`. The run is read before its logs, so that the logs of an ended run are complete.

    Args:
        steps: in the order of their positions.
        lines: the number of lines of each log that isn't empty, by the row of its step.
        cursor_lines: the same, in the form of `Cursor.lines`.
        screen_html: the screens as HTML.
        updates: the cached updates.
        size: the size of the cached updates; see MAX_SNAPSHOT.
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

    def outdated(self) -> Snapshot:
        """Return the same steps and lines without cached updates, for the next snapshot to start from."""
        return replace(self, version=-1, updates={}, size=0)

    def cache(self, cursor: Cursor, update: Update) -> None:
        """Cache an update if there is room, unless its client is reading a whole log, which few others do."""
        reads_all = cursor.text and update.more
        entries = 1 + len(cursor.lines) + len(cursor.only or ())
        size = len(update.message or "") + _CURSOR_ENTRY * entries
        if not reads_all and self.size + size <= MAX_SNAPSHOT:
            self.updates[cursor] = update
            self.size += size


class StepJsonCache:
    """The JSON of steps, which is the same for all pages."""

    def __init__(self) -> None:
        self._texts: TTLCache[tuple[int, int, int], str] = TTLCache(MAX_STEP_JSON, size_of=len)

    def text(self, step: Step) -> str:
        """Return a step as JSON, for the message in which a page gets it."""
        key = (step.row, step.version, step.raw_bytes)
        text = self._texts.get(key)
        if text is None:
            text = json.dumps(_step_json(step))
            self._texts.store(key, text)
        return text


def _step_json(step: Step) -> dict[str, Any]:
    view = presentation.view_step(step, time.time())
    return {
        **presentation.step_json(step),
        "title": view.name,
        "sign": view.label.sign,
        "note": view.note,
        "hidden": view.hidden,
        "open": view.open,
    }
