"""Outputs of thunks, kept on disk under their key; and the folders that thunks share on purpose.

An output is made in a temporary folder and renamed when it is whole, so a crash of the runner leaves
either all of it or nothing. What a crashed runner was making is removed by the next. Equal thunks that
are asked for at the same time run once.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.runner import file_trees
from bassloop.runner.cache.pins import KINDS, Pins
from bassloop.runner.process import end_marked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator


IN_MEMORY = Path("/dev/shm")  # noqa: S108
MEMORY = "memory"
MARK = "mark"


@dataclass(frozen=True, slots=True)
class ThunkOutput:
    """What a thunk left behind: its work directory's files, and what it printed."""

    path: Path

    @property
    def files(self) -> Path:
        """The folder of its files."""
        return self.path / "files"

    @property
    def stdout(self) -> Path:
        """The file of its standard output; not there when it was too much to keep."""
        return self.path / "stdout"

    @property
    def size(self) -> int:
        """Bytes on disk, as they were counted when it was kept."""
        try:
            return int((self.path / "size").read_text())
        except (OSError, ValueError):
            return file_trees.size(self.path)

    def grow(self, by: int) -> None:
        """Count more with it: what was made of it elsewhere."""
        (self.path / "size").write_text(str(self.size + by))


class Locks:
    """Locks by name, as long as somebody wants them."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[trio.Lock, int]] = {}

    def is_taken(self, name: str) -> bool:
        """Whether somebody has it, or waits for it."""
        return name in self._locks

    @asynccontextmanager
    async def holding(self, name: str) -> AsyncGenerator[None]:
        """While the context lasts, nobody else has this name; whoever comes first is first."""
        lock, users = self._locks.get(name, (trio.Lock(), 0))
        self._locks[name] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = (lock, users - 1)


class OutputCache:
    """Outputs in a folder. Made with :meth:`open`; several runners may share the folder."""

    def __init__(self, folder: Path, making: Path, uses: Pins) -> None:
        self.folder = folder
        self.uses = uses
        self._outputs = folder / "outputs"
        self._caches = folder / "caches"
        self._making = making
        self._shared = Locks()
        self._private: set[Path] = set()
        self.locks = Locks()
        """By an output's key: who has it may make the output."""

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path) -> AsyncGenerator[OutputCache]:
        """Outputs in `folder`, which is made, for this user alone. Raises OSError."""

        def work() -> tuple[Path, int]:
            for name in (*KINDS, "making"):
                (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            remove_abandoned(folder / "making")
            own = Path(tempfile.mkdtemp(dir=folder / "making"))
            lock = os.open(own / "new", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (own / MARK).write_text(secrets.token_hex(16))
            (own / "new").rename(own / "lock")
            return own, lock

        own, lock = await trio.to_thread.run_sync(work)
        try:
            with Pins.open(folder, own) as uses:
                yield cls(folder, own, uses)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_remove_session, own)
            os.close(lock)

    @property
    def mark(self) -> str:
        """What begins the marks of all processes of this session: the next one ends what a crash leaves."""
        return _mark(self._making)

    @property
    def session(self) -> str:
        """A name of who uses the folder, other for each that does at the same time."""
        return self._making.name

    def is_making(self, session: str) -> bool:
        """Whether the user of this name still is there; what crashed was removed by :meth:`open`."""
        return (self._making.parent / session).is_dir()

    @property
    def memory(self) -> Path:
        """A folder for what must not be written to a disk; in memory, where there is such a place.

        It goes with the session, also when that crashes.
        """
        link = self._making / MEMORY
        if not link.is_symlink():
            within = IN_MEMORY if IN_MEMORY.is_dir() else self._making
            link.symlink_to(tempfile.mkdtemp(prefix="bassloop-", dir=within))
        return link.readlink()

    @contextmanager
    def holding(self) -> Iterator[CallCache]:
        """What is found through it is not removed while the context lasts."""
        with ExitStack() as stack:
            yield CallCache(self, stack)

    def find(self, key: str) -> ThunkOutput | None:
        """An output that is whole; None when there is none."""
        output = ThunkOutput(self._outputs / key)
        if not output.files.is_dir():
            return None
        os.utime(output.path)
        return output

    @asynccontextmanager
    async def making(self) -> AsyncGenerator[ThunkOutput]:
        """A temporary place for an output; gone afterwards unless it was kept."""
        path = Path(await trio.to_thread.run_sync(lambda: tempfile.mkdtemp(dir=self._making)))
        output = ThunkOutput(path)
        output.files.mkdir()
        try:
            yield output
        finally:
            with trio.CancelScope(shield=True):
                await file_trees.remove(path)

    async def keep(self, output: ThunkOutput, key: str) -> ThunkOutput:
        """Keep an output under its key; one that is there already stays."""
        kept = ThunkOutput(self._outputs / key)

        def rename() -> None:
            output.grow(0)
            try:
                output.path.rename(kept.path)
            except OSError:
                if not kept.files.is_dir():
                    raise

        await trio.to_thread.run_sync(rename)
        self.uses.grow(kept.size)
        return kept

    async def drop(self, key: str) -> None:
        """Remove the output that is kept under a key, if there is one."""
        path = self._outputs / key
        if path.exists():
            gone = self._making / f"dropped-{secrets.token_hex(8)}"
            path.rename(gone)
            await file_trees.remove(gone)

    @asynccontextmanager
    async def folders(self, wanted: Iterable[tuple[str, str]]) -> AsyncGenerator[dict[str, Path]]:
        """The shared folders of these names, by name, made when they are not there.

        Each comes with how it is shared: `shared` with everybody, `locked` with nobody at the same
        time, `private` with nobody, so that another is made when one is in use. That is so within
        this runner: another that uses the same folder does not wait for it. Names are hexadecimal.
        """
        async with AsyncExitStack() as stack:
            found: dict[str, Path] = {}
            for name, mode in sorted(set(wanted)):
                if mode == "locked":
                    await stack.enter_async_context(self._shared.holding(name))
                path = self._caches / name
                if mode == "private":
                    path = stack.enter_context(self._free(name))
                stack.enter_context(self.uses.of("caches", path.name))
                path.mkdir(exist_ok=True, mode=0o700)
                os.utime(path)
                found[name] = path
            yield found

    @contextmanager
    def _free(self, name: str) -> Iterator[Path]:
        number = 0
        while (path := self._caches / f"{name}-{number}") in self._private:
            number += 1
        self._private.add(path)
        try:
            yield path
        finally:
            self._private.remove(path)


class CallCache:
    """What one call uses. Made with :meth:`OutputCache.holding`."""

    def __init__(self, cache: OutputCache, stack: ExitStack) -> None:
        self._cache = cache
        self._stack = stack
        self._held: set[tuple[str, str]] = set()

    def find(self, key: str) -> ThunkOutput | None:
        """An output that is whole; None when there is none."""
        self._use("outputs", key)
        return self._cache.find(key)

    async def keep(self, output: ThunkOutput, key: str) -> ThunkOutput:
        """Keep an output under its key; one that is there already stays."""
        self._use("outputs", key)
        return await self._cache.keep(output, key)

    def image(self, key: str) -> None:
        """An image of this key is used, or made."""
        self._use("images", key)
        (self._cache.folder / "images" / key).touch()

    def _use(self, kind: str, name: str) -> None:
        if (kind, name) not in self._held:
            self._held.add((kind, name))
            self._stack.enter_context(self._cache.uses.of(kind, name))


def _mark(own: Path) -> str:
    return (own / MARK).read_text()


def _remove_session(own: Path) -> None:
    memory = own / MEMORY
    if memory.is_symlink() and memory.readlink().name.startswith("bassloop-"):
        file_trees.remove_now(memory.readlink())
    file_trees.remove_now(own)


def remove_abandoned(making: Path) -> None:
    """Remove what crashed runners were making, and end what they ran: nobody holds its lock."""
    for path in making.iterdir():
        try:
            lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            # Somebody else removes it too, or was killed when only a part of it was removed.
            with suppress(FileNotFoundError):
                end_marked(_mark(path))
            with suppress(FileNotFoundError):
                _remove_session(path)
        finally:
            os.close(lock)
