"""The store: what the loop remembers, in `loop.db` and in files of log bytes.

    async with open_store(path, blobs) as store:
        if await store.record_delivery(guid, event, action, body):
            ...

No SQL and no path of a blob is known outside this package, so that another database or an object
store can stand behind the same names. `Store` has all operations; their values are in `model`.
"""

from __future__ import annotations

from bassloop.store.database import is_served
from bassloop.store.errors import (
    NotStored,
    StoreConflict,
    StoreError,
    StoreFull,
    StoreUnusable,
)
from bassloop.store.logs.writer import LogWriter, Settled
from bassloop.store.model import (
    Approval,
    CheckRun,
    Delivery,
    Figures,
    LineGap,
    LineTime,
    LogExtent,
    LogText,
    Page,
    RepositoryRecord,
    Run,
    RuntimeRecord,
    Session,
    Step,
    StepUpdate,
    ThunkRecord,
    User,
    new_run_id,
)
from bassloop.store.operations.keep import Pruned
from bassloop.store.store import Store, StoreStatistics, open_store
from bassloop.store.upkeep.files import Busy
from bassloop.store.upkeep.retention import Bounds, Retention

__all__ = [
    "Approval",
    "Bounds",
    "Busy",
    "CheckRun",
    "Delivery",
    "Figures",
    "LineGap",
    "LineTime",
    "LogExtent",
    "LogText",
    "LogWriter",
    "NotStored",
    "Page",
    "Pruned",
    "RepositoryRecord",
    "Retention",
    "Run",
    "RuntimeRecord",
    "Session",
    "Settled",
    "Step",
    "StepUpdate",
    "Store",
    "StoreConflict",
    "StoreError",
    "StoreFull",
    "StoreStatistics",
    "StoreUnusable",
    "ThunkRecord",
    "User",
    "is_served",
    "new_run_id",
    "open_store",
]
