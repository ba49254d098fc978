"""`bassloop logs`: all logs of a run, even over bad connections, and nothing but text."""

from __future__ import annotations

import io
import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config

from bassloop.checks.recorder import recording
from bassloop.cli.log_display import LogDisplay, OutputError
from bassloop.concurrency import Backoff
from bassloop.tools import log_feed
from bassloop.tools.failure_report import fetch_failure, render_failure
from bassloop.tools.log_feed import LogFeed
from bassloop.tools.loop_client import LoopError, RunAddress, choose_step, parse_run_address
from bassloop.wire import progrock_pb2 as progrock
from tests.web.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("abc_-1", RunAddress("http://here", "abc_-1")),
        ("https://loop.example.com/runs/abc", RunAddress("https://loop.example.com", "abc")),
        ("http://a:1/x/runs/abc/#v12-L3", RunAddress("http://a:1/x", "abc", "12")),
        ("https://a/runs/abc/vertexes/7?start=3", RunAddress("https://a", "abc", "7")),
        ("https://a/runs/abc/vertexes/7/raw", RunAddress("https://a", "abc", "7")),
    ],
)
def test_a_run_is_named_by_its_id_or_by_its_page(text: str, meant: RunAddress) -> None:
    assert parse_run_address(text, "http://here/") == meant


@pytest.mark.parametrize(
    "text", ["", "a b", "ftp://a/runs/b", "https://a/b", "https:///runs/b", "../x"]
)
def test_addresses_that_name_no_run_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"isn't the address|neither a run.s id"):
        parse_run_address(text, "http://here")


def test_the_websocket_uses_tls_if_the_page_does() -> None:
    assert RunAddress("https://a", "b").websocket == "wss://a/runs/b/live"
    assert RunAddress("http://a", "b").websocket == "ws://a/runs/b/live"


