"""Show the progress of tasks that take more than a second.

On a terminal, that's a spinner or a bar, which disappears afterwards. Elsewhere, on a dumb terminal and in CI, it's a
line every ten seconds.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import progress
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.spinner import Spinner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.store.maintenance import Progress

_ERASE = b"\r\x1b[2K\x1b[?25h"
"""Escape sequences that erase the line, and show the cursor again."""

LINE_SECONDS = 10.0
"""Seconds between two lines if there is no bar."""


def output_console() -> Console:
    """Return a console for standard output."""
    # A pipe has no width, so nothing is wrapped.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def is_live(console: Console) -> bool:
    """Return whether a console supports redrawing in place."""
    return console.is_terminal and not console.is_dumb_terminal and not os.environ.get("CI")


class StatusLine:
    """A spinner with a text, on a live console. It disappears when it's stopped."""

    def __init__(self, console: Console, text: str) -> None:
        self._spinner = Spinner("dots", text, style="status.spinner")
        self._live = Live(
            self._spinner,
            console=console,
            refresh_per_second=12.5,
            transient=True,
            redirect_stdout=not console.stderr,  # which may be a file
        )

    def start(self) -> None:
        """Show it."""
        self._live.start()

    def update(self, text: str) -> None:
        """Change the text."""
        self._spinner.update(text=text)

    def stop(self) -> None:
        """Remove it; also if it was removed already."""
        self._live.stop()

    def erase(self) -> None:
        """Remove its text and show the cursor, in a handler of a signal, before the program ends without a cleanup."""
        os.write(self._live.console.file.fileno(), _ERASE)


@contextmanager
def show_status(console: Console, text: str) -> Iterator[StatusLine | None]:
    """Show a spinner with a text until the exit, if the console is live, or else standard error is."""
    shown_on = next(filter(is_live, (console, Console(stderr=True, highlight=False))), None)
    if shown_on is None:
        yield None
        return
    line = StatusLine(shown_on, text)
    line.start()
    try:
        yield line
    finally:
        line.stop()


@contextmanager
def show_progress() -> Iterator[Progress]:
    """Show a task's progress on standard error. Print nothing else meanwhile.

    Yields a function to call with what is being done, how many are done, and the total, or 0 if it's unknown.
    """
    console = Console(stderr=True, highlight=False)
    if not is_live(console):
        yield _ProgressLines(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    # Standard output may be a file while standard error is a terminal.
    shown = progress.Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    )
    with shown:
        task = shown.add_task("", total=None, count="")

        def update(what: str, done: int, total: int) -> None:
            shown.update(
                task,
                description=what,
                completed=done,
                total=total or None,
                count=_count(done, total),
            )

        yield update


class _ProgressLines:
    """Prints a line of progress now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = time.monotonic() + LINE_SECONDS

    def __call__(self, what: str, done: int, total: int) -> None:
        """Update what is being done, and how many are done."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LINE_SECONDS
            self._console.print(f"{what} {_count(done, total)}".rstrip(), soft_wrap=True)


def _count(done: int, total: int) -> str:
    if total:
        return f"{done:,}/{total:,}"
    return f"{done:,}" if done else ""
