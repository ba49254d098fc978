"""Wait for a condition that has no event of its own, without polling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable


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
