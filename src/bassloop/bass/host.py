"""The interface for everything outside the language, which does no I/O itself.

Give a session a `Host` that overrides the operations that scripts can use. All others raise a `BassError` that says so.
The session's driver awaits the coroutines, and cancels them with the session. Raise `BassError` for a problem of the
script, such as a thunk that failed or a missing file. Any other exception ends the session.
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
    """The operations of a script on the world outside. Derive from this class, and override some of them."""

    async def run(self, thunk: Thunk) -> None:
        """Run a thunk that has a platform. Raises `BassError` if it fails."""
        raise _refusal("run thunks")

    def read(self, thunk: Thunk) -> ByteStream:
        """Run a thunk that has a platform, and return its standard output."""
        raise _refusal("read the output of thunks")

    async def resolve(self, ref: ImageRef) -> Thunk:
        """Return a thunk of the exact image, with its digest, that a reference currently stands for."""
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
        """Return the content of a file of this machine. Only a local command line creates such paths."""
        raise _refusal("read files of this machine")

    async def list_host_path(self, path: HostPath) -> Sequence[DirEntry]:
        """Return the entries of a directory of this machine."""
        raise _refusal("list directories of this machine")

    async def write_host_path(self, path: HostPath, content: bytes) -> None:
        """Replace a file of this machine, atomically."""
        raise _refusal("write files of this machine")

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        """Log a message of the script, with fields as plain Python values."""

    def write_error(self, text: str) -> None:
        """Write text to the script's standard error, as `doc` and `dump` do."""

    def now(self) -> datetime:
        """Return the current time, with its time zone."""
        return datetime.now(UTC)


UNAVAILABLE = "this host can't "
"""The beginning of messages about operations that a host doesn't override."""


def _refusal(what: str) -> BassError:
    return BassError(
        f"{UNAVAILABLE}{what}: run the script where there is a runtime, or leave that out"
    )
