"""What `benchmarks.viewer` looks at: `viewer_server LINES` serves a run whose log has so many lines.

With none, its log is written to at the rates that are read from stdin, each for some seconds. What is
to be known is printed as JSON. (A process of its own: Playwright and the loop's asyncio don't mix.)
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import trio
from tests.browser.showcase import BEGAN, Shown, serve_site

from bassloop.store import LogWriter, StepUpdate
from bassloop.terminal import Terminal

LINE = (
    b"%09d  the quick brown fox jumps over the lazy dog, and over the other one, again and again\n"
)
BROKEN = b"foo.c:12:3: error: expected ';' before '}' token\nmake: *** [foo.o] Error 1\n"
BLOCK = 10_000
SECONDS = 8


async def _begin(site: Shown) -> LogWriter:
    await site.site.queued("r")
    await site.store.runs.start("r", "t", "octocat", "linux/amd64", BEGAN)
    row = (await site.store.steps.put("r", [StepUpdate("v", "make", BEGAN)]))["v"].row
    site.site.live_runs.lend_screen(row, Terminal())  # as a recorder does
    return await site.store.logs.open("r", row)


async def _end(site: Shown, log: LogWriter) -> None:
    await log.close()
    over = StepUpdate("v", "make", BEGAN, BEGAN + 100, error="exit status 2")
    await site.store.steps.put("r", [over])
    await site.store.runs.end("r", "failed", "exit status 2", BEGAN + 100)
    site.site.live_runs.publish("r")


async def serve(lines: int) -> None:
    """Serve until the process is ended."""
    with tempfile.TemporaryDirectory() as folder:
        async with serve_site(Path(folder)) as site:
            log = await _begin(site)
            if lines:
                for start in range(0, lines - 2, BLOCK):
                    stop = min(start + BLOCK, lines - 2)
                    text = b"".join(LINE % number for number in range(start, stop))
                    await log.append(text, None, 1, BEGAN + start / lines)
                await log.append(BROKEN, None, 1, BEGAN + 99)
                await _end(site, log)
            print(json.dumps({"url": site.url, "pid": os.getpid()}), flush=True)
            while rate := (await trio.to_thread.run_sync(sys.stdin.readline)).strip():
                await _write(site, log, int(rate))


async def _write(site: Shown, log: LogWriter, rate: int) -> None:
    """Write lines at a rate, twenty times a second as runners do; say when the last was written."""
    began, written, batches = trio.current_time(), 0, []
    while written < rate * SECONDS:
        await trio.sleep(0.05)
        due = min(int((trio.current_time() - began) * rate), rate * SECONDS)
        await log.append(b"".join(LINE % number for number in range(written, due)), None, 1, BEGAN)
        batches.append((due - 1, time.time()))
        written = due
        site.site.live_runs.publish("r")
    await log.append(b"the last of %d a second\n" % rate, None, 1, BEGAN)
    site.site.live_runs.publish("r")
    said = {"at": time.time(), "took": trio.current_time() - began, "batches": batches}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    trio.run(serve, int(sys.argv[1]))
