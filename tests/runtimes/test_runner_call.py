"""Messages of progress before they are decoded, and answers that wait to be received."""

from __future__ import annotations

import asyncio

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bassloop.bridge import call_asyncio, open_bridge
from bassloop.bridge.grpc import LARGE_BYTES, MessageRoom
from bassloop.runtimes.runner_call import MAX_FIELDS, MAX_VARINT, Answers, check_progress
from bassloop.wire import progrock_pb2, runtime_pb2


def encoded(**progress: object) -> bytearray:
    update = progrock_pb2.StatusUpdate(**progress)  # type: ignore[arg-type]
    return bytearray(runtime_pb2.RunResponse(progress=update).SerializeToString())


@pytest.mark.parametrize(
    "data",
    [
        encoded(logs=[progrock_pb2.VertexLog()] * (MAX_FIELDS + 1)),
        encoded(tasks=[progrock_pb2.VertexTask()] * (MAX_FIELDS + 1)),
        encoded(vertexes=[progrock_pb2.Vertex(inputs=[""] * (MAX_FIELDS + 1))]),
        encoded(vertexes=[progrock_pb2.Vertex(labels=[progrock_pb2.Label()] * (MAX_FIELDS + 1))]),
    ],
    ids=["logs", "tasks", "inputs", "labels"],
)
def test_a_message_of_very_many_fields_is_refused(data: bytearray) -> None:
    assert len(data) > LARGE_BYTES
    with pytest.raises(ValueError, match="fields in one message"):
        check_progress(data)


def test_a_long_text_is_not_mistaken_for_fields() -> None:
    text = b"\x0a\x00" * (2 * MAX_FIELDS)
    check_progress(encoded(logs=[progrock_pb2.VertexLog(vertex="it", data=text)]))
    check_progress(bytearray(runtime_pb2.ReadResponse(output=text).SerializeToString()))


def test_invalid_messages_are_left_to_the_decoder() -> None:
    check_progress(bytearray(b"\xff" * (2 * LARGE_BYTES)))
    check_progress(encoded(logs=[progrock_pb2.VertexLog(data=bytes(LARGE_BYTES))])[:-1])


def test_an_endless_number_is_not_read_to_the_end_of_the_message() -> None:
    read: list[int] = []

    class Message(bytearray):
        def __getitem__(self, at: int) -> int:  # type: ignore[override]
            read.append(at)
            return super().__getitem__(at)

    check_progress(Message(b"\xff" * (LARGE_BYTES + 1)))
    assert max(read) < MAX_VARINT


async def test_the_message_after_a_large_one_is_read_once_that_has_been_processed() -> None:
    answers = Answers(16)
    handed_over: list[str] = []

    async def hand_over(name: str, size: int) -> None:
        await call_asyncio(answers.hand_over, name, size)
        handed_over.append(name)

    async with open_bridge(), trio.open_nursery() as nursery:
        await hand_over("small", LARGE_BYTES)
        nursery.start_soon(hand_over, "large", LARGE_BYTES + 1)
        await wait_all_tasks_blocked(0.05)
        assert handed_over == ["small"]
        assert [await answers.receive(), await answers.receive()] == ["small", "large"]
        await wait_all_tasks_blocked(0.05)
        assert handed_over == ["small"]
        nursery.start_soon(answers.receive)
        await wait_all_tasks_blocked(0.05)
        assert handed_over == ["small", "large"]
        nursery.cancel_scope.cancel()
    answers.send.close()
    assert [answer async for answer in answers] == []


async def test_nobody_waits_for_a_large_message_that_is_no_longer_received() -> None:
    answers = Answers(16)
    async with open_bridge(), trio.open_nursery() as nursery:
        nursery.start_soon(call_asyncio, answers.hand_over, "large", LARGE_BYTES + 1)
        assert await answers.receive() == "large"
        answers.close()


async def test_large_messages_wait_for_room_in_order() -> None:
    shared = MessageRoom(15)
    one, other = MessageRoom(10, shared), MessageRoom(10, shared)
    read: list[str] = []

    async def take(room: MessageRoom, size: int, name: str) -> None:
        await call_asyncio(room.take, size)
        read.append(name)

    async with open_bridge(), trio.open_nursery() as nursery:
        await take(one, 8, "first")
        with trio.move_on_after(0):
            await take(one, 9, "never")
        for size, name in ((9, "second"), (1, "third")):
            nursery.start_soon(take, one, size, name)
            await wait_all_tasks_blocked(0.05)
        await take(other, 6, "other's")
        nursery.start_soon(take, other, 2, "other's second")
        await wait_all_tasks_blocked(0.05)
        assert read == ["first", "other's"]
        one.give_back(8)
        await wait_all_tasks_blocked(0.05)
        assert read == ["first", "other's", "other's second"]
        other.give_back(6)
        other.give_back(2)
        await wait_all_tasks_blocked(0.05)
        assert read[3:] == ["second", "third"]
        one.give_back(10)
        await take(one, 40, "larger than there is room")


async def test_a_wait_for_room_that_is_cancelled_when_there_is_some_takes_nothing() -> None:
    async def cancel_and(order: str) -> MessageRoom:
        room = MessageRoom(10)
        await room.take(10)
        waiting = asyncio.ensure_future(room.take(8))
        await asyncio.sleep(0)
        if order == "before":
            waiting.cancel()
        room.give_back(10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return room

    async with open_bridge():
        for order in ("before", "after"):
            room = await call_asyncio(cancel_and, order)
            assert "0 of 10 bytes, 0 waiting" in repr(room)
