"""How quickly deliveries are taken: `python -m benchmarks.deliveries` in a checkout.

A daemon in a process of its own, its database on disk with full fsync, is sent signed deliveries: so many
a second whether it answers or not, then as many as it takes. Prints how long an answer of 202 took,
and that every delivery that was answered was handled.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import trio
from tests.loop.world import SECRET, world
from tests.repositories import commit, commits, git

from bassloop.github import sign
from bassloop.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOOKS = {
    "handled by the loop alone": ("ping", ""),
    "whose hook starts nothing": ("push", "(defn github-hook [event client] null)"),
}


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
        """A delivery of its own: each about a head of its own, so that none waits for another."""
        payload = dict(self.payload)
        if self.event == "push":
            payload["after"] = next(self.heads)
        body = json.dumps(payload).encode()
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


async def measured(what: str, rate: float, seconds: float, settings: Mapping[str, str]) -> None:
    event, hook = HOOKS[what]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "repository"
        path.mkdir()
        (path / "project.bass").write_text(hook)
        git(path, "init", "--quiet", "--initial-branch=main")
        commit(path)
        heads = itertools.cycle(commits(path, 4000))
        async with world(path, Path(folder) / "world", **settings) as its:
            limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
            async with (
                its.daemon() as daemon,
                httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as client,
            ):
                payload = await its.standin.payload(event)
                warm = Load(daemon.url, event, payload, heads)
                await warm.at_a_rate(client, rate, 1)
                steady = Load(daemon.url, event, payload, heads)
                await steady.at_a_rate(client, rate, seconds)
                told(f"{event}, {what}: {rate:g} a second", steady.took, seconds)
                most = Load(daemon.url, event, payload, heads)
                began = time.perf_counter()
                await most.at_most(client, 32, min(seconds, 10))
                told(
                    f"{event}, {what}: as many as it takes, 32 at once",
                    most.took,
                    time.perf_counter() - began,
                )
                accepted = {*warm.accepted, *steady.accepted, *most.accepted}
                missing = await lost(its, accepted)
                handled = len(most.accepted) / (time.perf_counter() - began)
                print(
                    f"    of {len(accepted):,} accepted, lost: {missing}; {handled:.0f} handled a second"
                )


async def lost(its: Any, accepted: set[str]) -> int:
    """How many of the accepted deliveries the daemon's database does not have, once it is idle."""
    async with open_store(its.database, its.folder / "blobs", owner=False) as store:
        with trio.move_on_after(300):
            while await store.deliveries.unfinished():
                await trio.sleep(0.5)
        left = {delivery.guid for delivery in await store.deliveries.unfinished()}
        return len(accepted - await store.deliveries.stored(accepted)) + len(left & accepted)


def told(what: str, took: list[float], seconds: float) -> None:
    cuts = statistics.quantiles(took, n=100)
    print(
        f"{what}: {len(took) / seconds:.0f} a second; answered within "
        f"p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, at most {max(took):.1f} ms"
    )


async def main(arguments: argparse.Namespace) -> None:
    settings = {"DATABASE_URL": arguments.database} if arguments.database else {}
    for what in HOOKS:
        await measured(what, arguments.rate, arguments.seconds, settings)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="deliveries a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long")
    parser.add_argument("--database", help="the address of an empty PostgreSQL database")
    trio.run(main, parser.parse_args())
