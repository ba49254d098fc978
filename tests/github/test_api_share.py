"""Several nodes share what GitHub lets a credential spend."""

from __future__ import annotations

import httpx
import pytest
import trio.testing

from bassloop.daemon.node_tasks import keep_sharing
from bassloop.github import GitHubError
from bassloop.github.api_budget import WINDOW_SECONDS
from bassloop.github.rest_client import API
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
