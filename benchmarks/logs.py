"""What it costs to look at a log of millions of lines: `python -m benchmarks.logs [--lines N]`.

A log is made by rule and kept in a store. Measured are ranges of it read from the store and asked for
over the application (the first byte of an answer is its last, for an answer is one message), its
outline, and what two hundred pages that follow one growing log cost.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import trio
from benchmarks.terminal import coloured, plain
from tests.web.site import Site, open_site

from bassloop.checks.recorder import recording
from bassloop.store import StepUpdate
from bassloop.wire import progrock_pb2 as progrock

PIECE = 1 << 20


def memory() -> float:
    """The process's peak in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def shown(what: str, took: list[float]) -> None:
    print(
        f"  {what:44} median {statistics.median(took) * 1e3:7.2f} ms, most {max(took) * 1e3:7.2f} ms"
    )


async def timed(calls: list[Any]) -> list[float]:
    took = []
    for call in calls:
        began = time.perf_counter()
        await call()
        took.append(time.perf_counter() - began)
    return took


async def large(site: Site, name: str, block: bytes, lines: int) -> None:
    await site.queued(name)
    row = (await site.store.steps.put(name, [StepUpdate(name, name, 1.0)]))[name].row
    log = await site.store.logs.open(name, row)
    before = memory()
    began = time.perf_counter()
    while log.lines < lines:
        await log.append(block, None, 1, 1.0)
        await log.flush()
    await log.append(b"error: here it broke\n", None, 1, 1.0)
    await log.close()
    took = time.perf_counter() - began
    extent = await site.store.logs.extent(name, row)
    size = extent.raw_bytes / 1e6
    print(f"{name}: {size:.0f} MB, {extent.lines:,} lines, kept at {size / took:.0f} MB/s")
    places = [random.randrange(extent.lines - 1000) for _ in range(50)]
    read = functools.partial(site.store.logs.lines, name, row)
    shown(
        "1,000 lines anywhere, from the store",
        await timed([functools.partial(read, at, at + 1000) for at in places]),
    )
    path = f"/runs/{name}/vertexes/{row}"
    ask = [functools.partial(site.get, f"{path}/lines?start={at}&stop={at + 200}") for at in places]
    shown("200 lines anywhere, over HTTP, first time", await timed(ask))
    shown("the same once more", await timed(ask))
    began = time.perf_counter()
    answers = 1
    first = time.perf_counter()
    while not (found := await site.json(f"{path}/outline"))["complete"]:
        answers += 1
    took = time.perf_counter() - first
    assert found["errors"][-1] == extent.lines - 1
    print(
        f"  outline: {took:.2f} s in {answers} answers ({size / took:.0f} MB/s); from then on",
        end="",
    )
    print(f" {(await timed([functools.partial(site.get, f'{path}/outline')]))[0] * 1e3:.1f} ms")
    for query in ("no such thing", "here it broke"):
        began = time.perf_counter()
        found = await site.json(f"/runs/{name}/search?q={query.replace(' ', '%20')}")
        took = time.perf_counter() - began
        print(
            f"  search for {query!r}: {took:.2f} s ({size / took:.0f} MB/s), complete: {found['complete']}"
        )
    print(f"  memory: {memory() - before:+.0f} MB")


async def many_pages(site: Site, pages: int, lines: int) -> None:
    """So many pages follow one run whose log grows as fast as they can take it."""
    await site.queued("live")
    got = 0
    ready = trio.Event()
    waiting = pages

    async def page() -> None:
        nonlocal got, waiting
        async with site.app.test_client().websocket("/runs/live/live") as socket:
            await socket.send(json.dumps({"logs": {}}))
            news: dict[str, Any] = {}
            while "end" not in news:
                news = json.loads(await socket.receive())
                got += sum(len(log["lines"]) for log in news.get("logs", ()))
                if not ready.is_set():
                    waiting -= 1
                    if not waiting:
                        ready.set()

    cpu = began = 0.0
    async with trio.open_nursery() as nursery:
        for _ in range(pages):
            nursery.start_soon(page)
        async with recording(site.store, site.live_runs, "live") as recorder:
            await ready.wait()
            cpu, began = time.process_time(), time.perf_counter()
            for number in range(lines // 100):
                text = b"".join(
                    b"\x1b[32mok\x1b[0m line %d of it\n" % (number * 100 + n) for n in range(100)
                )
                said = progrock.VertexLog(vertex="v", data=text)
                await recorder.record(progrock.StatusUpdate(logs=[said]))
                await trio.sleep(0.1)
        await site.store.runs.end("live", "succeeded", None, 2.0)
        site.live_runs.publish("live")
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    made = site.context.log_html.statistics()["rendered"]
    print(
        f"{pages} pages on one run, {lines:,} lines in {took:.1f} s: processor {cpu:.1f} s (the pages'"
        f" own reading included), lines that HTML was made of {made:,}, lines sent {got:,}"
    )


async def main(lines: int, pages: int, folder: Path) -> None:
    async with open_site(folder) as site:
        for name, kind in (("plain", plain), ("coloured", coloured)):
            block = kind(PIECE)
            await large(site, name, block[: block.rfind(b"\n") + 1], lines)
    (folder / "live").mkdir()
    async with open_site(folder / "live") as site:
        await many_pages(site, pages, 5000)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--pages", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        trio.run(functools.partial(main, arguments.lines, arguments.pages, Path(made)))
