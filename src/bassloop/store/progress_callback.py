"""Progress of work on a store that may take minutes."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, such as `copying logs`; how many are done; and how many there are."""


def ignore_progress(what: str, done: int, total: int) -> None:
    """Show no progress."""
