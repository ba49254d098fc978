"""Generate and install the systemd units of the daemon and of a runner, from a few facts about this machine.

The daemon is confined as far as possible, and can write only its state. A runner runs commands in containers, which
need much of what the daemon is denied; `RUNNER_NEEDS` lists what, and why.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv import dotenv_values

import bassloop
from bassloop.addresses import parse_address
from bassloop.settings_reader import NAMES, load_settings, unknown_setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


NAME = "bass-loop"
RUNNER = "bass-loop-runner"
ETC = Path("/etc/bass-loop")
WATCHDOG_SECONDS = 30

HARDENING = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateDevices=yes
DevicePolicy=closed
PrivateTmp=yes
PrivateIPC=yes
PrivateMounts=yes
RemoveIPC=yes
KeyringMode=private
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# Hooks are evaluated with less priority than the daemon, in processes that lock themselves in.
SystemCallFilter=setpriority landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallErrorNumber=EPERM
UMask=0077
"""
"""The directives that confine the daemon."""

RUNNER_NEEDS = {
    "NoNewPrivileges": "newuidmap and newgidmap, which set up a container's users, are setuid",
    "RestrictSUIDSGID": "images contain setuid files, which are unpacked",
    "RestrictNamespaces": "a container is made of namespaces",
    "PrivateUsers": "it would leave no subordinate users for containers",
    "ProtectSystem, ProtectHome, PrivateTmp": "they need a user namespace for the unit, in which "
    "newuidmap can't map users",
    "PrivateDevices, DevicePolicy": "containers need /dev/fuse, /dev/net/tun and terminals",
    "ProtectProc, ProcSubset": "a container mounts its own /proc, which the kernel only allows if nothing of the "
    "outer one is hidden",
    "ProtectKernelTunables, ProtectKernelLogs, ProtectControlGroups": "the same for /sys, and containers' limits are "
    "written to cgroups (Delegate=yes)",
    "CapabilityBoundingSet": "root in a container has capabilities in its own namespace",
    "RestrictAddressFamilies": "a container's network is set up through netlink and packet sockets",
    "SystemCallFilter": "containers need mount, pivot_root, setns and the like, and filters need "
    "NoNewPrivileges in a user unit",
    "MemoryDenyWriteExecute": "people run Java and JavaScript in CI, which compile at run time",
    "SystemCallArchitectures": "an image may have another architecture",
    "LockPersonality, RestrictRealtime": "they are filters, too, and need NoNewPrivileges",
    "DynamicUser": "a user manager has only one user, and the keys are theirs",
}
"""Directives that the unit of a runner with rootless containers can't have, and why."""

SYSTEM_UNITS = Path("/etc/systemd/system")
SETTINGS_TEMPLATE = """\
# The daemon's settings: NAME=value lines. docs/settings.md has them all.
#EXTERNAL_URL=https://loop.example.com
#GITHUB_APP_ID=
#LISTEN=127.0.0.1:3000
# Secrets are better kept in files named for their settings in {credentials}
"""
INSTALL_FOR_ALL = (
    "PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install .",
    "UV_TOOL_DIR=/opt/uv UV_TOOL_BIN_DIR=/usr/local/bin "
    "uv tool install --python /usr/bin/python3 .",
)


@dataclass(frozen=True, slots=True)
class ServeFacts:
    """The facts that a daemon's unit depends on.

    Args:
        command: the program and its arguments.
        credentials: files with the values of secret settings, by setting.
        groups: supplementary groups, such as one that may read a certificate's key.
        low_port: it listens on a port below 1024.
        drain_seconds: how long it may take to finish its checks.
    """

    command: tuple[str, ...]
    credentials: tuple[tuple[str, Path], ...] = ()
    groups: tuple[str, ...] = ()
    low_port: bool = False
    drain_seconds: float = 60.0


