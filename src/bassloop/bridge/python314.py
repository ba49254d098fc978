"""What trio-asyncio 0.15 and 0.16 lack on Python 3.14. Only `bridge.loop` imports it, and first.

Three things changed in 3.14: the base class of the default policy got an underscore, child watchers
are gone (no asyncio subprocess is started here), and the accelerated tasks ask the thread, not a
patched Python function, which loop is running.
"""

from __future__ import annotations

import asyncio
import asyncio.events
import importlib
import sys
from importlib.metadata import version
from typing import Any

NEEDED_BY = ("0.15", "0.16")
"""The releases of trio-asyncio that need it; a later one must be tried without first."""


def needed(python: tuple[int, int], trio_asyncio: str) -> bool:
    """Whether this release of trio-asyncio doesn't run on this Python by itself."""
    return python >= (3, 14) and trio_asyncio.startswith(tuple(f"{each}." for each in NEEDED_BY))


def make_room() -> bool:
    """Give trio-asyncio the names that it imports. Returns whether `tell_the_thread` is due too."""
    if not needed(sys.version_info[:2], version("trio-asyncio")):
        return False
    events: Any = asyncio.events
    events.BaseDefaultEventLoopPolicy = events._BaseDefaultEventLoopPolicy
    anything: Any = asyncio
    anything.AbstractChildWatcher = type("AbstractChildWatcher", (), {})
    return True


def tell_the_thread() -> None:
    """Say to the thread which loop is running while a Trio loop's callback runs."""
    accelerated: Any = importlib.import_module("_asyncio")
    trio_loop: type = importlib.import_module("trio_asyncio._base").BaseTrioEventLoop
    handle: Any = asyncio.Handle
    run = handle._run

    def run_with_loop(self: Any) -> None:
        if not isinstance(self._loop, trio_loop):
            run(self)
            return
        before = accelerated._get_running_loop()
        accelerated._set_running_loop(self._loop)
        try:
            run(self)
        finally:
            accelerated._set_running_loop(before)

    handle._run = run_with_loop
