"""What a runner can be told."""

from __future__ import annotations

import getpass
import re
from dataclasses import dataclass
from pathlib import Path

import platformdirs

DEFAULT_PORT = 6455
_DESTINATION = re.compile(
    r"(?:(?P<login>[^@\s]+)@)?(?P<host>\[[0-9a-fA-F:]+\]|[^:\s@]+)(?::(?P<port>\d{1,5}))?\Z"
)
_RULE = re.compile(r"[A-Za-z0-9_.-]+/(\*|[A-Za-z0-9_.-]+)\Z")


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

    def __post_init__(self) -> None:
        for rule in self.only:
            if not _RULE.match(rule):
                raise RunnerError(f"--only {rule}: must be OWNER/REPO or OWNER/*")
        if self.jobs is not None and self.jobs < 1:
            raise RunnerError(f"--jobs {self.jobs}: must be at least 1")

    @property
    def address(self) -> str:
        """The loop, as a person writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.login}@{host}:{self.port}"

    @property
    def state(self) -> Path:
        """Where outputs are kept."""
        return self.state_dir or Path(platformdirs.user_cache_dir("bass-loop")) / "runner"

    @property
    def hosts_file(self) -> Path:
        """The file of known hosts."""
        return self.known_hosts or Path.home() / ".ssh" / "known_hosts"


def parse_destination(text: str) -> tuple[str, str, int]:
    """Login, host and port of ``[LOGIN@]HOST[:PORT]``. Raises RunnerError."""
    found = _DESTINATION.match(text)
    if found is None or int(found["port"] or 0) > 65535:
        raise RunnerError(
            f"{text!r} is no loop's address: it must be LOGIN@HOST or LOGIN@HOST:PORT"
        )
    port = int(found["port"]) if found["port"] else DEFAULT_PORT
    return found["login"] or getpass.getuser(), found["host"].strip("[]"), port


def is_served(only: tuple[str, ...], repository: str | None) -> bool:
    """Whether the rules allow a repository. Once there are rules, not knowing is not allowed."""
    if not only:
        return True
    if repository is None:
        return False
    owner, _, _ = repository.lower().partition("/")
    return any(rule.lower() in (repository.lower(), f"{owner}/*") for rule in only)
