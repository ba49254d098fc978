"""The daemon's side of the conversation with a process that evaluates a hook. No I/O.

The process isn't trusted: each message is checked against those before it, so that it can't ask for what it may not,
or for too much. Feed it what arrives on the socket, and send what it returns:

    for message in conversation.receive(data):
        ...
    send(conversation.answer(Done(message.call)))
"""

from __future__ import annotations

from typing import Final

from bassloop.evaluator import ProtocolError
from bassloop.evaluator.messages import (
    MAX_BYTES,
    MAX_BYTES_UNDER_WAY,
    MAX_MESSAGES,
    MAX_STREAMS,
    MAX_UNDER_WAY,
    Answer,
    AnyCall,
    Call,
    Data,
    Describe,
    Done,
    Evaluate,
    FinalMessage,
    FromProcess,
    Idle,
    MessageReader,
    Next,
    StartCheck,
    StreamCall,
    ToProcess,
    Wait,
    frames,
)

_LENGTH_OF_THE_REST: Final = 64
"""A generous bound on the bytes of a call without its content."""


class Conversation:
    """The state of the conversation with one process: which messages it may send next, and whether it waits.

    Attributes:
        idle: the process waits for answers, and does nothing until it gets one.
        over: the process has sent its last message.
    """

    def __init__(self) -> None:
        self.idle = False
        self.over = False
        self._reader: MessageReader[FromProcess] = MessageReader(FromProcess)
        self._sent = 0
        self._last_call = 0
        self._under_way: dict[int, AnyCall] = {}
        self._bytes_under_way = 0
        self._opening = 0
        self._streams: set[int] = set()
        self._being_read: set[int] = set()
        self._checks: set[int] = set()

    def __repr__(self) -> str:
        state = "over" if self.over else "idle" if self.idle else "busy"
        return f"<Conversation: {state}, {self._last_call} calls, {len(self._under_way)} under way>"

    # --- to the process ---

    def begin(self, request: Evaluate | Describe) -> list[bytes]:
        """Return the bytes that open the conversation, in pieces."""
        return self._send(request)

    def answer(self, message: Answer) -> list[bytes]:
        """Return the bytes of a call's answer, in pieces. Raises ProtocolError if it is too large to be sent."""
        data = self._send(message)
        call = self._under_way.pop(message.call)
        self._bytes_under_way -= size_of(call)
        if isinstance(call, StreamCall):
            self._opening -= 1
            if isinstance(message, Done):
                self._streams.add(call.call)
        elif isinstance(call, StartCheck) and isinstance(message, Done):
            self._checks.add(call.call)
        elif isinstance(call, Next):
            self._being_read.discard(call.stream)
            if not (isinstance(message, Data) and message.content):
                self._streams.discard(call.stream)
        return data

    def _send(self, message: ToProcess) -> list[bytes]:
        data = frames(message)
        self._sent += 1
        self.idle = False
        return data

    # --- from the process ---

    def receive(self, data: bytes) -> list[FromProcess]:
        """Return the messages that have arrived. Raises ProtocolError for one that may not be sent now."""
        messages = [each for each in self._reader.feed(data) if self._accept(each)]
        if self._reader.frames > MAX_MESSAGES or self._reader.size > MAX_BYTES:
            raise ProtocolError("too many messages")
        return messages

    def _accept(self, message: FromProcess) -> bool:
        """Check a message, and return whether the caller has to see it. Raises ProtocolError."""
        if self.over:
            raise ProtocolError("a message after the last one")
        if self.idle:
            raise ProtocolError("a message of a process that waits")
        if isinstance(message, Idle):
            return self._accept_idle(message)
        if isinstance(message, Call):
            self._accept_call(message)
        self.over = isinstance(message, FinalMessage)
        return True

    def _accept_idle(self, message: Idle) -> bool:
        if message.received > self._sent:
            raise ProtocolError("more messages received than were sent")
        if message.received < self._sent:
            return False  # an answer is on its way
        if not self._under_way:
            raise ProtocolError("it waits for nothing")
        self.idle = True
        return True

    def _accept_call(self, call: AnyCall) -> None:
        if call.call != self._last_call + 1:
            raise ProtocolError(f"the call {call.call} after {self._last_call}")
        self._last_call = call.call
        if isinstance(call, Wait) and call.check not in self._checks:
            raise ProtocolError("it waits for a check that it has not started")
        if isinstance(call, Next):
            if call.stream not in self._streams or call.stream in self._being_read:
                raise ProtocolError("it reads a stream that is not open, or twice at once")
            self._being_read.add(call.stream)
        self._opening += isinstance(call, StreamCall)
        if self._opening + len(self._streams) > MAX_STREAMS:
            raise ProtocolError("too many streams")
        self._under_way[call.call] = call
        self._bytes_under_way += size_of(call)
        if len(self._under_way) > MAX_UNDER_WAY or self._bytes_under_way > MAX_BYTES_UNDER_WAY:
            raise ProtocolError("too many calls under way")


def size_of(call: Call) -> int:
    """Return how many bytes a call counts as while it is under way."""
    return len(getattr(call, "content", b"")) + _LENGTH_OF_THE_REST
