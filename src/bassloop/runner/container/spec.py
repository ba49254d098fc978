"""The command line of one container. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bassloop.runner.container.engine import ContainerEngine, ContainerLimits
from bassloop.runner.errors import DriverError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

WORK = "/bass/work"
"""The work directory, in a container."""
CACHES = "/bass/caches"
SECRETS = "/bass/secrets"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RESERVED = ("/bass", "/proc", "/sys", "/dev")

LABEL = "bassloop.state"
"""The label that all containers and images of a runner have; its value says of which."""


@dataclass(frozen=True, slots=True)
class BindMount:
    """Something of this machine in a container.

    Args:
        overlay: whether what is written there is thrown away.
    """

    source: Path
    target: str
    overlay: bool = False
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class SecretVariable:
    """A variable that the engine takes from its store when the container starts."""

    name: str
    variable: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One container, as it should be.

    Args:
        image: its id.
        image_env: the names of variables that the image sets.
        network: overrides the engine's.
        insecure: whether it may do what root may.
    """

    name: str
    image: str
    words: Sequence[str]
    env: Mapping[str, str]
    dir: str
    owner: str
    image_env: Iterable[str] = ()
    binds: Sequence[BindMount] = ()
    secrets: Sequence[SecretVariable] = ()
    stdin: bool = False
    limits: ContainerLimits = field(default_factory=ContainerLimits)
    network: str | None = None
    hostname: str = "thunk"
    insecure: bool = False


def run(engine: ContainerEngine, container: ContainerSpec) -> list[str]:
    """The words that create a container, start it, and stay until it ends."""
    options = ["run", "--name", container.name, "--label", f"{LABEL}={container.owner}"]
    options += ["--pull=never", "--log-driver=none", "--no-healthcheck", "--user=0:0"]
    if container.stdin:
        options.append("--interactive")
    if engine.kind == "podman":
        options += ["--http-proxy=false", "--image-volume=ignore", "--sdnotify=ignore"]
        options += ["--passwd=false", "--unsetenv-all"]
    else:
        for name in sorted(set(container.image_env) - set(container.env)):
            options += ["--env", name]  # without a value, and not in our environment: unset
    options += _network(engine, container)
    options += _rights(engine, container)
    options += ["--workdir", container.dir]
    for name, value in container.env.items():
        options += ["--env", f"{name}={value}"]
    for secret in container.secrets:
        options += ["--secret", f"{secret.name},type=env,target={secret.variable}"]
    for bind in container.binds:
        options += ["--volume", _volume(bind)]
    options += ["--entrypoint", container.words[0]]
    return engine.command(*options, container.image, *container.words[1:])


def _network(engine: ContainerEngine, container: ContainerSpec) -> list[str]:
    network = container.network or engine.network
    options = ["--network", network]
    if not network.startswith(("container:", "host")):
        options += ["--hostname", container.hostname]
    return options


def _rights(engine: ContainerEngine, container: ContainerSpec) -> list[str]:
    options = []
    if container.insecure:
        options.append("--privileged")
    else:
        options += ["--security-opt", "no-new-privileges"]
        if engine.kind == "podman":
            # Relabelling every file for SELinux would cost more than the command.
            options += ["--security-opt", "label=disable"]
    for limit in engine.ulimits:
        options += ["--ulimit", limit]
    return options + limits_of(container.limits)


def limits_of(limits: ContainerLimits) -> list[str]:
    """The options that hold a container to its limits."""
    options = []
    if limits.cpus is not None:
        options += ["--cpus", f"{limits.cpus:g}"]
    if limits.memory is not None:
        options += ["--memory", str(limits.memory)]
    if limits.pids is not None:
        options += ["--pids-limit", str(limits.pids)]
    return options


def _volume(bind: BindMount) -> str:
    mode = "O" if bind.overlay else "ro" if bind.read_only else "rw"
    return f"{bind.source}:{bind.target}:{mode}"


def check_target(target: str) -> str:
    """An absolute path where something may be mounted. Raises DriverError."""
    if any(character in target for character in ":,\n"):
        raise DriverError(f"nothing can be mounted at {target!r}: the path has a colon or comma")
    taken = target == "/" or any(
        target == each or target.startswith(f"{each}/") for each in RESERVED
    )
    if taken:
        raise DriverError(f"nothing can be mounted at {target!r} in a container")
    return target