def news(*lines: str, row: int = 1, screen: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {"logs": [{"row": row, "lines": list(lines), "screen": list(screen)}], **more}


def shown(*messages: dict[str, Any], **options: bool) -> str:
    output = io.StringIO()
    given = {"colour": False, "live": False, "names": False, "internal": False, **options}
    display = LogDisplay(output, **given)
    for message in messages:
        display(message)
    display.close()
    return output.getvalue()


HOSTILE = "\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m \x1b]8;;javascript:x\x1b\\a\x1b]8;;\x1b\\\u202eb\x07\x9b1A"


def test_nothing_but_text_reaches_a_pipe() -> None:
    assert shown(news(HOSTILE)) == "red a\ufffdb\ufffd1A\n"


def test_colours_and_nothing_else_reach_a_terminal() -> None:
    assert shown(news(HOSTILE), colour=True) == "\x1b[31mred\x1b[0m a\ufffdb\ufffd1A\n"


def test_links_to_pages_are_kept_in_a_terminal() -> None:
    link = "\x1b]8;;https://example.com/\x1b\\a\x1b]8;;\x1b\\"
    assert shown(news(link), colour=True) == f"{link}\n"


def test_the_step_is_named_whenever_the_output_changes_to_another_one() -> None:
    steps = [{"row": 1, "name": "make\x1b[2J"}, {"row": 2, "name": "test"}]
    text = shown(news("a", vertexes=steps), news("b"), news("c", row=2), news("d"), names=True)
    assert text == "==> make <==\na\nb\n\n==> test <==\nc\n\n==> make <==\nd\n"


def test_steps_that_pages_hide_are_hidden_unless_requested() -> None:
    hidden = news("secret work", vertexes=[{"row": 1, "name": "[hide] x", "hidden": True}])
    assert shown(hidden) == ""
    assert shown(hidden, internal=True) == "secret work\n"


def test_logs_that_end_early_are_named() -> None:
    steps = [
        {"row": 1, "name": "make", "log_cut": True},
        {"row": 2, "name": "test", "log_cut": False},
        {"row": 3, "name": "[hide] x", "hidden": True, "log_cut": True},
    ]
    for internal, names in ((False, ["make"]), (True, ["make", "[hide] x"])):
        display = LogDisplay(
            io.StringIO(), colour=False, live=False, names=False, internal=internal
        )
        display(news("a", vertexes=steps))
        assert display.lossy() == names


def test_lines_that_may_change_are_redrawn_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setenv("LINES", "3")
    run = {"run": {"state": "running"}}
    first = news("a", screen=("x", "1%", "中中中中中中"), **run)
    second = news("x", screen=("2%\tz",))
    assert shown(first, second, live=True) == (
        "a\n1%\n中中中中中\n\x1b[2F\x1b[Jx\n2%      z\n\x1b[1F\x1b[J"
    )
    assert shown(first, second) == "a\nx\n"


def test_closing_the_output_ends_the_command() -> None:
    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    display = LogDisplay(Closed(), colour=False, live=False, names=False, internal=False)
    with pytest.raises(OutputError) as caught:
        display(news("a"))
    assert caught.value.closed


STEPS = [
    {"row": 1, "name": "sh -c make", "digest": "sha256:a"},
    {"row": 12, "name": "sh -c make test", "digest": "sha256:b"},
]


@pytest.mark.parametrize(
    ("wanted", "row"), [("1", 1), ("v12", 12), ("sh -c make", 1), ("test", 12), ("sha256:b", 12)]
)
def test_a_step_is_chosen_by_number_name_digest_or_part(wanted: str, row: int) -> None:
    assert choose_step(STEPS, wanted) == row


@pytest.mark.parametrize(
    ("wanted", "said"), [("sh", "any of these"), ("x", "no step"), ("", "any")]
)
def test_a_missing_or_ambiguous_step_is_reported_with_the_existing_ones(
    wanted: str, said: str
) -> None:
    with pytest.raises(LoopError, match=f"(?s){said}.*\n  12  sh -c make test"):
        choose_step(STEPS, wanted)


@asynccontextmanager
async def listening(site: Site) -> AsyncGenerator[int]:
    """The site on a port of its own."""
    bound = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.graceful_timeout = 0.1
    config.shutdown_timeout = 0.1
    port = bound.getsockname()[1]
    config.bind = [f"fd://{bound.detach()}"]
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        serve = partial(hypercorn.trio.serve, site.app, config, mode="asgi")
        await nursery.start(partial(serve, shutdown_trigger=over.wait))
        yield port
        over.set()


@asynccontextmanager
async def cutting(port: int, allowances: list[int]) -> AsyncGenerator[int]:
    """A way to a port that breaks off after so many bytes of answers, one number a connection, and
    then no more."""

    async def carry(client: trio.SocketStream) -> None:
        left = allowances.pop(0) if allowances else 1 << 60
        async with (
            client,
            await trio.open_tcp_stream("127.0.0.1", port) as server,
            trio.open_nursery() as both,
        ):

            async def up() -> None:
                async for data in client:
                    await server.send_all(data)

            async def down() -> None:
                nonlocal left
                async for data in server:
                    await client.send_all(data[:left])
                    left -= len(data)
                    if left <= 0:
                        break
                both.cancel_scope.cancel()

            both.start_soon(up)
            both.start_soon(down)

    async def serve(listener: trio.SocketListener) -> None:
        async def guarded(client: trio.SocketStream) -> None:
            try:
                await carry(client)
            except* (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        await trio.serve_listeners(guarded, [listener])

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, listener)
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def numbers(site: Site, count: int) -> int:
    await site.queued()
    row = await site.step("r", "v", b"".join(b"%d\n" % number for number in range(count)))
    await site.store.runs.end("r", "succeeded", None, 2.0)
    return row


def collected(port: int, **options: Any) -> tuple[LogFeed, list[str], list[str]]:
    lines: list[str] = []
    losses: list[str] = []

    def show(message: dict[str, Any]) -> None:
        for log in message.get("logs", ()):
            lines.extend(log["lines"])

    address = RunAddress(f"http://127.0.0.1:{port}", "r")
    return LogFeed(address, show, losses.append, **options), lines, losses


async def test_all_lines_are_shown_and_not_only_the_last(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, listening(site) as port:
        await numbers(site, 5_500)
        feed, lines, losses = collected(port)
        await feed.run()
        assert lines == [str(number) for number in range(5_500)]
        assert losses == []


async def test_a_connection_lost_at_any_point_loses_no_line_and_repeats_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_feed, "BACKOFF", Backoff(0.001, 15.0))
    async with open_site(tmp_path) as site, listening(site) as port:
        await numbers(site, 8_000)
        cuts = [9_000, 100, 9_500, 0, 12_345, 17_000, 1]
        async with cutting(port, cuts) as cut_port:
            feed, lines, losses = collected(cut_port, follow=True)
            await feed.run()
        assert lines == [str(number) for number in range(8_000)]
        assert len(losses) == 7


async def test_a_run_is_followed_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_feed, "BACKOFF", Backoff(0.001, 15.0))
    async with open_site(tmp_path) as site, listening(site) as port:
        await site.queued()
        async with cutting(port, [2_000, 3_000]) as cut_port, trio.open_nursery() as nursery:
            feed, lines, _ = collected(cut_port, follow=True)
            nursery.start_soon(feed.run)
            async with recording(site.store, site.live_runs, "r") as recorder:
                for number in range(200):
                    said = progrock.VertexLog(vertex="v", data=b"\x1b[1m%d\x1b[0m\n" % number)
                    await recorder.record(progrock.StatusUpdate(logs=[said]))
                    await trio.sleep(0.001)
            await site.store.runs.end("r", "failed", None, 2.0)
            site.live_runs.publish("r")
        assert lines == [f"\x1b[1m{number}\x1b[0m" for number in range(200)]


