"""Writes the index of logs in the background: a filter for each complete log.

The list of logs to be indexed is in the store, so indexing continues after a restart, and includes logs from before
there was an index. It pauses in between, so that it takes only a small part of the daemon's time.
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
"""How long indexing pauses, as a multiple of the time that it worked: while no log is being written, and otherwise."""

WORK_SECONDS = 0.02
"""About how long indexing works without a pause, in seconds."""

LOG_SECONDS = 0.002
"""The fixed cost of a log: finding it, opening it, and storing its filter."""

RETRY_SECONDS = 60.0
"""The delay before another attempt when logs can't be read now."""


async def keep_indexing(store: Store) -> None:
    """Index complete logs, newest first, until cancelled."""
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
        spent = 0.0

        def visit(block: LogText) -> bool:
            nonlocal line, more, spent
            # Blocks may be visited in different threads, and each thread has its own clock.
            began = time.thread_time()
            fits = builder.add(strip_lines(block.text))
            spent += time.thread_time() - began
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
