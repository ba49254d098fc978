"""A daemon under attack, and a second visitor who goes on asking."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from tests.loop.world import Daemon, World, world
from tests.repositories import MakeRepository  # noqa: TC001  (a fixture's parameter)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

TOKEN = "the token of the metrics"
WORST_SECONDS = 0.25
CALM_SECONDS = 3
HOLDS = 'bassloop_holds_total{kind="computing"}'
LONGEST = 'bassloop_longest_hold_seconds{kind="computing"}'


@dataclass
class Target:
    """A daemon, and what a second visitor has seen of it."""

    world: World
    daemon: Daemon
    answers: list[float] = field(default_factory=list)

    @asynccontextmanager
    async def visited(self) -> AsyncGenerator[None]:
        """Ask for `/up` all the time while the body attacks; each answer has to come within 250 ms (or three times
        the worst before the attack, on a busy machine), and the
        daemon's watchdog must have seen nothing compute for over 100 ms."""
        async with httpx.AsyncClient() as client, trio.open_nursery() as nursery:
            before = await self.metric(client, HOLDS)
            nursery.start_soon(self._visit, client)
            await trio.sleep(CALM_SECONDS)
            # On a busy machine answers are late without an attack, too.
            allowed = max(WORST_SECONDS, 3 * max(self.answers))
            self.answers.clear()
            yield
            nursery.cancel_scope.cancel()
        async with httpx.AsyncClient() as client:
            holds = await self.metric(client, HOLDS) - before
            longest = await self.metric(client, LONGEST)
        assert holds == 0, f"the loop was held {holds:.0f} times, for {longest:.2f} s"
        assert len(self.answers) > 10
        assert max(self.answers) < allowed

    async def _visit(self, client: httpx.AsyncClient) -> None:
        while True:
            began = time.monotonic()
            assert (await client.get(f"{self.daemon.url}/up")).status_code == 200
            self.answers.append(time.monotonic() - began)
            await trio.sleep(0.02)

    async def metric(self, client: httpx.AsyncClient, name: str) -> float:
        """Return the value of a metric, named with its labels."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        text = (await client.get(f"{self.daemon.url}/metrics", headers=headers)).text
        [line] = [each for each in text.splitlines() if each.startswith(f"{name} ")]
        return float(line.split()[1])


@pytest.fixture
async def target(make_repository: MakeRepository, tmp_path: Path) -> AsyncGenerator[Target]:
    repository = make_repository(**{"project.bass": ""})
    async with (
        world(repository, tmp_path / "world", METRICS_TOKEN=TOKEN, HOOK_CPU="2") as around,
        around.daemon() as daemon,
    ):
        yield Target(around, daemon)
