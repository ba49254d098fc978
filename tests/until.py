"""Wait for what has no event of its own, without polling: a condition, another program."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path


class _Watch(trio.abc.Instrument):
    """Looks at a condition whenever some task has done something."""

    def __init__(self, condition: Callable[[], object]) -> None:
        self._condition = condition
        self.met = trio.Event()
        self.error: Exception | None = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self.met.is_set():
            try:
                met = self._condition()
            except Exception as error:  # noqa: BLE001  (Trio removes an instrument that raises)
                self.error, met = error, True
            if met:
                self.met.set()


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds that some task of this program makes true."""
    await trio.lowlevel.checkpoint()
    if condition():
        return
    watch = _Watch(condition)
    trio.lowlevel.add_instrument(watch)
    try:
        await watch.met.wait()
    finally:
        trio.lowlevel.remove_instrument(watch)
    if watch.error is not None:
        raise watch.error


class NamedPipe:
    """A pipe with a path, which another program writes lines to when the test may go on."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._end = os.open(
            path, os.O_RDWR | os.O_NONBLOCK
        )  # so that nobody waits for an end to be opened
        self._text = ""

    async def lines(self, count: int = 1) -> list[str]:
        """Wait for so many lines, and return them."""
        while self._text.count("\n") < count:
            await trio.lowlevel.wait_readable(self._end)
            self._text += os.read(self._end, 1 << 16).decode()
        *found, self._text = self._text.split("\n", count)
        return found

    def close(self) -> None:
        os.close(self._end)


@contextmanager
def named_pipe(path: Path) -> Generator[NamedPipe]:
    """Make a named pipe that is open while the context lasts."""
    pipe = NamedPipe(path)
    try:
        yield pipe
    finally:
        pipe.close()
