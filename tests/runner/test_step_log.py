"""Log bytes: whole lines, the first at once, then together, in order, and never more than is taken."""

from __future__ import annotations

import itertools
import random

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from bassloop.runner.engine.step_progress import (
    BATCH_SECONDS,
    CHUNK_SIZE,
    HOLD_SECONDS,
    MAX_HELD,
    MAX_WAITING,
    LineMerger,
    LogBatcher,
    LogChunk,
)


class Sent:
    """A receiver that notes messages with their times; `gate` holds them up."""

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


async def test_much_output_is_sent_without_waiting(autojump_clock) -> None:
    sent = Sent()
    batcher = LogBatcher(sent)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(batcher.run)
        for _ in range(3):
            await batcher.add(1, b"x" * (CHUNK_SIZE - 1) + b"\n")
            await trio.testing.wait_all_tasks_blocked(0.001)
        batcher.close()
    assert [len(pieces[0].data) for _, pieces in sent.batches] == [CHUNK_SIZE] * 3
    assert sent.batches[-1][0] < BATCH_SECONDS


async def test_streams_keep_their_order(autojump_clock) -> None:
    sent = Sent()
    batcher = LogBatcher(sent)
    for stream, data in [(1, b"a\n"), (1, b"b\n"), (2, b"c\n"), (1, b"d\n")]:
        await batcher.add(stream, data)
    batcher.close()
    await batcher.run()
    assert sent.batches == [
        (0.0, [LogChunk(1, b"a\nb\n"), LogChunk(2, b"c\n"), LogChunk(1, b"d\n")])
    ]


async def test_writers_wait_while_nothing_is_sent(autojump_clock) -> None:
    sent = Sent()
    sent.gate = trio.Event()
    batcher = LogBatcher(sent)
    added = 0

    async def write() -> None:
        nonlocal added
        for _ in range(1_000):
            await batcher.add(1, b"x" * 999 + b"\n")
            added += 1_000
        batcher.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(batcher.run)
        nursery.start_soon(write)
        await trio.sleep(100)
        assert added <= 2 * MAX_WAITING + 2_000  # what is being sent, and what waits
        sent.gate.set()
    assert sum(len(piece.data) for _, pieces in sent.batches for piece in pieces) == 1_000_000


# --- whole lines ------------------------------------------------------------------------------------------


def cut(text: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(text), *(each % (len(text) + 1) for each in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(at)]


def merged(chunks: list[LogChunk]) -> bytes:
    return b"".join(each.data for each in chunks)


written = st.lists(st.sampled_from([b"a", b"longer", b"", b"\r", b"\x1b[1m"]), max_size=8)
cuts = st.lists(st.integers(0, 1_000), max_size=12)


@given(written, written, cuts, cuts, st.randoms(use_true_random=False), st.booleans())
def test_lines_of_each_stream_stay_whole_however_they_are_split(
    first, second, first_cuts, second_cuts, rng, ends
) -> None:
    """Each line names its stream and number, so that a line of the log says which bytes made it."""
    lines = {
        stream: [b"%d.%d:%s" % (stream, number, each) for number, each in enumerate(texts)]
        for stream, texts in ((1, first), (2, second))
    }
    last = b"\n" if ends else b""
    texts = {stream: b"\n".join(each) + (last if each else b"") for stream, each in lines.items()}
    waiting = {1: cut(texts[1], first_cuts), 2: cut(texts[2], second_cuts)}
    merger = LineMerger()
    chunks = []
    while any(waiting.values()):
        stream = rng.choice([each for each in waiting if waiting[each]])
        chunks += merger.feed(stream, waiting[stream].pop(0), 0.0)
    chunks += merger.end()
    log = merged(chunks).split(b"\n")
    assert sorted(filter(None, log)) == sorted(lines[1] + lines[2])
    for stream in (1, 2):
        assert [each for each in log if each.startswith(b"%d." % stream)] == lines[stream]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2]),
            st.sampled_from(
                [b"x", b"x\n", b"\n", b"\r 10%", b"\r\x1b[K", b"x\nx", b"x" * MAX_HELD]
            ),
            st.sampled_from([0.0, HOLD_SECONDS / 3, HOLD_SECONDS]),
        ),
        max_size=30,
    )
)
def test_no_output_is_lost_or_delayed_too_long(writes) -> None:
    """Each stream's bytes come out in order, and only line ends are added, where a line was open."""
    merger = LineMerger()
    now = 0.0
    chunks: list[LogChunk] = []
    fed = 0
    for stream, data, pause in writes:
        chunks += merger.feed(stream, data, now)
        fed += len(data)
        now += pause
        chunks += merger.pass_on_held(now)
        assert merger.deadline > now
        assert fed - len(merged(chunks)) <= 2 * MAX_HELD
    chunks += merger.end()
    assert merger.deadline == float("inf")
    for stream in (1, 2):
        whole = b"".join(data for each, data, _ in writes if each == stream)
        out = merged([each for each in chunks if each.stream == stream])
        assert out.replace(b"\n", b"") == whole.replace(b"\n", b"")
        assert out.count(b"\n") >= whole.count(b"\n")
    turns = sum(a.stream != b.stream for a, b in itertools.pairwise(chunks))
    added = merged(chunks).count(b"\n") - sum(data.count(b"\n") for _, data, _ in writes)
    assert added <= turns


