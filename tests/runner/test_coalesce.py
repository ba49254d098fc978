"""Log bytes: the first at once, then together, in order, and never more than is taken."""

from __future__ import annotations

import trio
import trio.testing

from bassloop.runner.engine.step_progress import (
    BATCH_SECONDS,
    CHUNK_SIZE,
    MAX_WAITING,
    LogBatcher,
    LogChunk,
)


class Sent:
    """What was sent, and when; `gate` holds it up."""

    def __init__(self) -> None:
        self.batches: list[tuple[float, list[LogChunk]]] = []
        self.gate = trio.Event()
        self.gate.set()
        self.began = trio.current_time()

    async def __call__(self, pieces: list[LogChunk]) -> None:
        await self.gate.wait()
        self.batches.append((round(trio.current_time() - self.began, 3), pieces))


async def test_the_first_bytes_are_sent_at_once_and_the_next_after_a_moment(autojump_clock) -> None:
    sent = Sent()
    batcher = LogBatcher(sent)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(batcher.run)
        await batcher.add(1, b"first\n")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(10):
            await batcher.add(1, b"more\n")
            await trio.sleep(BATCH_SECONDS / 100)
        await trio.sleep(10)
        await batcher.add(2, b"late\n")
        batcher.close()
    assert sent.batches == [
        (0.0, [LogChunk(1, b"first\n")]),
        (BATCH_SECONDS, [LogChunk(1, b"more\n" * 10)]),
        (10.005, [LogChunk(2, b"late\n")]),
    ]


async def test_much_is_sent_before_the_moment_is_over(autojump_clock) -> None:
    sent = Sent()
    batcher = LogBatcher(sent)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(batcher.run)
        for _ in range(3):
            await batcher.add(1, b"x" * CHUNK_SIZE)
            await trio.testing.wait_all_tasks_blocked(0.001)
        batcher.close()
    assert [len(pieces[0].data) for _, pieces in sent.batches] == [CHUNK_SIZE] * 3
    assert sent.batches[-1][0] < BATCH_SECONDS


async def test_streams_keep_their_order(autojump_clock) -> None:
    sent = Sent()
    batcher = LogBatcher(sent)
    for stream, data in [(1, b"a"), (1, b"b"), (2, b"c"), (1, b"d")]:
        await batcher.add(stream, data)
    batcher.close()
    await batcher.run()
    assert sent.batches == [(0.0, [LogChunk(1, b"ab"), LogChunk(2, b"c"), LogChunk(1, b"d")])]


async def test_who_writes_waits_while_nothing_is_taken(autojump_clock) -> None:
    sent = Sent()
    sent.gate = trio.Event()
    batcher = LogBatcher(sent)
    added = 0

    async def write() -> None:
        nonlocal added
        for _ in range(1_000):
            await batcher.add(1, b"x" * 1_000)
            added += 1_000
        batcher.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(batcher.run)
        nursery.start_soon(write)
        await trio.sleep(100)
        assert added <= 2 * MAX_WAITING + 2_000  # what is being sent, and what waits
        sent.gate.set()
    assert sum(len(piece.data) for _, pieces in sent.batches for piece in pieces) == 1_000_000
