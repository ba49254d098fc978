"""Lock files of nodes, so that a node that starts can tell which earlier ones in its data directory are dead.

Each node holds a lock (`flock`) on a file that is named after its id. The kernel releases the lock when the process
has ended, also if that was killed, but not while the process is paused. So if another process can lock the file, the
node is dead, and needn't be waited for until its lease expires.

That's only certain on the same machine, because a network file system may release the lock of a process that it can't
reach. So the file names the machine's boot and the device that it's on, and if they differ, the lease decides.

All functions block.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux changes its content with each boot. Containers have that of their host."""

FORGET_SECONDS = 24 * 3600.0
"""The age at which files of nodes that may have been on another machine are removed."""

_UNFINISHED = "."

log = structlog.get_logger(__name__)


class NodeLocks:
    """The lock files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, node: str) -> Iterator[None]:
        """Hold the lock of a node that starts. Without one, for example on a read-only disk, the lease decides."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self._locked(node))
            except OSError as error:
                log.warning("no lock for this node", folder=str(self._folder), why=error.strerror)
            yield

    @contextmanager
    def _locked(self, node: str) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=self._folder)
        path = self._folder / node
        with open(descriptor, "wb", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.write(json.dumps(_whereabouts(file.fileno())).encode())
                os.replace(name, path)  # already locked, so nobody takes this node for a dead one
            except BaseException:
                os.unlink(name)
                raise
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def find_dead(self) -> list[str]:
        """Return the ids of nodes that have ended without removing their file."""
        found = []
        with suppress(OSError):
            for path in list(self._folder.iterdir()):
                with suppress(OSError):
                    if self._is_dead(path):
                        found.append(path.name)
        return found

    def _is_dead(self, path: Path) -> bool:
        """Return whether a file's node is dead for certain. Removes files that say nothing. Raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        with closing(os.fdopen(descriptor, "rb")) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            here = _whereabouts(descriptor)
            is_named = not path.name.startswith(_UNFINISHED)
            with suppress(ValueError):
                if is_named and here["boot"] and json.loads(file.read()) == here:
                    return True
            if os.fstat(descriptor).st_mtime < time.time() - FORGET_SECONDS:
                path.unlink()
        return False

    def forget(self, nodes: Collection[str]) -> None:
        """Remove the files of dead nodes, whose work was taken over."""
        for node in nodes:
            with suppress(OSError):
                (self._folder / node).unlink()


def _whereabouts(descriptor: int) -> dict[str, object]:
    """Return where a file's lock can be trusted: the boot of this machine, and the device as seen from here."""
    boot = ""
    with suppress(OSError):
        boot = BOOT_ID.read_text().strip()
    return {"boot": boot, "device": os.fstat(descriptor).st_dev}