def test_a_complete_line_of_the_other_stream_is_sent_before_an_unfinished_one() -> None:
    merger = LineMerger()
    assert merger.feed(1, b"1860", 0.0) == []
    assert merger.feed(2, b"last\n", 0.01) == [LogChunk(2, b"last\n")]
    assert merger.feed(1, b"\n", 0.02) == [LogChunk(1, b"1860\n")]


def test_an_unfinished_line_is_ended_before_output_of_the_other_stream() -> None:
    merger = LineMerger()
    merger.feed(1, b"Checking ... ", 0.0)
    assert merger.pass_on_held(HOLD_SECONDS) == [LogChunk(1, b"Checking ... ")]
    assert merger.feed(2, b"a warning\n", 1.0) == []
    assert merger.feed(1, b"done\nnext", 1.01) == [
        LogChunk(1, b"done\n"),
        LogChunk(2, b"a warning\n"),
    ]
    assert merger.pass_on_held(2.0) == [LogChunk(1, b"next")]
    assert merger.feed(2, b"another\n", 3.0) == []
    assert merger.pass_on_held(3.0 + HOLD_SECONDS) == [
        LogChunk(1, b"\n"),
        LogChunk(2, b"another\n"),
    ]
    assert merger.feed(1, b" line\n", 4.0) == [LogChunk(1, b" line\n")]


@pytest.mark.parametrize(
    ("begun", "ended"),
    [
        (b"\r 10%", True),
        (b" 10%\r", True),
        (b"\x1b[31mred\x1b[0m", True),
        (b"\x1b[31m", False),
        (b" 10%\r\x1b[K", False),
        (b" 10%\x1b[2K\r", False),
        (b"\r", False),
    ],
)
def test_an_invisible_line_does_not_need_to_be_ended(begun: bytes, ended: bool) -> None:
    merger = LineMerger()
    chunks = [*merger.feed(2, begun, 0.0), *merger.pass_on_held(1.0)]
    chunks += [*merger.feed(1, b"out\n", 2.0), *merger.end()]
    assert merged(chunks) == begun + (b"\nout\n" if ended else b"out\n")


async def test_a_prompt_is_shown_after_a_moment_and_dots_at_once(autojump_clock) -> None:
    sent = Sent()
    batcher = LogBatcher(sent)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(batcher.run)
        await batcher.add(1, b"Name? ")
        await trio.sleep(1)
        await batcher.add(1, b".")
        await trio.sleep(1)
        batcher.close()
    assert sent.batches == [
        (HOLD_SECONDS, [LogChunk(1, b"Name? ")]),
        (1.0, [LogChunk(1, b".")]),
    ]


@pytest.mark.parametrize("seed", range(5))
async def test_no_line_is_cut_because_the_loop_is_slow(autojump_clock, seed: int) -> None:
    """What is late has been read: it's the loop that has no room for it."""
    sent: list[LogChunk] = []
    rng = random.Random(seed)
    lines = {stream: [b"%d.%06d" % (stream, each) for each in range(100_000)] for stream in (1, 2)}

    async def send_slowly(chunks: list[LogChunk]) -> None:
        sent.extend(chunks)
        await trio.sleep(10 * HOLD_SECONDS)

    async def write(stream: int) -> None:
        text = b"\n".join(lines[stream]) + b"\n"
        for each in cut(text, [rng.randrange(len(text)) for _ in range(100)]):
            await batcher.add(stream, each)
            await trio.lowlevel.checkpoint()

    batcher = LogBatcher(send_slowly)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(batcher.run)
        async with trio.open_nursery() as writers:
            writers.start_soon(write, 1)
            writers.start_soon(write, 2)
        batcher.close()
    assert sorted(merged(sent).splitlines()) == [*lines[1], *lines[2]]
