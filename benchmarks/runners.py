"""What runners cost the daemon: `python -m benchmarks.runners idle|stream` in a checkout.

`idle` registers many simulated runners and prints how long that takes, the daemon's memory for each,
and its CPU while nothing happens. `stream` has runners send logs as fast as the daemon takes them, and
prints messages and MB a second, the daemon's CPU, and with `--py-spy PATH` what it is spent on. The
daemon, and all runners together, are in a process of their own each.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio
from tests.loop.world import Daemon, World, open_world
from tests.repositories import commit, git

from bassloop.store import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncssh

HOOK = """
(defn github-hook [event client]
  (map
    (fn [name] (client:start-check
      (with-image ($ it $name) {:repository "it" :platform {:os "linux"}})
      name event:payload:check_suite:head_sha))
    [NAMES]))
"""
MANY = {
    "SSH_CONNECTIONS": "5000",
    "SSH_CONNECTIONS_PER_ADDRESS": "5000",
    "SSH_UNAUTHENTICATED_PER_ADDRESS": "50",
}
PARTS = (
    ("protobuf", r"grpclib/encoding|google/protobuf|_pb2"),
    ("SSH", r"asyncssh"),
    ("HTTP/2", r"\bh2/|hpack|hyperframe|grpclib|bassloop/bridge/(h2|connection)"),
    ("store and terminal", r"bassloop/(store|terminal)|checks/recorder"),
    ("Trio and asyncio", r"\btrio|asyncio"),
)
"""The parts of the daemon; a sample is of the part whose frame is innermost."""


def repository(folder: Path, checks: int) -> Path:
    """A repository whose hook starts so many checks."""
    folder.mkdir()
    names = " ".join(f'"check-{number}"' for number in range(checks))
    (folder / "project.bass").write_text(HOOK.replace("NAMES", names))
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder)
    return folder


def resident(pid: int) -> float:
    """A process' memory, in KB."""
    return float(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def simulated(
    world: World,
    daemon: Daemon,
    kind: str,
    count: int,
    messages: int = 0,
    size: int = 0,
    user: tuple[str, asyncssh.SSHKey] | None = None,
) -> AsyncGenerator[tuple[trio.Process, float]]:
    """So many simulated runners, registered, and the seconds that it took.

    Args:
        user: whose they are, and with which key, if they aren't those of the world's own user.
    """
    login, key = user or (world.standin.login, world.key)
    identity, known = world.folder / f"id-{login}", world.folder / f"known_hosts-{login}"
    identity.write_bytes(key.export_private_key())
    identity.chmod(0o600)
    known.write_text(daemon.host_key + "\n")
    command = [sys.executable, "-m", f"benchmarks.{kind}_runners"]
    numbers = {"port": daemon.ssh_port, "count": count, "messages": messages, "size": size}
    texts = {"login": login, "identity": identity, "known-hosts": known}
    for name, value in (numbers | texts).items():
        command += [f"--{name}", str(value)]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    began = time.perf_counter()
    try:
        said = await process.stdout.receive_some()
        assert said.startswith(b"registered"), said
        yield process, time.perf_counter() - began
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()


async def idle(folder: Path, count: int, seconds: float) -> None:
    """Many runners that do nothing."""
    path = repository(folder / "repository", 1)
    async with open_world(path, folder / "world", **MANY) as world, world.daemon() as daemon:
        data, pid = world.folder / "data", daemon.process.pid
        async with open_store(data / "loop.db", data / "blobs", owner=False) as store:
            async with simulated(world, daemon, "idle", 5):
                pass  # what is made once is no session's
            while await store.runtimes.connected():
                await trio.sleep(0.01)
            before, used = resident(pid), cpu(pid)
            async with simulated(world, daemon, "idle", count) as (process, took):
                print(f"{count} runners registered in {took:.1f} s, {count / took:.0f} a second")
                print(f"daemon's CPU for each: {1000 * (cpu(pid) - used) / count:.1f} ms")
                held = resident(pid) - before
                print(f"memory: {held / 1024:.1f} MB more, {held / count:.0f} KB a session")
                used, began = cpu(pid), time.perf_counter()
                await trio.sleep(seconds)
                share = (cpu(pid) - used) / (time.perf_counter() - began)
                print(f"CPU while idle, over {seconds:.0f} s: {share:.2%}")
                used, began = cpu(pid), time.perf_counter()
                process.kill()
                while await store.runtimes.connected():
                    await trio.sleep(0.01)
                print(f"all gone {time.perf_counter() - began:.1f} s after kill -9")
                print(f"memory afterwards: {(resident(pid) - before) / 1024:.1f} MB more")


@asynccontextmanager
async def sampled(spy: str | None, pid: int, profile: Path) -> AsyncGenerator[None]:
    """Let py-spy look at a process meanwhile."""
    if spy is None:
        yield
        return
    command = [spy, "record", "-p", str(pid), "-f", "raw", "-o", str(profile), "-d", "600"]
    process = await trio.lowlevel.open_process(
        [*command, "--nonblocking"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    await trio.sleep(1)
    yield
    process.send_signal(signal.SIGINT)
    await process.wait()


async def stream(folder: Path, runners: int, messages: int, size: int, spy: str | None) -> None:
    """Runners that send logs as fast as they can, a run on each."""
    path = repository(folder / f"repository-{runners}-{size}", runners)
    where = folder / f"world-{runners}-{size}"
    async with open_world(path, where, **MANY) as world, world.daemon() as daemon:
        pid = daemon.process.pid
        async with simulated(world, daemon, "streaming", runners, messages, size):
            profile = world.folder / "profile"
            async with sampled(spy, pid, profile):
                used, began = cpu(pid), time.perf_counter()
                payload = await world.standin.payload("check_suite")
                await world.standin.deliver(daemon.url, "check_suite", payload)
                while (
                    sum(run["status"] == "completed" for run in world.standin.check_runs) < runners
                ):
                    await trio.sleep(0.01)
                took = time.perf_counter() - began
                share = (cpu(pid) - used) / took
        assert all(run["conclusion"] == "success" for run in world.standin.check_runs)
        assert len(world.standin.check_runs) == runners
        sent = runners * messages
        rate = f"{sent / took:,.0f} messages/s, {sent * size / took / 1e6:.1f} MB/s"
        each = f"{share * took / (sent * size / 1e6):.3f} s a MB, {1e6 * share * took / sent:.0f} us a message"
        print(f"{runners} runner(s), {size:,} bytes a message: {rate}; CPU {share:.0%}, {each}")
        if spy is not None:
            print("   " + ", ".join(shares(profile)))


def shares(profile: Path) -> list[str]:
    """What part of the samples is of which part of the daemon."""
    found: Counter[str] = Counter()
    for line in profile.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if "get_events" not in frames[-1]:  # it waits; py-spy can't always tell
            found[part(frames)] += int(count)
    total = found.total()
    return [f"{name} {count / total:.0%}" for name, count in found.most_common()]


def part(frames: list[str]) -> str:
    """Which part of the daemon a stack is of."""
    for frame in reversed(frames):
        for name, sign in PARTS:
            if re.search(sign, frame):
                return name
    return "the rest"


async def main(given: argparse.Namespace) -> None:
    """Measure one of the two."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.kind == "idle":
            await idle(folder, given.count, given.seconds)
            return
        for runners in (1, 10):
            for size in (100, 32_768):
                total = 200_000_000 if size > 1000 else 2_000_000
                messages = total // size // runners
                await stream(folder, runners, messages, size, given.py_spy)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("idle", "stream"))
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--py-spy", metavar="PATH")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    trio.run(main, parser.parse_args())
