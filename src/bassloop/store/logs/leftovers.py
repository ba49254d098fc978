"""Files of logs that lost nodes have left on this machine's disk. Blocking.

With a bucket, the files of a log are removed once the log is complete there. But if a node is lost, and another machine
completes its logs, nobody removes them, and nobody needs them.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bassloop.lifecycle import LogState
from bassloop.store.logs.log_files import LogFiles, is_run_id
from bassloop.store.logs.log_objects import LOGS, LogDamaged, read_end
from bassloop.store.logs.shipment import remove_files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bassloop.store.blobs import Bucket
    from bassloop.store.database import Connection

STRAY_SECONDS = 24 * 3600.0
"""The age at which files of logs without a row are removed, as of a run that was pruned."""


@dataclass(frozen=True, slots=True)
class LocalLog:
    """A log with files on this disk.

    Args:
        is_complete: whether a file marks it as complete.
        changed_at: when one of its files was last changed, in seconds since the epoch.
    """

    run_id: str
    row: int
    is_complete: bool
    changed_at: float


def list_local_logs(folder: Path) -> list[LocalLog]:
    """Return the logs with files on this disk. Skips what another process removes meanwhile."""
    return list(_local_logs(folder))


def _local_logs(folder: Path) -> Iterator[LocalLog]:
    for parent, _, names in os.walk(folder / LOGS):
        found: dict[int, float] = {}
        for name in names:
            row = name.partition(".")[0]
            with suppress(OSError):
                changed_at = Path(parent, name).stat().st_mtime
                if row.isdecimal():
                    found[int(row)] = max(changed_at, found.get(int(row), 0.0))
        run_id = Path(parent).name
        if is_run_id(run_id):
            for row_number, changed_at in found.items():
                is_complete = f"{row_number}.closed" in names
                yield LocalLog(run_id, row_number, is_complete, changed_at)


def log_states(db: Connection, run_ids: Collection[str]) -> dict[int, str]:
    """Return the states of the logs of runs, by row."""
    rows = db.execute(
        "SELECT id, log_state FROM vertexes WHERE run_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(run_ids)),),
    )
    return {row["id"]: row["log_state"] for row in rows}


def remove_leftovers(
    bucket: Bucket, logs: Collection[LocalLog], states: Mapping[int, str], now: float
) -> int:
    """Remove the files that nobody needs, and return how many logs they were of. Raises BucketError.

    A log may have been moved here before there was a bucket, and then the files are all there is of it. So they are
    removed only if the row or the bucket says that the log is complete there.

    Args:
        states: the states of these logs, by row, read after the logs were listed.
        now: in seconds since the epoch.
    """
    count = 0
    for each in logs:
        match states.get(each.row):
            case None:
                is_needed = each.changed_at > now - STRAY_SECONDS
            case LogState.CLOSED:
                is_needed = not each.is_complete
            case LogState.CUT:
                is_needed = not (each.is_complete or _is_in_bucket(bucket, each))
            case _:
                is_needed = True
        if not is_needed:
            with suppress(OSError):
                remove_files(LogFiles.of(bucket.folder, each.run_id, each.row))
                count += 1
    return count


def _is_in_bucket(bucket: Bucket, log: LocalLog) -> bool:
    try:
        read_end(bucket, log.run_id, log.row)
    except (FileNotFoundError, LogDamaged):
        return False
    return True
