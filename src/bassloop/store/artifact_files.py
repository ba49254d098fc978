"""The files of artifacts: one folder for each run, in which each is named by its SHA-256."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.store.errors import os_errors
from bassloop.store.logs.log_files import is_run_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from typing import BinaryIO

UNFINISHED = ".part-"
"""Begins the name of a file that is being written."""

BUFFER = 1 << 20
CHUNK = 256 << 10


def artifact_file(blobs: Path, run_id: str, sha256: str) -> Path:
    """Return the path of an artifact. Raises ValueError for a malformed run id or digest."""
    if len(sha256) != 64 or not sha256.isalnum():
        raise ValueError(f"{sha256[:80]!r} is not a SHA-256")
    return artifact_folder(blobs, run_id) / sha256


def artifact_folder(blobs: Path, run_id: str) -> Path:
    """Return the folder of a run's artifacts. Raises ValueError for a malformed run id."""
    if not is_run_id(run_id):
        raise ValueError(f"{run_id[:80]!r} is not the id of a run")
    return blobs / "artifacts" / run_id


def artifact_runs(blobs: Path) -> set[str]:
    """Return the ids of the runs that have a folder of artifacts."""
    with contextlib.suppress(FileNotFoundError):
        return {each.name for each in (blobs / "artifacts").iterdir() if is_run_id(each.name)}
    return set()


def remove_artifacts(blobs: Path, run_id: str) -> None:
    """Remove a run's folder. Raises OSError; may be repeated."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(artifact_folder(blobs, run_id))


def remove_unfinished(blobs: Path) -> None:
    """Remove what was being written when the daemon ended. Raises OSError."""
    for path in (blobs / "artifacts").glob(f"*/{UNFINISHED}*"):
        path.unlink(missing_ok=True)


@dataclass(eq=False)
class ArtifactWriter:
    """Writes one artifact, in the order of the calls. Either `finish` or `discard` it.

    Args:
        size: the bytes that were written.
    """

    blobs: Path
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
        """Let the file take its place, and return its SHA-256. It is on disk when this returns.

        Raises StoreFull and StoreError.
        """
        return await trio.to_thread.run_sync(self._finish)

    async def discard(self) -> None:
        """Remove what was written, unless it is finished."""
        await trio.to_thread.run_sync(self._discard)

    def _flush(self) -> None:
        folder = artifact_folder(self.blobs, self.run_id)
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
        with os_errors(self._path), self._file as file:
            os.fsync(file.fileno())
            self._path.replace(artifact_file(self.blobs, self.run_id, sha256))
        self._file = self._path = None
        return sha256

    def _discard(self) -> None:
        if self._file is not None and self._path is not None:
            self._file.close()
            with os_errors(self._path):
                self._path.unlink(missing_ok=True)
            self._file = self._path = None


async def read_chunks(path: Path) -> AsyncGenerator[bytes]:
    """Generate a file's bytes. Raises OSError."""
    async with await trio.open_file(path, "rb") as file:
        while chunk := await file.read(CHUNK):
            yield chunk


def stray_artifacts(blobs: Path, run_id: str, kept: set[str]) -> Iterator[Path]:
    """Generate the finished files in a run's folder whose SHA-256 is not among those that are kept."""
    with contextlib.suppress(FileNotFoundError):
        for path in artifact_folder(blobs, run_id).iterdir():
            if path.name not in kept and not path.name.startswith(UNFINISHED):
                yield path
