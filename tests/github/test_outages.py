"""During an outage of GitHub, a backlog makes few calls, and continues as soon as it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
import trio
import trio.testing

from bassloop.github.api_budget import Purpose, spending
from bassloop.github.errors import GitHubError
from bassloop.github.pacing import OUTAGE_SECONDS, PROBE_SECONDS, OutageGate
from bassloop.github.request import Credential
from bassloop.github.rest_client import RestClient

if TYPE_CHECKING:
    from trio.testing import MockClock

BACK_AT = 3600.0
BACKLOG = 100


class GitHub:
    """A GitHub that answers nothing but 503 before BACK_AT. Notes when it was called."""

    def __init__(self) -> None:
        self.called_at: list[float] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.called_at.append(trio.current_time())
        return httpx.Response(503 if trio.current_time() < BACK_AT else 200, json={})


async def test_a_backlog_makes_few_calls_during_an_outage_and_continues_after_it(
    autojump_clock: MockClock,
) -> None:
    github, done_at = GitHub(), list[float]()
    async with httpx.AsyncClient(transport=httpx.MockTransport(github)) as client:
        api = RestClient(client, "https://api.test")

        async def handle() -> None:
            while True:
                try:
                    with spending(Purpose.START):
                        await api.call("GET", "/x", credential=Credential.of_installation(1))
                except GitHubError:
                    await trio.sleep(5)
                else:
                    done_at.append(trio.current_time())
                    return

        async with trio.open_nursery() as nursery:
            for _ in range(BACKLOG):
                nursery.start_soon(handle)
            await trio.sleep(OUTAGE_SECONDS + 1)
            began = len(github.called_at)
            assert not api.may_start(1, None)
            with pytest.raises(GitHubError):  # who looks at a page doesn't wait for an hour
                await api.call("GET", "/people")
            await trio.sleep_until(BACK_AT)
            meanwhile = len(github.called_at) - began
        assert api.may_start(1, None)
    # Besides the calls that find out, those that waited for points already, and the four attempts of people's.
    assert meanwhile <= BACK_AT / PROBE_SECONDS + BACKLOG + 4
    assert len(done_at) == BACKLOG
    assert max(done_at) <= BACK_AT + PROBE_SECONDS


async def test_new_work_may_begin_if_nothing_else_finds_out_whether_the_outage_is_over(
    autojump_clock: MockClock,
) -> None:
    idle_at = list[float]()
    gate = OutageGate(lambda: idle_at.append(trio.current_time()))
    gate.note_failure()
    await trio.sleep(OUTAGE_SECONDS + 1)
    await gate.wait()
    before = gate.has_room
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.wait)
        await trio.testing.wait_all_tasks_blocked()
        meanwhile = gate.has_room
    assert (before, meanwhile, gate.has_room, gate.is_outage) == (True, False, True, True)
    assert idle_at == [OUTAGE_SECONDS + 1 + PROBE_SECONDS]


async def test_all_waiting_calls_continue_when_any_call_is_answered(
    autojump_clock: MockClock,
) -> None:
    gate = OutageGate()
    assert gate.note_answer() == 0.0
    gate.note_failure()
    await trio.sleep(OUTAGE_SECONDS + 1)
    await gate.wait()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(gate.wait)
        await trio.sleep(1)
        assert gate.note_answer() == OUTAGE_SECONDS + 2
    assert trio.current_time() == OUTAGE_SECONDS + 2
