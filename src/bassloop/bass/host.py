"""The language's interface to the world around it. The language itself does no I/O.

Give a session a `Host` that overrides what it can do; what it doesn't override refuses with a `BassError` that says so.
Every coroutine is awaited under the session's driver, and is cancelled with the session. Raise errors that belong to
the script (a thunk that failed, a file that is missing) as `BassError`; anything else ends the session.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from bassloop.bass.errors import BassError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from bassloop.bass.filesystem import DirEntry
    from bassloop.bass.path import HostPath
    from bassloop.bass.thunk import ImageRef, Thunk, ThunkPath

ByteStream: TypeAlias = "AbstractAsyncContextManager[AsyncIterator[bytes]]"
"""Bytes in pieces of any size, while the context is open. It is opened, read and closed in one task."""


class Host:
    """The world, as far as a script may reach it. Derive from it and override."""

    async def run(self, thunk: Thunk) -> None:
        """Run a thunk that has a platform. Raises `BassError` if it fails."""
        raise _refusal("run thunks")

    def read(self, thunk: Thunk) -> ByteStream:
        """Run a thunk that has a platform, and return its standard output."""
        raise _refusal("read the output of thunks")

    async def resolve(self, ref: ImageRef) -> Thunk:
        """Return the thunk of the exact image, with its digest, that a reference means now."""
        raise _refusal("resolve images")

    def export(self, thunk: Thunk) -> ByteStream:
        """Return a thunk as an OCI image archive."""
        raise _refusal("export thunks")

    def export_path(self, path: ThunkPath) -> ByteStream:
        """Return a path out of a thunk, as a tar stream."""
        raise _refusal("export paths of thunks")

    async def publish(self, thunk: Thunk, ref: ImageRef) -> ImageRef:
        """Push a thunk's image, and return the reference with the digest that it has there."""
        raise _refusal("publish thunks")

    def read_host_path(self, path: HostPath) -> ByteStream:
        """Return the content of a file of this machine. Only a local command line hands out such paths."""
        raise _refusal("read files of this machine")

    async def list_host_path(self, path: HostPath) -> Sequence[DirEntry]:
        """Return the members of a directory of this machine."""
        raise _refusal("list directories of this machine")

    async def write_host_path(self, path: HostPath, content: AsyncIterator[bytes]) -> None:
        """Replace a file of this machine, atomically."""
        raise _refusal("write files of this machine")

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        """Log a message of the script for people, with fields as plain Python values."""

    def write_error(self, text: str) -> None:
        """Write text to the script's standard error: what `doc` and `dump` print."""

    def now(self) -> datetime:
        """Return the current time, aware of its zone."""
        return datetime.now(UTC)


UNAVAILABLE = "nothing here can "
"""Begins the message about what a host can't do."""


def _refusal(what: str) -> BassError:
    return BassError(
        f"{UNAVAILABLE}{what}: run this script where there is a runtime, or leave that out"
    )
