"""Display the events of `bassloop runner`, one line each, and on a terminal the commands that are running.

Command lines and errors are untrusted text, so control characters are removed from them.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from bassloop.runner.runner_events import (
    Disconnected,
    Registered,
    RunnerEvent,
    ThunkEnded,
    ThunkStarted,
    Warned,
)
from bassloop.terminal import strip

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_LINES = 10
STYLES: dict[type[RunnerEvent], str] = {
    Warned: "yellow",
    Disconnected: "yellow",
    Registered: "green",
    ThunkStarted: "dim",
}


class RunnerDisplay:
    """Shows a runner's events. Call it with each event, within :meth:`showing`."""

    def __init__(self, *, as_json: bool, console: Console | None = None) -> None:
        self._as_json = as_json
        self._console = console or Console(soft_wrap=True, highlight=False)
        self._running: list[tuple[str, float]] = []
        self._serving: str | None = None
        self._live: Live | None = None

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show the running commands below the events, on a terminal."""
        if self._as_json or not self._console.is_terminal:
            yield
            return
        live = Live(
            console=self._console, get_renderable=self._status, refresh_per_second=4, transient=True
        )
        self._live = live
        try:
            yield
        finally:
            live.stop()

    def __call__(self, event: RunnerEvent) -> None:
        """Show one event."""
        if self._as_json:
            line = {"event": type(event).__name__, "at": time.time(), **asdict(event)}
            print(json.dumps(line, default=str), flush=True)
            return
        self._update(event)
        text = Text(datetime.now().astimezone().strftime("%H:%M:%S "), style="dim")
        style = STYLES.get(type(event), "")
        if isinstance(event, ThunkEnded):
            style = "red" if event.error else "green"
        self._console.print(text.append(_plain(str(event)), style=style))

    def _update(self, event: RunnerEvent) -> None:
        match event:
            case ThunkStarted(cmdline):
                self._running.append((cmdline, time.monotonic()))
            case ThunkEnded(cmdline):
                found = next((each for each in self._running if each[0] == cmdline), None)
                if found is not None:
                    self._running.remove(found)
            case Registered(address):
                self._serving = address
                if self._live is not None:
                    self._live.start()
            case Disconnected():
                self._serving = None

    def _status(self) -> RenderableType:
        count = len(self._running)
        state = f"{count} running" if count else "idle"
        head = f"{self._serving or 'not connected'}: {state}"
        lines = [
            Text(
                f"  {time.monotonic() - began:6.1f} s  {_plain(cmdline)}",
                overflow="ellipsis",
                no_wrap=True,
            )
            for cmdline, began in self._running[:MOST_LINES]
        ]
        if count > MOST_LINES:
            lines.append(Text(f"  and {count - MOST_LINES} more", style="dim"))
        return Group(
            Spinner("dots", Text(head)) if count else Text(f"● {head}", style="dim"), *lines
        )


def _plain(text: str) -> str:
    """Return a text as one line without escape sequences."""
    return " ".join(strip(line.encode(errors="replace")) for line in text.splitlines())
