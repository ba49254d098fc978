"""The task that removes what lost nodes have left on this machine's disk. Each node does that for its own disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.store import Store

log = structlog.get_logger(__name__)

EVERY_SECONDS = 3600.0


async def keep_tidying(store: Store, *, now: Callable[[], float] = time.time) -> None:
    """Remove what nobody needs now and every hour until cancelled. `now` returns the wall clock's time.

    Logs errors, and tries again an hour later, since they are no reason to stop the loop.
    """
    while True:
        try:
            logs = await store.logs.remove_leftovers(now())
            artifacts = await store.artifacts.remove_abandoned(now())
        except (StoreError, OSError) as error:
            log.warning("files of lost nodes not removed", error=str(error))
        else:
            if logs or artifacts:
                log.info("files of lost nodes removed", logs=logs, artifacts=artifacts)
        await trio.sleep(EVERY_SECONDS)
