"""The host for a script in a process of its own. It turns each call into a message to the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bassloop import bass
from bassloop.evaluator.daemon_link import Pending
from bassloop.evaluator.messages import (
    MAX_CONTENT,
    MAX_LIMIT,
    MAX_NEEDS,
    MAX_STREAMS,
    AnyCall,
    ExportPath,
    ExportThunk,
    ListDirectory,
    Next,
    ReadFile,
    ReadThunk,
    Resolve,
    RunThunk,
    StartCheck,
    Wait,
    as_text,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

    from bassloop.evaluator.daemon_link import Link

_LONGEST_NAME: Final = 1_024
_LONGEST_PATH: Final = 4_096


class Tree:
    """The files of the repository, as a :class:`bassloop.bass.FileSystem`."""

    def __init__(self, link: Link, name: str) -> None:
        self.name = name
        self._link = link

    async def read_file(self, path: str) -> bytes:
        """Return a file of the repository."""
        return await self._link.ask(ReadFile, self._sendable(path))

    async def list_dir(self, path: str) -> Sequence[bass.DirEntry]:
        """Return the members of a directory of the repository."""
        _, entries = await self._link.call(ListDirectory, self._sendable(path))
        assert isinstance(entries, tuple)
        return [bass.DirEntry(name, is_dir) for name, is_dir in entries]

    def _sendable(self, path: str) -> str:
        if len(path) > _LONGEST_PATH:
            raise bass.BassError(f"{self.name} has nothing with a name of {len(path):,} characters")
        return as_text(path)


class _Stream:
    """A thunk's output, requested in pieces. It is read by one fiber at a time, until its end."""

    def __init__(self, host: RemoteHost, kind: Callable[..., AnyCall], *fields: bytes) -> None:
        self._host = host
        self._kind = kind
        self._fields = fields
        self._number = 0
        self._reading: Pending[None] | None = None
        self._over = False

    async def __aenter__(self) -> _Stream:
        self._number = await self._host.open_stream(self._kind, *self._fields)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> bytes:
        while self._reading is not None:
            await self._reading
        piece = b""
        if not self._over:
            self._reading = Pending()
            try:
                piece = await self._host.next_piece(self._number)
            finally:
                self._over = not piece
                self._host.end(self._reading)
                self._reading = None
        if not piece:
            raise StopAsyncIteration
        return piece


class RemoteHost(bass.Host):
    """A :class:`bassloop.bass.Host` that asks the daemon."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._streams = 0

    async def run(self, thunk: bass.Thunk) -> None:
        """Run a thunk."""
        await self._link.ask(RunThunk, encode_thunk(thunk))

    def read(self, thunk: bass.Thunk) -> bass.ByteStream:
        """Return what a thunk prints."""
        return _Stream(self, ReadThunk, encode_thunk(thunk))

    def export(self, thunk: bass.Thunk) -> bass.ByteStream:
        """Return a thunk as an OCI archive."""
        return _Stream(self, ExportThunk, encode_thunk(thunk))

    def export_path(self, path: bass.ThunkPath) -> bass.ByteStream:
        """Return a path out of a thunk, as a tar archive."""
        where = bass.encode_name_path(path.path).SerializeToString()
        if len(where) > _LONGEST_PATH:
            raise bass.BassError(f"a path of {len(where):,} bytes is too long")
        return _Stream(self, ExportPath, where, encode_thunk(path.thunk))

    async def resolve(self, ref: bass.ImageRef) -> bass.Thunk:
        """Return an image's thunk."""
        answer = await self._link.ask(Resolve, bass.encode_ref(ref).SerializeToString())
        return bass.decode_encoded_thunk(answer)

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        """Send a message of the script to the daemon."""
        named = " ".join(f"{name}={value}" for name, value in fields.items())
        self._link.log(as_text(message), as_text(named))

    def write_error(self, text: str) -> None:
        """Send the output of `dump` and `doc` to the daemon."""
        self._link.log(as_text(text.rstrip("\n")))

    # --- beyond the language's host interface ---

    async def start_check(
        self, thunk: bytes, name: str, sha: str, after: Sequence[str], limit: float | None
    ) -> Callable[[], Awaitable[None]]:
        """Start a check, and return a coroutine function that waits for it."""
        if len(after) > MAX_NEEDS:
            raise bass.BassError(f"a check can need {MAX_NEEDS} others, not {len(after)}")
        if limit is not None and not 0 < limit <= MAX_LIMIT:
            raise bass.BassError(f"a check's limit is up to {MAX_LIMIT:g} seconds, not {limit:g}")
        fields = (as_text(name)[:_LONGEST_NAME], as_text(sha)[:_LONGEST_NAME])
        needs = tuple(as_text(each)[:_LONGEST_NAME] for each in after)
        check, _ = await self._link.call(StartCheck, *fields, needs, limit, thunk)

        async def wait() -> None:
            await self._link.ask(Wait, check)

        return wait

    async def open_stream(self, kind: Callable[..., AnyCall], *fields: bytes) -> int:
        """Open a stream, and return its number."""
        if self._streams >= MAX_STREAMS:
            raise bass.BassError(
                f"{MAX_STREAMS} outputs are being read already: read each to its end first"
            )
        self._streams += 1
        try:
            number, _ = await self._link.call(kind, *fields)
        except bass.BassError:
            self._streams -= 1
            raise
        return number

    async def next_piece(self, stream: int) -> bytes:
        """Return the next piece of a stream, b"" at its end."""
        piece = b""
        try:
            piece = await self._link.ask(Next, stream)
        finally:
            self._streams -= not piece
        return piece

    def end(self, pending: Pending[None]) -> None:
        """Resume the fibers that wait for this."""
        pending.succeed(None)
        self._link.fibers.resume(pending)


def encode_thunk(thunk: bass.Thunk) -> bytes:
    """Return a thunk's encoding, with its fields in the order that the digest depends on.

    Raises BassError if it is too large.
    """
    encoded = bass.encoded_thunk(thunk)
    if len(encoded) > MAX_CONTENT:
        raise bass.BassError(
            f"{thunk.cmdline()} has {len(encoded):,} bytes, including what it is made of; the limit "
            f"is {MAX_CONTENT:,}"
        )
    return encoded
