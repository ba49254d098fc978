"""Nobody opens so many websockets that others get none."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bassloop.web import create_app
from bassloop.web.websocket_limits import TooManyWebsockets, WebsocketLimits

from .site import open_site

if TYPE_CHECKING:
    from pathlib import Path

TOTAL, PER_VISITOR = 100, 5


def opened(counts: WebsocketLimits, stack: ExitStack, address: str, person: int | None) -> int:
    """Open websockets until one is too many; return how many there were before it."""
    for number in range(TOTAL + 1):
        try:
            stack.enter_context(counts.one_more(address, person))
        except TooManyWebsockets:
            return number
    raise AssertionError("there is no limit")


@pytest.mark.parametrize(
    ("address", "neighbour", "person"),
    [
        ("192.0.2.1", "192.0.2.2", None),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", None),
        ("192.0.2.1", "192.0.2.1", 7),
        ("", "192.0.2.1", None),
    ],
)
def test_a_visitor_has_few_websockets(address: str, neighbour: str, person: int | None) -> None:
    counts = WebsocketLimits(TOTAL, PER_VISITOR)
    with ExitStack() as stack:
        assert opened(counts, stack, address, person) == PER_VISITOR
        assert opened(counts, stack, neighbour, person and person + 1) == PER_VISITOR
        assert opened(counts, stack, address, person) == 0
        with pytest.raises(TooManyWebsockets, match=r".{1,123}"):
            stack.enter_context(counts.one_more(address, person))
        assert (counts.open, counts.refused) == (2 * PER_VISITOR, 4)
    assert repr(counts) == "<WebsocketLimits: 0 open, 4 refused>"
    with ExitStack() as stack:
        assert opened(counts, stack, address, person) == PER_VISITOR


def test_a_visitor_with_a_thousand_networks_has_few_websockets() -> None:
    counts = WebsocketLimits(TOTAL, PER_VISITOR)
    with ExitStack() as stack:
        networks = [f"2001:db8:0:{number:x}::1" for number in range(1_000)]
        assert sum(opened(counts, stack, each, None) for each in networks) == 4 * PER_VISITOR
        assert opened(counts, stack, "2001:db8:1::1", None) == PER_VISITOR


def test_anonymous_visitors_leave_room_for_those_who_signed_in() -> None:
    counts = WebsocketLimits(TOTAL, PER_VISITOR)
    with ExitStack() as stack:
        addresses = [f"192.0.2.{number}" for number in range(200)]
        assert sum(opened(counts, stack, each, None) for each in addresses) == TOTAL
        assert opened(counts, stack, "192.0.2.1", 7) == PER_VISITOR


@pytest.mark.parametrize("path", ["/runs/live", "/runs/r/live", "/runs/unknown/live"])
async def test_a_websocket_beyond_the_limit_is_closed_with_a_reason(
    tmp_path: Path, path: str
) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        headers = await site.signed_in(60, "reader")
        counts = WebsocketLimits(TOTAL, 1)
        client = create_app(replace(site.context, websockets=counts)).test_client(False)
        async with client.websocket("/runs/live") as first:
            await first.receive()
            async with client.websocket(path) as second:
                with pytest.raises(Exception, match="1013"):
                    await second.receive()
            async with client.websocket("/runs/live", headers=headers) as another:
                assert "order" in await another.receive()
        assert counts.open == 0
