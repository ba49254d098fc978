"""A node that was killed is replaced at once by one that starts in its data directory. A paused one isn't."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.store import open_store
from bassloop.store.liveness import BOOT_ID, NodeLocks
from bassloop.store.nodes import new_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from bassloop.store import Store

pytestmark = pytest.mark.postgresql

only_linux = pytest.mark.skipif(
    not BOOT_ID.exists(), reason="this system doesn't say whether it has been booted since"
)

LEASE = """
from bassloop.store import liveness, nodes
from bassloop.store.engines import postgresql_lease
liveness.LEASE_SECONDS = nodes.LEASE_SECONDS = 3600.0
postgresql_lease.ANSWER_SECONDS = 600.0
"""
"""Lets no lease expire while a test runs, however busy the machine is."""

PROGRAM = (
    LEASE
    + """
import subprocess, sys, trio
from pathlib import Path
from bassloop.store import open_store
from bassloop.store.nodes import new_node

async def main():
    where, folder = sys.argv[1], Path(sys.argv[2])
    own = new_node("first")
    async with open_store(where, folder / "blobs", node=own, locks=folder / "nodes") as store:
        await store.deliveries.record("mine", "push", None, b"")
        child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
        print(own.id, child.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""
)


@pytest.fixture(params=["postgresql"])  # a parameter, so that these tests run in its session
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no lease expire in this process either."""
    for module in ("liveness", "nodes"):
        monkeypatch.setattr(f"bassloop.store.{module}.LEASE_SECONDS", 3600.0)
    monkeypatch.setattr("bassloop.store.engines.postgresql_lease.ANSWER_SECONDS", 600.0)


class First:
    """A node in a process of its own, which has a delivery, and a child that outlives it."""

    def __init__(self, location: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, location, str(folder)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
            text=True,
        )
        assert self.process.stdout is not None
        self.id, child = self.process.stdout.readline().split()
        self.child = int(child)

    def kill(self) -> None:
        """Kill the node, and wait until the kernel has released what it had."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)


@pytest.fixture
def first(location: str, tmp_path: Path) -> Iterator[First]:
    node = First(location, tmp_path)
    try:
        yield node
    finally:
        node.kill()
        assert node.process.stdout is not None
        node.process.stdout.close()
        os.kill(node.child, signal.SIGKILL)


@contextlib.asynccontextmanager
async def successor(location: str, folder: Path) -> AsyncIterator[Store]:
    node = new_node("first")
    async with open_store(location, folder / "blobs", node=node, locks=folder / "nodes") as store:
        yield store


async def own(store: Store) -> list[str]:
    return [each.guid for each in await store.deliveries.unfinished(own=True)]


@only_linux
async def test_the_work_of_a_killed_node_goes_on_as_soon_as_it_starts_again(
    first: First, location: str, tmp_path: Path
) -> None:
    first.kill()
    async with successor(location, tmp_path) as store:
        assert await own(store) == ["mine"]
        assert [each.name for each in (tmp_path / "nodes").iterdir()] == [store.nodes.own_id]
    assert list((tmp_path / "nodes").iterdir()) == []


@only_linux
async def test_a_killed_node_is_replaced_by_one_with_its_disk(
    first: First, location: str, tmp_path: Path
) -> None:
    async with open_store(location, tmp_path / "elsewhere", node=new_node("other")) as other:
        first.kill()
        async with successor(location, tmp_path) as store:
            assert await own(store) == ["mine"]
            assert await own(other) == []


@only_linux
async def test_nothing_of_a_paused_node_is_taken_over(
    first: First, location: str, tmp_path: Path
) -> None:
    first.pause()
    async with successor(location, tmp_path) as store:
        assert await own(store) == []
    first.process.send_signal(signal.SIGCONT)
    assert first.process.poll() is None
    first.kill()
    async with successor(location, tmp_path) as store:
        assert await own(store) == ["mine"]


@pytest.mark.parametrize("differs", ["boot", "device"])
async def test_a_node_that_may_be_on_another_machine_counts_as_alive_until_its_lease_ends(
    first: First, location: str, tmp_path: Path, differs: str
) -> None:
    file = tmp_path / "nodes" / first.id
    first.kill()
    file.write_text(json.dumps({**json.loads(file.read_text()), differs: "another"}))
    async with successor(location, tmp_path) as store:
        assert await own(store) == []
        assert file.exists()
        yesterday = file.stat().st_mtime - 25 * 3600
        os.utime(file, (yesterday, yesterday))
        assert NodeLocks(tmp_path / "nodes").find_dead() == []
    assert not file.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '"dead"', "\xff"])
def test_an_invalid_lock_file_names_no_dead_node(tmp_path: Path, content: str) -> None:
    (tmp_path / "abc").write_text(content, "latin-1")
    assert NodeLocks(tmp_path).find_dead() == []


async def test_a_node_starts_without_a_lock_if_it_can_not_create_one(
    location: str, tmp_path: Path
) -> None:
    (tmp_path / "nodes").write_text("in the way")
    async with successor(location, tmp_path) as store:
        await trio.lowlevel.checkpoint()
        assert await own(store) == []
