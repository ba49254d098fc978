"""The daemon's side of the conversation: which messages a process may send, and when."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.evaluator import ProtocolError, messages
from bassloop.evaluator import conversation as conversation_module
from bassloop.evaluator.conversation import Conversation
from bassloop.evaluator.messages import (
    MAX_STREAMS,
    MAX_UNDER_WAY,
    PIECE,
    Chunk,
    Data,
    Done,
    Evaluated,
    Idle,
    Log,
    Next,
    ReadFile,
    ReadThunk,
    Refusal,
    RunThunk,
    StartCheck,
    Wait,
    frames,
)

from .conftest import hook
from .test_framing import FROM_PROCESS


def begun() -> Conversation:
    """A conversation that has begun."""
    conversation = Conversation()
    conversation.begin(hook("null"))
    return conversation


def hear(conversation: Conversation, *said: messages.Message) -> list[Any]:
    """Return the daemon's reading of messages."""
    return conversation.receive(b"".join(piece for each in said for piece in frames(each)))


def test_calls_are_answered_in_any_order() -> None:
    conversation = begun()
    calls = [ReadFile(1, "a"), RunThunk(2, b""), ReadFile(3, "b")]
    assert hear(conversation, *calls) == calls
    for number in (3, 1, 2):
        assert conversation.answer(Done(number)) == frames(Done(number))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([ReadFile(2, "a")], "the call 2 after 0"),
        ([ReadFile(1, "a"), ReadFile(1, "a")], "the call 1 after 1"),
        ([Wait(1, 1)], "not started"),
        ([StartCheck(1, "", "", (), None, b""), Wait(2, 1)], "not started"),
        ([Next(1, 1)], "not open"),
        ([ReadThunk(1, b""), Next(2, 1)], "not open"),
        ([Evaluated(), Log("more")], "after the last"),
        ([Idle(1)], "waits for nothing"),
        ([Idle(2)], "more messages"),
        ([ReadFile(1, "a"), Idle(1), Idle(1)], "that waits"),
        ([ReadFile(1, "a"), Idle(1), Log("busy")], "that waits"),
        ([ReadFile(1, "a"), Idle(1), Evaluated()], "that waits"),
        ([ReadThunk(number, b"") for number in range(1, MAX_STREAMS + 2)], "too many streams"),
        ([ReadFile(number, "") for number in range(1, MAX_UNDER_WAY + 2)], "under way"),
        (
            [Chunk(b"x" * PIECE)] * 63
            + [RunThunk(1, b"")]
            + [Chunk(b"x" * PIECE)] * 63
            + [RunThunk(2, b"")],
            "under way",
        ),
    ],
)
def test_messages_that_are_not_allowed_end_the_conversation(
    said: list[messages.Message], why: str
) -> None:
    with pytest.raises(ProtocolError, match=why):
        hear(begun(), *said)


def test_the_number_of_messages_of_a_process_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_module, "MAX_MESSAGES", 3)
    conversation = begun()
    assert hear(conversation, *[Log("text")] * 3) == [Log("text")] * 3
    with pytest.raises(ProtocolError, match="too many messages"):
        hear(conversation, Log("text"))


def test_the_number_of_bytes_of_a_process_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_module, "MAX_BYTES", 3_000)
    said, conversation = Log("x" * 1_000), begun()
    assert hear(conversation, said, said) == [said, said]
    with pytest.raises(ProtocolError, match="too many messages"):
        hear(conversation, said)


def test_a_stream_is_read_until_it_ends() -> None:
    conversation = begun()
    hear(conversation, ReadThunk(1, b""))
    conversation.answer(Done(1))
    hear(conversation, Next(2, 1))
    with pytest.raises(ProtocolError, match="twice"):
        hear(conversation, Next(3, 1))
    conversation = begun()
    hear(conversation, ReadThunk(1, b""))
    conversation.answer(Done(1))
    hear(conversation, Next(2, 1))
    conversation.answer(Data(2, b"piece"))
    hear(conversation, Next(3, 1))
    conversation.answer(Data(3, b""))
    with pytest.raises(ProtocolError, match="not open"):
        hear(conversation, Next(4, 1))


def test_refused_calls_open_no_streams() -> None:
    conversation = begun()
    hear(conversation, ReadThunk(1, b""), StartCheck(2, "", "", (), None, b""))
    conversation.answer(Refusal(1, "no"))
    conversation.answer(Refusal(2, "no"))
    with pytest.raises(ProtocolError, match="not open"):
        hear(conversation, Next(3, 1))


def test_a_process_is_idle_while_it_waits_for_an_answer() -> None:
    conversation = begun()
    hear(conversation, ReadFile(1, "a"))
    assert not conversation.idle
    hear(conversation, Idle(1))
    assert conversation.idle
    conversation.answer(Data(1, b""))
    assert not conversation.idle


def test_idle_time_before_an_answer_was_sent_does_not_count() -> None:
    conversation = begun()
    hear(conversation, ReadFile(1, "a"), ReadFile(2, "b"))
    conversation.answer(Data(1, b""))
    assert hear(conversation, Idle(1)) == []
    assert not conversation.idle
    hear(conversation, Idle(2))
    assert conversation.idle


def test_an_answer_that_is_too_large_leaves_the_call_open() -> None:
    conversation = begun()
    hear(conversation, ReadFile(1, "a"))
    with pytest.raises(ProtocolError):
        conversation.answer(Data(1, b"x" * (messages.MAX_CONTENT + 1)))
    conversation.answer(Refusal(1, "too large"))


@given(st.lists(FROM_PROCESS | st.integers(1, 12), max_size=30))
def test_the_limits_apply_to_any_messages(said: list[Any]) -> None:
    conversation = begun()
    open_calls: list[int] = []
    for each in said:
        if isinstance(each, int):
            if each in open_calls:
                open_calls.remove(each)
                conversation.answer(Done(each))
            continue
        try:
            heard = hear(conversation, each)
        except ProtocolError:
            return
        open_calls += [call.call for call in heard if isinstance(call, messages.Call)]
        assert len(open_calls) == len(set(open_calls)) <= MAX_UNDER_WAY
        assert not (conversation.over and heard and not isinstance(each, messages.FinalMessage))
