"""A cache on disk of thunks' outputs, by key, and of the cache folders that thunks share.

An output is created in a temporary folder and renamed when it is complete, so that a crash leaves all of it or
nothing. The next session that opens the cache removes what a crashed one left. Equal thunks that are requested at the
same time run once.

A pin is a file in the folder of a session that uses something. Before removing something, a process looks for such
files in all sessions; a lock, held briefly, prevents new pins meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import KeyedLock, shielded
from bassloop.private_files import make_private_folder
from bassloop.runner import file_trees
from bassloop.runner.errors import DriverError
from bassloop.runner.process import kill_marked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator


KINDS = ("outputs", "caches", "images")
"""The kinds of cached items, which are the names of their folders."""
_PINS = "using"

REMOVE_SECONDS = 60.0
_IN_MEMORY = Path("/dev/shm")  # noqa: S108
_MEMORY = "memory"
_MARKER = "mark"


class Pins:
    """The pins of one session. Made with :meth:`open`."""

    def __init__(self, folder: Path, lock: int) -> None:
        self._folder = folder
        self._lock = lock
        self._counts: Counter[str] = Counter()

    @classmethod
    @contextmanager
    def open(cls, cache: Path, session: Path) -> Iterator[Pins]:
        """Open the pins of the session with this folder. Raises OSError."""
        (session / _PINS).mkdir()
        lock = _open_lock(cache)
        try:
            yield cls(session / _PINS, lock)
        finally:
            os.close(lock)

    @contextmanager
    def pin(self, kind: str, name: str) -> Iterator[None]:
        """Keep something from being removed, whether it exists already or not."""
        pinned = f"{kind}-{name}"
        if not self._counts[pinned]:
            fcntl.flock(self._lock, fcntl.LOCK_SH)  # others hold it exclusively only for a moment
            try:
                (self._folder / pinned).touch()
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._counts[pinned] += 1
        try:
            yield
        finally:
            self._counts[pinned] -= 1
            if not self._counts[pinned]:
                del self._counts[pinned]
                (self._folder / pinned).unlink(missing_ok=True)


@contextmanager
def removing(cache: Path, kind: str, name: str) -> Iterator[bool]:
    """Prevent pins of something in the context, and yield whether nobody has pinned it."""
    lock = _open_lock(cache)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not any((cache / "making").glob(f"*/{_PINS}/{kind}-{name}"))
    finally:
        os.close(lock)


def _open_lock(cache: Path) -> int:
    return os.open(cache / "uses.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@dataclass(frozen=True, slots=True)
class ThunkOutput:
    """The files that a thunk's command left in its work directory, and its standard output."""

    path: Path

    @property
    def files(self) -> Path:
        """The folder of its files."""
        return self.path / "files"

    @property
    def stdout(self) -> Path:
        """The file with its standard output; missing if that was too large to store."""
        return self.path / "stdout"

    @property
    def size(self) -> int:
        """Its bytes on disk, as counted when it was stored."""
        try:
            return int((self.path / "size").read_text())
        except (OSError, ValueError):
            return file_trees.size(self.path)

    def add_size(self, extra: int) -> None:
        """Add bytes that belong to it but are stored elsewhere."""
        (self.path / "size").write_text(str(self.size + extra))


