"""Messages as bytes: written messages can be read in pieces of any size, and other bytes are refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.evaluator import ProtocolError, messages
from bassloop.evaluator.messages import (
    MAX_CONTENT,
    MAX_MESSAGE,
    PIECE,
    Chunk,
    Data,
    Done,
    FromProcess,
    Log,
    MessageReader,
    RunThunk,
    StartCheck,
    ToProcess,
    frames,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
NEEDS = st.lists(TEXT, max_size=3).map(tuple)
LIMIT = st.none() | st.floats(0, messages.MAX_LIMIT, exclude_min=True)
NUMBER = st.integers(1, messages.MAX_MESSAGES)
CONTENT = st.binary(max_size=100)
FROM_PROCESS: st.SearchStrategy[Any] = st.one_of(
    st.builds(messages.ReadFile, NUMBER, TEXT),
    st.builds(messages.ListDirectory, NUMBER, TEXT),
    st.builds(messages.RunThunk, NUMBER, CONTENT),
    st.builds(messages.ReadThunk, NUMBER, CONTENT),
    st.builds(messages.ExportThunk, NUMBER, CONTENT),
    st.builds(messages.ExportPath, NUMBER, CONTENT),
    st.builds(messages.Next, NUMBER, NUMBER),
    st.builds(messages.Resolve, NUMBER, CONTENT),
    st.builds(messages.StartCheck, NUMBER, TEXT, TEXT, NEEDS, LIMIT, CONTENT),
    st.builds(messages.Wait, NUMBER, NUMBER),
    st.builds(messages.Log, TEXT, TEXT),
    st.builds(messages.Idle, st.integers(0, 1 << 40)),
    st.just(messages.Evaluated()),
    st.builds(messages.Failed, TEXT, TEXT),
    st.just(messages.OutOfMemory()),
    st.builds(messages.Crashed, TEXT, TEXT),
    st.builds(messages.Described, TEXT, st.none() | st.tuples(TEXT, TEXT), CONTENT),
)


def read(data: bytes, sizes: list[int], types: Any = FromProcess) -> list[Any]:
    """Return the frames read from bytes that arrive in pieces of these sizes, and then the rest."""
    reader: MessageReader[Any] = MessageReader(types)
    found = []
    for size in sizes:
        found += reader.feed(data[:size])
        data = data[size:]
    return found + reader.feed(data)


@given(st.lists(FROM_PROCESS, max_size=8), st.lists(st.integers(0, 40), max_size=20))
def test_written_messages_can_be_read(written: list[Any], sizes: list[int]) -> None:
    data = b"".join(piece for message in written for piece in frames(message))
    assert read(data, sizes) == written


@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        found = read(data, [])
    except ProtocolError:
        return
    assert all(isinstance(each, messages.Message) for each in found)


@given(FROM_PROCESS, st.data())
def test_messages_with_a_changed_byte_are_decoded_or_refused(message: Any, data: Any) -> None:
    encoded = bytearray(b"".join(frames(message)))
    where = data.draw(st.integers(0, len(encoded) - 1))
    encoded[where] ^= data.draw(st.integers(1, 255))
    try:
        found = read(bytes(encoded), [])
    except ProtocolError:
        return
    assert all(isinstance(each, messages.Message) for each in found)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7])
def test_content_is_sent_in_pieces_and_arrives_whole(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    message = StartCheck(1, "it", "sha", (), None, content[:size])
    pieces = frames(message)
    assert all(len(piece) <= PIECE + 100 for piece in pieces)
    assert len(pieces) == max(1, -(-size // PIECE))
    reader: MessageReader[Any] = MessageReader(FromProcess)
    found = [
        each for piece in [*pieces, *frames(Done(1))][: len(pieces)] for each in reader.feed(piece)
    ]
    assert found == [message]
    assert reader.frames == len(pieces)


def test_too_much_content_is_refused_on_both_sides() -> None:
    with pytest.raises(ProtocolError, match="limit"):
        frames(RunThunk(1, b"x" * (MAX_CONTENT + 1)))
    reader: MessageReader[Any] = MessageReader(FromProcess)
    [chunk] = frames(Chunk(b"x" * PIECE))
    for _ in range(MAX_CONTENT // PIECE):
        assert reader.feed(chunk) == []
    with pytest.raises(ProtocolError, match="more than"):
        reader.feed(chunk)


def test_a_message_that_is_too_long_is_refused_before_it_has_arrived() -> None:
    with pytest.raises(ProtocolError, match="limit"):
        read((MAX_MESSAGE + 1).to_bytes(4), [])
    with pytest.raises(ProtocolError, match="limit"):
        frames(Log("x" * (MAX_MESSAGE + 1)))


@pytest.mark.parametrize(
    "body",
    [
        ["Done", 1],  # the daemon's
        ["RunThunk", 0, b""],
        ["RunThunk", -1, b""],
        ["RunThunk", messages.MAX_MESSAGES + 1, b""],
        ["RunThunk", 1, b"x" * (PIECE + 1)],
        ["RunThunk", 1],
        ["ReadFile", 1, "x" * 5000],
        ["ReadFile", 1, None],
        ["StartCheck", 1, "x" * 2000, "", [], None, b""],
        ["Fork", 1],
        "Evaluated",
        {"type": "Evaluated"},
        [],
    ],
)
def test_invalid_messages_are_refused(body: Any) -> None:
    encoded = msgspec.msgpack.encode(body)
    with pytest.raises(ProtocolError):
        read(len(encoded).to_bytes(4) + encoded, [])


def test_content_for_a_message_without_content_is_refused() -> None:
    data = [*frames(Chunk(b"x")), *frames(Done(1))]
    with pytest.raises(ProtocolError, match="none"):
        read(b"".join(data), [], ToProcess)
    assert read(b"".join([*frames(Chunk(b"x")), *frames(Data(1, b"y"))]), [], ToProcess) == [
        Data(1, b"xy")
    ]
