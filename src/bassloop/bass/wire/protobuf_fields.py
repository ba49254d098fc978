"""The encoding of protobuf's fields, as pieces of bytes that are joined at the end.

`encode.py` decides which fields a message has, and their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from bassloop.bass.errors import BassError
from bassloop.bass.values import INT_MAX, INT_MIN
from bassloop.wire.nesting import encode_varint

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PARTS: Final = 500_000
"""The maximum number of values and messages in one message."""
MAX_BYTES: Final = 64 << 20
"""The maximum length of a message, in bytes."""


class Encoded:
    """A thunk's message in pieces. The thunks in it are other objects of this class, which can be shared.

    Its length is known before the pieces are joined. Raises `BassError` above the limits.
    """

    __slots__ = ("_size", "parts", "pieces")

    def __init__(self, pieces: Pieces, parts: int) -> None:
        self.pieces = pieces
        self.parts = parts
        self._size = sum(map(len, pieces))
        for piece in pieces:
            if isinstance(piece, Encoded):
                self.parts += piece.parts
        if self.parts > MAX_PARTS or self._size > MAX_BYTES:
            raise BassError(
                f"this is too much to encode: a message may have {MAX_PARTS:,} parts and {MAX_BYTES >> 20} MiB, and "
                "a thunk that is used several times counts as often"
            )

    def __len__(self) -> int:
        return self._size


Pieces: TypeAlias = "Sequence[bytes | Encoded]"


def joined(pieces: Pieces) -> bytes:
    out: list[bytes] = []
    todo = list(reversed(pieces))
    while todo:
        piece = todo.pop()
        if isinstance(piece, Encoded):
            todo.extend(reversed(piece.pieces))
        else:
            out.append(piece)
    return b"".join(out)


_TAGS: Final = tuple(encode_varint(number << 3 | 2) for number in range(17))
"""The bytes in front of a field's length, by the field's number."""


def field(number: int, content: bytes) -> bytes:
    return _TAGS[number] + encode_varint(len(content)) + content


def text_field(number: int, text: str) -> bytes:
    """Return a field of text, which is left out if it is empty."""
    return field(number, text.encode()) if text else b""


def flag(number: int, value: bool) -> bytes:
    return encode_varint(number << 3) + b"\x01" if value else b""


def number_field(number: int, value: int) -> bytes:
    if not INT_MIN <= value <= INT_MAX:
        raise ValueError(f"{value} is out of range")
    return encode_varint(number << 3) + encode_varint(value & 0xFFFFFFFFFFFFFFFF) if value else b""


def message_field(number: int, pieces: Pieces) -> list[bytes | Encoded]:
    """Return a field with a message in it."""
    return [_TAGS[number] + encode_varint(sum(map(len, pieces))), *pieces]


def merged(pieces: list[bytes | Encoded]) -> Pieces:
    """Return the same with pieces of bytes that follow each other joined."""
    out: list[bytes | Encoded] = []
    bare: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, Encoded):
            out += (b"".join(bare), piece)
            bare.clear()
        else:
            bare.append(piece)
    out.append(b"".join(bare))
    return out
