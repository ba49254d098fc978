"""A loop under a steady load: `python -m benchmarks.soak` in a checkout, as root.

Deliveries come at a rate, each starts a check, and simulated runners in a process of their own take them
over real SSH and gRPC. (GitHub would not take that pace from one installation: here it does.) The
daemon's data is on a small ext4 file system of its own. After a third of the time a backup is made under
the load and verified; after two thirds the disk is filled for a while. Prints memory, file descriptors,
threads and tasks at the start (after a warm-up), in the middle and at the end, how long answers took, and
what was lost of what was acknowledged.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import trio
from benchmarks.runners import MANY, resident, simulated
from tests.loop.test_full_disk import fill
from tests.loop.world import SECRET, Daemon, World, open_world
from tests.repositories import commit, commits, git

from bassloop.github import sign
from bassloop.store import find_database, open_store
from bassloop.store.maintenance.backup import back_up
from bassloop.store.maintenance.integrity import check_store, verify_backup

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ it) {:repository "it" :platform {:os "linux"}}) "it" event:payload:after))
"""
TOKEN = "soak"


@contextmanager
def own_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system in a file, mounted at a folder."""
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@dataclass
class Soak:
    """The load, and what was seen of it."""

    world: World
    daemon: Daemon
    client: httpx.AsyncClient
    payload: dict[str, Any]
    heads: Iterator[str]
    began: float = field(default_factory=trio.current_time)
    answers: list[tuple[float, int, float]] = field(default_factory=list)
    """Of each delivery: when it was sent, the answer's status, and how long that took."""
    accepted: set[str] = field(default_factory=set)

    async def send(self) -> None:
        body = json.dumps({**self.payload, "after": next(self.heads)}).encode()
        guid, at = str(uuid.uuid4()), trio.current_time()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": guid,
            "X-Hub-Signature-256": sign(SECRET.encode(), body),
        }
        url = f"{self.daemon.url}/integrations/github/events"
        answer = await self.client.post(url, content=body, headers=headers)
        self.answers.append((at - self.began, answer.status_code, trio.current_time() - at))
        if answer.status_code == 202:
            self.accepted.add(guid)

    async def load(self, rate: float, seconds: float) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(round(rate * seconds)):
                await trio.sleep_until(self.began + number / rate)
                nursery.start_soon(self.send)

    async def sample(self, what: str) -> None:
        pid = self.daemon.process.pid
        metrics = await self.client.get(
            f"{self.daemon.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        [tasks] = re.findall(r"^bassloop_tasks ([\d.e+]+)", metrics.text, re.MULTILINE)
        threads = re.findall(r"Threads:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]
        print(
            f"{what:>10} {trio.current_time() - self.began:6.0f} s: memory {resident(pid) / 1024:.1f} MB,"
            f" {len(os.listdir(f'/proc/{pid}/fd'))} file descriptors, {threads} threads,"
            f" {float(tasks):.0f} tasks, {len(self.accepted)} deliveries accepted",
            flush=True,
        )

    def told(self, what: str, since: float, until: float = 1e9) -> None:
        took = [
            1000 * took
            for at, status, took in self.answers
            if since <= at < until and status == 202
        ]
        if len(took) > 1:
            cuts = statistics.quantiles(took, n=100)
            print(
                f"answers {what}: {len(took)}, p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms,"
                f" at most {max(took):.1f} ms",
                flush=True,
            )


async def backed_up(soak: Soak) -> None:
    """Back up under the load, twice, and verify."""
    data, to = soak.world.folder / "data", soak.world.folder / "backup"
    since = trio.current_time() - soak.began
    for what in ("backup", "backup again"):
        at = time.perf_counter()
        made = await trio.to_thread.run_sync(
            partial(back_up, data / "loop.db", data / "blobs", to, now=time.time())
        )
        took = time.perf_counter() - at
        wrong = await trio.to_thread.run_sync(
            lambda: list(verify_backup(to / "loop.db", to / "blobs"))
        )
        print(
            f"{what}: {made.runs} runs, {made.bytes / 1e6:.1f} MB ({made.copied / 1e6:.1f} MB copied)"
            f" in {took:.1f} s; wrong in it: {len(wrong)}",
            flush=True,
        )
    soak.told("during the backups", since, trio.current_time() - soak.began)


async def filled(soak: Soak, seconds: float) -> None:
    """Fill the disk, and let it be full for a while."""
    filler = soak.world.folder / "data" / "filler"
    since = trio.current_time() - soak.began
    await trio.to_thread.run_sync(fill, filler)
    await trio.sleep(seconds)
    await trio.to_thread.run_sync(filler.unlink)
    until = trio.current_time() - soak.began
    seen = [status for at, status, _ in soak.answers if since <= at < until]
    counts = {status: seen.count(status) for status in sorted(set(seen))}
    print(f"disk full from {since:.0f} s to {until:.0f} s: answers {counts}", flush=True)


@asynccontextmanager
async def around(folder: Path, given: argparse.Namespace) -> AsyncGenerator[Soak]:
    path = folder / "repository"
    path.mkdir()
    (path / "project.bass").write_text(HOOK)
    git(path, "init", "--quiet", "--initial-branch=main")
    commit(path)
    heads = itertools.cycle(commits(path, round(given.rate * given.seconds) + 100))
    where = folder / "world"
    async with open_world(path, where, METRICS_TOKEN=TOKEN, **MANY) as world:
        world.standin.rate_limits.per_hour = world.standin.rate_limits.points_per_minute = 10**9
        world.standin.rate_limits.at_once = 10**6
        with own_disk(where / "data", given.disk):
            main = Path(__file__).with_name("unpaced.py")
            async with (
                world.daemon(main=main) as daemon,
                simulated(world, daemon, "streaming", given.runners, given.messages, 1000),
                httpx.AsyncClient(timeout=60, trust_env=False) as client,
            ):
                payload = await world.standin.payload("push")
                yield Soak(world, daemon, client, payload, heads)
            data = where / "data"
            wrong = list(check_store(find_database(data / "loop.db"), data / "blobs", in_use=False))
            print(
                f"wrong in the store afterwards: {len(wrong)} {[each.what for each in wrong][:3]}"
            )


async def main(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        async with around(Path(name), given) as soak:
            third = given.seconds / 3
            async with trio.open_nursery() as nursery:
                nursery.start_soon(soak.load, given.rate, given.seconds)
                await trio.sleep(min(60, given.seconds / 10))
                await soak.sample("start")
                await trio.sleep_until(soak.began + third)
                await backed_up(soak)
                await trio.sleep_until(soak.began + given.seconds / 2)
                await soak.sample("middle")
                await trio.sleep_until(soak.began + 2 * third)
                await filled(soak, min(20, given.seconds / 20))
                await trio.sleep_until(soak.began + given.seconds - 1)
                await soak.sample("end")
            soak.told("in all", 0)
            await ended(soak)


async def ended(soak: Soak) -> None:
    """Wait for what is left, and count what was lost."""
    data = soak.world.folder / "data"
    async with open_store(data / "loop.db", data / "blobs", owner=False) as store:
        began = trio.current_time()
        with trio.move_on_after(300):
            while await store.deliveries.unfinished():
                await trio.sleep(0.5)
        print(f"all handled {trio.current_time() - began:.0f} s after the last delivery")
        known = await store.deliveries.stored(soak.accepted)
        print(
            f"of {len(soak.accepted)} acknowledged deliveries, lost: {len(soak.accepted - known)}"
        )
        states: dict[str, int] = {}
        before = None
        while True:
            page = await store.runs.newest(500, before, public_only=False)
            for run in page.items:
                states[run.state] = states.get(run.state, 0) + 1
            if (before := page.next) is None:
                break
        print(f"runs: {states}")
    await trio.sleep(5)
    await soak.sample("idle")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=2.0, help="deliveries a second")
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long")
    parser.add_argument("--runners", type=int, default=20, help="how many runners")
    parser.add_argument(
        "--messages", type=int, default=20, help="pieces of log of a check, 1 KB each"
    )
    parser.add_argument("--disk", type=int, default=600, help="size of the daemon's disk, in MB")
    sys.exit(trio.run(main, parser.parse_args()))
