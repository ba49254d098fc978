"""What watching costs: `python -m benchmarks.observing` in a checkout.

A daemon in a process of its own handles deliveries, each with a hook and a check that a runner carries
out; its processor time for each is taken without anybody watching, with metrics scraped every second
(Prometheus asks every 15 s), and with traces sent to a collector. The kinds take turns, so that a busy
machine is busy for all of them. Prints the medians, what a scrape costs, and how long the daemon takes
from its start to READY.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import trio
from tests.loop.world import SECRET, World, open_world
from tests.repositories import commit, git

from bassloop.github import sign

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "echo one; echo two") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""
KINDS = ("nobody watches", "metrics, a scrape a second", "traces")
TICKS = os.sysconf("SC_CLK_TCK")


def used(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def handled(of: World, url: str, heads: Iterator[str], many: int) -> None:
    """Deliver so many, one after the other, each about a head of its own."""
    payload = await of.standin.payload("check_suite")
    async with httpx.AsyncClient(timeout=60) as client:
        for _ in range(many):
            payload["check_suite"]["head_sha"] = next(heads)
            body, guid = json.dumps(payload).encode(), str(uuid.uuid4())
            headers = {
                "Content-Type": "application/json",
                "X-GitHub-Event": "check_suite",
                "X-GitHub-Delivery": guid,
                "X-Hub-Signature-256": sign(SECRET.encode(), body),
            }
            where = f"{url}/integrations/github/events"
            answer = await client.post(where, content=body, headers=headers)
            assert answer.status_code == 202, answer.text
            await of.handled(guid)


@asynccontextmanager
async def scraped(url: str | None) -> AsyncGenerator[list[int]]:
    """Ask for the metrics every second; the sizes of the answers."""
    sizes: list[int] = []

    async def scrape() -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            while url is not None:
                sizes.append(len((await client.get(url)).content))
                await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scrape)
        yield sizes
        nursery.cancel_scope.cancel()


async def collect(task_status: trio.TaskStatus[int]) -> None:
    """A collector that takes spans and forgets them."""

    async def one(stream: trio.SocketStream) -> None:
        data = b""
        while piece := await stream.receive_some():
            data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line[:15].lower() == b"content-length:"
                ),
                0,
            )
            if len(body) >= length:
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                data = b""

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(one, listeners)


async def measured(
    kind: str, folder: Path, repository: Path, heads: Iterator[str], many: int
) -> tuple[float, float]:
    """Milliseconds of the daemon's processor for a delivery, and for a scrape where there are any."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with trio.open_nursery() as nursery:
        settings: dict[str, str] = {"METRICS_LISTEN": f"127.0.0.1:{port}"}
        if kind == KINDS[2]:
            collector = await nursery.start(collect)
            settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{collector}"
        async with open_world(repository, folder, **settings) as of, of.daemon() as daemon:
            url = f"http://127.0.0.1:{port}/metrics"
            async with of.runner(daemon):
                await handled(of, daemon.url, heads, 3)
                await trio.sleep(6)  # the first batch of spans connects, and imports what it needs
                before = used(daemon.process.pid)
                async with scraped(url if kind == KINDS[1] else None):
                    await handled(of, daemon.url, heads, many)
                each = (used(daemon.process.pid) - before) / many
            a_scrape = 0.0
            if kind == KINDS[1]:
                before = used(daemon.process.pid)
                async with httpx.AsyncClient(timeout=60) as client:
                    for _ in range(50):
                        await client.get(url)
                a_scrape = (used(daemon.process.pid) - before) / 50
        nursery.cancel_scope.cancel()
    return each * 1000, a_scrape * 1000


def started(folder: Path) -> tuple[float, float]:
    """Seconds from a daemon's start to READY, and of the processor."""
    where = str(folder / "notify")
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "BASSLOOP_SETTINGS": str(folder / "none"),
        "LISTEN": "127.0.0.1:0",
        "SSH_ADDR": "127.0.0.1:0",
        "DATA_DIR": str(folder / "data"),
        "NOTIFY_SOCKET": where,
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(where)
        began = time.perf_counter()
        command = [sys.executable, "-m", "bassloop", "serve"]
        with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as daemon:
            while listening.recv(4096) != b"READY=1":
                pass
            took, processor = time.perf_counter() - began, used(daemon.pid)
            daemon.terminate()
    Path(where).unlink()
    return took, processor


async def main(rounds: int, many: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        starts = [started(folder) for _ in range(5)]
        shown = ", ".join(f"{wall:.2f} s ({cpu:.2f} s of processor)" for wall, cpu in starts)
        print(f"start to READY, the first with a new database: {shown}")
        repository = folder / "repository"
        repository.mkdir()
        (repository / "project.bass").write_text(HOOK)
        git(repository, "init", "--quiet", "--initial-branch=main")
        heads = iter([commit(repository) for _ in range(rounds * len(KINDS) * (many + 3))])
        took: dict[str, list[float]] = {kind: [] for kind in KINDS}
        scrapes = []
        for number, kind in itertools.product(range(rounds), KINDS):
            each, a_scrape = await measured(
                kind, folder / f"{number}-{KINDS.index(kind)}", repository, heads, many
            )
            took[kind].append(each)
            if a_scrape:
                scrapes.append(a_scrape)
            print(
                f"  round {number + 1}, {kind}: {each:.1f} ms of processor a delivery", flush=True
            )
        base = statistics.median(took[KINDS[0]])
        for kind in KINDS:
            middle = statistics.median(took[kind])
            print(
                f"{kind}: {middle:.1f} ms a delivery (least {min(took[kind]):.1f}), {100 * (middle / base - 1):+.1f} %"
            )
        print(f"a scrape: {statistics.median(scrapes):.2f} ms of processor")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--deliveries", type=int, default=40)
    given = parser.parse_args()
    trio.run(main, given.rounds, given.deliveries)
