"""A run that one node records can be followed on another one; and if the recorder is gone, the page says so."""

from __future__ import annotations

import contextlib
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
import trio
from trio_websocket import ConnectionClosed

from bassloop.daemon import peer_proxy
from bassloop.daemon.http_server import Proxies, bind, local_address, serve_http, start_listening
from bassloop.daemon.peer_proxy import HEADER, PeerProxy, PeerSigner, VisitorMessages
from bassloop.store import StepUpdate, new_node
from bassloop.terminal import Terminal
from bassloop.websocket_client import open_websocket
from tests.web.site import open_site

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from trio_websocket import WebSocketConnection

    from bassloop.store import LogWriter
    from tests.web.site import Site

pytestmark = pytest.mark.postgresql

LOST = """
CREATE FUNCTION lose() RETURNS trigger AS 'BEGIN NEW.alive_until = 0; RETURN NEW; END' LANGUAGE plpgsql;
CREATE TRIGGER lost BEFORE UPDATE ON nodes FOR EACH ROW EXECUTE FUNCTION lose();
UPDATE nodes SET alive_until = 0;
"""
"""Lets the database hear of no node any more, although they renew their leases."""

SECRET = b"the secret that all nodes have in common"


@pytest.fixture(params=["postgresql"])  # a parameter, so that these tests run in its session
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass
class Cluster:
    """Two nodes on one database. The first has the lease; runs are its own."""

    url: str
    recorder: Site
    recorder_address: str
    other_address: str
    stop_recorder: trio.Event
    recorder_stopped: trio.Event

    async def begin_run(self, run_id: str = "r") -> tuple[int, LogWriter]:
        """A run that is being recorded, and the log of its step."""
        site = self.recorder
        await site.queued(run_id)
        await site.store.runs.start(run_id, "t", "octocat", "linux/amd64", 100.0)
        step = StepUpdate("sh", "sh", 100.0)
        row = (await site.store.steps.put(run_id, [step]))["sh"].row
        log = await site.store.logs.open(run_id, row)
        site.live_runs.lend_screen(row, Terminal())
        node = site.store.nodes.own_id
        await self.execute(f"UPDATE runs SET node = '{node}'")
        return row, log

    async def write(self, log: LogWriter, line: bytes, run_id: str = "r") -> None:
        await log.append(line, None, 1, 100.0)
        self.recorder.live_runs.publish(run_id)

    async def execute(self, sql: str) -> None:
        def execute() -> None:
            with contextlib.closing(psycopg.connect(self.url, autocommit=True)) as db:
                db.execute(sql)

        await trio.to_thread.run_sync(execute)

    async def get(self, path: str, address: str = "", **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get((address or self.other_address) + path, headers=headers)

    @asynccontextmanager
    async def following(self, run_id: str = "r") -> AsyncGenerator[WebSocketConnection]:
        """The websocket of a page on the other node."""
        url = self.other_address.replace("http", "ws", 1) + f"/runs/{run_id}/live"
        async with open_websocket(url, (), connect_seconds=200, max_message=1 << 20) as socket:
            await socket.send_message(json.dumps({"logs": {}, "lines": "text"}))
            yield socket


async def lines_of(socket: WebSocketConnection, count: int) -> list[str]:
    """The next lines that a page gets."""
    found: list[str] = []
    while len(found) < count:
        message = json.loads(await socket.get_message())
        for log in message.get("logs", ()):
            found += log["lines"]
    return found


@pytest.fixture
async def cluster(location: str, tmp_path: Path) -> AsyncGenerator[Cluster]:
    first, second = bind("127.0.0.1:0", "LISTEN"), bind("127.0.0.1:0", "LISTEN")
    addresses = [f"http://{local_address(each)}" for each in (first, second)]
    node = new_node("anna", addresses[0])
    async with (
        open_site(tmp_path / "one", database=location, node=node) as recorder,
        open_site(tmp_path / "two", database=location, owner=False) as other,
        trio.open_nursery() as nursery,
    ):
        stop, stopped = trio.Event(), trio.Event()
        await nursery.start(serve_site, recorder, first, stop, stopped)
        await nursery.start(serve_site, other, second, trio.Event(), trio.Event())
        yield Cluster(location, recorder, *addresses, stop, stopped)
        nursery.cancel_scope.cancel()


async def serve_site(
    site: Site, listening: Any, stop: trio.Event, stopped: trio.Event, *, task_status: Any
) -> None:
    start_listening(listening, "LISTEN")
    proxy = PeerProxy(site.app, site.store.nodes, PeerSigner(SECRET), "loop.example.com")
    async with proxy.opened():
        await serve_http(Proxies(proxy, ()), listening, stop, task_status=task_status)
    stopped.set()


async def test_runs_that_one_node_records_are_shown_by_another(cluster: Cluster) -> None:
    row, log = await cluster.begin_run()
    await cluster.write(log, b"one\ntwo\nthree\n")
    path = f"/runs/r/vertexes/{row}/lines?start=1&stop=3&format=text"
    assert (await cluster.get(path)).json()["lines"] == ["two", "three"]
    raw = await cluster.get(f"/runs/r/vertexes/{row}/raw")
    assert (raw.status_code, raw.content) == (200, b"one\ntwo\nthree\n")
    page = await cluster.get("/runs/r")
    assert "three" in page.text
    assert "recorder-lost" not in page.text
    assert (await cluster.get("/runs/none")).status_code == 404
    await log.close()


async def test_a_page_on_another_node_follows_line_by_line_to_the_end(cluster: Cluster) -> None:
    _, log = await cluster.begin_run()
    with trio.fail_after(200):
        async with cluster.following() as socket:
            for number in range(5):
                await cluster.write(log, f"line {number}\n".encode())
                assert await lines_of(socket, 1) == [f"line {number}"]
            await log.close()
            await cluster.recorder.store.runs.end("r", "succeeded", None, 101.0)
            cluster.recorder.live_runs.publish("r")
            while not json.loads(await socket.get_message()).get("end"):
                pass


async def test_a_private_run_is_not_shown_by_another_node_either(
    cluster: Cluster,
) -> None:
    await cluster.begin_run()
    await cluster.execute("UPDATE runs SET public = 0")
    assert (await cluster.get("/runs/r")).status_code == 404
    with trio.fail_after(200), pytest.raises(ConnectionClosed) as closed:
        async with cluster.following() as socket:
            await socket.get_message()
    assert closed.value.reason is not None
    assert closed.value.reason.code == 4404
    visitor = await cluster.recorder.signed_in(5, "ada", r1="read")
    await cluster.execute("UPDATE runs SET repository_id = 1")
    assert (await cluster.get("/runs/r", **visitor)).status_code == 200


async def test_while_the_recorder_is_away_a_page_shows_what_is_stored_and_says_so(
    cluster: Cluster,
) -> None:
    _, log = await cluster.begin_run()
    cluster.stop_recorder.set()
    await cluster.recorder_stopped.wait()
    assert "The node anna records this run" in (await cluster.get("/runs/r")).text
    await cluster.execute(LOST)
    assert "The node anna records this run" in (await cluster.get("/runs/r")).text
    async with cluster.following() as socket:
        assert json.loads(await socket.get_message())["run"]["state"] == "running"
    await log.close()


async def test_a_page_connects_again_once_its_recorder_is_silent(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_proxy, "RECHECK_SECONDS", 0.05)
    _, log = await cluster.begin_run()
    with trio.fail_after(200):
        async with cluster.following() as socket:
            await cluster.write(log, b"one\n")
            assert await lines_of(socket, 1) == ["one"]
            await cluster.execute(LOST)
            with pytest.raises(ConnectionClosed) as closed:
                await lines_of(socket, 1)
    assert closed.value.reason is not None
    assert closed.value.reason.code == peer_proxy.SERVICE_RESTART
    await log.close()


@pytest.mark.parametrize("forged", ["nonsense", "another's"])
async def test_only_nodes_may_name_the_client_of_a_request_that_they_forward(
    cluster: Cluster, forged: str
) -> None:
    """Otherwise, strangers could pretend to have any address, and be served by a node that doesn't record the run."""
    await cluster.begin_run()
    scope = {
        "path": "/runs/r",
        "query_string": b"",
        "client": ("192.0.2.1", 1),
        "scheme": "https",
        "headers": [],
    }
    header = forged
    if forged == "another's":
        header = PeerSigner(b"another secret").sign(scope)
    signed = {**scope, "headers": [(HEADER.encode(), header.encode())]}
    assert PeerSigner(SECRET).verified(signed) is None
    assert (await cluster.get("/runs/r", **{HEADER: header})).status_code == 200
    mine = {**scope, "headers": [(HEADER.encode(), PeerSigner(SECRET).sign(scope).encode())]}
    verified = PeerSigner(SECRET).verified(mine)
    assert verified is not None
    assert (verified["client"][0], verified["scheme"]) == ("192.0.2.1", "https")
    assert PeerSigner(SECRET).verified({**mine, "path": "/runs/other"}) is None


@pytest.mark.parametrize("target", [b'/runs/r/search?q="one"', b"/runs/r/../../runs/r"])
async def test_a_target_is_forwarded_as_the_visitor_sent_it(
    cluster: Cluster, target: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise, its signature doesn't match, and the recorder takes the other node for the visitor."""
    verified, signatures = PeerSigner.verified, list[bool]()

    def noted(self: PeerSigner, scope: dict[str, Any]) -> dict[str, Any] | None:
        found = verified(self, scope)
        signatures.append(found is not None)
        return found

    monkeypatch.setattr(PeerSigner, "verified", noted)
    _, log = await cluster.begin_run()
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(cluster.other_address, extensions={"target": target})
    assert signatures == [False, True]
    await log.close()


async def test_a_header_that_is_not_ascii_is_forwarded(cluster: Cluster) -> None:
    """Such as another site's cookie for the same domain."""
    _, log = await cluster.begin_run()
    odd = b"theirs=caf\xc3\xa9"
    async with httpx.AsyncClient(trust_env=False) as client:
        page = await client.get(cluster.other_address + "/runs/r", headers={b"cookie": odd})
    assert page.status_code == 200
    url = cluster.other_address.replace("http", "ws", 1) + "/runs/r/live"
    headers = [(b"cookie", odd)]
    with trio.fail_after(200):
        async with open_websocket(url, headers, connect_seconds=200, max_message=1 << 20) as socket:
            await socket.send_message(json.dumps({"logs": {}}))
            assert json.loads(await socket.get_message())["run"]["state"] == "running"
    await log.close()


async def test_a_request_body_is_not_buffered_while_a_peer_is_asked() -> None:
    send, receive = trio.open_memory_channel[dict[str, object]](10)
    for number in range(3):
        await send.send({"type": "http.request", "body": b"%d" % number, "more_body": True})
    await send.send({"type": "http.disconnect"})
    messages = VisitorMessages(receive.receive)
    for _ in range(3):
        await messages()
    assert await messages.again() == {"type": "http.request", "body": b"", "more_body": False}
    assert await messages.again() == {"type": "http.disconnect"}
