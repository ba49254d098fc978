"""The command line of one container. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bassloop.runner.container.container_engine import ContainerEngine, limit_options
from bassloop.runner.engine.mounts import BindMount, MountSupport
from bassloop.runner.options import CommandLimits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

LABEL = "bassloop.state"
"""The label of all containers and images of a runner; its value tells runners apart."""


@dataclass(frozen=True, slots=True)
class SecretVariable:
    """A variable that the engine takes from its store when the container starts."""

    name: str
    variable: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One container.

    Args:
        image: its id.
        image_env: the names of variables that the image sets.
        network: used instead of the engine's.
        insecure: give it the rights of root.
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
    tty: bool = False
    limits: CommandLimits = field(default_factory=CommandLimits)
    network: str | None = None
    hostname: str = "thunk"
    insecure: bool = False


def run_words(engine: ContainerEngine, container: ContainerSpec) -> list[str]:
    """Return the words that create a container, start it, and stay until it ends."""
    options = ["run", "--name", container.name, "--label", f"{LABEL}={container.owner}"]
    options += ["--pull=never", "--log-driver=none", "--no-healthcheck", "--user=0:0"]
    if container.tty:
        options.append("--tty")
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
    return options + limit_options(container.limits)


def _volume(bind: BindMount) -> str:
    mode = "O" if bind.overlay else "ro" if bind.read_only else "rw"
    return f"{bind.source}:{bind.target}:{mode}"


def mount_support(engine: ContainerEngine) -> MountSupport:
    """Return what an engine can mount."""
    return MountSupport(
        binds=True,
        overlays=engine.kind == "podman",
        nested=True,
        reserved=("/bass", "/proc", "/sys", "/dev"),
        forbidden=":,\n",
    )
