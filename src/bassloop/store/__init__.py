"""The store: all persistent data of the loop, in a database and in blobs (logs and artifacts).

The database is an SQLite file (`loop.db`) or on a PostgreSQL server (`engines/`). The blobs are files in a folder, or
objects in a bucket (`blobs/`).

    async with open_store(path, blobs) as store:
        if await store.deliveries.record(guid, event, action, body):
            ...

The attributes of a `Store` group its operations by subject, such as `store.runs` and `store.logs`. The values that they
return are in `records`. Only this package contains SQL and knows where logs are.
"""

from __future__ import annotations

from bassloop.store.artifacts import Artifact, ArtifactWriter
from bassloop.store.blobs import Blobs, BucketError, BucketUnreachable, FileBlobs, find_blobs
from bassloop.store.checks import SpotCheckRecord
from bassloop.store.claims import NodeRequest, RequestKind
from bassloop.store.deliveries import Recorded
from bassloop.store.engine import reads_fail_fast
from bassloop.store.engines import find_database, is_served
from bassloop.store.errors import (
    ClaimLost,
    NotStored,
    StoreBusy,
    StoreConflict,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreTaken,
    StoreUnreachable,
    StoreUnusable,
)
from bassloop.store.liveness import Node, NodeRecord
from bassloop.store.logs.log_writer import LogWriter, SettledText
from bassloop.store.maintenance.prune import Bounds, PruneReport, Retention
from bassloop.store.nodes import Duty, Takeover, new_node
from bassloop.store.notifications import Topic
from bassloop.store.records import (
    Approval,
    CheckRun,
    Delivery,
    ErrorSearch,
    Figures,
    LineGap,
    LineTime,
    LogExtent,
    LogPiece,
    LogText,
    Page,
    RecentSpending,
    RepeatedError,
    Replacement,
    ReportedTest,
    RepositoryBacklog,
    RepositoryRecord,
    Run,
    RuntimeRecord,
    SessionRecord,
    StatementRecord,
    Step,
    StepUpdate,
    ThunkRecord,
    User,
    new_run_id,
    text_size,
)
from bassloop.store.search_index import FilterBuilder, FilterQuery, IndexedLogs, SearchableRun
from bassloop.store.store import Store, StoreStatistics, open_store
from bassloop.store.usage import LogUse, QuotaScope

__all__ = [
    "Approval",
    "Artifact",
    "ArtifactWriter",
    "Blobs",
    "Bounds",
    "BucketError",
    "BucketUnreachable",
    "CheckRun",
    "ClaimLost",
    "Delivery",
    "Duty",
    "ErrorSearch",
    "Figures",
    "FileBlobs",
    "FilterBuilder",
    "FilterQuery",
    "IndexedLogs",
    "LineGap",
    "LineTime",
    "LogExtent",
    "LogPiece",
    "LogText",
    "LogUse",
    "LogWriter",
    "Node",
    "NodeRecord",
    "NodeRequest",
    "NotStored",
    "Page",
    "PruneReport",
    "QuotaScope",
    "RecentSpending",
    "Recorded",
    "RepeatedError",
    "Replacement",
    "ReportedTest",
    "RepositoryBacklog",
    "RepositoryRecord",
    "RequestKind",
    "Retention",
    "Run",
    "RuntimeRecord",
    "SearchableRun",
    "SessionRecord",
    "SettledText",
    "SpotCheckRecord",
    "StatementRecord",
    "Step",
    "StepUpdate",
    "Store",
    "StoreBusy",
    "StoreConflict",
    "StoreError",
    "StoreFull",
    "StoreLocked",
    "StoreStatistics",
    "StoreTaken",
    "StoreUnreachable",
    "StoreUnusable",
    "Takeover",
    "ThunkRecord",
    "Topic",
    "User",
    "find_blobs",
    "find_database",
    "is_served",
    "new_node",
    "new_run_id",
    "open_store",
    "reads_fail_fast",
    "text_size",
]