async def test_a_pipe_gets_a_line_as_soon_as_a_newline_has_ended_it(tmp_path: Path) -> None:
    send, written = trio.open_memory_channel[str](100)

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            written_lines.append(text)
            send.send_nowait(text)
            return len(text)

    written_lines: list[str] = []
    display = LogDisplay(Pipe(), colour=False, live=False, names=False, internal=True)
    async with open_site(tmp_path) as site, listening(site) as port:
        await site.queued()
        address = RunAddress(f"http://127.0.0.1:{port}", "r")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(LogFeed(address, display, lambda _: None, follow=True).run)
            async with recording(site.store, site.live_runs, "r") as recorder:
                for data, shown in ((b"one\ntw", "one\n"), (b"o", None), (b"\n", "two\n")):
                    said = progrock.VertexLog(vertex="v", data=data)
                    await recorder.record(progrock.StatusUpdate(logs=[said]))
                    if shown is not None:
                        with trio.fail_after(200):
                            assert await written.receive() == shown
            await site.store.runs.end("r", "succeeded", None, 2.0)
            site.live_runs.publish("r")
    assert written_lines == ["one\n", "two\n"]


async def test_only_the_requested_steps_are_sent(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, listening(site) as port:
        await numbers(site, 10)
        other = await site.step("r", "other", b"other\n")
        feed, lines, _ = collected(port, only=[other])
        await feed.run()
        assert lines == ["other"]


async def test_a_hidden_run_is_answered_like_a_missing_one(
    tmp_path: Path,
) -> None:
    async with open_site(tmp_path) as site, listening(site) as port:
        await site.run(public=False)
        feed, _, _ = collected(port, follow=True)
        with pytest.raises(LoopError, match="there is no such run, or you don't have access to it"):
            await feed.run()


async def test_an_unreachable_server_is_reported_immediately() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    feed, _, _ = collected(port, follow=True)
    with pytest.raises(LoopError, match="can't be reached"):
        await feed.run()


async def test_the_reason_why_a_run_failed_is_shown_with_its_lines(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, listening(site) as port:
        await site.queued()
        row = await site.step(
            "r", "make", b"one\na.c:1:2: error: \x1b[31mno\x07\n", error="status 2"
        )
        address = RunAddress(f"http://127.0.0.1:{port}", "r")
        found = await fetch_failure(address)
        assert found is not None
        assert render_failure(found, "http://x/runs/r") == (
            f"no\n    at a.c:1\n    log: http://x/runs/r#v{row}-L2\n"
            "\nstatus 2\n\n1  one\n2  a.c:1:2: error: no"
        )
        await site.run("s", state="succeeded")
        assert await fetch_failure(RunAddress(address.server, "s")) is None
        with pytest.raises(LoopError, match="no such run"):
            await fetch_failure(RunAddress(address.server, "t"))
