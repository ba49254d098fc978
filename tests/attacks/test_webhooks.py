"""Webhooks that are signed, and large: GitHub passes on what its users write."""

from __future__ import annotations

import itertools
import json
import uuid
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from bassloop.github import sign
from tests.loop.world import SECRET

from .test_visitors import address

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Target

# httpx leaves the body's generator to the garbage collector when a request is cancelled.
pytestmark = [pytest.mark.attacks, pytest.mark.filterwarnings("ignore:.*ByteStream.__aiter__")]

CONNECTIONS = 4
LARGE_BODIES, SMALL_BODIES = 12, 100
"""Bodies of a connection that have been answered when an attack is over."""
ENDLESS_MEGABYTES = 600
"""Bytes of endless bodies that have been sent when the attack is over."""
MOST = 24 << 20
"""Bytes of a body; GitHub sends 25 MB at most."""


def keys(payload: dict[str, Any]) -> bytes:
    few = {f"key {number}": number for number in range(50_000)}
    part = b'"more": ' + json.dumps(few).encode() + b", "
    return _filled(payload, part)


def nested(payload: dict[str, Any]) -> bytes:
    depth = 200_000
    return _filled(payload, b'"deep": ' + b"[" * depth + b"]" * depth + b", ")


def diamonds(payload: dict[str, Any]) -> bytes:
    """Objects in lists in objects, wide and repeated, as a hook's JSON of shared values would be."""
    value: Any = {"leaf": 1.5}
    for _ in range(14):
        value = [value, value]
    return _filled(payload, b'"shared": ' + json.dumps(value).encode() + b", ")


def text(payload: dict[str, Any]) -> bytes:
    return _filled(payload, b'"text": "' + b"\\u00e9\\n" * 500_000 + b'", ')


def numbers(payload: dict[str, Any]) -> bytes:
    return _filled(payload, b'"digits": ' + b"9" * 1_000_000 + b", ")


BODIES = {
    "millions of keys": keys,
    "deep nesting": nested,
    "shared values": diamonds,
    "escapes": text,
    "long numbers": numbers,
}


def _filled(payload: dict[str, Any], part: bytes) -> bytes:
    """The payload's JSON, with a part before its first key as often as there is room."""
    rest = json.dumps(payload).encode()[1:]
    return b"{" + part * ((MOST - len(rest)) // len(part)) + rest


async def post(
    target: Target, body: bytes, signature: str, pause: float, least: int, enough: trio.Event
) -> None:
    """Deliver a body again and again, under another id each time."""
    async with httpx.AsyncClient(timeout=600) as client:
        for number in itertools.count(1):
            headers = {
                "content-type": "application/json",
                "x-github-event": "check_suite",
                "x-github-delivery": str(uuid.uuid4()),
                "x-hub-signature-256": signature,
            }
            url = f"{target.daemon.url}/integrations/github/events"
            answer = await client.post(url, content=body, headers=headers)
            # 408: on a busy machine, a body may take longer to arrive than the loop waits for it.
            assert answer.status_code in (202, 400, 403, 408, 503)
            if number == least:
                enough.set()
            await trio.sleep(pause)


@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
async def test_large_bodies_do_not_hold_up_others(
    target: Target, make: Callable[[dict[str, Any]], bytes]
) -> None:
    body = make(dict(await target.world.standin.payload("check_suite")))
    enough = trio.Event()
    flood = partial(post, target, body, sign(SECRET.encode(), body), 0.05, LARGE_BODIES, enough)
    await target.withstand("large bodies", flood, enough)


async def test_bodies_without_an_end_do_not_hold_up_others(target: Target) -> None:
    """Strangers send all but the last byte of large bodies, and wait. Some bodies are dropped for the others."""
    head = f"POST /integrations/github/events HTTP/1.1\r\nHost: x\r\nContent-Length: {MOST}\r\n\r\n"
    part = b"x" * (1 << 20)
    parts, enough = 0, trio.Event()
    answers: set[bytes] = set()

    async def dial(number: int) -> None:
        nonlocal parts
        source = f"127.0.3.{number % 8 + 1}"
        while True:
            with suppress(OSError, trio.BrokenResourceError):
                stream = await trio.open_tcp_stream(*address(target), local_address=source)
                async with stream:
                    with suppress(trio.BrokenResourceError):
                        await stream.send_all(head.encode() + part[1:])
                        for _ in range(MOST // len(part) - 1):
                            await stream.send_all(part)
                            parts += 1
                            if parts == ENDLESS_MEGABYTES:
                                enough.set()
                    answers.add((await stream.receive_some())[9:12])
            await trio.sleep(0.05)

    async def flood() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(dial, number)

    await target.withstand("bodies without an end", flood, enough)
    # 408: on a busy machine, bodies may be given up before they fill the memory that they may have.
    assert answers & {b"503", b"408"}


async def test_floods_of_small_bodies_do_not_hold_up_others(target: Target) -> None:
    body = json.dumps(dict(await target.world.standin.payload("check_suite"))).encode()
    signatures = {"signed": sign(SECRET.encode(), body), "unsigned": "sha256=" + "0" * 64}
    for name, signature in signatures.items():
        enough = trio.Event()

        async def flood(signature: str = signature, enough: trio.Event = enough) -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(CONNECTIONS):
                    nursery.start_soon(post, target, body, signature, 0.005, SMALL_BODIES, enough)

        await target.withstand(f"many {name} bodies", flood, enough)
