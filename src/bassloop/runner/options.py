"""The options of a runner, with validation, and the limits of its commands."""

from __future__ import annotations

import getpass
import os
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import platformdirs

from bassloop.runner.call_context import allows, is_rule
from bassloop.runner.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PIDS = 2_048
DEFAULT_FILE_SIZE = 8 << 30

DEFAULT_PORT = 6455
LEAST_MEMORY = 16 << 20
LEAST_DISK = 16 << 20
LEAST_FILE_SIZE = 1 << 20

DriverName = Literal["auto", "container", "host"]
NetworkMode = Literal["own", "host", "none"]
"""The network of commands: one of their own with a way out, this machine's, or none."""

_DESTINATION = re.compile(
    r"(?:(?P<login>[^@\s/]+)@)?(?P<host>\[[0-9a-fA-F:]+\]|[^:\s@/]+)(?::(?P<port>\d{1,5}))?\Z"
)


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """The limits of a command with its child processes; None is no limit.

    Args:
        cpus: processors.
        memory: bytes.
        pids: processes and threads.
        file_size: bytes of one file.
    """

    cpus: float | None = None
    memory: int | None = None
    pids: int | None = None
    file_size: int | None = None

    def __str__(self) -> str:
        texts = [
            None if self.cpus is None else f"{self.cpus:g} processors",
            None if self.memory is None else f"{size_text(self.memory)} of memory",
            None if self.pids is None else f"{self.pids:,} processes",
            None if self.file_size is None else f"files of {size_text(self.file_size)}",
        ]
        return ", ".join(text for text in texts if text is not None) or "no limits"


NO_LIMITS = CommandLimits()


