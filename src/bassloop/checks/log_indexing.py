"""The index of logs is written in the background: a filter for each log that is complete.

What is to be indexed is in the store, so a restart goes on where the last process ended, and logs of before
there was an index get theirs. Indexing rests in between, so that it takes a small part of the time from what
else the daemon does.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.store import FilterBuilder, NotStored, StoreError
from bassloop.terminal import strip_lines

if TYPE_CHECKING:
    from bassloop.store import LogText, Store

log = structlog.get_logger(__name__)

IDLE_REST, BUSY_REST = 3, 60
"""How many times as long as it works indexing rests: while no log is being written, and otherwise."""

WORK_SECONDS = 0.02
"""How long indexing works at a time, more or less."""

LOG_SECONDS = 0.002
"""What a log takes beside its text: finding it, opening it, and keeping its filter."""

RETRY_SECONDS = 60.0
"""The delay before another attempt when logs can't be read now."""


async def keep_indexing(store: Store) -> None:
    """Index logs that are complete, newest first, until cancelled."""
    thread = trio.CapacityLimiter(1)
    while True:
        try:
            while pending := await store.log_index.pending():
                filters = []
                for run_id, row in pending:
                    filters.append((row, await _make_filter(store, run_id, row, thread)))
                await store.log_index.put(filters)
        except (StoreError, OSError) as error:  # the bucket may be out of reach
            log.warning("logs are not indexed now", error=str(error))
            await trio.sleep(RETRY_SECONDS)
            continue
        await store.log_index.log_closed.wait()


async def _make_filter(store: Store, run_id: str, row: int, thread: trio.CapacityLimiter) -> bytes:
    builder, line, more = FilterBuilder(), 0, True
    while more:
        more = False
        began: float | None = None
        spent = 0.0

        def visit(block: LogText) -> bool:
            nonlocal line, more, began, spent
            began = time.thread_time() if began is None else began
            fits = builder.add(strip_lines(block.text))
            spent = time.thread_time() - began
            line = block.line + block.lines
            more = fits and spent >= WORK_SECONDS
            return fits and not more

        try:
            await store.logs.scan(run_id, row, line, visit, thread)
        except NotStored:  # pruned meanwhile
            break
        busy = store.statistics().open_logs > 0
        await trio.sleep((LOG_SECONDS + spent) * (BUSY_REST if busy else IDLE_REST))
    return builder.filter()
