"""Webhooks with a valid signature and arbitrary contents, much of which people who can write to a repository choose."""

from __future__ import annotations

import json
import random
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from bassloop.github import sign
from tests.loop.world import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Target

pytestmark = pytest.mark.attacks

EVENTS = ("check_suite", "check_run", "pull_request", "push", "installation", "repository", "ping")
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63,
    2**64,
    10**400,
    1e308,
    "",
    "x" * 70_000,
    "\0",
    "../../etc/passwd",
    "\ud800",
    "\u202e\u2028",
    "' OR 1=1 --",
    [],
    [[[]]],
    {},
    {"id": {"id": []}},
    [None] * 1000,
]
LEAST = 400
"""Webhooks that have been answered when the attack is over."""


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all members of objects in a payload."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield (*path, name)
            yield from places(member, (*path, name))


def with_odd(payload: dict[str, Any], path: tuple[str, ...], odd: Any) -> dict[str, Any]:
    """Return a payload with something else at a path."""
    changed: dict[str, Any] = dict(payload)
    if len(path) == 1:
        changed[path[0]] = odd
    else:
        changed[path[0]] = with_odd(payload[path[0]], path[1:], odd)
    return changed


async def test_signed_nonsense_does_not_hold_up_others(target: Target) -> None:
    payload = dict(await target.world.standin.payload("check_suite"))
    paths, chance, enough = list(places(payload)), random.Random(20), trio.Event()
    answered = 0

    async def post() -> None:
        nonlocal answered
        url = f"{target.daemon.url}/integrations/github/events"
        async with httpx.AsyncClient(timeout=600) as client:
            while True:
                changed = payload
                for _ in range(chance.randint(1, 3)):
                    path = chance.choice(paths)
                    try:
                        changed = with_odd(changed, path, chance.choice(ODD))
                    except (TypeError, KeyError, ValueError):
                        continue  # what it was in has been replaced
                body = json.dumps(changed).encode()
                if chance.random() < 0.1:
                    body = chance.choice(
                        [b"", b"\xff\xfe", b"[]", b"1", b'"x"', body[:-1], body * 2]
                    )
                headers = {
                    "content-type": "application/json",
                    "x-github-event": chance.choice(EVENTS),
                    "x-github-delivery": str(uuid.UUID(int=chance.getrandbits(128))),
                    "x-hub-signature-256": sign(SECRET.encode(), body),
                }
                answer = await client.post(url, content=body, headers=headers)
                assert answer.status_code in (202, 400, 408, 503), (answer.status_code, body[:3000])
                answered += 1
                if answered == LEAST:
                    enough.set()

    async def flood() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(post)

    await target.withstand("signed nonsense", flood, enough)
