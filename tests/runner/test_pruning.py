"""Pruning the cache: least recently used first, and nothing that is in use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
from click.testing import CliRunner
from trio.testing import wait_all_tasks_blocked

from bassloop.cli import cli
from bassloop.runner import output_cache
from bassloop.runner.cache_pruning import keep_within, prune
from bassloop.runner.call_context import LOCAL
from bassloop.runner.errors import DriverError
from bassloop.runner.host.host_driver import HostDriver
from bassloop.runner.output_cache import OutputCache

from .made import Recorder, after, cache, folder, mount, sh

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bassloop.wire import bass_pb2 as pb

MB = 1_000_000


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[HostDriver]:
    async with HostDriver.open(tmp_path / "state") as driver:
        yield driver


def making(name: str, size: int = MB) -> pb.Thunk:
    return sh(f"head -c {size} /dev/zero > file; echo {name}; cat /proc/sys/kernel/random/uuid")


async def output_of(driver: HostDriver, thunk: pb.Thunk) -> str:
    return (await driver.run(thunk, LOCAL, Recorder())).stdout.read_text()


async def used(driver: HostDriver, *names: str) -> dict[str, str]:
    """Outputs of these names, used in this order, a minute apart."""
    found = {}
    for age, name in zip(range(len(names), 0, -1), names, strict=True):
        output = await driver.run(making(name), LOCAL, Recorder())
        at = output.path.stat().st_mtime - 60 * age
        os.utime(output.path, (at, at))
        found[name] = output.stdout.read_text()
    return found


async def test_the_most_recently_used_entries_stay(driver: HostDriver) -> None:
    before = await used(driver, "one", "two", "three")
    pruned = await prune(driver.cache.folder, int(2.5 * MB), [])
    assert (pruned.count, pruned.in_use) == (1, 0)
    assert pruned.freed >= MB
    assert pruned.left < 2.5 * MB
    assert await output_of(driver, making("three")) == before["three"]
    assert await output_of(driver, making("two")) == before["two"]
    assert await output_of(driver, making("one")) != before["one"]


async def test_finding_an_output_counts_as_a_use(driver: HostDriver) -> None:
    before = await used(driver, "one", "two")
    await output_of(driver, making("one"))
    await prune(driver.cache.folder, int(1.5 * MB), [])
    assert await output_of(driver, making("one")) == before["one"]
    assert await output_of(driver, making("two")) != before["two"]


async def test_without_a_limit_everything_is_removed_and_shared_folders_only_on_request(
    driver: HostDriver,
) -> None:
    await output_of(driver, sh("echo 1 > c/x", mounts=[mount(cache("c"), folder("c"))]))
    state = driver.cache.folder
    assert (await prune(state, 0, [], kinds=["outputs", "images"])).count == 1
    assert len(list((state / "caches").glob("*/x"))) == 1
    assert (await prune(state, 0, [])).count == 1
    for kind in ("outputs", "caches"):
        assert list((state / kind).iterdir()) == []
    assert list(state.glob("gone-*")) == []


async def test_nothing_that_is_in_use_is_removed(driver: HostDriver, tmp_path: Path) -> None:
    first = sh("touch file")
    ready = tmp_path / "go"
    then = sh(
        f"echo up; until test -e {ready}; do sleep 0.05; done; ls; cat c/x",
        image=after(first),
        mounts=[mount(cache("c"), folder("c"))],
    )
    await output_of(driver, sh("echo kept > c/x", mounts=[mount(cache("c"), folder("c"))]))
    seen = Recorder()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run, then, LOCAL, seen)
        await seen.printed.wait()
        pruned = await prune(driver.cache.folder, 0, [])
        assert pruned.count == 1  # what filled the shared folder
        assert pruned.in_use == 2  # what it is from, and the shared folder
        ready.touch()
    assert seen.text().splitlines() == ["up", "c", "file", "kept"]
    async with driver.running(first, LOCAL, seen) as output:
        await prune(driver.cache.folder, 0, [])
        assert output.stdout.exists()
    await prune(driver.cache.folder, 0, [])
    assert not output.stdout.exists()


async def test_the_cache_stays_within_its_limit_while_the_runner_runs(
    driver: HostDriver,
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_within, driver.cache, 5 * MB, [])
        for number in range(12):
            await output_of(driver, making(str(number)))
        with trio.fail_after(120):
            while len(list((driver.cache.folder / "outputs").iterdir())) > 5:
                await trio.sleep(0.05)
        await wait_all_tasks_blocked(0.1)
        nursery.cancel_scope.cancel()
    left = sorted(
        path.read_text().split()[0] for path in driver.cache.folder.glob("outputs/*/stdout")
    )
    assert "11" in left
    assert "0" not in left


async def test_the_command_can_prune_while_a_runner_runs(driver: HostDriver) -> None:
    await used(driver, "one", "two")
    words = ["runner", "prune", "--state-dir", str(driver.cache.folder)]

    def command(*more: str) -> str:
        done = CliRunner().invoke(cli, [*words, *more])
        assert done.exit_code == 0, done.output
        return done.output

    async with driver.running(making("two"), LOCAL, Recorder()):
        assert "removed 1," in await trio.to_thread.run_sync(command)
    assert "removed 1," in await trio.to_thread.run_sync(command)
    assert "removed 0," in await trio.to_thread.run_sync(lambda: command("--disk", "2g"))


async def test_a_failed_thunk_leaves_nothing(driver: HostDriver) -> None:
    with pytest.raises(DriverError):
        await output_of(driver, sh("head -c 1000000 /dev/zero > file; exit 3"))
    assert list((driver.cache.folder / "outputs").iterdir()) == []


async def test_a_runner_that_was_killed_while_it_cleaned_up_is_cleaned_up_by_the_next(
    tmp_path: Path,
) -> None:
    left = tmp_path / "making" / "killed"
    left.mkdir(parents=True)
    (left / "lock").touch()  # its mark is gone already
    async with OutputCache.open(tmp_path):
        assert not left.exists()


async def test_the_commands_of_other_sessions_go_on_if_a_session_left_an_empty_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[str] = []
    monkeypatch.setattr(output_cache, "kill_marked", killed.append)
    for name, mark in (("whole", "0123"), ("empty", "")):
        left = tmp_path / "making" / name
        left.mkdir(parents=True)
        (left / "lock").touch()
        (left / "mark").write_text(mark)
    async with OutputCache.open(tmp_path) as cache:
        assert [each.name for each in (tmp_path / "making").iterdir()] == [cache.session]
    assert killed == ["0123"]


async def test_an_entry_that_could_not_be_marked_as_used_is_marked_at_its_next_use(
    tmp_path: Path,
) -> None:
    async with OutputCache.open(tmp_path) as cache:
        own = tmp_path / "making" / cache.session / "using"
        own.rmdir()  # as on a disk without room
        with pytest.raises(FileNotFoundError), cache.pinning() as hold:
            hold.find("key")
        own.mkdir()
        with cache.pinning() as hold:
            hold.find("key")
            assert [each.name for each in own.iterdir()] == ["outputs-key"]
