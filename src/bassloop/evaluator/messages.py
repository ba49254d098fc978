"""The messages between the daemon and the process that evaluates a hook, and their limits.

The daemon begins with :class:`Evaluate`. After that, the process makes calls, which it numbers from 1, and the daemon
answers each of them once, in any order. A stream or a check is identified by the number of the call that opened it.
The process ends with a :data:`FinalMessage`.

Messages are validated as they are decoded. No I/O.
"""

from __future__ import annotations

import os
from enum import Enum
from typing import Annotated, Any, Final, Generic, TypeAlias, TypeVar, cast

import msgspec
from msgspec import Meta, Struct

from bassloop.evaluator import ProtocolError

MAX_MESSAGE: Final = 4 << 20
"""The size limit for one encoded message, in bytes."""

PIECE: Final = 1 << 20
"""The limit on content in one message, in bytes; more content precedes it, in messages of its own."""

MAX_CONTENT: Final = 64 << 20
"""The limit on all content of a message, in bytes: a payload, a file, or a thunk with its files."""

MAX_UNDER_WAY: Final = 1_024
"""The limit on a process's unanswered calls."""

MAX_BYTES_UNDER_WAY: Final = MAX_CONTENT + MAX_MESSAGE
"""The limit on the size of those calls together, in bytes."""

MAX_STREAMS: Final = 256
"""The limit on a process's open streams."""

MAX_NEEDS: Final = 256
"""The limit on the checks that one check may need."""

MAX_LIMIT: Final = 7 * 86_400.0
"""The longest time limit, in seconds, that a hook may set for a check. Its policy may have a shorter one."""

MAX_MESSAGES: Final = 200_000
"""The limit on the messages that a process sends."""

MAX_BYTES: Final = 512 << 20
"""The limit on the bytes that a process sends."""

Number: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_MESSAGES)]
Name: TypeAlias = Annotated[str, Meta(max_length=1_024)]
FilePath: TypeAlias = Annotated[str, Meta(max_length=4_096)]
Content: TypeAlias = Annotated[bytes, Meta(max_length=PIECE)]


_LENGTH: Final = 4
_encode: Final = msgspec.msgpack.Encoder().encode


class Message(Struct, frozen=True, tag=True, array_like=True):
    """A message in either direction."""


M = TypeVar("M", bound=Message)


class Chunk(Message, frozen=True):
    """A piece of the content of the next message of another type."""

    content: Content


# --- from the daemon ---


class PayloadEdit(Enum):
    """A change to a payload before a hook is called with it."""

    NONE = ""
    CHECK_RERUN = "check rerun"
    """A press of the loop's button to run a check again becomes a press of GitHub's."""

    SUITE_RERUN = "suite rerun"
    """A request to run a check again becomes a request to run all checks of its head again."""


class Evaluate(Message, frozen=True):
    """Evaluate a hook.

    Args:
        path: the script's path in the repository.
        source: its text.
        module: whether it is a module whose `github-hook` is called; otherwise, it's a script whose `main` is run.
        tree: what paths into the repository print as.
        event: the event's name.
        edit: the change to make to the payload first.
        output: how many bytes the script may log.
        content: the event's payload, as it was received. The host provides it.
    """

    path: str
    source: str
    module: bool
    tree: str
    event: str
    edit: PayloadEdit
    output: int
    content: Content = b""


class Describe(Message, frozen=True):
    """Describe a thunk instead of evaluating a hook."""

    content: Content


class Done(Message, frozen=True):
    """A call has succeeded."""

    call: Number


class Data(Message, frozen=True):
    """A call has succeeded, with this result."""

    call: Number
    content: Content


class Entries(Message, frozen=True):
    """The members of a directory: each one's name, and whether it is a directory."""

    call: Number
    entries: tuple[tuple[str, bool], ...]


class Refusal(Message, frozen=True):
    """A call has failed, for a reason that the script may see."""

    call: Number
    why: str


# --- calls, from the process ---


class Call(Message, frozen=True):
    """A call of the process, with its number."""

    call: Number


class ReadFile(Call, frozen=True):
    """Reads a file of the repository; answered with :class:`Data`."""

    path: FilePath


class ListDirectory(Call, frozen=True):
    """Lists a directory of the repository; answered with :class:`Entries`."""

    path: FilePath


class RunThunk(Call, frozen=True):
    """Runs a thunk; answered when it has succeeded."""

    content: Content


class ReadThunk(Call, frozen=True):
    """Runs a thunk and opens a stream of its output; answered when the stream is open."""

    content: Content


class ExportThunk(Call, frozen=True):
    """Opens a stream of a thunk's image."""

    content: Content


class ExportPath(Call, frozen=True):
    """Opens a stream of a path out of a thunk, as a tar archive.

    Args:
        path: the path, encoded.
        content: the thunk.
    """

    path: Annotated[bytes, Meta(max_length=64 << 10)]
    content: Content


class Next(Call, frozen=True):
    """Reads the next piece of a stream; answered with :class:`Data`, which is empty at the end."""

    stream: Number


class Resolve(Call, frozen=True):
    """Resolves a reference to the thunk of an exact image; answered with :class:`Data`."""

    content: Content


class StartCheck(Call, frozen=True):
    """Starts a check of a commit; answered when it is recorded.

    Args:
        after: names of checks of the same commit that must have succeeded first.
        limit: its time limit in seconds, or None for the policy's.
    """

    name: Name
    sha: Name
    after: Annotated[tuple[Name, ...], Meta(max_length=MAX_NEEDS)]
    limit: Annotated[float, Meta(gt=0, le=MAX_LIMIT)] | None
    content: Content


class Wait(Call, frozen=True):
    """Waits for a check that was started; answered when it has succeeded."""

    check: Number


