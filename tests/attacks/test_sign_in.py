"""Sign-ins without an end, with nonsense and with codes that GitHub doesn't know."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Target

pytestmark = pytest.mark.attacks

CALLBACK = "/sign-in/callback"
NONSENSE = [
    ("GET", "/sign-in", {}),
    ("GET", "/sign-in?next=" + "%2f" * 2_000, {}),
    ("GET", f"{CALLBACK}?code={'x' * 4_000}&state=%ff%00", {}),
    ("GET", CALLBACK + "?" + "&".join(f"state={number}" for number in range(500)), {}),
    ("GET", f"{CALLBACK}?state=x", {"cookie": "bassloop_flow=" + "x" * 4_000}),
    ("POST", "/sign-in/device", {}),
    ("POST", "/sign-in/device/token", {"content-type": "application/json"}),
    ("POST", "/sign-out", {"cookie": "; ".join(f"c{number}=x" for number in range(300))}),
]
CONNECTIONS = 6
LEAST, LEAST_CODES = 300, 30
"""Requests of a connection that were answered when an attack is over; all send more codes than may be exchanged."""


async def test_floods_of_sign_ins_do_not_hold_up_others(target: Target) -> None:
    statuses: set[int] = set()

    async def nonsense(enough: trio.Event) -> None:
        async with httpx.AsyncClient(base_url=target.daemon.url, timeout=600) as client:
            for number, (method, path, headers) in enumerate(itertools.cycle(NONSENSE)):
                content = b'{"device": "' + b"x" * 900 + b'"}' if method == "POST" else None
                with suppress(httpx.TransportError):
                    answer = await client.request(method, path, headers=headers, content=content)
                    assert answer.status_code < 500 or answer.status_code == 503
                if number == LEAST:
                    enough.set()

    async def unknown_codes(enough: trio.Event) -> None:
        """Begin to sign in, and come back with a code that GitHub refuses."""
        async with httpx.AsyncClient(base_url=target.daemon.url, timeout=600) as client:
            for number in itertools.count(1):
                client.cookies.clear()
                begun = await client.get("/sign-in")
                [state] = parse_qs(urlsplit(begun.headers["location"]).query)["state"]
                answer = await client.get(CALLBACK, params={"code": "nonsense", "state": state})
                statuses.add(answer.status_code)
                if number == LEAST_CODES:
                    enough.set()

    for name, send in {"nonsense": nonsense, "unknown codes": unknown_codes}.items():
        enough = trio.Event()

        async def flood(
            send: Callable[[trio.Event], Awaitable[None]] = send, enough: trio.Event = enough
        ) -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(CONNECTIONS):
                    nursery.start_soon(send, enough)

        await target.withstand(f"sign-ins with {name}", flood, enough)
    assert statuses == {400, 429}, "GitHub is asked about some of the codes only"
