"""Visitors who ask for pages, and permit nothing of them to be sent, so that their requests never end."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest
import trio
from h2.connection import H2Connection
from h2.events import StreamReset
from h2.settings import SettingCodes, Settings

from bassloop.daemon.http_server import STREAMS
from bassloop.daemon.request_limits import UNANSWERED

from .conftest import STUCK_SECONDS
from .test_visitors import address

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.attacks

SETTINGS = {"PAGE_SLOW_SECONDS": "2s"}
CONNECTIONS = UNANSWERED // STREAMS + 1
HEADERS = [(":method", "GET"), (":path", "/runs"), (":scheme", "http"), (":authority", "loop")]


async def read_nothing(target: Target) -> None:
    """Ask for as many pages as a connection may, with no window for them, until the daemon has ended them all."""
    client, ended = H2Connection(), 0
    no_window = {SettingCodes.INITIAL_WINDOW_SIZE: 0}
    client.local_settings = Settings(client=True, initial_values=no_window)
    client.initiate_connection()
    for _ in range(STREAMS):
        client.send_headers(client.get_next_available_stream_id(), HEADERS, end_stream=True)
    async with await trio.open_tcp_stream(*address(target)) as stream:
        await stream.send_all(client.data_to_send())
        while ended < STREAMS:
            received = await stream.receive_some()
            assert received, f"the daemon ended {ended} of the responses, and then the connection"
            ended += sum(isinstance(each, StreamReset) for each in client.receive_data(received))
            with suppress(trio.BrokenResourceError):
                await stream.send_all(client.data_to_send())


async def test_responses_of_which_nothing_may_be_sent_are_reset(target: Target) -> None:
    """They have all requests that their address may have, which others of that address could use."""
    all_ended = trio.Event()

    async def flood() -> None:
        with trio.fail_after(STUCK_SECONDS):
            async with trio.open_nursery() as nursery:
                for _ in range(CONNECTIONS):
                    nursery.start_soon(read_nothing, target)
        all_ended.set()

    await target.withstand("responses that nobody reads", flood, all_ended)
    async with httpx.AsyncClient(timeout=STUCK_SECONDS) as visitor:
        assert (await visitor.get(f"{target.daemon.url}/runs")).status_code == 200
