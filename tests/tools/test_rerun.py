"""A loop's run, run here: the same thunk, and a shell where its failing command would start."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio
from click.testing import CliRunner
from hypercorn.config import Config
from hypercorn.trio import serve

from bassloop.bass.wire.digest import digest_of
from bassloop.cli import cli
from bassloop.runner.errors import DriverError
from bassloop.runner.host.host_driver import HostDriver
from bassloop.store import ThunkRecord
from bassloop.tools import rerun
from bassloop.tools.loop_client import LoopError, RunAddress
from bassloop.tools.rerun import RemoteRun, RerunError, RerunOptions, fetch_run
from bassloop.wire import bass_pb2 as pb
from tests.records import make_run
from tests.runner.test_host_driver import LOCAL, Bench, sh
from tests.web.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

HERE = RerunOptions(unsandboxed=True)


def remote(thunk: pb.Thunk) -> RemoteRun:
    return RemoteRun("test", "octocat/hello", True, "0" * 40, thunk)


def chain() -> pb.Thunk:
    """A thunk from one that fails if there is no file `a`, from one that makes `b`."""
    first = sh("echo made > b")
    second = sh("cat b; test -e a", image=pb.ThunkImage(thunk=first.SerializeToString()))
    return sh("echo last", image=pb.ThunkImage(thunk=second.SerializeToString()))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerun.platformdirs, "user_cache_dir", lambda app: str(tmp_path / app))


@asynccontextmanager
async def listening(site: Site) -> AsyncGenerator[str]:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(serve, site.app, config)
        yield address
        nursery.cancel_scope.cancel()


async def stored(site: Site, thunk: pb.Thunk, **changes: Any) -> str:
    """Store a run of a thunk; returns its digest."""
    digest = digest_of(thunk)
    await site.queued("other")
    record = ThunkRecord(digest, "0" * 64, "{}", thunk.SerializeToString(), "sh", 1.0)
    await site.store.thunks.put(record)
    run = replace(make_run(id="r", thunk_digest=digest, state="queued", ended_at=None), **changes)
    await site.store.checks.get_or_create(2, run.repository, 3, run.head_sha, "x", "g", False, run)
    return digest


async def test_a_run_is_fetched_with_its_thunk(tmp_path: Path) -> None:
    thunk = sh("true")
    async with open_site(tmp_path) as site, listening(site) as server:
        await stored(site, thunk)
        run = await fetch_run(RunAddress(server, "r"))
        assert run == remote(thunk)
        with pytest.raises(LoopError, match="no such run"):
            await fetch_run(RunAddress(server, "none"))
        with pytest.raises(LoopError, match="does not give the thunk DIGEST for its name"):
            await fetch_run(RunAddress(server, "other"))


async def test_the_thunk_of_a_private_run_can_not_be_fetched(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        digest = await stored(site, sh("true"), public=False)
        assert (await site.get(f"/thunks/{digest}/proto")).status_code == 404


async def test_rerun_exits_as_the_thunk_does() -> None:
    said: list[str] = []
    assert await rerun.rerun(remote(sh("echo hello")), HERE, said.append)
    assert "   hello" in said
    assert not await rerun.rerun(remote(chain()), HERE, said.append)
    assert "   made" in said
    assert any("exit status 1" in line for line in said)
    assert "   last" not in said


async def test_rerun_is_refused_if_nothing_contains_commands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HostDriver, "is_contained", False)
    with pytest.raises(RerunError, match="nothing would contain the commands"):
        await rerun.rerun(remote(sh("true")), RerunOptions(driver="host"), print)


async def test_a_shell_starts_where_the_failing_command_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    monkeypatch.setattr(rerun, "SHELL", ("sh", "-c", f"cat b > {seen}"))
    said: list[str] = []
    with open("/dev/null") as nothing:  # noqa: ASYNC230
        monkeypatch.setattr(rerun.sys, "stdin", nothing)
        options = replace(HERE, shell=True)
        assert not await rerun.rerun(remote(chain()), options, said.append)
        assert seen.read_text() == "made\n"
        assert any("test -e a" in line and "a shell where" in line for line in said)
        assert await rerun.rerun(remote(sh("true")), options, said.append)
        assert said[-1].startswith("it succeeds here")


async def test_files_of_a_shell_are_removed(tmp_path: Path) -> None:
    async with HostDriver.open(tmp_path / "state") as driver:
        bench = Bench(driver)
        places: list[Path] = []

        async def work(graph: Any) -> None:
            before = pb.Thunk.FromString(chain().image.thunk)
            assert await graph.find_failing(chain()) is not None
            async with graph.before_command(before, ("sh",)) as launch:
                places.append(launch.cwd)
                assert (launch.cwd / "b").exists()
            with pytest.raises(DriverError):
                async with graph.before_command(chain(), ("sh",)):
                    pass

        async with driver.with_graph(LOCAL, bench.send, work):
            pass
    assert not places[0].exists()


@pytest.mark.parametrize(
    ("url", "options", "is_advised"),
    [
        ("http://127.0.0.1:3000", (), True),
        ("http://127.0.0.1:3000", ("--network", "host"), False),
        ("https://loop.example.com", (), False),
    ],
)
def test_a_failure_of_a_local_run_says_that_its_loop_was_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, url: str, options: tuple[str, ...], is_advised: bool
) -> None:
    async def fetch(address: RunAddress, headers: object) -> RemoteRun:
        await trio.lowlevel.checkpoint()
        return remote(sh("false"))

    async def fail(run: RemoteRun, options: RerunOptions, say: object) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    monkeypatch.setattr(rerun, "fetch_run", fetch)
    monkeypatch.setattr(rerun, "rerun", fail)
    done = CliRunner().invoke(cli, ["rerun", f"{url}/runs/x", *options])
    assert done.exit_code == 1
    assert ("--network host" in done.output) == is_advised
