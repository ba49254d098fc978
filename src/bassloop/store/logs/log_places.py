"""Where logs are: on this machine's disk while they are written, and with a bucket, there once complete."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bassloop.store.blobs import FileBlobs
from bassloop.store.logs.log_files import LogFiles
from bassloop.store.logs.log_objects import StoredLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store.blobs import BlobReader, Blobs
    from bassloop.store.logs.log_files import LogParts, Part

LOGS = "logs"
"""The prefix of all logs."""


class ShippedLog:
    """A log whose files are removed from this machine once it is in the bucket."""

    def __init__(self, files: LogFiles, stored: StoredLog) -> None:
        self._files = files
        self._stored = stored

    def open(self, *parts: Part) -> Sequence[BlobReader | None]:
        readers = self._files.open(*parts)
        # The raw bytes are removed first: as long as they are here, so was what was opened before.
        if self._files.raw.exists():
            return readers
        for reader in readers:
            if reader is not None:
                reader.close()
        return self._stored.open(*parts)


def find_log(blobs: Blobs, run_id: str, row: int) -> LogParts:
    """Return the files of a log. Raises ValueError for a malformed run id."""
    files = LogFiles.of(blobs.folder, run_id, row)
    if blobs.bucket is None:
        return files
    return ShippedLog(files, StoredLog(blobs.bucket, run_id, row))


def log_sizes(blobs: Blobs) -> dict[str, int]:
    """Return the bytes of each run's logs, by the run's id. Raises OSError."""
    sizes: Counter[str] = Counter()
    for place in places(blobs):
        sizes.update(place.sizes(LOGS))
    return dict(sizes)


def remove_logs(blobs: Blobs, run_id: str) -> None:
    """Remove a run's logs. Raises OSError; may be repeated."""
    for place in places(blobs):
        place.remove(f"{LOGS}/{run_id}")


def places(blobs: Blobs) -> list[Blobs]:
    """Return where blobs are: the folder, and the bucket if there is one."""
    return [blobs] if blobs.bucket is None else [FileBlobs(blobs.folder), blobs]
