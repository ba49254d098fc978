"""Limits of commands: the defaults, how this machine enforces them, and how they are described."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from bassloop.runner import RunnerOptions
from bassloop.runner.host import resource_limits
from bassloop.runner.host.resource_limits import (
    ControlGroup,
    LimitHolder,
    SystemdScope,
    find_systemd_scope,
    set_process_limits,
)
from bassloop.runner.options import NO_LIMITS, CommandLimits, default_limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMITS = CommandLimits(cpus=1.5, memory=512 << 20, pids=64, file_size=1 << 20)


def test_commands_have_limits_unless_their_owner_says_otherwise() -> None:
    usual = RunnerOptions(login="me", host="h").limits
    assert usual == default_limits()
    assert usual.cpus is None
    assert usual.memory
    assert usual.pids
    assert usual.file_size
    given = RunnerOptions(login="me", host="h", memory=64 << 20, pids=7).limits
    assert given == CommandLimits(memory=64 << 20, pids=7, file_size=usual.file_size)
    assert RunnerOptions(login="me", host="h", no_limits=True).limits == NO_LIMITS
    only = RunnerOptions(login="me", host="h", no_limits=True, pids=7).limits
    assert only == CommandLimits(pids=7)


def test_limits_are_described_in_plain_text() -> None:
    assert str(LIMITS) == "1.5 processors, 512 MiB of memory, 64 processes, files of 1 MiB"
    assert str(NO_LIMITS) == "no limits"


@pytest.fixture
def child() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "600"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_limits_are_enforced_on_a_process(child: int) -> None:
    set_process_limits(child, LIMITS, is_counted=False)
    assert resource.prlimit(child, resource.RLIMIT_FSIZE) == (1 << 20, 1 << 20)
    assert resource.prlimit(child, resource.RLIMIT_DATA) == (512 << 20, 512 << 20)
    assert resource.prlimit(child, resource.RLIMIT_NPROC) == (64, 64)
    assert resource.prlimit(child, resource.RLIMIT_CORE)[0] == 0


def test_memory_that_is_limited_otherwise_is_not_limited_twice(child: int) -> None:
    before = resource.prlimit(child, resource.RLIMIT_DATA)
    set_process_limits(child, LIMITS, is_counted=True)
    assert resource.prlimit(child, resource.RLIMIT_DATA) == before


def test_no_limit_is_raised(child: int) -> None:
    set_process_limits(child, CommandLimits(file_size=1 << 20), is_counted=False)
    set_process_limits(child, CommandLimits(file_size=1 << 30), is_counted=False)
    assert resource.prlimit(child, resource.RLIMIT_FSIZE) == (1 << 20, 1 << 20)


def test_unenforced_limits_are_reported_as_well() -> None:
    user = LimitHolder(whole=frozenset({"pids"}))
    assert user.describe(LIMITS) == (
        "512 MiB of memory for each process, 64 processes, files of 1 MiB (limits of each process)"
    )
    root = LimitHolder(whole=frozenset())
    assert "the number of processes is not limited, as this runner is root" in root.describe(LIMITS)
    scope = SystemdScope(whole=frozenset({"cpus", "memory", "pids"}))
    assert scope.describe(LIMITS) == f"{LIMITS} (a systemd scope)"


# --- systemd ------------------------------------------------------------------------------------------


def test_a_scope_is_requested_with_all_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    scope = SystemdScope(program="/usr/bin/systemd-run")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    words = scope.words(LIMITS)
    assert words[:3] == ["/usr/bin/systemd-run", "--user", "--scope"]
    assert {
        "--property=TasksMax=64",
        f"--property=MemoryMax={512 << 20}",
        "--property=MemorySwapMax=0",
        "--property=CPUQuota=150%",
    } <= set(words)
    assert words[-1] == "--"
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert "--user" not in scope.words(NO_LIMITS)
    assert not any("=" in word for word in scope.words(NO_LIMITS))


ANSWERS = {
    "all": (
        "cpu.max 100000 100000\nmemory.max 67108864\npids.max 64\n",
        {"cpus", "memory", "pids"},
    ),
    "no processors": ("memory.max 67108864\npids.max 64\n", {"memory", "pids"}),
    "other values": ("cpu.max max 100000\nmemory.max max\npids.max max\n", None),
    "no controllers": ("", None),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_a_scope_counts_only_if_it_has_its_limits(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a user's systemd has no controllers, it makes scopes without limits, and says nothing."""
    printed, whole = ANSWERS[what]
    program = tmp_path / "systemd-run"
    program.write_text(f"#!/bin/sh\nprintf '%s' '{printed}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(resource_limits, "_SYSTEMD", tmp_path)
    found = await find_systemd_scope()
    if whole is None:
        assert found is None
    else:
        assert found is not None
        assert found.whole == whole
        assert found.program == str(program)


async def test_without_systemd_there_is_no_scope(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_limits, "_SYSTEMD", tmp_path / "none")
    assert await find_systemd_scope() is None


# --- control groups -----------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The control groups that were removed, of which the files are left to be read."""
    groups: list[Path] = []
    monkeypatch.setattr(resource_limits, "_remove_group", groups.append)
    return groups


def test_a_control_group_of_version_1_is_created_for_each_limit(
    tmp_path: Path, child: int, made: list[Path]
) -> None:
    folders = {name: tmp_path / name for name in ("cpus", "memory", "pids")}
    for folder in folders.values():
        folder.mkdir()
    with ControlGroup(whole=frozenset(folders), folders=folders).holding(child, LIMITS):
        assert made == []
    by_limit = {group.parent.name: group for group in made}
    assert {(group / "cgroup.procs").read_text() for group in made} == {str(child)}
    assert (by_limit["pids"] / "pids.max").read_text() == "64"
    assert (by_limit["cpus"] / "cpu.cfs_quota_us").read_text() == "150000"


def test_an_error_leaves_no_group(tmp_path: Path, child: int, made: list[Path]) -> None:
    folders = {"pids": tmp_path, "memory": tmp_path / "missing"}
    holder = ControlGroup(whole=frozenset(folders), folders=folders)
    with pytest.raises(FileNotFoundError), holder.holding(child, LIMITS):
        pass
    assert [group.parent for group in made] == [tmp_path]


def test_remaining_processes_of_a_group_are_killed(tmp_path: Path, child: int) -> None:
    group = tmp_path / "group"
    group.mkdir()
    (group / "cgroup.procs").write_text(f"{child}\n")  # a real one would go with its process
    resource_limits._remove_group(group)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
