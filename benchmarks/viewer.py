"""A run's page with a log of any length: `python -m benchmarks.viewer [--lines N …] [--live]` in a checkout.

For each length, in a server process of its own and a real Chromium: the server's time to the page's
first byte, the time until the line that broke the run is on the screen, what went over the wire and
what the browser's heap holds by then, and the server's memory. With `--live`: how far a page is behind
a log that is written at some rates, when its last line is written, and the same of 200 pages at once.
With `--tabs`: what many tabs of one browser cost, how late each line is, and how much what is shown moves.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import trio
from tests.browser.scene_runner import FLAGS
from trio_websocket import open_websocket_url

LAST = """text => [...document.querySelectorAll(".line")].slice(-40)
  .some(line => line.textContent.includes(text))"""
SHOWN = "foo.c:12:3: error"
RATES = (1_000, 10_000, 100_000)
PAGES = 200

WATCH = """text => {
  window.shown = new Promise(done => {
    const look = () => {
      const found = [...document.querySelectorAll(".line")].some(line => {
        const box = line.getBoundingClientRect();
        return box.bottom > 0 && box.top < innerHeight && line.textContent.includes(text);
      });
      if (found) done(performance.now()); else requestAnimationFrame(look);
    };
    look();
  });
}"""

LARGEST_PAINT = """new PerformanceObserver((list) => { window.largestPaint = list.getEntries().at(-1).startTime; })
  .observe({ type: "largest-contentful-paint", buffered: true });"""


class Server:
    """A server process."""

    def __init__(self, lines: int) -> None:
        command = [sys.executable, "-m", "benchmarks.viewer_server", str(lines)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        said = self.read()
        self.address = f"{said['url']}/runs/r"

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def write(self, rate: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{rate}\n")
        self.process.stdin.flush()

    def status(self, name: str) -> float:
        """Megabytes of memory that it holds (`VmRSS`), or held at most (`VmHWM`)."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.partition(f"{name}:")[2].split()[0]) / 1024

    def seconds(self) -> float:
        """Processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def first_byte(address: str, rounds: int) -> list[float]:
    """Milliseconds until the page's first byte, each over a connection that was there."""
    took = []
    with httpx.Client() as client:
        client.get(address.replace("/runs/r", "/up"))
        for _ in range(rounds):
            began = time.perf_counter()
            with client.stream("GET", address) as answer:
                next(answer.iter_raw())
                took.append(1000 * (time.perf_counter() - began))
    return took


