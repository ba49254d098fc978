"""The choice of a driver from a runner's options and this machine, and how it is reported."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from bassloop.runner import RunnerError, RunnerOptions
from bassloop.runner.container.container_engine import ContainerEngine, EngineError
from bassloop.runner.driver_choice import (
    container_limits,
    container_warnings,
    find_sandbox,
    host_warnings,
    open_driver,
    served_rules,
)
from bassloop.runner.host import sandbox
from bassloop.runner.host.host_driver import HostDriver, HostOptions
from bassloop.runner.host.network import NetworkHelper
from bassloop.runner.host.resource_limits import LimitHolder
from bassloop.runner.host.sandbox import Sandbox, SandboxMissing
from bassloop.runner.options import CommandLimits, default_limits
from bassloop.runner.runner_events import DriverChosen, RunnerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path
    from typing import Any

    from bassloop.runner.options import NetworkMode

SANDBOX = Sandbox(
    "/usr/bin/bwrap",
    "own",
    NetworkHelper("/usr/bin/slirp4netns", "slirp4netns"),
    b"filter",
    LimitHolder(whole=frozenset({"pids"})),
    default_limits(),
)


def options(**more: Any) -> RunnerOptions:
    return RunnerOptions(login="Octocat", host="loop", **more)


@asynccontextmanager
async def choose_driver_for(tmp_path: Path, box: Sandbox | None) -> AsyncGenerator[HostDriver]:
    async with HostDriver.open(tmp_path, HostOptions(sandbox=box)) as driver:
        yield driver


@pytest.mark.parametrize(
    ("box", "more", "rules"),
    [
        (SANDBOX, {}, ()),
        (SANDBOX, {"only": ("a/b",)}, ("a/b",)),
        (None, {}, ("Octocat/*",)),
        (None, {"only": ("a/b",)}, ("a/b",)),
        (None, {"allow_foreign": True}, ()),
        (None, {"allow_foreign": True, "only": ("a/*",)}, ("a/*",)),
    ],
)
async def test_repositories_of_others_are_not_served_if_commands_are_not_contained(
    tmp_path: Path, box: Sandbox | None, more: dict[str, Any], rules: tuple[str, ...]
) -> None:
    async with choose_driver_for(tmp_path, box) as driver:
        assert served_rules(options(**more), driver) == rules


def test_the_owner_learns_how_commands_are_not_contained() -> None:
    [told] = host_warnings(options(), None)
    assert "NOT CONTAINED" in told
    assert "use your keys, reach what listens on this machine, and take all of its memory" in told
    assert "only repositories of Octocat are served" in told
    [told] = host_warnings(options(allow_foreign=True), None)
    assert "NOT CONTAINED" in told
    assert "only repositories of" not in told


def test_the_owner_learns_how_commands_are_contained_and_limited() -> None:
    contained, limits = host_warnings(options(), SANDBOX)
    for text in ("bubblewrap", "outgoing only (slirp4netns)", "session keyring", "seccomp filter"):
        assert text in contained
    assert "of memory for each process, 2,048 processes, files of 8 GiB" in limits
    less = Sandbox("/usr/bin/bwrap", "host", None, None)
    [contained, _] = host_warnings(options(), less)
    assert "THIS MACHINE'S NETWORK" in contained
    assert "NO SECCOMP FILTER" in contained
    assert "no network" in host_warnings(options(), Sandbox("/usr/bin/bwrap", "none"))[0]


def test_the_owner_learns_the_limitations_of_the_engines_containers() -> None:
    engine = ContainerEngine("/usr/bin/podman", "podman", network="host", seccomp=False)
    told = container_warnings(options(allow_insecure=True), engine)
    assert len(told) == 4


# --- what can't be had --------------------------------------------------------------------------------


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any program. Files in the folder are on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.usefixtures("empty_path")
async def test_without_bubblewrap_nothing_is_run_unless_the_owner_allows_it(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match=r"bubblewrap is not installed.*--unsandboxed"):
        async with open_driver(options(sandbox=True, state_dir=tmp_path / "state")):
            pass
    assert await find_sandbox(options(sandbox=False)) is None
    assert await find_sandbox(options(sandbox=None)) is None


async def test_a_bubblewrap_that_does_not_work_is_reported_with_the_reason(
    empty_path: Path,
) -> None:
    program = empty_path / "bwrap"
    program.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n"
    )
    program.chmod(0o755)
    with pytest.raises(SandboxMissing, match=r"No permissions to create.*--unsandboxed"):
        await sandbox.find()


@pytest.mark.containers
async def test_commands_have_no_network_of_their_own_without_a_program_that_connects_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sandbox, "find_helpers", list)
    with pytest.raises(SandboxMissing, match=r"neither slirp4netns nor pasta.*--no-network"):
        await sandbox.find()
    modes: tuple[NetworkMode, ...] = ("none", "host")
    for mode in modes:
        assert (await sandbox.find(mode)).network == mode


@pytest.mark.parametrize("limit", [{"memory": 64 << 20}, {"cpus": 1.0}])
async def test_given_limits_that_can_not_be_enforced_are_refused(
    limit: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find(network: NetworkMode, limits: CommandLimits) -> Sandbox:
        return SANDBOX

    monkeypatch.setattr(sandbox, "find", find)
    [name] = limit
    with pytest.raises(RunnerError, match=f"--{name} can't be held on this machine"):
        await find_sandbox(options(sandbox=True, **limit))
    assert await find_sandbox(options(sandbox=True, pids=64)) is SANDBOX
    with pytest.raises(RunnerError, match=f"--{name} can't be held without containing"):
        await find_sandbox(options(sandbox=False, **limit))


async def test_default_limits_that_an_engine_can_not_enforce_are_left_out_and_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def try_limits(engine: ContainerEngine, limits: CommandLimits) -> None:
        if limits.memory is not None:
            raise EngineError("it has no control group for memory here")

    monkeypatch.setattr("bassloop.runner.container.container_engine.try_limits", try_limits)
    engine = ContainerEngine("/usr/bin/podman", "podman", version="5.0")
    limits, told = await container_limits(options(), engine)
    assert limits == CommandLimits(file_size=default_limits().file_size)
    assert "a command has files of 8 GiB: podman 5.0 can't hold containers to others" in told
    with pytest.raises(RunnerError, match=r"--memory: podman 5\.0 can't hold"):
        await container_limits(options(memory=64 << 20), engine)
    limits, told = await container_limits(options(no_limits=True), engine)
    assert (limits, told) == (CommandLimits(), "a command has no limits")


async def test_the_reason_why_no_engine_is_used_is_reported_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "podman"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'exec: \"newuidmap\": not found in $PATH' >&2; exit 125\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    events: list[RunnerEvent] = []
    async with open_driver(
        options(state_dir=tmp_path, driver="auto", sandbox=False), events.append
    ):
        pass
    assert str(events[0]) == "checking whether podman runs containers here"
    [chosen] = [event for event in events if isinstance(event, DriverChosen)]
    assert chosen.kind == "host"
    assert 'podman does not work here: exec: "newuidmap": not found in $PATH; install' in str(
        chosen
    )
    assert "docker is not installed" in str(chosen)
    with pytest.raises(RunnerError, match="there is no container engine: podman does not work"):
        async with open_driver(options(state_dir=tmp_path, driver="container")):
            pass


def test_folders_of_processes_that_were_killed_while_they_tried_a_sandbox_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "gettempdir", lambda: str(tmp_path))
    nobody = 2**22 + 1  # no process has such an id
    left, own, other = (
        tmp_path / f"bassloop-probe-{name}-x" for name in (nobody, os.getpid(), "name")
    )
    for path in (left, own, other):
        (path / "net").mkdir(parents=True)
    link = tmp_path / f"bassloop-probe-{nobody}-link"
    link.symlink_to(own)
    sandbox.remove_left_probes()
    assert not left.exists()
    assert (own / "net").exists()
    assert (other / "net").exists()
