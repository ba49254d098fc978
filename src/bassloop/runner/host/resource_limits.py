"""Enforce the resource limits of commands on the host, with the mechanisms that the machine supports.

The best is a systemd scope or, for root without systemd, a cgroup: these count a command with all its child processes.
Elsewhere, each process has limits of its own. In any case, the kernel's OOM killer prefers commands to other programs.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import trio

from bassloop.runner.options import CommandLimits, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROBE_SECONDS = 30.0
OOM_SCORE = "500"
"""Makes the OOM killer choose a command before the owner's programs; see proc(5)."""
CPU_PERIOD = 100_000
_SYSTEMD = Path("/run/systemd/system")
_CGROUPS = Path("/sys/fs/cgroup")
_REMOVE_ATTEMPTS = 50
_numbers = count()


@dataclass(frozen=True, slots=True)
class LimitHolder:
    """Sets the limits of each process of a command.

    The kernel doesn't count root's processes, so their number is unlimited.
    """

    whole: frozenset[str] = frozenset() if os.getuid() == 0 else frozenset({"pids"})
    """The limits that apply to a command with all its child processes: names of fields of `CommandLimits`."""
    name: ClassVar[str] = "limits of each process"

    def words(self, limits: CommandLimits) -> list[str]:
        """Return the words that a command line must begin with."""
        return []

    def variables(self) -> dict[str, str]:
        """Return the variables that these words need."""
        return {}

    @contextmanager
    def holding(self, pid: int, limits: CommandLimits) -> Iterator[None]:
        """Limit a process that has no child processes yet. Raises OSError."""
        set_process_limits(pid, limits, is_counted=bool(self.whole & {"memory"}))
        yield

    def describe(self, limits: CommandLimits) -> str:
        """Return a description of the enforced limits."""
        texts = []
        if limits.cpus is not None and "cpus" in self.whole:
            texts.append(f"{limits.cpus:g} processors")
        if limits.memory is not None:
            each = "" if "memory" in self.whole else " for each process"
            texts.append(f"{size_text(limits.memory)} of memory{each}")
        if limits.pids is not None and "pids" in self.whole:
            texts.append(f"{limits.pids:,} processes")
        if limits.file_size is not None:
            texts.append(f"files of {size_text(limits.file_size)}")
        text = ", ".join(texts) or "no limits"
        if limits.pids is not None and "pids" not in self.whole:
            text += "; the number of processes is not limited, as this runner is root"
        return f"{text} ({self.name})"


def set_process_limits(pid: int, limits: CommandLimits, *, is_counted: bool) -> None:
    """Set the limits of one process, which its child processes inherit. Raises OSError.

    Args:
        is_counted: whether its memory is limited by other means, together with its child processes'.
    """
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits.file_size,
        resource.RLIMIT_DATA: None if is_counted else limits.memory,
        resource.RLIMIT_NPROC: limits.pids,
    }
    for number, limit in wanted.items():
        if limit is not None:
            _, most = resource.prlimit(pid, number)
            value = limit if most == resource.RLIM_INFINITY else min(limit, most)
            resource.prlimit(pid, number, (value, value))
    with suppress(OSError):  # optional
        Path(f"/proc/{pid}/oom_score_adj").write_text(OOM_SCORE)


# --- systemd scopes -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SystemdScope(LimitHolder):
    """Runs each command in a systemd scope: the user's, or the system's for root."""

    program: str = "systemd-run"
    name: ClassVar[str] = "a systemd scope"

    def words(self, limits: CommandLimits) -> list[str]:
        properties = {"TasksMax": limits.pids, "MemoryMax": limits.memory}
        if limits.memory is not None:
            properties["MemorySwapMax"] = 0
        words = [self.program, *([] if os.getuid() == 0 else ["--user"])]
        words += ["--scope", "--quiet", "--collect"]
        words += [
            f"--property={name}={value}" for name, value in properties.items() if value is not None
        ]
        if limits.cpus is not None:
            words.append(f"--property=CPUQuota={limits.cpus * 100:g}%")
        return [*words, "--"]

    def variables(self) -> dict[str, str]:
        names = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
        return {name: os.environ[name] for name in names if name in os.environ}


_SHOW_SCOPE = (
    "g=$(sed -n s/^0:://p /proc/self/cgroup); cd /sys/fs/cgroup$g && "
    "for f in cpu.max memory.max pids.max; do test -f $f && echo $f $(cat $f); done; true"
)


