"""Messages as bytes and back: each is preceded by its length, in four bytes. No I/O.

Content that is too long for one message precedes it, in pieces (:class:`.messages.Chunk`); whoever reads gets it whole.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from bassloop.evaluator.errors import ProtocolError
from bassloop.evaluator.messages import MAX_CONTENT, MAX_MESSAGE, PIECE, Chunk, Message

M = TypeVar("M", bound=Message)

_LENGTH: Final = 4
_encode: Final = msgspec.msgpack.Encoder().encode


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
        frames: how many have arrived, the pieces of content included.
        size: how many bytes they had together.
    """

    def __init__(self, types: Any) -> None:
        self.frames = 0
        self.size = 0
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(types | Chunk)
        self._buffer = bytearray()
        self._content = bytearray()

    def feed(self, data: bytes) -> list[M]:
        """Return the messages that are complete now.

        Raises ProtocolError for a message that is too large, or isn't one of the types. What comes after it
        can't be understood any more.
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
            return cast(Message, self._decoder.decode(body))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"not a message: {error}") from error

    def _join(self, message: Message) -> M | None:
        """Return a message with the content that preceded it; None for what is only a piece."""
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
        return cast(M, message)
