"""The price of a peer's bytes: a peer that has spent its budget is not read from, and costs next to nothing."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, cast

import pytest

from bassloop.bridge.metering import BYTE_SECONDS, DEFERRED_PACKETS, MeteredReader, TimeBudget


class Connection:
    """asyncssh's connection with its transport, as far as a reader uses them."""

    def __init__(self) -> None:
        self._transport = self
        self._recv_seq = 0
        self._deferred_packets: list[object] = []
        self.received = b""
        self.said: list[str] = []

    def data_received(self, data: bytes) -> None:
        self.received += data

    def get_write_buffer_size(self) -> int:
        return 0

    def set_extra_info(self, **info: object) -> None:
        self.said.append("set_extra_info")

    def set_protocol(self, protocol: object) -> None:
        self.said.append("set_protocol")

    def pause_reading(self) -> None:
        self.said.append("pause_reading")

    def resume_reading(self) -> None:
        self.said.append("resume_reading")

    def abort(self) -> None:
        self.said.append("abort")

    def connection_lost(self, error: Exception | None) -> None:
        self.said.append("connection_lost")


def test_an_exhausted_budget_is_checked_at_intervals_and_not_continuously() -> None:
    looks = itertools.count()
    timer = itertools.count()

    def clock() -> float:
        next(looks)
        return 0.0

    async def read() -> Connection:
        connection = Connection()
        reader = MeteredReader(cast(Any, connection))
        reader.budget = TimeBudget(0.001, clock=clock, timer=lambda: next(timer) / 100)
        reader.get_buffer(-1)[:5] = b"hello"
        reader.buffer_updated(5)
        await asyncio.sleep(0.05)
        before = next(looks)
        assert connection.said[-1] == "pause_reading"
        reader.connection_lost(None)
        await asyncio.sleep(0.05)
        assert next(looks) - before < 10  # nothing is waited for once it is lost
        return connection

    connection = asyncio.run(read())
    assert connection.received == b"hello"
    assert connection.said[-1] == "connection_lost"
    assert next(looks) < 500


@pytest.mark.parametrize("more", [0, 1])
def test_a_connection_ends_when_too_many_answers_wait_for_a_key_exchange(more: int) -> None:
    async def read() -> Connection:
        connection = Connection()
        reader = MeteredReader(cast(Any, connection))
        connection._deferred_packets = [None] * (DEFERRED_PACKETS + more)
        reader.get_buffer(-1)[:5] = b"hello"
        reader.buffer_updated(5)
        return connection

    assert ("abort" in asyncio.run(read()).said) == bool(more)


def test_the_processor_time_of_a_body_is_charged_minus_what_is_free() -> None:
    timer = itertools.count(step=3)
    budget = TimeBudget(1, 1, clock=lambda: 0.0, timer=lambda: float(next(timer)))
    with budget.charged(1_000_000) as cost:
        pass
    assert cost.seconds == 3
    assert budget.delay() == pytest.approx(3 - 1 - 1_000_000 * BYTE_SECONDS)


def test_a_shared_budget_is_charged_and_waited_for_too() -> None:
    shared = TimeBudget(3, 0.5, clock=lambda: 0.0)
    one, other = TimeBudget(1, 1, clock=lambda: 0.0), TimeBudget(1, 1, clock=lambda: 0.0)
    one.shared = other.shared = shared
    one.charge(2)
    assert (one.delay(), other.delay()) == (1, 0)
    other.charge(2)
    assert (one.delay(), other.delay()) == (2, 2)
