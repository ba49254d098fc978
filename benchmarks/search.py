"""How fast a run's logs are searched through the page's address, and what others feel of it.

A log of a given size is made by rule; each query is asked for over the application itself. Beside
it a task measures how late the daemon's thread wakes up: what every other page would feel.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trio
from benchmarks.terminal import coloured, plain
from tests.web.site import Site, open_site

from bassloop.store import StepUpdate

QUERIES = {
    "a text that is not there": "q=no such thing",
    "the same, its case counted": "q=no such thing&case=yes",
    "a text in the last line": "q=THE END",
    "alternatives, not there": "q=nothing|such (thing|text)[0-9]+&regex=yes",
    "a text in every 50th line": "q=49",
}


async def lateness(found: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await trio.sleep(0.001)
        found.append(time.perf_counter() - began - 0.001)


async def ask(site: Site, run: str, query: str) -> tuple[float, float, Any]:
    late: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lateness, late)
        await trio.sleep(0.05)
        began = time.perf_counter()
        answer = await site.json(f"/runs/{run}/search?{quote(query, safe='=&')}")
        took = time.perf_counter() - began
        nursery.cancel_scope.cancel()
    return took, max(late), answer


async def main(size: int, folder: Path) -> None:
    async with open_site(folder) as site:
        for name, kind in (("plain", plain), ("coloured", coloured)):
            await site.queued(name)
            text = kind(16 << 20)
            update = StepUpdate(name, name, 1.0)
            row = (await site.store.steps.put(name, [update]))[name].row
            log = await site.store.logs.open(name, row)
            for _ in range(max(1, size // len(text))):
                await log.append(text, None, 1, 1.0)
            await log.append(b"the end\n", None, 1, 1.0)
            await log.close()
            extent = await site.store.logs.extent(name, row)
            print(f"{name}: {extent.raw_bytes / 1e6:.0f} MB, {extent.lines:,} lines")
            for what, query in QUERIES.items():
                took, late, answer = await ask(site, name, query)
                rate = extent.raw_bytes / took / 1e6
                print(
                    f"  {what:32} {took:6.2f} s  {rate:6.0f} MB/s  {answer['total']:>7,} lines"
                    f"{'' if answer['complete'] else '+'}, others late by {late * 1e3:.1f} ms"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100, help="MB of each log")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        trio.run(functools.partial(main, arguments.size * 1_000_000, Path(made)))
