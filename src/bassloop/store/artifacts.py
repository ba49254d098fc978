"""Artifacts: files that the commands of runs made, stored with the run until they expire."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import tempfile
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.store.engine import Engine, Subject, reads, writes
from bassloop.store.errors import NotStored, os_errors
from bassloop.store.logs.log_files import is_run_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from typing import BinaryIO

    from bassloop.store.blobs import BlobInfo, Blobs
    from bassloop.store.database import Connection, ResultRow


ARTIFACTS = "artifacts"
"""The prefix of the names of all artifacts."""

UNFINISHED = ".part-"
"""The prefix of the name of a file that is being written."""

BUFFER = 1 << 20
CHUNK = 256 << 10

ABANDONED_SECONDS = 24 * 3600.0
"""The age of an unfinished file after which no other node can still be writing it."""


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
    """Return all stored artifacts by the ids of their runs. Raises OSError."""
    found: dict[str, list[BlobInfo]] = {}
    for each in blobs.list(ARTIFACTS):
        _, run_id, name = each.name.split("/", 2)
        if not name.startswith(UNFINISHED):
            found.setdefault(run_id, []).append(each)
    return found


def remove_unfinished(folder: Path, before: float) -> int:
    """Remove unfinished files that were last changed before a time, and return their number. Raises OSError.

    Other nodes that share the folder may do the same at the same time.
    """
    count = 0
    for parent, _, names in os.walk(folder / ARTIFACTS):
        for name in names:
            path = Path(parent, name)
            with suppress(FileNotFoundError):
                if name.startswith(UNFINISHED) and path.stat().st_mtime < before:
                    path.unlink()
                    count += 1
    return count


@dataclass(eq=False)
class ArtifactWriter:
    """Writes one artifact. Call either `finish` or `discard` at the end.

    Args:
        size: how many bytes were written.
    """

    blobs: Blobs
    run_id: str
    size: int = 0
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    _buffer: bytearray = field(default_factory=bytearray)
    _file: BinaryIO | None = None
    _path: Path | None = None

    async def write(self, data: bytes) -> None:
        """Append bytes. Raises StoreFull or StoreError."""
        self.size += len(data)
        self._buffer += data
        if len(self._buffer) >= BUFFER:
            await trio.to_thread.run_sync(self._flush)

    async def finish(self) -> str:
        """Store the file as a blob, and return its SHA-256. Raises StoreFull or StoreError."""
        return await trio.to_thread.run_sync(self._finish)

    async def discard(self) -> None:
        """Remove the file, unless it is finished."""
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
        self._forget_file()
        return sha256

    def _discard(self) -> None:
        if self._file is not None and self._path is not None:
            self._file.close()
            with os_errors(self._path):
                self._path.unlink(missing_ok=True)
            self._forget_file()

    def _forget_file(self) -> None:
        """Forget the unfinished file, which is gone, and remove its folder if nothing else is in it."""
        assert self._path is not None
        with suppress(OSError):
            self._path.parent.rmdir()
        self._file = self._path = None


async def read_chunks(
    blobs: Blobs, name: str, start: int = 0, stop: float = math.inf
) -> AsyncGenerator[bytes]:
    """Yield the bytes of a blob from `start` up to (not including) `stop`. Raises OSError."""
    with await trio.to_thread.run_sync(blobs.open_sequential, name) as reader:
        while start < stop:
            size = int(min(CHUNK, stop - start))
            chunk = await trio.to_thread.run_sync(reader.read, start, size)
            if not chunk:
                return
            start += len(chunk)
            yield chunk


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a run's command made, and that is stored with the run.

    Args:
        path: the path that the runner gave it; see `bassloop.wire.conventions.problem_of_path`.
        expires_at: when the file is removed, in seconds since the epoch.
        kept: whether the file is still stored.
    """

    run_id: str
    path: str
    bytes: int
    sha256: str
    created_at: float
    expires_at: float
    kept: bool = True


_FIELDS = tuple(field.name for field in dataclasses.fields(Artifact))


