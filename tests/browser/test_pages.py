"""The pages in a real Chromium: of a real loop, and of a store that was filled for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.store import ReportedTest, StepUpdate
from bassloop.tools.trial import TrialOptions, open_trial
from tests.loop.test_whole_path import check_run, tried

from . import page_scenes as scenes
from .scene_runner import open_scene, run_scene
from .showcase import BEGAN, add_failed_run, serve_site, step

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from playwright.sync_api import Page

    from tests.repositories import MakeRepository

pytestmark = pytest.mark.browser


async def test_a_run_is_followed_live_without_gaps_or_duplicates(
    make_repository: MakeRepository,
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    path = make_repository(
        f""":ticks (on src ($ sh -c "for n in 1 2 3; do echo tick $n; done
            until test -e {gate}; do sleep 0.1; done
            for n in 4 5 6 7 8 9; do echo tick $n; done"))"""
    )
    ticks = [f"tick {number}" for number in range(1, 10)]
    async with open_trial(TrialOptions(path)) as trial:
        async with trial.daemon.live_runs.follow(None) as following:
            while not (runs := (await trial.daemon.store.runs.newest()).items):
                await following.changed()
        address = f"{trial.daemon.local_url}/runs/{runs[0].id}"
        found = await run_scene(scenes.live, address, GATE=str(gate))
        assert found["early"] == ticks[:3]
        assert found["late"] == ticks
        assert found["afterwards"] == ticks
        assert found["word"] == "succeeded"
        await trial.daemon.inbox.finished(trial.guid)


async def test_a_failed_run_shows_the_reason_and_a_line_has_an_address(
    make_repository: MakeRepository,
) -> None:
    path = make_repository(
        """:broken (on src ($ sh -c "echo '<b>one</b>'; printf '\\\\033[31mtwo\\\\033[0m'; exit 4"))"""
    )
    async with tried(path) as trial:
        run = check_run(trial, "broken")["external_id"]
        address = f"{trial.daemon.local_url}/runs/{run}"
        found = await run_scene(scenes.ended, address)
        assert "exit status 4" in found["why"]
        assert found["marked"] == ["two"]
        assert found["bars"]
        assert await run_scene(scenes.phone, address) == {"beyond": 0, "wide": False}
        assert await run_scene(scenes.plain, address) == {
            "lines": ["<b>one</b>", "two"],
            "back": True,
        }


async def test_the_failed_step_is_open_at_the_line_and_its_time_can_be_inspected(
    tmp_path: Path,
) -> None:
    async with serve_site(tmp_path) as trial:
        await add_failed_run(trial.site)
        found = await run_scene(scenes.failed, f"{trial.url}/runs/failed")
    assert found["opened"] == ["pytest -n auto tests"]
    assert found["in_view"]
    assert found["in_log"][0].strip("_ ") == "test_toc_links_to_nested_sections"
    assert found["in_log"][-1] == "tests/test_toc.py:88: AssertionError"
    assert found["internal"] == 1
    assert found["after"] == ["pip install -e '.[test]'"]
    assert found["axis"] == found["unzoomed"] == ["0.0 s", "17 s", "34 s", "51 s", "1 min 8 s"]
    assert found["zoomed"] == ["34 s", "43 s", "51 s", "1 min 0 s", "1 min 8 s"]


@asynccontextmanager
async def open_cuttable_proxy(url: str) -> AsyncGenerator[Cable]:
    """A way to a server that can be cut."""
    async with trio.open_nursery() as nursery:
        host, _, port = url.removeprefix("http://").rpartition(":")
        cable = Cable(host, int(port))
        [listener] = await nursery.start(partial(trio.serve_tcp, cable.carry, 0, host=host))
        cable.url = f"http://{host}:{listener.socket.getsockname()[1]}"
        yield cable
        nursery.cancel_scope.cancel()


class Cable:
    """Carries bytes between a browser and a server, until it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._where = host, port
        self._scopes: list[trio.CancelScope] = []
        self.url = ""
        self.connected = True
        self.open = trio.Event()
        self.open.set()

    async def carry(self, browser: trio.SocketStream) -> None:
        if not self.connected:
            return
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            server = await trio.open_tcp_stream(*self._where)
            async with server, trio.open_nursery() as nursery:
                nursery.start_soon(self._one_way, browser, server)
                await self._one_way(server, browser)

    async def _one_way(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for data in source:
                await self.open.wait()
                await sink.send_all(data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    def cut(self) -> None:
        """End all connections, and refuse new ones until `mend`."""
        self.connected = False
        for scope in self._scopes:
            scope.cancel()

    def mend(self) -> None:
        self.connected = True


async def test_the_end_is_followed_and_found_again_after_a_lost_connection(
    tmp_path: Path,
) -> None:
    def lines(first: int, last: int) -> bytes:
        return b"".join(b"line %d\n" % number for number in range(first, last + 1))

    async with serve_site(tmp_path) as trial, open_cuttable_proxy(trial.url) as cable:
        site, store = trial.site, trial.store
        await site.queued("live")
        await store.runs.start("live", "t", "octocat", "linux/amd64", time.time())
        update = StepUpdate("v", "make", time.time())
        row = (await store.steps.put("live", [update]))["v"].row
        log = await store.logs.open("live", row)

        async def write(first: int, last: int) -> None:
            await log.append(lines(first, last), None, 1, time.time())
            site.live_runs.publish("live")

        await write(1, 300)
        async with open_scene(scenes.followed, f"{cable.url}/runs/live") as scene:
            await scene.wait_for("left")
            await write(301, 312)
            await scene.wait_for("missed")
            cable.cut()
            await write(313, 5312)
            await scene.wait_for("lost")
            cable.mend()
            await scene.wait_for("found")
            await write(5313, 5313)
            await log.close()
            await store.steps.put("live", [StepUpdate("v", "make", time.time(), time.time())])
            await store.runs.end("live", "succeeded", None, time.time())
            site.live_runs.publish("live")
            found = await scene.result()
    assert found["at_end"]
    assert found["moved"] < 1, "pixels"
    first, last = found["numbers"][0], found["numbers"][-1]
    assert last == 5313
    assert found["numbers"] == list(range(first, last + 1))
    assert found["texts"] == [f"line {number}" for number in range(first, last + 1)]
    assert found["begins"] == ["line 1"]
    assert found["word"] == "succeeded"
    assert found["hidden"]


async def test_lines_that_arrive_late_do_not_move_what_is_read(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as shown:
        site, store = shown.site, shown.store
        await site.queued("live")
        await store.runs.start("live", "t", "octocat", "linux/amd64", time.time())
        row = (await store.steps.put("live", [StepUpdate("v", "make", time.time())]))["v"].row
        log = await store.logs.open("live", row)
        lines = b"".join(b"line %d\n" % number for number in range(1, 2001))
        await log.append(lines, None, 1, time.time())
        found = await run_scene(scenes.late, f"{shown.url}/runs/live")
        await log.close()
    assert found["held"]
    assert found["moved"] < 1, "pixels"


async def test_a_silent_connection_is_replaced_without_gaps_or_duplicates(
    tmp_path: Path,
) -> None:
    async with serve_site(tmp_path) as shown, open_cuttable_proxy(shown.url) as cable:
        site, store = shown.site, shown.store
        await site.queued("live")
        await store.runs.start("live", "t", "octocat", "linux/amd64", time.time())
        row = (await store.steps.put("live", [StepUpdate("v", "make", time.time())]))["v"].row
        log = await store.logs.open("live", row)
        await log.append(b"one\n", None, 1, time.time())
        async with open_scene(scenes.silent, f"{cable.url}/runs/live") as scene:
            await scene.wait_for("open")
            cable.open = trio.Event()
            await log.append(b"two\n", None, 1, time.time())
            site.live_runs.publish("live")
            await scene.wait_for("lost")
            cable.open.set()
            await log.append(b"three\n", None, 1, time.time())
            await log.close()
            await store.steps.put("live", [StepUpdate("v", "make", time.time(), time.time())])
            await store.runs.end("live", "succeeded", None, time.time())
            site.live_runs.publish("live")
            found = await scene.result()
    assert found["quiet"]
    assert found["noticed"] < 60_000
    assert found["texts"] == ["one", "two", "three"]


@pytest.mark.parametrize("scene", [scenes.fails, scenes.fails_at_a_bad_moment])
async def test_a_run_that_fails_while_its_page_is_open_shows_the_reason(
    scene: Callable[[Page, str], dict[str, Any]], tmp_path: Path
) -> None:
    async with serve_site(tmp_path) as shown:
        site, store = shown.site, shown.store
        await site.queued("live")
        await store.runs.start("live", "t", "octocat", "linux/amd64", time.time())
        row = (await store.steps.put("live", [StepUpdate("v", "make", time.time())]))["v"].row
        log = await store.logs.open("live", row)
        await log.append(b"compiling\n", None, 1, time.time())
        async with open_scene(scene, f"{shown.url}/runs/live") as played:
            await played.wait_for("open")
            await log.append(b"foo.c:12:3: error: there is no foo\n", None, 1, time.time())
            await log.close()
            error = StepUpdate("v", "make", time.time(), time.time(), error="exit status 2")
            await store.steps.put("live", [error])
            await store.runs.end("live", "failed", "exit status 2", time.time())
            site.live_runs.publish("live")
            found = await played.result()
    assert found["hidden"]
    assert found["selected"] == ["foo.c:12:3: error: there is no foo"]


@asynccontextmanager
async def killable_server(folder: Path, port: int, first: int, last: int) -> AsyncGenerator[str]:
    """A process that serves a run to which it writes these lines, until it is killed."""
    command = [sys.executable, "-m", "tests.browser.killable_server", str(folder)]
    command += [str(each) for each in (port, first, last)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, env=env)
    try:
        assert process.stdout is not None
        url = (await process.stdout.receive_some()).decode().strip()
        assert url
        yield url
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def test_a_server_that_is_killed_and_started_again_loses_no_line(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        async with killable_server(tmp_path, 0, 1, 1000) as url:
            scene = await stack.enter_async_context(open_scene(scenes.killed, f"{url}/runs/live"))
            await scene.wait_for("open")
        await scene.wait_for("lost")
        port = int(url.rpartition(":")[2])
        await stack.enter_async_context(killable_server(tmp_path, port, 1001, 2000))
        found = await scene.result()
    assert found["word"] == "succeeded"
    for name, last in (("first", 1000), ("second", 2000)):
        begin = int(found[name][0].split()[1])
        assert found[name] == [f"line {number}" for number in range(begin, last + 1)]


async def test_a_tab_in_the_background_gets_no_logs_and_catches_up(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as shown:
        site, store = shown.site, shown.store
        await site.queued("live")
        await store.runs.start("live", "t", "octocat", "linux/amd64", time.time())
        row = (await store.steps.put("live", [StepUpdate("v", "make", time.time())]))["v"].row
        log = await store.logs.open("live", row)
        await log.append(b"one\n", None, 1, time.time())
        async with open_scene(scenes.hidden, f"{shown.url}/runs/live") as scene:
            await scene.wait_for("hidden")
            for number in range(50):
                await log.append(b"line %d\n" % number, None, 1, time.time())
                site.live_runs.publish("live")
            await log.close()
            await store.steps.put("live", [StepUpdate("v", "make", time.time(), time.time())])
            await store.runs.end("live", "succeeded", None, time.time())
            site.live_runs.publish("live")
            found = await scene.result()
    assert len(found["while_hidden"]) <= 10
    assert not any("line 0" in each for each in found["while_hidden"])
    assert found["title"] == "✓"
    assert found["lines"] == ["one"]
    assert found["texts"] == ["one", *(f"line {number}" for number in range(50))]


async def test_a_commits_page_follows_its_checks(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as shown:
        site, store = shown.site, shown.store
        await site.queued("live")
        await store.runs.start("live", "t", "octocat", "linux/amd64", time.time())
        run = await store.runs.get("live")
        assert run is not None
        url = f"{shown.url}/repositories/{run.repository}/commits/{run.head_sha}"
        async with open_scene(scenes.commit, url) as scene:
            await scene.wait_for("open")
            await site.step(
                "live", "make", b"foo.c:12:3: error: there is no foo\n", error="exit status 2"
            )
            await store.runs.end("live", "failed", "exit status 2", time.time())
            site.live_runs.publish("live")
            found = await scene.result()
    assert found["before"] == ["running"]
    assert found["after"] == ["failed"]
    assert found["title"] == "✕"
    assert found["focused"] == run.check_name


async def test_everything_can_be_done_with_the_keyboard(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as trial:
        await add_failed_run(trial.site)
        found = await run_scene(scenes.keyboard, f"{trial.url}/runs/failed")
    assert found["keys"] > 12
    assert found["visited"] == [
        "git clone github.com/octocat/hello",
        "apk add build-base libffi-dev",
        "pip install -e '.[test]'",
        "apk add build-base libffi-dev",
    ]
    assert found["schemes"] == [
        ["light", "rgb(251, 250, 248)"],
        ["dark", "rgb(23, 24, 28)"],
        ["system", "rgb(251, 250, 248)"],
    ]
    assert found["wraps"] == "pre-wrap"
    assert found["kept"] == "yes"


@pytest.mark.parametrize(
    ("path", "focused"),
    [
        ("/runs", ["name", "name", "name", "repository", "repository", ""]),
        ("/nowhere", [""] * 6),
    ],
)
async def test_every_page_lists_its_keys_and_they_have_the_same_meaning_everywhere(
    tmp_path: Path, path: str, focused: list[str]
) -> None:
    async with serve_site(tmp_path) as trial:
        await add_failed_run(trial.site, "one")
        await add_failed_run(trial.site, "two")
        found = await run_scene(scenes.common_keys, trial.url + path)
    assert found["listed"] == ["/", "j and k", "d", "?", "Esc"]
    assert found["closed"] == [0, 0]
    assert found["scheme"] == "light"
    assert found["focused"] == focused


PAGES = (
    "/",
    "/runs",
    "/runs/failed",
    "/runs/empty",
    "/runs/failed/vertexes/{row}",
    "/runs/failed/changes",
    "/runs/failed/tests",
    "/thunks/DIGEST",
    "/repositories/octocat/hello-world",
    "/repositories/octocat/hello-world/pulls/42",
    "/repositories/octocat/hello-world/commits/" + "1f3c2ab8" * 5,
    "/repositories/octocat/hello-world/errors",
    "/repositories/octocat/hello-world/journal",
    "/runs/failed/search?q=assert",
    "/repositories/octocat/hello-world/tests?check=tests&name=adds",
    "/looks",
    "/nowhere",
    "/me",
    "/deliveries",
    "/deliveries/failed",
    "/runners",
)


@pytest.mark.parametrize("path", PAGES)
async def test_axe_finds_no_problem_on_any_page(tmp_path: Path, path: str) -> None:
    async with serve_site(tmp_path) as trial:
        row = await add_failed_run(trial.site)
        await trial.site.queued("empty", created_at=BEGAN)
        await trial.store.tests.put(
            "failed", [ReportedTest("adds", "failed", 0.5, "no", "a.py", 3)]
        )
        await trial.store.error_lines.put("failed", ["no such type"])
        await step(trial.store, "empty", "wait", 0, None)
        run = await trial.store.runs.get("failed")
        assert run is not None
        await trial.store.journals.append(run, "octocat", "started", "tests")
        await trial.site.sign("failed")
        await trial.site.keep("failed", "dist/a.whl", b"a wheel")
        await trial.store.deliveries.record(
            "failed", "push", None, b'{"a": 1}', repository=run.repository, head_sha=run.head_sha
        )
        await trial.store.deliveries.set_state("failed", "handling")
        await trial.store.deliveries.set_state("failed", "failed", "it can't be read")
        operator = await trial.site.signed_in(
            9, "somebody-with-a-login-of-39-characters-", r2="admin"
        )
        address = f"{trial.url}{path.format(row=row)}"
        found = await run_scene(
            scenes.accessible, address, AXE=os.environ.get("AXE", _axe()), COOKIE=operator["cookie"]
        )
    assert found["violations"] == []


def _axe() -> str:
    import axe_playwright_python

    return str(Path(axe_playwright_python.__file__).with_name("axe.min.js"))


async def test_a_log_can_be_replayed(tmp_path: Path) -> None:
    bars = [(1.0 + n, b"\r%d %%" % n) for n in range(5)]
    async with serve_site(tmp_path) as site:
        await site.site.queued("r")
        pieces = [(0.5, b"Collecting\n"), *bars, (6.0, b"\r\x1b[32mdone\x1b[0m\n")]
        row = await step(site.store, "r", "pip", 0, 7, pieces)
        address = f"{site.url}/runs/r/vertexes/{row}"
        found = await run_scene(scenes.replay, address, AXE=os.environ.get("AXE", _axe()))
    assert found == {"sought": "0 %", "played": ["Collecting", "done"], "violations": []}


async def test_the_visible_part_of_a_followed_log_does_not_jump(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as site:
        await site.site.queued("live")
        await site.store.runs.start("live", "t", "octocat", "linux/amd64", time.time())
        update = StepUpdate("v", "make", time.time())
        row = (await site.store.steps.put("live", [update]))["v"].row
        log = await site.store.logs.open("live", row)
        await log.append(b"line 0\n", None, 1, time.time())
        written = 1
        async with open_scene(scenes.stays_calm, f"{site.url}/runs/live") as scene:
            for last in range(150, 1201, 150):
                await scene.wait_for(str(last))
                lines = b"".join(b"line %d\n" % number for number in range(written, last + 1))
                await log.append(lines, None, 1, time.time())
                await log.flush()
                site.site.live_runs.publish("live")
                written = last + 1
            found = await scene.result()
        await log.close()
    assert found["shift"] < 0.1
    assert found["scrolled"] > 10_000
