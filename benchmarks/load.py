"""Signed deliveries for a daemon, from a process of its own: `python -m benchmarks.load RATE SECONDS AT_ONCE`.

`benchmarks.deliveries` starts it, so that neither the daemon nor the stand-in for GitHub waits for it.
It reads a `Target` from its input. It sends `RATE` deliveries a second, whether they are answered or not,
for one second that isn't counted and for `SECONDS`, and then as many as are answered, `AT_ONCE` at a time.
It prints a `Phase` for each of these as a line of JSON.
"""

from __future__ import annotations

import itertools
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import trio
from tests.loop.world import SECRET

from bassloop.github import sign

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_SECONDS = 10.0


class Target(msgspec.Struct):
    """Where deliveries go, and what they say. Each push is about another one of the heads."""

    url: str
    event: str
    payload: dict[str, Any]
    heads: list[str]


class Phase(msgspec.Struct):
    """What was sent: how long each answer took in milliseconds, and the ids of all that were accepted.

    `began` and `ended` are in seconds of the machine's monotonic clock.
    """

    began: float
    ended: float
    took: list[float]
    accepted: list[str]


class Load:
    """Deliveries on their way to a daemon, and how long each answer took, in milliseconds."""

    def __init__(
        self, url: str, event: str, payload: Mapping[str, Any], heads: Iterator[str]
    ) -> None:
        self.url = f"{url}/integrations/github/events"
        self.event, self.payload, self.heads = event, payload, heads
        self.took: list[float] = []
        self.accepted: list[str] = []

    def made(self) -> tuple[dict[str, str], bytes]:
        """Return a delivery: each is about a head of its own, so that none waits for another."""
        payload = dict(self.payload)
        if self.event == "push":
            payload["after"] = next(self.heads)
        body = msgspec.json.encode(payload)
        return {
            "Content-Type": "application/json",
            "X-GitHub-Event": self.event,
            "X-GitHub-Delivery": str(uuid.uuid4()),
            "X-Hub-Signature-256": sign(SECRET.encode(), body),
        }, body

    async def send(self, client: httpx.AsyncClient) -> None:
        headers, body = self.made()
        began = time.perf_counter()
        answer = await client.post(self.url, content=body, headers=headers)
        self.took.append(1000 * (time.perf_counter() - began))
        assert answer.status_code == 202, answer.text
        self.accepted.append(headers["X-GitHub-Delivery"])

    async def at_a_rate(self, client: httpx.AsyncClient, rate: float, seconds: float) -> None:
        """Send at a rate, whether the daemon keeps up or not."""
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(round(rate * seconds)):
                await trio.sleep_until(began + number / rate)
                nursery.start_soon(self.send, client)

    async def at_most(self, client: httpx.AsyncClient, at_once: int, seconds: float) -> None:
        """Send as many as are answered, so many at once."""

        async def sender() -> None:
            while trio.current_time() < until:
                await self.send(client)

        until = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(sender)


async def main(target: Target, rate: float, seconds: float, at_once: int) -> None:
    heads = itertools.cycle(target.heads)
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256, keepalive_expiry=2)
    async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as client:
        for number in range(3):
            load = Load(target.url, target.event, target.payload, heads)
            began = time.monotonic()
            if number < 2:
                await load.at_a_rate(client, rate, seconds if number else 1)
            else:
                await load.at_most(client, at_once, min(seconds, MOST_SECONDS))
            phase = Phase(began, time.monotonic(), load.took, load.accepted)
            sys.stdout.buffer.write(msgspec.json.encode(phase) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Target)
    trio.run(main, given, float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