def until_shown(chromium: str, address: str, rounds: int) -> dict[str, list[float]]:
    """Of a browser without a cache: milliseconds until the line is on the screen and until the largest
    contentful paint, kilobytes that were transferred by a second later, megabytes of its heap then, elements of the
    document."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {
        "shown ms": [],
        "LCP ms": [],
        "wire KB": [],
        "heap MB": [],
        "elements": [],
    }
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        for _ in range(rounds):
            context = browser.new_context()
            page = context.new_page()
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            session.send("Performance.enable")
            wire = [0.0]
            session.on(
                "Network.loadingFinished",
                lambda event, wire=wire: wire.append(event["encodedDataLength"]),
            )
            page.add_init_script(
                f"document.addEventListener('DOMContentLoaded', () => ({WATCH})({SHOWN!r}))"
            )
            page.add_init_script(LARGEST_PAINT)
            page.goto(address)
            found["shown ms"].append(page.evaluate("window.shown"))
            page.wait_for_timeout(1000)
            found["LCP ms"].append(page.evaluate("window.largestPaint"))
            session.send("HeapProfiler.collectGarbage")
            metrics = {
                each["name"]: each["value"]
                for each in session.send("Performance.getMetrics")["metrics"]
            }
            found["wire KB"].append(sum(wire) / 1024)
            found["heap MB"].append(metrics["JSHeapUsedSize"] / 2**20)
            found["elements"].append(page.evaluate("document.querySelectorAll('*').length"))
            context.close()
        browser.close()
    return found


def lengths(lines: int, chromium: str, rounds: int) -> None:
    """The figures for a log of so many lines."""
    server = Server(lines)
    try:
        bare = server.status("VmRSS")
        took = first_byte(server.address, rounds * 3)
        found = until_shown(chromium, server.address, rounds)
        print(f"{lines:,} lines:")
        print(
            f"  first byte   {statistics.median(took):.0f} ms (least {min(took):.0f}, most {max(took):.0f})"
        )
        for name, values in found.items():
            print(
                f"  {name:12} {statistics.median(values):,.1f} (least {min(values):,.1f}, most {max(values):,.1f})"
            )
        print(f"  server       {server.status('VmRSS'):.0f} MB afterwards, {bare:.0f} before")
    finally:
        server.stop()


def one_page(chromium: str) -> None:
    """How far a page is behind, at some rates."""
    from playwright.sync_api import sync_playwright

    server = Server(0)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.goto(server.address)
        page.wait_for_selector(".step")
        for rate in RATES:
            server.write(rate)
            page.wait_for_function(
                LAST,
                arg=f"the last of {rate} a second",
                timeout=120_000,
                polling=20,
            )
            seen, said = time.time(), server.read()
            behind = 1000 * (seen - said["at"])
            print(
                f"one page, {rate:,} lines/s for {said['took']:.1f} s: {behind:.0f} ms behind at the end"
            )
        heap = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
        print(f"  heap {heap:.0f} MB, {page.locator('.line').count()} lines in the document")
        browser.close()
    server.stop()


async def many_pages() -> None:
    """How far the slowest of many pages is behind, at the slowest rate."""
    server, rate = Server(0), RATES[0]
    address = server.address.replace("http", "ws") + "/live"
    late: list[float] = []
    at: list[float] = []

    async def follow(ready: trio.MemorySendChannel[None]) -> None:
        async with open_websocket_url(address) as socket:
            await socket.send_message('{"logs": {}}')
            await socket.get_message()
            await ready.send(None)
            last = f"the last of {rate} a second"
            while last not in await socket.get_message():
                pass
            late.append(time.time())

    before = server.status("VmRSS")
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[None](PAGES)
        for _ in range(PAGES):
            nursery.start_soon(follow, send)
        for _ in range(PAGES):
            await receive.receive()
        used = server.seconds()
        server.write(rate)
        said = await trio.to_thread.run_sync(server.read)
        at.append(said["at"])
    behind = sorted(1000 * (moment - at[0]) for moment in late)
    used = server.seconds() - used
    print(
        f"{PAGES} pages, {rate:,} lines/s for {said['took']:.1f} s: "
        f"{statistics.median(behind):.0f} ms behind at the end, the last {behind[-1]:.0f}; "
        f"{used:.1f} s of the server's processor; "
        f"{server.status('VmRSS'):.0f} MB, {before:.0f} before"
    )
    server.stop()


FOLLOW = """() => {
  window.seen = [];
  window.shift = 0;
  new PerformanceObserver(list => {
    for (const entry of list.getEntries()) window.shift += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  new MutationObserver(() => {
    const lines = document.querySelectorAll(".step .line .text");
    const number = parseInt(lines[lines.length - 1]?.textContent, 10);
    if (number > (window.seen.at(-1)?.[0] ?? -1)) window.seen.push([number, Date.now() / 1000]);
  }).observe(document.body, { childList: true, subtree: true });
}"""


def many_tabs(chromium: str, tabs: int) -> None:
    """Print what so many tabs of one browser cost that follow a run, and how far they are behind."""
    from playwright.sync_api import sync_playwright

    server, rate = Server(0), RATES[0]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context()
        pages = [context.new_page() for _ in range(tabs)]
        for page in pages:
            page.goto(server.address)
            page.wait_for_selector(".step")
            page.evaluate(FOLLOW)
        used = server.seconds()
        server.write(rate)
        for page in pages:
            page.wait_for_function(
                LAST, arg=f"the last of {rate} a second", timeout=120_000, polling=500
            )
        said = server.read()
        late = []
        for page in pages:
            seen = iter(page.evaluate("window.seen"))
            number, at = next(seen)
            for last, written in said["batches"]:
                while number < last and (following := next(seen, None)):
                    number, at = following
                if number >= last:
                    late.append(1000 * (at - written))
        late.sort()
        took = said["took"]
        heaps = [page.evaluate("performance.memory.usedJSHeapSize") / 2**20 for page in pages]
        shifts = [page.evaluate("window.shift") for page in pages]
        print(
            f"{tabs} tabs, {rate:,} lines/s for {took:.1f} s: line to document p50 "
            f"{statistics.median(late):.0f} ms, p99 {late[int(len(late) * 0.99)]:.0f}, worst {late[-1]:.0f}; "
            f"server {(server.seconds() - used) / took:.0%} of a processor; "
            f"heap of a tab {statistics.median(heaps):.1f} MB, worst {max(heaps):.1f}; "
            f"layout shift at most {max(shifts):.4f}"
        )
        browser.close()
    server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--tabs", type=int, default=0, help="follow a run in so many tabs")
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    given = parser.parse_args()
    for lines in given.lines:
        lengths(lines, given.chromium, given.rounds)
    if given.live:
        one_page(given.chromium)
        trio.run(many_pages)
    if given.tabs:
        many_tabs(given.chromium, given.tabs)


if __name__ == "__main__":
    main()