class Artifacts(Subject):
    """The artifacts of all runs. A row is stored after its file, and stays after the file has expired."""

    def __init__(self, engine: Engine, blobs: Blobs) -> None:
        super().__init__(engine)
        self._blobs = blobs

    def open(self, run_id: str) -> ArtifactWriter:
        """Return a writer for an artifact of a run. Once it is finished, record it with `put`."""
        return ArtifactWriter(self._blobs, run_id)

    @writes
    def put(self, db: Connection, artifact: Artifact, most: int) -> int | None:
        """Record an artifact whose file is complete. Raises NotStored for an unknown run.

        Returns None if it was recorded. If the artifacts of its repository would exceed `most` bytes with it,
        records nothing, and returns how many bytes they have.
        """
        run = db.execute(
            "SELECT repository_id FROM runs WHERE id = ?", (artifact.run_id,)
        ).fetchone()
        if run is None:
            raise NotStored(f"no run {artifact.run_id} is stored")
        used = _repository_bytes(db, run["repository_id"])
        if used + artifact.bytes > most:
            return used
        db.execute(
            "INSERT INTO artifacts (run_id, repository_id, path, bytes, sha256, created_at, expires_at, "
            "kept) VALUES (:run_id, :repository_id, :path, :bytes, :sha256, :created_at, :expires_at, "
            ":kept) ON CONFLICT (run_id, path) DO NOTHING",
            {
                **dataclasses.asdict(artifact),
                "repository_id": run["repository_id"],
                "kept": int(artifact.kept),
            },
        )
        return None

    @reads
    def of_run(self, db: Connection, run_id: str) -> list[Artifact]:
        """Return the artifacts of a run, including expired ones, sorted by path."""
        rows = db.execute(
            f"SELECT {', '.join(_FIELDS)} FROM artifacts WHERE run_id = ? ORDER BY path", (run_id,)
        )
        return [_artifact(row) for row in rows]

    @reads
    def get(self, db: Connection, run_id: str, path: str) -> Artifact | None:
        """Return an artifact of a run, or None."""
        row = db.execute(
            f"SELECT {', '.join(_FIELDS)} FROM artifacts WHERE run_id = ? AND path = ?",
            (run_id, path),
        ).fetchone()
        return None if row is None else _artifact(row)

    @asynccontextmanager
    async def reading(
        self, artifact: Artifact, start: int = 0, stop: float = math.inf
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Yield the bytes of an artifact, or a range of them. Raises NotStored if the file is gone."""
        name = artifact_name(artifact.run_id, artifact.sha256)
        if not artifact.kept or not await trio.to_thread.run_sync(_exists, self._blobs, name):
            raise NotStored(f"{artifact.path} has expired")
        chunks = read_chunks(self._blobs, name, start, stop)
        try:
            yield chunks
        finally:
            await chunks.aclose()

    async def remove_file(self, run_id: str, sha256: str) -> None:
        """Remove the file of an artifact that wasn't recorded, unless another artifact of the run has the same file."""
        if any(each.sha256 == sha256 and each.kept for each in await self.of_run(run_id)):
            return
        name = artifact_name(run_id, sha256)
        with suppress(OSError):  # pruning removes it later
            await trio.to_thread.run_sync(self._blobs.remove, name)

    async def remove_unfinished(self) -> None:
        """Remove the files that were being written when the daemon ended.

        Other nodes may share the folder, so files that may be theirs are kept for a day.
        """
        before = time.time() - ABANDONED_SECONDS if self._engine.node else math.inf
        with suppress(OSError):
            await trio.to_thread.run_sync(remove_unfinished, self._blobs.folder, before)

    async def remove_abandoned(self, now: float) -> int:
        """Remove unfinished files that no node can still be writing, and return their number. Raises OSError."""
        before = now - ABANDONED_SECONDS
        return await trio.to_thread.run_sync(remove_unfinished, self._blobs.folder, before)


def _exists(blobs: Blobs, name: str) -> bool:
    try:
        with blobs.open_sequential(name):
            return True
    except FileNotFoundError:
        return False


def _repository_bytes(db: Connection, repository_id: int) -> int:
    row = db.execute(
        "SELECT coalesce(sum(bytes), 0) AS used FROM artifacts WHERE repository_id = ? AND kept = 1",
        (repository_id,),
    ).fetchone()
    return int(row["used"])


def expire(db: Connection, now: float, limit: int) -> int:
    """Mark at most `limit` artifacts as expired, and return how many there were."""
    return db.execute(
        "UPDATE artifacts SET kept = 0 WHERE id IN "
        "(SELECT id FROM artifacts WHERE kept = 1 AND expires_at < ? ORDER BY id LIMIT ?)",
        (now, limit),
    ).rowcount


def kept_files(db: Connection, run_id: str) -> set[str]:
    """Return the SHA-256 digests of a run's artifacts that haven't expired."""
    rows = db.execute("SELECT sha256 FROM artifacts WHERE run_id = ? AND kept = 1", (run_id,))
    return {row["sha256"] for row in rows}


def _artifact(row: ResultRow) -> Artifact:
    return Artifact(**{**{name: row[name] for name in _FIELDS}, "kept": bool(row["kept"])})