def serve_unit(facts: ServeFacts) -> str:
    """Return the system unit of the daemon."""
    bind = "CAP_NET_BIND_SERVICE" if facts.low_port else ""
    lines = [
        "[Unit]",
        "Description=Bass Loop: a project's checks, run on the machine of whoever pushed",
        "Documentation=man:bassloop-serve(1)",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=notify",
        f"ExecStart={_command(facts.command)}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "RestartSec=2",
        f"WatchdogSec={WATCHDOG_SECONDS}",
        "TimeoutStartSec=120",
        f"TimeoutStopSec={facts.drain_seconds + 30:.0f}",
        f"EnvironmentFile=-{ETC / 'settings.env'}",
        "Environment=PYTHONUNBUFFERED=1 DATA_DIR=%S/" + NAME,
        *(f"LoadCredential={name}:{path}" for name, path in facts.credentials),
        "",
        "DynamicUser=yes",
        f"User={NAME}",
        *(f"SupplementaryGroups={group}" for group in facts.groups),
        f"StateDirectory={NAME}",
        "StateDirectoryMode=0700",
        "LimitNOFILE=65536",
        "LimitCORE=0",
        "",
        f"CapabilityBoundingSet={bind}",
        f"AmbientCapabilities={bind}",
        # A capability in the unit's own user namespace doesn't allow it to open the host's ports.
        *([] if facts.low_port else ["PrivateUsers=yes"]),
        *HARDENING.splitlines(),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class RunnerFacts:
    """The facts that a runner's unit depends on.

    Args:
        command: the program and its arguments.
        containers: commands run in rootless containers, which need the exceptions.
    """

    command: tuple[str, ...]
    containers: bool = True


def runner_unit(facts: RunnerFacts) -> str:
    """Return the user unit of a runner."""
    if facts.containers:
        hardening = [
            "# Rootless containers need what is denied elsewhere:",
            *(f"#   {name}: {why}" for name, why in RUNNER_NEEDS.items()),
            "UMask=0077",
        ]
    else:
        hardening = [
            "# Commands run in bubblewrap's namespaces, or as they are: what those need is allowed.",
            "NoNewPrivileges=yes",
            "SystemCallArchitectures=native",
            "SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap",
            "SystemCallErrorNumber=EPERM",
            "RestrictSUIDSGID=yes",
            "RestrictRealtime=yes",
            "LockPersonality=yes",
            "UMask=0077",
        ]
    lines = [
        "[Unit]",
        "Description=Bass Loop's runner: runs the checks of what you push",
        "Documentation=man:bassloop-runner(1)",
        "",
        "[Service]",
        "Type=notify",
        f"ExecStart={_command(facts.command)}",
        "Restart=on-failure",
        "RestartSec=5",
        f"WatchdogSec={WATCHDOG_SECONDS}",
        "TimeoutStopSec=60",
        "Environment=PYTHONUNBUFFERED=1",
        "Delegate=yes",
        "KillMode=mixed",
        "LimitCORE=0",
        "",
        *hardening,
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def _command(parts: tuple[str, ...]) -> str:
    """Return a command line in systemd's syntax, without substitutions."""
    return " ".join(_quoted(part.replace("%", "%%").replace("$", "$$")) for part in parts)


def _quoted(part: str) -> str:
    if part and shlex.quote(part) == part:
        return part
    inner = part.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{inner}"'


class SystemdError(Exception):
    """A unit can't be installed or removed; the message has the reason and the fix."""


def program() -> tuple[str, ...]:
    """Return the command that runs this program: the script next to the interpreter, or the interpreter."""
    script = Path(sys.executable).parent / "bassloop"
    return (str(script),) if script.exists() else (sys.executable, "-m", "bassloop")


def user_units() -> Path:
    """Return the folder of the user's own units."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "systemd" / "user"


def serve_facts(etc: Path, groups: Iterable[str]) -> ServeFacts:
    """Return the facts for the daemon's unit, from the settings and credentials in a folder.

    Raises SettingsError, and SystemdError for a credential that isn't named after a setting.
    """
    given = {name: value for name, value in dotenv_values(etc / "settings.env").items() if value}
    settings = load_settings(
        **{name.lower(): value for name, value in given.items() if name.upper() in NAMES}
    )
    listened = (settings.listen, settings.ssh_addr, settings.metrics_listen)
    ports = [parse_address(address)[1] for address in listened if address]
    return ServeFacts(
        command=(*program(), "serve"),
        credentials=tuple(_credentials(etc / "credentials")),
        groups=tuple(groups),
        low_port=any(0 < port < 1024 for port in ports),
        drain_seconds=settings.drain_seconds,
    )


def _credentials(folder: Path) -> Iterable[tuple[str, Path]]:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return
    for name in names:
        if name not in NAMES:
            raise SystemdError(unknown_setting(name, str(folder / name)))
        yield name, folder / name


def refuse_home() -> None:
    """Raise SystemdError if this program is in a home directory, which the daemon's unit can't read."""
    paths = {Path(sys.executable), Path(sys.executable).resolve(), Path(bassloop.__file__)}
    for path in paths:
        if path.parts[1:2] in (("home",), ("root",)):
            commands = "\n".join(f"    {command}" for command in INSTALL_FOR_ALL)
            raise SystemdError(
                f"{path} is in somebody's home, which the unit can't read. Install it for all, in a clone:\n"
                f"{commands}"
            )


def make_etc(etc: Path) -> bool:
    """Create the folder for the daemon's settings and credentials. Raises SystemdError.

    Return whether the settings file was created, and must be filled in.
    """
    credentials, settings = etc / "credentials", etc / "settings.env"
    with _write_errors():
        credentials.mkdir(mode=0o700, parents=True, exist_ok=True)
        if settings.exists():
            return False
        settings.touch(mode=0o600)
        settings.write_text(SETTINGS_TEMPLATE.format(credentials=credentials))
        return True


def install(path: Path, text: str, *options: str) -> None:
    """Write a unit, enable it, and start it.

    Args:
        options: options of systemctl, such as --user.

    Raises SystemdError. If systemd refuses the unit, or this is interrupted, the previous state is restored: a new unit
    is disabled and removed; an older one is reinstalled and started.
    """
    _require_systemctl()
    with _write_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_bytes() if path.exists() else None
    try:
        with _write_errors():
            _replace_file(path, text.encode())
        _systemctl(*options, "daemon-reload")
        _systemctl(*options, "enable", path.name)
        _systemctl(*options, "restart", path.name)
    except BaseException as error:
        left = _take_back(path, before, *options)
        if not isinstance(error, SystemdError):
            raise
        raise SystemdError(f"{error}\n{left}") from error


def _take_back(path: Path, before: bytes | None, *options: str) -> str:
    """Undo an installation as far as possible, and return a sentence about what is left."""
    if before is None:
        _run(*options, "disable", "--now", path.name)
        _run(*options, "reset-failed", path.name)
    try:
        if before is None:
            path.unlink(missing_ok=True)
            _remove_links(path)
        else:
            _replace_file(path, before)
    except OSError as error:
        return f"{error.filename} is left of it, as it can't be removed: {error.strerror}"
    _run(*options, "daemon-reload")
    if before is not None:
        _run(*options, "restart", path.name)
    return f"{path} is as it was before"


def uninstall(path: Path, *options: str) -> None:
    """Stop a unit, disable it, and remove its file and all links to it. Raises SystemdError.

    Links to a unit without a file are removed, too.
    """
    links = _links(path)
    if not path.exists() and not links:
        raise SystemdError(f"there is no {path}")
    if path.exists():
        _systemctl(*options, "disable", "--now", path.name)
    else:
        _run(*options, "stop", path.name)
    with _write_errors():
        path.unlink(missing_ok=True)
        _remove_links(path)
    _systemctl(*options, "daemon-reload")
    _run(*options, "reset-failed", path.name)  # fails if there is nothing to reset


def _links(path: Path) -> list[Path]:
    """Return the links with which targets start a unit."""
    links = (folder / path.name for folder in path.parent.glob("*.wants"))
    return [link for link in links if link.is_symlink()]


def _remove_links(path: Path) -> None:
    for link in _links(path):
        link.unlink(missing_ok=True)


def _replace_file(path: Path, content: bytes) -> None:
    """Write a file atomically. Raises OSError."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(content)
        beside.chmod(0o644)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _write_errors() -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise SystemdError(f"{error.filename} can't be written; run it as root") from error
    except OSError as error:
        raise SystemdError(f"{error.filename}: {error.strerror}") from error


def _require_systemctl() -> None:
    if shutil.which("systemctl") is None:
        raise SystemdError(
            "there is no systemctl here; --print shows the unit, for another service manager"
        )


def _systemctl(*arguments: str) -> None:
    _require_systemctl()
    done = _run(*arguments)
    if done.returncode:
        reason = done.stderr.strip() or f"exit status {done.returncode}"
        raise SystemdError(f"systemctl {' '.join(arguments)}: {reason}")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