class OutputCache:
    """A session's view of a folder of outputs. Made with :meth:`open`; sessions may share a folder.

    Args:
        session: the session's own folder, in which it makes outputs.
    """

    def __init__(self, folder: Path, session: Path, pins: Pins) -> None:
        self.folder = folder
        self._session = session
        self._pins = pins
        self._outputs = folder / "outputs"
        self._caches = folder / "caches"
        self._private: set[Path] = set()
        self._folder_locks: KeyedLock[str] = KeyedLock()
        self.locks: KeyedLock[str] = KeyedLock()
        """Locks by key, under which outputs are created."""
        self._grown = 0
        self._has_grown = trio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path) -> AsyncGenerator[OutputCache]:
        """Open the cache in `folder`, which is created for this user only. Raises DriverError."""

        def prepare() -> tuple[Path, int]:
            for name in (*KINDS, "making"):
                make_private_folder(folder / name)
            remove_abandoned(folder / "making")
            session = Path(tempfile.mkdtemp(dir=folder / "making"))
            lock = os.open(session / "new", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (session / _MARKER).write_text(secrets.token_hex(16))
            (session / "new").rename(session / "lock")
            return session, lock

        try:
            session, lock = await trio.to_thread.run_sync(prepare)
        except OSError as error:
            raise DriverError(f"outputs can't be stored in {folder}: {error.strerror}") from error
        try:
            with Pins.open(folder, session) as pins:
                yield cls(folder, session, pins)
        finally:
            with shielded(REMOVE_SECONDS):
                await trio.to_thread.run_sync(_remove_session, session)
            os.close(lock)

    @property
    def marker(self) -> str:
        """The prefix of the markers of this session's processes; see `run_command`."""
        return _read_marker(self._session)

    @property
    def session(self) -> str:
        """A name that is unique among the folder's open sessions."""
        return self._session.name

    def is_open(self, session: str) -> bool:
        """Return whether the session with this name is open; :meth:`open` has removed crashed ones."""
        return (self._session.parent / session).is_dir()

    def memory_folder(self) -> Path:
        """Return a folder for files that must not reach a disk, in memory if possible.

        It is removed with the session, also after a crash. Raises OSError.
        """
        link = self._session / _MEMORY
        if not link.is_symlink():
            within = _IN_MEMORY if _IN_MEMORY.is_dir() else self._session
            folder = within / f"bassloop-{secrets.token_hex(8)}"
            link.symlink_to(folder)  # first, so that the folder is found however this ends
            folder.mkdir(mode=0o700)
        return link.readlink()

    # --- outputs -------------------------------------------------------------------------------------

    @contextmanager
    def pinning(self) -> Iterator[CallCache]:
        """Provide a view of the cache that pins everything found or stored through it, until exit."""
        with ExitStack() as stack:
            yield CallCache(self, stack)

    def find(self, key: str) -> ThunkOutput | None:
        """Return the output that is stored under a key, or None."""
        output = ThunkOutput(self._outputs / key)
        if not output.files.is_dir():
            return None
        os.utime(output.path)
        return output

    @asynccontextmanager
    async def new_output(self) -> AsyncGenerator[ThunkOutput]:
        """Provide an empty output in a temporary folder, which is removed unless it was stored."""
        path = Path(await trio.to_thread.run_sync(lambda: tempfile.mkdtemp(dir=self._session)))
        output = ThunkOutput(path)
        output.files.mkdir()
        try:
            yield output
        finally:
            with shielded(REMOVE_SECONDS):
                await file_trees.remove(path)

    async def store(self, output: ThunkOutput, key: str) -> ThunkOutput:
        """Store an output under its key, unless there is one; return the one that is stored then."""
        stored = ThunkOutput(self._outputs / key)

        def rename() -> None:
            output.add_size(0)
            try:
                output.path.rename(stored.path)
            except OSError:
                if not stored.files.is_dir():
                    raise

        await trio.to_thread.run_sync(rename)
        self._grown += stored.size
        self._has_grown.set()
        return stored

    async def drop(self, key: str) -> None:
        """Remove the output that is stored under a key, if there is one."""
        path = self._outputs / key
        if path.exists():
            gone = self._session / f"dropped-{secrets.token_hex(8)}"
            path.rename(gone)
            await file_trees.remove(gone)

    async def grown(self, size: int) -> None:
        """Wait until `size` bytes of outputs have been stored since the last call returned."""
        while self._grown < size:
            self._has_grown = trio.Event()
            await self._has_grown.wait()
        self._grown = 0

    # --- shared folders ------------------------------------------------------------------------------

    @asynccontextmanager
    async def folders(self, wanted: Iterable[tuple[str, str]]) -> AsyncGenerator[dict[str, Path]]:
        """Provide cache folders by name; missing ones are created.

        Each name comes with a sharing mode: `shared` with everybody; `locked`, used by one at a time; or
        `private`, so that another folder is created if one is in use. This holds within one session; other
        sessions with the same cache don't wait. Names are hexadecimal.
        """
        async with AsyncExitStack() as stack:
            found: dict[str, Path] = {}
            for name, mode in sorted(set(wanted)):
                if mode == "locked":
                    await stack.enter_async_context(self._folder_locks.hold(name))
                path = self._caches / name
                if mode == "private":
                    path = stack.enter_context(self._unused(name))
                stack.enter_context(self.pin("caches", path.name))
                path.mkdir(exist_ok=True, mode=0o700)
                os.utime(path)
                found[name] = path
            yield found

    @contextmanager
    def _unused(self, name: str) -> Iterator[Path]:
        number = 0
        while (path := self._caches / f"{name}-{number}") in self._private:
            number += 1
        self._private.add(path)
        try:
            yield path
        finally:
            self._private.remove(path)

    @contextmanager
    def pin(self, kind: str, name: str) -> Iterator[None]:
        """Keep a cached output or folder from being removed."""
        with self._pins.pin(kind, name):
            yield


class CallCache:
    """A call's view of the cache, which pins what the call uses. Made with :meth:`OutputCache.pinning`."""

    def __init__(self, cache: OutputCache, stack: ExitStack) -> None:
        self._cache = cache
        self._stack = stack
        self._pinned: set[tuple[str, str]] = set()

    def find(self, key: str) -> ThunkOutput | None:
        """Return the output that is stored under a key, or None."""
        self._pin("outputs", key)
        return self._cache.find(key)

    async def store(self, output: ThunkOutput, key: str) -> ThunkOutput:
        """Store an output under its key, unless there is one; return the one that is stored then."""
        self._pin("outputs", key)
        return await self._cache.store(output, key)

    def use_image(self, key: str) -> None:
        """Note that the image with this key is used, or about to be created."""
        self._pin("images", key)
        (self._cache.folder / "images" / key).touch()

    def _pin(self, kind: str, name: str) -> None:
        if (kind, name) not in self._pinned:
            self._pinned.add((kind, name))
            self._stack.enter_context(self._cache.pin(kind, name))


def _read_marker(session: Path) -> str:
    return (session / _MARKER).read_text()


def _remove_session(session: Path) -> None:
    memory = session / _MEMORY
    if memory.is_symlink() and memory.readlink().name.startswith("bassloop-"):
        file_trees.remove_now(memory.readlink())
    file_trees.remove_now(session)


def remove_abandoned(sessions: Path) -> None:
    """Remove the folders of crashed sessions, whose locks nobody holds, and kill their processes."""
    for path in sessions.iterdir():
        try:
            lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            # Another process may be removing it too, or was killed while it did.
            with suppress(FileNotFoundError):
                # After a power failure, the file may be empty, which is the prefix of every session's markers.
                if marker := _read_marker(path):
                    kill_marked(marker)
            with suppress(FileNotFoundError):
                _remove_session(path)
        finally:
            os.close(lock)