async def find_systemd_scope() -> SystemdScope | None:
    """Return a holder if systemd creates scopes for this user whose limits are in effect, or None."""
    program = shutil.which("systemd-run")
    if program is None or not _SYSTEMD.is_dir():  # noqa: ASYNC240
        return None
    probe = CommandLimits(cpus=1, memory=64 << 20, pids=64)
    scope = SystemdScope(program=program)
    words = [*scope.words(probe), "/bin/sh", "-c", _SHOW_SCOPE]
    try:
        with trio.fail_after(PROBE_SECONDS):
            done = await trio.run_process(
                words, capture_stdout=True, stderr=subprocess.DEVNULL, check=False
            )
    except (OSError, trio.TooSlowError):
        return None
    answers = dict(
        line.split(" ", 1)
        for line in done.stdout.decode(errors="replace").splitlines()
        if " " in line
    )
    wanted = {
        "cpus": answers.get("cpu.max", "").split() == [str(CPU_PERIOD)] * 2,
        "memory": answers.get("memory.max") == str(probe.memory),
        "pids": answers.get("pids.max") == str(probe.pids),
    }
    whole = frozenset(name for name, is_held in wanted.items() if is_held)
    return SystemdScope(whole=whole, program=program) if {"memory", "pids"} <= whole else None


# --- cgroups ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ControlGroup(LimitHolder):
    """Runs each command in its own cgroups, which only root can create.

    Args:
        folders: where they are created, by limit: different folders in cgroups v1, the same one in v2.
    """

    folders: Mapping[str, Path] | None = None
    name: ClassVar[str] = "a control group"

    @contextmanager
    def holding(self, pid: int, limits: CommandLimits) -> Iterator[None]:
        set_process_limits(pid, limits, is_counted="memory" in self.whole)
        name = f"bassloop-{os.getpid()}-{next(_numbers)}"
        made: list[Path] = []
        try:
            for limit, folder in (self.folders or {}).items():
                group = folder / name
                if group not in made:
                    group.mkdir()
                    made.append(group)
                _write_limit(group, limit, limits)
            for group in made:
                (group / "cgroup.procs").write_text(str(pid))
            yield
        finally:
            for group in made:
                _remove_group(group)


def _write_limit(group: Path, limit: str, limits: CommandLimits) -> None:
    is_v2 = (group / "cgroup.events").exists()
    if limit == "pids" and limits.pids is not None:
        (group / "pids.max").write_text(str(limits.pids))
    if limit == "memory" and limits.memory is not None:
        if is_v2:
            files = {"memory.max": limits.memory, "memory.swap.max": 0, "memory.oom.group": 1}
        else:
            names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
            files = dict.fromkeys(names, limits.memory)
        for name, value in files.items():
            if (group / name).exists():
                (group / name).write_text(str(value))
    if limit == "cpus" and limits.cpus is not None:
        quota = int(limits.cpus * CPU_PERIOD)
        if is_v2:
            (group / "cpu.max").write_text(f"{quota} {CPU_PERIOD}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(CPU_PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(quota))


def _remove_group(group: Path) -> None:
    """Kill the processes in a group, and remove it. If they don't end in time, the group remains."""
    for _ in range(_REMOVE_ATTEMPTS):
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            with suppress(OSError):
                for pid in (group / "cgroup.procs").read_text().split():
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
        else:
            return


def find_control_group() -> ControlGroup | None:
    """Return a holder if this process is root and may create cgroups, or None."""
    if os.getuid() != 0:
        return None
    folders = {}
    for limit, controller in (("cpus", "cpu"), ("memory", "memory"), ("pids", "pids")):
        folder = _own_group(controller)
        if folder is not None:
            folders[limit] = folder
    probe = CommandLimits(cpus=1, memory=64 << 20, pids=64)
    for limit, folder in dict(folders).items():
        group = folder / f"bassloop-{os.getpid()}-{next(_numbers)}"
        try:
            group.mkdir()
            try:
                _write_limit(group, limit, probe)
            finally:
                group.rmdir()
        except OSError:
            del folders[limit]
    if not {"memory", "pids"} <= folders.keys():
        return None
    for folder in set(folders.values()):
        for left in folder.glob("bassloop-*"):
            with suppress(OSError):  # a running command's group can't be removed
                left.rmdir()
    return ControlGroup(whole=frozenset(folders), folders=folders)


def _own_group(controller: str) -> Path | None:
    """Return the folder of this process's cgroup that can delegate a controller, or None."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            folder = _CGROUPS / controller / path.lstrip("/")
            return folder if folder.is_dir() else None
        if not controllers:
            folder = _CGROUPS / path.lstrip("/")
            given = folder / "cgroup.subtree_control"
            if given.exists() and controller in given.read_text().split():
                return folder
    return None


async def find_limit_holder() -> LimitHolder:
    """Return the best holder that works on this machine."""
    scope = await find_systemd_scope()
    if scope is not None:
        return scope
    return await trio.to_thread.run_sync(find_control_group) or LimitHolder()
