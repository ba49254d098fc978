"""The systemd units of the daemon and of a runner, made from a few facts. No I/O.

The daemon is confined as far as possible: it can write nothing but its state. A runner runs commands in containers,
which need much of what is denied to the daemon; `RUNNER_NEEDS` says what, and why.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

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
"""What confines the daemon."""

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


@dataclass(frozen=True, slots=True)
class ServeFacts:
    """The facts that a daemon's unit depends on.

    Args:
        command: the program and its arguments.
        credentials: the names of secret settings, and the files with their values.
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
        # A capability in a user namespace of the unit's own does not open ports of the host.
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
