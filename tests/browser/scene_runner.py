"""Run a scene in Chromium or Firefox (`BROWSER`), in a process of its own: `scene_runner MODULE SCENE ADDRESS`.

The tests' asyncio runs under trio-asyncio, which Playwright can't use, so it gets a process. The scene's progress, its
result and the console's complaints are lines of JSON: `report` in a scene is received by `RunningScene.wait_for` in a
test.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from playwright.sync_api import Browser, ConsoleMessage, Playwright


FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]
SCENE_TIMEOUT = 240_000
"""Milliseconds that a scene waits for the browser to start, and for what is to happen: CI is a slow machine."""

MAX_REQUESTS = 30
"""Requests that are named when a scene fails."""


def report(progress: str) -> None:
    """Report the scene's progress to the test that runs it."""
    print(json.dumps({"progress": progress}), flush=True)


class RunningScene:
    """A scene that runs in a process."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._text = b""

    async def wait_for(self, progress: str) -> None:
        """Wait until the scene reports this progress."""
        assert (await self._line()).get("progress") == progress

    async def result(self) -> dict[str, Any]:
        """Wait for the scene's end, and return its result; the console must not have complained."""
        line = await self._line()
        assert "found" in line, line
        assert line["complaints"] == [], line
        return dict(line["found"])

    async def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._text:
            more = await self._process.stdout.receive_some()
            assert more, "the scene ended early"
            self._text += more
        line, _, self._text = self._text.partition(b"\n")
        return dict(json.loads(line))


@asynccontextmanager
async def open_scene(
    scene: Callable[..., Any], address: str, **environment: str
) -> AsyncGenerator[RunningScene]:
    """Open a scene, which is a function of a module, on the page at an address; end it afterwards."""
    command = [
        sys.executable,
        "-m",
        "tests.browser.scene_runner",
        scene.__module__,
        scene.__name__,
        address,
    ]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, env=env)
    try:
        yield RunningScene(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def run_scene(scene: Callable[..., Any], address: str, **environment: str) -> dict[str, Any]:
    """Run a scene to its end, and return its result."""
    async with open_scene(scene, address, **environment) as running:
        return await running.result()


def is_complaint(message: ConsoleMessage) -> bool:
    """Return whether a message of the console is an error that no scene provokes."""
    return message.type == "error" and not is_expected(message.text)


def is_expected(text: str) -> bool:
    """Return whether this is how a browser reports a missing page, a refusal, or a server that was killed."""
    texts = (
        "the server responded with a status of 40",
        "net::ERR_CONNECTION_REFUSED",
        "net::ERR_CONNECTION_RESET",
        "Connection closed before receiving a handshake response",
        "net::ERR_CONTENT_LENGTH_MISMATCH",
        "Firefox can\u2019t establish a connection to the server",
    )
    return any(each in text for each in texts)


def open_browser(play: Playwright) -> Browser:
    """Start the browser that `BROWSER` names: "chromium" or "firefox", which may be followed by "=" and the path
    of its program. A Firefox as Mozilla builds it is driven by WebDriver BiDi."""
    name, _, program = os.environ.get("BROWSER", "chromium").partition("=")
    if name == "firefox":
        program = program or shutil.which("firefox") or ""
        return play.firefox.launch(
            channel="moz-firefox", executable_path=program, timeout=SCENE_TIMEOUT
        )
    return play.chromium.launch(
        executable_path=program or shutil.which("chromium") or "",
        args=FLAGS,
        timeout=SCENE_TIMEOUT,
    )


def main(module: str, scene: str, address: str) -> None:
    """Open the browser, play the scene, and print what was found."""
    from playwright.sync_api import sync_playwright

    played = getattr(importlib.import_module(module), scene)
    complaints: list[str] = []
    requests: list[str] = []
    with sync_playwright() as play:
        browser = open_browser(play)
        is_chromium = browser.browser_type.name == "chromium"
        context = browser.new_context(
            java_script_enabled=not getattr(played, "plain", False),
            permissions=["clipboard-read", "clipboard-write"] if is_chromium else [],
            color_scheme="light" if is_chromium else "null",
        )
        page = context.new_page()
        page.set_default_timeout(SCENE_TIMEOUT)
        page.on(
            "console",
            lambda message: complaints.append(message.text) if is_complaint(message) else None,
        )
        page.on(
            "pageerror",
            lambda error: complaints.append(str(error)) if not is_expected(str(error)) else None,
        )
        page.on("requestfinished", lambda asked: requests.append(f"{asked.url} done"))
        page.on("requestfailed", lambda asked: requests.append(f"{asked.url} {asked.failure}"))
        try:
            found = played(page, address)
        except Exception:
            # The log of a test that failed on another machine is all that there is to find out why.
            print(
                "complaints:",
                *complaints,
                "requests:",
                *requests[-MAX_REQUESTS:],
                sep="\n",
                file=sys.stderr,
            )
            raise
        browser.close()
    print(json.dumps({"found": found, "complaints": complaints}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
