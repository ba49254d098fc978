"""However a container ends, nothing of it is left: no process, no mount, no secret."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.runner.call_context import LOCAL
from bassloop.runner.container.container_driver import ContainerDriver, ContainerOptions
from bassloop.runner.container.container_engine import (
    PROBE_IMAGE,
    PROBE_LABEL,
    ContainerEngine,
    find,
)
from bassloop.runner.errors import DriverError
from bassloop.runner.options import CommandLimits

from ..made import Recorder, folder, mount, path_in
from .test_run import run

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.containers

STUBBORN = "trap '' TERM INT; (trap '' TERM; sleep 600) & echo up; while true; do sleep 1; done"


def mounted(under: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(under) in line]


def running(mark: str) -> list[int]:
    """Processes with this in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


async def test_a_cancelled_container_is_killed_with_all_its_processes(
    bench: Bench, tmp_path: Path
) -> None:
    mark = f"mark_{os.urandom(8).hex()}"
    made = run("echo 1 > file")
    thunk = run(f": {mark}; {STUBBORN}", mounts=[mount(path_in(made, folder(".")), folder("in"))])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run, thunk)
        with trio.fail_after(120):
            await bench.seen.printed.wait()
        assert running(mark)
        began = time.monotonic()
        nursery.cancel_scope.cancel()
    assert time.monotonic() - began < 120  # its grace, on a busy machine, and not its `sleep`
    assert running(mark) == []
    assert await bench.containers() == []
    assert mounted(tmp_path) == []
    assert bench.seen.named(mark).completed.seconds == 0


async def test_a_container_that_is_cancelled_while_it_starts_is_removed(bench: Bench) -> None:
    for moment in (0.01, 0.03, 0.06, 0.1):
        with trio.move_on_after(moment):
            await bench.run(run(f": {moment}; sleep 600"))
        assert await bench.containers() == []


async def test_a_container_that_a_crashed_runner_left_is_removed_by_the_next(
    bench: Bench, tmp_path: Path, engine: ContainerEngine
) -> None:
    state = tmp_path / "state"
    script = f"""
import trio
from bassloop.runner.container.container_driver import ContainerDriver
from bassloop.runner.container.container_engine import find
from bassloop.runner.call_context import LOCAL
from bassloop.wire import bass_pb2 as pb
async def main():
    engine = await find()
    async with ContainerDriver.open({str(state)!r} and __import__("pathlib").Path({str(state)!r}), engine) as driver:
        async def send(update):
            if update.logs: print("up", flush=True)
        thunk = pb.Thunk.FromString({run(STUBBORN).SerializeToString()!r})
        await driver.run(thunk, LOCAL, send)
trio.run(main)
"""
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "src"},
    )
    try:
        assert process.stdout is not None
        assert await trio.to_thread.run_sync(process.stdout.readline) == b"up\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(await bench.containers()) == 1
        async with ContainerDriver.open(state, engine):
            assert await bench.containers() == []
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def test_a_probe_that_a_killed_process_left_is_removed_by_the_next_search(
    engine: ContainerEngine,
) -> None:
    dead = subprocess.Popen("true")  # noqa: ASYNC220
    dead.wait()
    label = f"{PROBE_LABEL}={os.uname().nodename}"
    left, running = (f"bassloop-probe-{pid}-test{os.getpid()}" for pid in (dead.pid, os.getpid()))
    try:
        for name in (left, running):
            await engine.ask("create", "--name", name, "--label", label, PROBE_IMAGE, "/nothing")
        assert isinstance(await find(network="none"), ContainerEngine)
        listed = (await engine.ask("ps", "--all", "--format", "{{.Names}}")).split()
        assert left not in listed
        assert running in listed
    finally:
        for name in (left, running):
            await engine.remove_container(name)


async def test_a_container_takes_no_more_than_it_is_given(
    tmp_path: Path, engine: ContainerEngine
) -> None:
    limits = CommandLimits(cpus=1, memory=64 << 20, pids=20)
    async with ContainerDriver.open(
        tmp_path / "state", engine, ContainerOptions(limits=limits)
    ) as driver:
        seen = Recorder()
        with pytest.raises(DriverError):
            await driver.run(run("for i in $(seq 40); do sleep 600 & done; wait"), LOCAL, seen)
        assert "fork" in seen.text(2)
        with pytest.raises(DriverError, match="exit status 137"):
            await driver.run(run("x=$(head -c 200000000 /dev/zero | tr '\\0' x)"), LOCAL, seen)


async def test_more_rights_are_refused(bench: Bench) -> None:
    with pytest.raises(DriverError, match="insecure"):
        await bench.run(run("true", insecure=True))
    said = await bench.said(run("grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status"))
    capabilities, no_new = (line.split()[1] for line in said.splitlines())
    assert int(capabilities, 16) & (1 << 21) == 0  # CAP_SYS_ADMIN
    assert no_new == "1"


async def test_more_rights_are_given_where_the_owner_allows_it(
    tmp_path: Path, engine: ContainerEngine
) -> None:
    async with ContainerDriver.open(
        tmp_path / "state", engine, ContainerOptions(allow_insecure=True)
    ) as driver:
        thunk = run("grep CapEff /proc/self/status", insecure=True)
        said = (await driver.run(thunk, LOCAL, Recorder())).stdout.read_text()
        assert int(said.split()[1], 16) & (1 << 21)
