"""The blobs of artifacts, each named by its run and its SHA-256, and the files that they are written to first."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.store.errors import os_errors
from bassloop.store.logs.log_files import is_run_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import BinaryIO

    from bassloop.store.blobs import BlobInfo, Blobs

ARTIFACTS = "artifacts"
"""The prefix of all artifacts."""

UNFINISHED = ".part-"
"""Begins the name of a file that is being written."""

BUFFER = 1 << 20
CHUNK = 256 << 10


def artifact_name(run_id: str, sha256: str) -> str:
    """Return the name of an artifact's blob. Raises ValueError for a malformed run id or digest."""
    if len(sha256) != 64 or not sha256.isalnum():
        raise ValueError(f"{sha256[:80]!r} is not a SHA-256")
    return f"{artifact_prefix(run_id)}/{sha256}"


def artifact_prefix(run_id: str) -> str:
    """Return the prefix of a run's artifacts. Raises ValueError for a malformed run id."""
    if not is_run_id(run_id):
        raise ValueError(f"{run_id[:80]!r} is not the id of a run")
    return f"{ARTIFACTS}/{run_id}"


def list_artifacts(blobs: Blobs) -> dict[str, list[BlobInfo]]:
    """Return all artifacts that are stored, by the ids of their runs. Raises OSError."""
    found: dict[str, list[BlobInfo]] = {}
    for each in blobs.list(ARTIFACTS):
        _, run_id, name = each.name.split("/", 2)
        if not name.startswith(UNFINISHED):
            found.setdefault(run_id, []).append(each)
    return found


def remove_unfinished(folder: Path, before: float) -> None:
    """Remove what was being written, and not changed since a time, when a daemon ended. Raises OSError."""
    for path in (folder / ARTIFACTS).glob(f"*/{UNFINISHED}*"):
        if path.stat().st_mtime < before:
            path.unlink(missing_ok=True)


@dataclass(eq=False)
class ArtifactWriter:
    """Writes one artifact, in the order of the calls. Either `finish` or `discard` it.

    Args:
        size: the bytes that were written.
    """

    blobs: Blobs
    run_id: str
    size: int = 0
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    _buffer: bytearray = field(default_factory=bytearray)
    _file: BinaryIO | None = None
    _path: Path | None = None

    async def write(self, data: bytes) -> None:
        """Append bytes. Raises StoreFull and StoreError."""
        self.size += len(data)
        self._buffer += data
        if len(self._buffer) >= BUFFER:
            await trio.to_thread.run_sync(self._flush)

    async def finish(self) -> str:
        """Let the file take its place, and return its SHA-256. It is stored when this returns.

        Raises StoreFull and StoreError.
        """
        return await trio.to_thread.run_sync(self._finish)

    async def discard(self) -> None:
        """Remove what was written, unless it is finished."""
        await trio.to_thread.run_sync(self._discard)

    def _flush(self) -> None:
        folder = self.blobs.folder / artifact_prefix(self.run_id)
        with os_errors(folder):
            if self._file is None:
                folder.mkdir(parents=True, exist_ok=True)
                descriptor, name = tempfile.mkstemp(prefix=UNFINISHED, dir=folder)
                self._file, self._path = os.fdopen(descriptor, "wb", buffering=0), Path(name)
            rest = memoryview(bytes(self._buffer))
            self._buffer.clear()
            self._digest.update(rest)
            while rest:
                rest = rest[self._file.write(rest) :]

    def _finish(self) -> str:
        self._flush()
        assert self._file is not None
        assert self._path is not None
        sha256 = self._digest.hexdigest()
        self._file.close()
        with os_errors(self._path):
            self.blobs.move_in(self._path, artifact_name(self.run_id, sha256))
        self._file = self._path = None
        return sha256

    def _discard(self) -> None:
        if self._file is not None and self._path is not None:
            self._file.close()
            with os_errors(self._path):
                self._path.unlink(missing_ok=True)
            self._file = self._path = None


async def read_chunks(blobs: Blobs, name: str) -> AsyncGenerator[bytes]:
    """Generate a blob's bytes. Raises OSError."""
    with await trio.to_thread.run_sync(blobs.open, name) as reader:
        offset = 0
        while chunk := await trio.to_thread.run_sync(reader.read, offset, CHUNK):
            offset += len(chunk)
            yield chunk
