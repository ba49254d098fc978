"""What a runner can be told."""

from __future__ import annotations

import getpass
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from bassloop.runner.secrets.rules import allows, is_rule

DEFAULT_PORT = 6455
_DESTINATION = re.compile(
    r"(?:(?P<login>[^@\s]+)@)?(?P<host>\[[0-9a-fA-F:]+\]|[^:\s@]+)(?::(?P<port>\d{1,5}))?\Z"
)
DriverName = Literal["auto", "container", "host"]
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d{1,15})([kmgt]?)(?:i?b)?\Z", re.IGNORECASE)
LEAST_MEMORY = 16 << 20
LEAST_DISK = 16 << 20


class RunnerError(Exception):
    """The runner can't do what it was told; the message names the thing and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """Where a runner dials in, who it is, and what it serves.

    Args:
        identities: private keys that are offered first.
        only: repositories that it serves, ``owner/name`` or ``owner/*``; empty serves all.
        state_dir: where outputs are kept; by default in the user's cache directory.
        use_agent: whether the keys of an SSH agent are offered.
        default_identities: whether the keys in ``~/.ssh`` are offered beside `identities`.
        sandbox: whether commands are contained by bubblewrap: yes, no, or where it works here.
        network: whether contained commands reach the network.
        jobs: how many commands run at the same time; as many as are asked for when it is None.
        driver: what carries thunks out; `auto` is containers where an engine works, else the host.
        engine: the engine for containers; Podman, or else Docker, when it is None.
        cpus: processors that a container may use.
        memory: bytes that a container may use.
        pids: processes and threads that a container may have.
        allow_insecure: whether a thunk that asks for it gets a privileged container.
        git_credentials: whether commands of Git have the credentials of the owner's own Git for the
            private repository that is checked out.
        publish: names of images, or what they are in, that thunks may push with the owner's login.
        secrets_file: where the owner's secrets are; by default in the user's data directory.
        disk: bytes that what is kept may take; no limit when it is None.
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
    network: bool = True
    jobs: int | None = None
    driver: DriverName = "host"
    engine: Literal["podman", "docker"] | None = None
    cpus: float | None = None
    memory: int | None = None
    pids: int | None = None
    allow_insecure: bool = False
    publish: tuple[str, ...] = ()
    git_credentials: bool = False
    secrets_file: Path | None = None
    disk: int | None = None

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
        if self.pids is not None and self.pids < 1:
            raise RunnerError(f"--pids {self.pids}: must be at least 1")

    @property
    def address(self) -> str:
        """The loop, as a person writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.login}@{host}:{self.port}"

    @property
    def state(self) -> Path:
        """Where outputs are kept."""
        return self.state_dir or default_state()

    @property
    def hosts_file(self) -> Path:
        """The file of known hosts."""
        return self.known_hosts or Path.home() / ".ssh" / "known_hosts"


def default_state() -> Path:
    """Where outputs are kept when nothing else is said."""
    return Path(platformdirs.user_cache_dir("bass-loop")) / "runner"


def parse_destination(text: str) -> tuple[str, str, int]:
    """Login, host and port of ``[LOGIN@]HOST[:PORT]``. Raises RunnerError."""
    found = _DESTINATION.match(text)
    if found is None or int(found["port"] or 0) > 65535:
        raise RunnerError(
            f"{text!r} is no loop's address: it must be LOGIN@HOST or LOGIN@HOST:PORT"
        )
    port = int(found["port"]) if found["port"] else DEFAULT_PORT
    return found["login"] or getpass.getuser(), found["host"].strip("[]"), port


def parse_size(option: str, text: str) -> int:
    """Bytes, as in ``512m`` or ``2g``. Raises RunnerError, which names the option."""
    found = _SIZE.match(text)
    if found is None:
        raise RunnerError(f"{option} {text}: must be a number of bytes, as in 512m or 2g")
    return int(found[1]) * _UNITS[found[2].lower()]


def is_served(only: tuple[str, ...], repository: str | None) -> bool:
    """Whether the rules allow a repository. Once there are rules, not knowing is not allowed."""
    if not only:
        return True
    if repository is None:
        return False
    return any(allows(rule, repository) for rule in only)