# --- other messages from the process ---


class Log(Message, frozen=True):
    """A message that the script has printed."""

    message: str
    fields: str = ""


class Idle(Message, frozen=True):
    """The process waits for answers, after receiving so many messages from the daemon."""

    received: int


class Evaluated(Message, frozen=True):
    """The hook was evaluated, and everything that it started in the background is over."""


class Failed(Message, frozen=True):
    """The script failed: the message, and a report that adds the lines of source and the trace."""

    message: str
    report: str


class OutOfMemory(Message, frozen=True):
    """The process could not get more memory."""


class Crashed(Message, frozen=True):
    """The evaluator itself failed: the exception, and its traceback."""

    error: str
    traceback: str


class Described(Message, frozen=True):
    """A thunk's description.

    Args:
        command: its command line, for people.
        platform: the operating system and architecture that it needs, if it names any.
        content: its Protocol Buffers message as JSON.
    """

    command: str
    platform: tuple[str, str] | None
    content: Content


# --- between the daemon and the fork server ---


class Fork(Message, frozen=True):
    """Fork a process for the socket that comes with this message.

    Args:
        ahead: whether it is a spare, which has time to prepare itself before its hook arrives.
    """

    job: int
    ahead: bool = False


class Ready(Message, frozen=True):
    """The fork server is ready: the layers of confinement in effect, and those that aren't available."""

    layers: tuple[str, ...]
    missing: tuple[str, ...]


NOT_FORKED: Final = os.EX_OSERR << 8
"""The status of a process that couldn't be forked: it looks as if it had exited with EX_OSERR.

No hook's process exits with that, only with 0 or 1, or it dies of a signal.
"""


class Ended(Message, frozen=True):
    """A process has ended.

    Args:
        status: as :func:`os.waitpid` returns it, or `NOT_FORKED`.
        cpu_seconds: the CPU time that it used.
        memory: its peak memory, in bytes.
    """

    job: int
    status: int
    cpu_seconds: float
    memory: int


Answer: TypeAlias = Done | Data | Entries | Refusal
ToProcess: TypeAlias = Evaluate | Describe | Answer
StreamCall: TypeAlias = ReadThunk | ExportThunk | ExportPath
AnyCall: TypeAlias = (
    ReadFile | ListDirectory | RunThunk | StreamCall | Next | Resolve | StartCheck | Wait
)
FinalMessage: TypeAlias = Evaluated | Failed | OutOfMemory | Crashed | Described
FromProcess: TypeAlias = AnyCall | Log | Idle | FinalMessage
FromServer: TypeAlias = Ready | Ended


def as_text(text: str) -> str:
    """Return a string without lone surrogates, which can't be encoded."""
    return text.encode(errors="replace").decode()


def frames(message: Message) -> list[bytes]:
    """Return the bytes of a message, in pieces. Raises ProtocolError if it is too large."""
    content: bytes = getattr(message, "content", b"")
    if len(content) <= PIECE:
        return [_frame(message)]
    if len(content) > MAX_CONTENT:
        raise ProtocolError(f"{len(content):,} bytes in a message; {MAX_CONTENT:,} is the limit")
    last = (len(content) - 1) // PIECE * PIECE
    chunks = (Chunk(content[start : start + PIECE]) for start in range(0, last, PIECE))
    return [*map(_frame, chunks), _frame(_with_content(message, content[last:]))]


def _frame(message: Message) -> bytes:
    body = _encode(message)
    if len(body) > MAX_MESSAGE:
        raise ProtocolError(f"a message of {len(body):,} bytes; {MAX_MESSAGE:,} is the limit")
    return len(body).to_bytes(_LENGTH) + body


def _with_content(message: M, content: bytes) -> M:
    return msgspec.structs.replace(message, content=content)


class MessageReader(Generic[M]):
    """Finds messages in bytes that arrive in pieces of any size.

    Args:
        types: the messages that may arrive, as a union.

    Attributes:
        frames: the number of messages so far, including pieces of content.
        size: their total size in bytes.
    """

    def __init__(self, types: Any) -> None:
        self.frames = 0
        self.size = 0
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(types | Chunk)
        self._buffer = bytearray()
        self._content = bytearray()

    def feed(self, data: bytes) -> list[M]:
        """Add data, and return the messages that are complete now.

        Raises ProtocolError for a message that is too large, or isn't one of the types. Nothing after it can
        be decoded.
        """
        buffer = self._buffer
        buffer += data
        messages: list[M] = []
        start = 0
        while len(buffer) - start >= _LENGTH:
            size = int.from_bytes(buffer[start : start + _LENGTH])
            if size > MAX_MESSAGE:
                raise ProtocolError(f"a message of {size:,} bytes; {MAX_MESSAGE:,} is the limit")
            end = start + _LENGTH + size
            if len(buffer) < end:
                break
            self.frames += 1
            self.size += size
            message = self._join(self._decode(bytes(buffer[start + _LENGTH : end])))
            if message is not None:
                messages.append(message)
            start = end
        del buffer[:start]
        return messages

    def _decode(self, body: bytes) -> Message:
        try:
            return cast("Message", self._decoder.decode(body))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"not a message: {error}") from error

    def _join(self, message: Message) -> M | None:
        """Return a message with the content that preceded it, or None for a piece of content."""
        if isinstance(message, Chunk):
            self._content += message.content
            if len(self._content) > MAX_CONTENT:
                raise ProtocolError(f"more than {MAX_CONTENT:,} bytes for one message")
            return None
        if self._content:
            if not hasattr(message, "content"):
                raise ProtocolError("content for a message that has none")
            message = _with_content(message, bytes(self._content) + message.content)
            self._content.clear()
        return cast("M", message)