def default_limits() -> CommandLimits:
    """Return the default limits of commands: half of the memory; enough processes and file sizes for builds."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return CommandLimits(memory=memory // 2, pids=DEFAULT_PIDS, file_size=DEFAULT_FILE_SIZE)


def size_text(size: int) -> str:
    """Return a size as text for people."""
    for unit, exponent in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << exponent:
            return f"{size / (1 << exponent):.3g} {unit}"
    return f"{size:,} bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """The options of a runner: the loop, its user, and what it serves. Raises RunnerError for bad values.

    Args:
        host: the loop's; empty to check only this machine.
        identities: private keys that are offered first.
        only: the repositories that are served, ``owner/name`` or ``owner/*``; empty for all.
        allow_host_path: let thunks name files of this machine.
        state_dir: where outputs are stored; by default in the user's cache directory.
        use_agent: offer the keys of an SSH agent.
        default_identities: offer the keys in ``~/.ssh`` besides `identities`.
        sandbox: whether commands on the host are contained; None contains them if that works here.
        network: the network of contained commands.
        reachable: HOST:PORT on this machine's loopback. Commands that have it in their arguments, or start from the
            output of one that does, get this machine's network.
        jobs: how many commands run at the same time; None for no limit.
        driver: what runs thunks; `auto` uses containers if an engine works, otherwise the host.
        engine: the engine for containers; None for Podman if it works, otherwise Docker.
        cpus: the limit on processors for a command.
        memory: the limit on memory for a command, in bytes; None for half of the machine's, if that can be enforced.
        pids: the limit on processes and threads for a command; None for 2,048, if that can be enforced.
        file_size: the size limit for files, in bytes; None for 8 GiB.
        no_limits: set only the limits that are given.
        allow_foreign: serve repositories of others although commands aren't contained.
        allow_insecure: give thunks that ask for it a privileged container.
        git_credentials: check out private repositories with the credentials of the owner's Git.
        publish: names of images, or prefixes of names, that thunks may push with the owner's login.
        secrets_file: the file with the owner's secrets; by default in the user's data directory.
        given_secrets: values of secrets by name, for this runner alone. They take precedence over stored ones, and
            forks don't get them.
        disk: the limit on the cache, in bytes; None for no limit.
        images: what to do with a thunk's image without an engine: `refuse` the thunk, or `ignore` the image.
        own_programs: let contained commands use toolchains in the user's home, and their proxy and mirror settings.
    """

    login: str
    host: str
    port: int = DEFAULT_PORT
    identities: tuple[Path, ...] = ()
    known_hosts: Path | None = None
    priority: int = 0
    only: tuple[str, ...] = ()
    allow_host_path: bool = False
    state_dir: Path | None = None
    use_agent: bool = True
    default_identities: bool = True
    sandbox: bool | None = None
    network: NetworkMode = "own"
    reachable: str | None = None
    jobs: int | None = None
    driver: DriverName = "host"
    engine: Literal["podman", "docker"] | None = None
    cpus: float | None = None
    memory: int | None = None
    pids: int | None = None
    file_size: int | None = None
    no_limits: bool = False
    allow_foreign: bool = False
    allow_insecure: bool = False
    publish: tuple[str, ...] = ()
    git_credentials: bool = False
    secrets_file: Path | None = None
    given_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    disk: int | None = None
    images: Literal["refuse", "ignore"] = "refuse"
    own_programs: bool = False

    def __post_init__(self) -> None:
        for rule in self.only:
            if not is_rule(rule):
                raise RunnerError(f"--only {rule}: must be OWNER/REPO or OWNER/*")
        if self.jobs is not None and self.jobs < 1:
            raise RunnerError(f"--jobs {self.jobs}: must be at least 1")
        if self.cpus is not None and self.cpus <= 0:
            raise RunnerError(f"--cpus {self.cpus:g}: must be more than 0")
        if self.memory is not None and self.memory < LEAST_MEMORY:
            raise RunnerError(f"--memory {self.memory}: must be at least {LEAST_MEMORY >> 20}m")
        if self.disk is not None and self.disk < LEAST_DISK:
            raise RunnerError(f"--disk {self.disk}: must be at least {LEAST_DISK >> 20}m")
        if self.file_size is not None and self.file_size < LEAST_FILE_SIZE:
            least = LEAST_FILE_SIZE >> 20
            raise RunnerError(f"--file-size {self.file_size}: must be at least {least}m")
        if self.pids is not None and self.pids < 1:
            raise RunnerError(f"--pids {self.pids}: must be at least 1")

    @property
    def address(self) -> str:
        """The loop's address, as people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.login}@{host}:{self.port}"

    @property
    def limits(self) -> CommandLimits:
        """The limits of a command."""
        usual = NO_LIMITS if self.no_limits else default_limits()
        return CommandLimits(
            cpus=self.cpus,
            memory=self.memory or usual.memory,
            pids=self.pids or usual.pids,
            file_size=self.file_size or usual.file_size,
        )

    @property
    def state(self) -> Path:
        """The folder in which outputs are stored."""
        return self.state_dir or default_state()

    @property
    def hosts_file(self) -> Path:
        """The file of known hosts."""
        return self.known_hosts or Path.home() / ".ssh" / "known_hosts"


def is_served(only: tuple[str, ...], repository: str | None) -> bool:
    """Return whether rules allow a repository. Without rules, all are allowed."""
    if not only:
        return True
    return repository is not None and any(allows(rule, repository) for rule in only)


def default_state() -> Path:
    """Return the folder in which outputs are stored by default."""
    return Path(platformdirs.user_cache_dir("bass-loop")) / "runner"


def parse_destination(text: str) -> tuple[str, str, int]:
    """Return login, host and port of ``[LOGIN@]HOST[:PORT]``. Raises RunnerError."""
    found = _DESTINATION.match(text)
    if found is None or int(found["port"] or 0) > 65535:
        raise RunnerError(
            f"{text!r} is not the address of a loop: it must be LOGIN@HOST or LOGIN@HOST:PORT"
        )
    port = int(found["port"]) if found["port"] else DEFAULT_PORT
    return found["login"] or _own_name(text), found["host"].strip("[]"), port


def _own_name(host: str) -> str:
    """Return this user's name. Raises RunnerError if the user has none, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # OSError since Python 3.13
        raise RunnerError(
            f"you have no user name here: name your GitHub login as well, as in octocat@{host}"
        ) from error


def this_platform() -> tuple[str, str]:
    """Return this machine's operating system and architecture, by Go's names."""
    machine = platform.machine().lower()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return platform.system().lower(), arch
