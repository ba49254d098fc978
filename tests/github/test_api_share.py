"""Several nodes share what GitHub allows a credential."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest
import trio.testing

from bassloop.daemon.node_tasks import keep_sharing_limits
from bassloop.github import GitHubError
from bassloop.github.api_budget import WINDOW_SECONDS, Purpose, spending
from bassloop.github.rest_client import RestClient
from bassloop.standin.faults import RateLimits
from bassloop.store.liveness import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence


@dataclass
class SlowGitHub:
    """A GitHub that takes a second for each request, and counts how many it has at the same time."""

    client: httpx.AsyncClient = field(init=False)
    now: int = 0
    most: int = 0

    def node(self) -> RestClient:
        return RestClient(self.client, "http://github.test", points=10**6)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        await trio.sleep(1)
        self.now -= 1
        return httpx.Response(200, json={})

    async def most_at_once(
        self, nodes: Sequence[RestClient], purpose: Purpose = Purpose.PEOPLE
    ) -> int:
        """Have nodes make many requests, and return how many were made at the same time."""

        async def ask(node: RestClient) -> None:
            with spending(purpose):
                await node.call("GET", "/repos/o/r/contents")

        self.most = 0
        async with trio.open_nursery() as nursery:
            for node in nodes:
                for _ in range(60):
                    nursery.start_soon(ask, node)
        return self.most


@asynccontextmanager
async def slow_github() -> AsyncGenerator[SlowGitHub]:
    github = SlowGitHub()
    async with httpx.AsyncClient(transport=httpx.MockTransport(github.answer)) as github.client:
        yield github


async def test_the_limit_on_concurrent_requests_is_divided_at_once_and_grows_after_a_window(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with slow_github() as github:
        api, cluster = github.node(), Cluster()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_sharing_limits, cluster, api)
            await trio.testing.wait_all_tasks_blocked()
            cluster.note(3)
            await trio.testing.wait_all_tasks_blocked()
            assert await github.most_at_once([api]) == 30
            cluster.note(2)
            await trio.sleep(WINDOW_SECONDS / 2)
            assert await github.most_at_once([api]) == 30, "the lost one may have some under way"
            await trio.sleep(WINDOW_SECONDS)
            assert await github.most_at_once([api]) == 45
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 9])
async def test_all_nodes_together_make_fewer_concurrent_requests_than_github_allows(
    nodes: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with slow_github() as github:
        apis = [github.node() for _ in range(nodes)]
        for api in apis:
            api.share(nodes)
        assert await github.most_at_once(apis) <= RateLimits().at_once


async def test_new_work_leaves_some_connections_for_more_urgent_requests(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with slow_github() as github:
        api = github.node()
        assert await github.most_at_once([api], Purpose.START) == 40
        api.share(9)
        assert await github.most_at_once([api], Purpose.START) == 8
        assert await github.most_at_once([api]) == 10


async def test_a_node_whose_work_may_be_taken_over_changes_nothing() -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.method)
        return httpx.Response(200, json={})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        api = RestClient(client, "http://github.test")
        await api.call("POST", "/repos/o/r/check-runs", data={})
        api.may_write = lambda: False
        with pytest.raises(GitHubError, match="other nodes may have taken over"):
            await api.call("POST", "/repos/o/r/check-runs", data={})
        await api.call("GET", "/rate_limit")
    assert sent == ["POST", "GET"]


async def test_a_change_is_not_sent_if_the_node_was_paused_while_it_connected() -> None:
    sent: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        sent.append(await stream.receive_some())

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    async with httpx.AsyncClient() as client, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        api, allowed = RestClient(client, url), iter([True, False])
        api.may_write = lambda: next(allowed)
        with pytest.raises(GitHubError, match="other nodes may have taken over"):
            await api.call("PATCH", "/repos/o/r/check-runs/1", data={})
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert sent in ([], [b""])
