"""Outputs of thunks, kept on disk under their key.

An output is made in a temporary folder and renamed when it is whole, so a crash leaves either all of
it or nothing. Equal thunks that are asked for at the same time run once.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@dataclass(frozen=True, slots=True)
class Output:
    """What a thunk left behind: its work directory's files, and what it printed."""

    path: Path

    @property
    def files(self) -> Path:
        """The folder of its files."""
        return self.path / "files"

    @property
    def stdout(self) -> Path:
        """The file of its standard output."""
        return self.path / "stdout"


class Cache:
    """Outputs in a folder."""

    def __init__(self, folder: Path) -> None:
        self._outputs = folder / "outputs"
        self._making = folder / "making"
        self._caches = folder / "caches"
        for path in (self._outputs, self._making, self._caches):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._locks: dict[str, tuple[trio.Lock, int]] = {}

    def find(self, key: str) -> Output | None:
        """An output that is whole; None when there is none."""
        output = Output(self._outputs / key)
        return output if output.files.is_dir() else None

    def cache_dir(self, name: str) -> Path:
        """The folder of a named cache, made when it is not there. `name` is hexadecimal."""
        path = self._caches / name
        path.mkdir(exist_ok=True, mode=0o700)
        return path

    @asynccontextmanager
    async def alone(self, key: str) -> AsyncGenerator[None]:
        """While the context lasts, nobody else has this key: equal thunks run one after the other."""
        lock, users = self._locks.get(key, (trio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = (lock, users - 1)

    @asynccontextmanager
    async def making(self) -> AsyncGenerator[Output]:
        """A temporary place for an output; gone afterwards unless it was kept."""
        path = Path(await trio.to_thread.run_sync(lambda: tempfile.mkdtemp(dir=self._making)))
        output = Output(path)
        output.files.mkdir()
        try:
            yield output
        finally:
            with trio.CancelScope(shield=True):
                await remove(path)

    async def keep(self, output: Output, key: str) -> Output:
        """Keep an output under its key; one that is there already stays."""
        kept = Output(self._outputs / key)

        def rename() -> None:
            if not kept.path.exists():
                output.path.rename(kept.path)

        await trio.to_thread.run_sync(rename)
        return kept


async def remove(path: Path) -> None:
    """Remove a folder with all that is in it, whatever its permissions."""

    def repair(function: object, name: str, error: object) -> None:
        Path(name).parent.chmod(0o700)
        target = Path(name)
        if target.is_dir() and not target.is_symlink():
            target.chmod(0o700)
            shutil.rmtree(target, ignore_errors=True)
        else:
            target.unlink(missing_ok=True)

    def work() -> None:
        if path.exists():
            shutil.rmtree(path, onerror=repair)

    await trio.to_thread.run_sync(work)


async def copy(source: Path, target: Path) -> None:
    """Copy a file, or what is in a folder, symbolic links as they are. Raises OSError."""

    def work() -> None:
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)

    await trio.to_thread.run_sync(work)
