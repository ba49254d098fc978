"""Several nodes share what GitHub lets a credential spend."""

from __future__ import annotations

import httpx
import pytest
import trio.testing

from bassloop.daemon.node_tasks import keep_sharing
from bassloop.github import GitHubError
from bassloop.github.api_budget import WINDOW_SECONDS, Purpose, spending
from bassloop.github.rest_client import API
from bassloop.standin.faults import Quotas
from bassloop.store.leases import Company


async def test_points_are_divided_at_once_and_grow_after_a_window(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with httpx.AsyncClient() as client:
        api, company = API(client, "http://github.test", points=870), Company()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_sharing, company, api)
            await trio.testing.wait_all_tasks_blocked()
            company.note(3)
            await trio.testing.wait_all_tasks_blocked()
            assert api.points == 290
            company.note(2)
            await trio.sleep(WINDOW_SECONDS - 1)
            assert api.points == 290, "what the lost one has spent still counts"
            await trio.sleep(2)
            assert api.points == 435
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 9])
async def test_all_nodes_together_make_fewer_requests_at_once_than_github_takes(
    nodes: int, autojump_clock: trio.testing.MockClock
) -> None:
    quotas = Quotas()

    async def answer(request: httpx.Request) -> httpx.Response:
        if quotas.begin("installation", request.method) is not None:
            return httpx.Response(429, headers={"Retry-After": "60"})
        try:
            await trio.sleep(1)
        finally:
            quotas.end("installation", free=False)
        return httpx.Response(200, json={})

    async def ask(api: API) -> None:
        with spending(Purpose.START):
            await api.call("GET", "/repos/o/r/contents")

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for _ in range(nodes):
                    api = API(client, "http://github.test")
                    api.share(nodes)
                    for _ in range(400 // nodes):
                        nursery.start_soon(ask, api)
    assert quotas.refused == 0


async def test_a_node_that_may_be_taken_over_from_changes_nothing() -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.method)
        return httpx.Response(200, json={})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        api = API(client, "http://github.test")
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
        api, allowed = API(client, url), iter([True, False])
        api.may_write = lambda: next(allowed)
        with pytest.raises(GitHubError, match="other nodes may have taken over"):
            await api.call("PATCH", "/repos/o/r/check-runs/1", data={})
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert sent in ([], [b""])
