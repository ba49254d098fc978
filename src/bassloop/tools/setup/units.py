"""The units with which systemd runs the daemon, and a runner: text from a few facts. Pure.

`serve` may do as little as it can do with: nothing of the machine is its own but its state, and every
door that it does not need is shut. A runner carries out other people's commands in containers of its
user's, which need what would otherwise be shut; `RUNNER_NEEDS` says what, and why.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

NAME = "bass-loop"
RUNNER = "bass-loop-runner"
ETC = Path("/etc/bass-loop")
WATCHDOG_SECONDS = 30

SHUT = """\
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
SystemCallErrorNumber=EPERM
UMask=0077
"""
"""Every door that the daemon can do without."""

RUNNER_NEEDS = {
    "NoNewPrivileges": "newuidmap and newgidmap, which give a container its users, are setuid",
    "RestrictSUIDSGID": "images hold setuid files, and they are unpacked",
    "RestrictNamespaces": "a container is made of namespaces",
    "PrivateUsers": "it would leave no subordinate users to give a container",
    "ProtectSystem, ProtectHome, PrivateTmp": "they are mounts in a user namespace of the unit's own, "
    "in which newuidmap can map nobody",
    "PrivateDevices, DevicePolicy": "containers are given /dev/fuse, /dev/net/tun and terminals",
    "ProtectProc, ProcSubset": "a container mounts a /proc of its own, which the kernel allows only "
    "where none of the outer one is hidden",
    "ProtectKernelTunables, ProtectKernelLogs, ProtectControlGroups": "the same of /sys, and limits "
    "of containers are written to cgroups (Delegate=yes)",
    "CapabilityBoundingSet": "root in a container has capabilities in its own namespace",
    "RestrictAddressFamilies": "a container's network is set up through netlink and packet sockets",
    "SystemCallFilter": "mount, pivot_root, setns and the like make a container, and filters need "
    "NoNewPrivileges in a user's unit",
    "MemoryDenyWriteExecute": "compilers at run time (Java, JavaScript) are what people run in CI",
    "SystemCallArchitectures": "an image may be of another architecture",
    "LockPersonality, RestrictRealtime": "they are filters too, and need NoNewPrivileges",
    "DynamicUser": "a user's manager has one user: the runner is its owner's, as the keys are",
}
"""What containers without root need of a runner's unit: directives that it can't have, and why."""


@dataclass(frozen=True, slots=True)
class ServeFacts:
    """What a daemon's unit is made of.

    Args:
        command: the program, and how it is called; every part is one argument.
        credentials: secrets by their settings' names, and the files that hold them.
        groups: beside its own, such as the one that may read a certificate's key.
        low_port: whether it listens on a port below 1024.
        drain_seconds: how long it may take to end its work.
    """

    command: tuple[str, ...]
    credentials: tuple[tuple[str, Path], ...] = ()
    groups: tuple[str, ...] = ()
    low_port: bool = False
    drain_seconds: float = 60.0


def serve_unit(facts: ServeFacts) -> str:
    """The system unit of a daemon."""
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
        # A port below 1024 is the host's, and a capability of the unit's own users is not of the host.
        *([] if facts.low_port else ["PrivateUsers=yes"]),
        *SHUT.splitlines(),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class RunnerFacts:
    """What a runner's unit is made of.

    Args:
        command: the program, and how it is called; every part is one argument.
        containers: whether commands run in containers of the user's own, which need the exceptions.
    """

    command: tuple[str, ...]
    containers: bool = True


def runner_unit(facts: RunnerFacts) -> str:
    """The user unit of a runner."""
    if facts.containers:
        hardening = [
            "# Containers without root need what would be shut here:",
            *(f"#   {name}: {why}" for name, why in RUNNER_NEEDS.items()),
            "UMask=0077",
        ]
    else:
        hardening = [
            "# Commands run in bubblewrap's namespaces, or as they are: what those need is open.",
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
        "Description=Bass Loop's runner: carries out the checks of what you push",
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
    """A command line as systemd reads one: quoted, and without its own substitutions."""
    return " ".join(_quoted(part.replace("%", "%%").replace("$", "$$")) for part in parts)


def _quoted(part: str) -> str:
    if part and shlex.quote(part) == part:
        return part
    inner = part.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{inner}"'
