"""Progress of what takes more than a second.

On a terminal it is a spinner or a bar, which is gone afterwards. Elsewhere, on a dumb terminal and in CI, it is a line
every ten seconds.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.status import Status

LINE_SECONDS = 10.0
"""The time between two lines where there is no bar."""


def output_console() -> Console:
    """Return a console for standard output."""
    # A pipe has no width: nothing is wrapped for it.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def is_live(console: Console) -> bool:
    """Return whether something may be redrawn in place on a console."""
    return console.is_terminal and not console.is_dumb_terminal and not os.environ.get("CI")


@contextmanager
def show_status(console: Console, text: str) -> Iterator[Status | None]:
    """Show a spinner with a text, on a live console only. It is gone afterwards."""
    if not is_live(console):
        yield None
        return
    with console.status(text) as status:
        yield status


@contextmanager
def show_progress(what: str, of: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far something is. Yields a function to call with what is done, and how much there is.

    Args:
        what: what is done, such as `backing up`.
        of: what is counted, such as `logs`.
    """
    console = Console(stderr=True, highlight=False)
    if not is_live(console):
        yield _Lines(console, what, of)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(of),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _Lines:
    """Prints a line of progress now and then."""

    def __init__(self, console: Console, what: str, of: str) -> None:
        self._console = console
        self._what = what
        self._of = of
        self._next = time.monotonic() + LINE_SECONDS

    def __call__(self, done: int, total: int) -> None:
        """Note how much is done of how much."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LINE_SECONDS
            self._console.print(f"{self._what}: {done} of {total} {self._of}", soft_wrap=True)
