"""Liveness: whether a node counts as alive, by its lease, or is dead for certain, by its lock file.

Several nodes, each a daemon, may share a database. A node has a *lease*, which it renews. Once the lease has expired,
another node (its heir) takes over its work, and from then on the node can't write any more: it may only have been
paused for longer than its lease, and not know about its heir. The times of leases are by the database's clock, the only
one that all nodes share.

A node that starts can tell sooner which earlier ones in its data directory are dead. Each node holds a lock (`flock`)
on a file that is named after its id. The kernel releases the lock when the process has ended, also if that was killed,
but not while the process is paused. So if another process can lock the file, the node is dead, and needn't be waited
for until its lease expires.

That's only certain on the same machine, because a network file system may release the lock of a process that it can't
reach. So the file names the machine's boot and the device that it's on, and if they differ, the lease decides.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


LEASE_SECONDS = 10.0
"""How long a lease lasts unless it is renewed."""

RENEW_SECONDS = 2.0
"""The interval at which a node renews its lease and checks those of the others."""


@dataclass(frozen=True, slots=True)
class Node:
    """A daemon, one of several that may share a database.

    Args:
        id: unique to this process.
        name: its name for people.
        address: the URL of its pages.
    """

    id: str
    name: str
    address: str
    version: str


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as the others see it.

    Args:
        seen_seconds: the seconds since it last renewed its lease.
        alive: whether it has a lease that hasn't expired.
        draining: whether it was asked to finish its work and end.
    """

    id: str
    name: str
    address: str
    version: str
    started_at: float
    seen_seconds: float
    alive: bool
    draining: bool

    @property
    def role(self) -> str:
        """The node's state, in words."""
        if not self.alive:
            return "is gone"
        return "drains" if self.draining else "works"


@dataclass(slots=True)
class OwnLease:
    """A node's own lease, as far as it knows. Times are by `sleepless_time`.

    Args:
        renewed_at: when the last successful renewal began.
        others: how many other nodes were alive then, which may take over.
        tried_at: when the last failed renewal began.
    """

    renewed_at: float
    others: int = 0
    tried_at: float = -math.inf

    @property
    def has_failed(self) -> bool:
        """Whether the last attempt to renew the lease failed."""
        return self.tried_at > self.renewed_at

    def renew(self, began: float, others: int) -> None:
        """Record a renewal of the lease."""
        self.renewed_at, self.others = began, others

    def fail(self, began: float) -> None:
        """Record that the lease couldn't be renewed, because the database didn't answer."""
        self.tried_at = began

    def may_write(self, now: float) -> bool:
        """Return False once another node may have taken over.

        A node that was paused for longer than its lease must first try to renew it, even if it was alone, since
        another one may have joined meanwhile.
        """
        looked_at = self.renewed_at if self.others else max(self.renewed_at, self.tried_at)
        return now < looked_at + LEASE_SECONDS

    def is_over(self, now: float) -> bool:
        """Return whether the node must stop, since another one may have taken over.

        A node that is alone needn't: it waits for its database, and continues.
        """
        return self.others > 0 and now >= self.renewed_at + LEASE_SECONDS


class Cluster:
    """The current number of nodes that share the database.

    Attributes:
        size: all nodes, including this one.
        successors: other nodes that aren't draining.
    """

    def __init__(self) -> None:
        self.size, self.successors = 1, 0
        self._changed = trio.Event()

    def note(self, size: int, successors: int | None = None) -> None:
        """Set the current numbers. All other nodes are successors by default."""
        now = size, size - 1 if successors is None else successors
        if now != (self.size, self.successors):
            self.size, self.successors = now
            self._changed.set()
            self._changed = trio.Event()

    async def changed(self) -> None:
        """Wait until one of the numbers changes."""
        await self._changed.wait()


BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux changes its content with each boot. Containers have that of their host."""

FORGET_SECONDS = 24 * 3600.0
"""The age at which files of nodes that may have been on another machine are removed."""

_UNFINISHED = "."

log = structlog.get_logger(__name__)


class NodeLocks:
    """The lock files in a folder. All methods block."""

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
