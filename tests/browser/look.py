"""A scene in Chromium or Firefox (`BROWSER`), in a process of its own: `look MODULE SCENE ADDRESS`.

trio-asyncio has the tests' own asyncio in its hands, so Playwright can't share their process. What the
scene says on its way, what it found, and what the console complained of are lines of JSON; `tell` in a
scene and `Playing.heard` in a test are the two ends of one thread.
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
PATIENCE = 60_000
"""Milliseconds that a scene waits for what is to happen: CI is a slow machine."""

MAX_TOLD = 30
"""Requests that are named when a scene fails."""


def tell(word: str) -> None:
    """Say in a scene how far it is."""
    print(json.dumps({"said": word}), flush=True)


class Playing:
    """A scene that is being played."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._text = b""

    async def heard(self, word: str) -> None:
        """Return when the scene says the word."""
        assert (await self._line()).get("said") == word

    async def found(self) -> dict[str, Any]:
        """What the scene found at its end; the console must not have complained."""
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
async def playing(
    scene: Callable[..., Any], address: str, **environment: str
) -> AsyncGenerator[Playing]:
    """A scene (a function of a module) on the page at an address."""
    command = [
        sys.executable,
        "-m",
        "tests.browser.look",
        scene.__module__,
        scene.__name__,
        address,
    ]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, env=env)
    try:
        yield Playing(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def look(scene: Callable[..., Any], address: str, **environment: str) -> dict[str, Any]:
    """Play a scene to its end, and return what it found."""
    async with playing(scene, address, **environment) as its:
        return await its.found()


def wrong(said: ConsoleMessage) -> bool:
    """Whether the console complains. That there is no such page, or that a question can't be answered,
    are answers with a status of their own; that nobody listens is what a killed server is like."""
    return said.type == "error" and not expected(said.text)


def expected(text: str) -> bool:
    """Whether it is what a browser says of a server that a scene does without."""
    texts = (
        "the server responded with a status of 40",
        "net::ERR_CONNECTION_REFUSED",
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
        return play.firefox.launch(channel="moz-firefox", executable_path=program)
    return play.chromium.launch(
        executable_path=program or shutil.which("chromium") or "", args=FLAGS
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
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: complaints.append(said.text) if wrong(said) else None)
        page.on(
            "pageerror",
            lambda error: complaints.append(str(error)) if not expected(str(error)) else None,
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
                *requests[-MAX_TOLD:],
                sep="\n",
                file=sys.stderr,
            )
            raise
        browser.close()
    print(json.dumps({"found": found, "complaints": complaints}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
