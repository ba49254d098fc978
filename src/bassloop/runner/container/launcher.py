"""Start a command in a container of its own. The stopped container remains, for commands that start from its files.

`run_words` makes a container's command line from a `ContainerSpec`, without I/O.
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bassloop.concurrency import shielded
from bassloop.runner.container.container_engine import ContainerEngine, EngineError, limit_options
from bassloop.runner.engine.execution import Execution, Launch, Launcher
from bassloop.runner.engine.mounts import BindMount, MountSupport
from bassloop.runner.errors import DriverError
from bassloop.runner.options import CommandLimits
from bassloop.wire.conventions import WORK_FOLDER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
    from pathlib import Path

    from bassloop.runner.container.image_info import Image
    from bassloop.runner.output_cache import ThunkOutput


PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

LABEL = "bassloop.state"
"""The label of all containers and images that a runner makes; its value identifies the runner."""

GRACE_SECONDS = 2.0
FORGET_SECONDS = 30.0
DEFAULTS = {"PATH": PATH, "HOME": "/root", "CI": "true"}


@dataclass(frozen=True, slots=True)
class SecretVariable:
    """An environment variable that the engine reads from its secret store when the container starts."""

    name: str
    variable: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One container.

    Args:
        image: its id.
        image_env: the names of the variables that the image sets.
        network: the network to use instead of the engine's default.
        insecure: run the container privileged.
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
    """Return the command line that creates and starts a container, and runs until it ends."""
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
            options += ["--env", name]  # without a value, and not in our environment: it's unset
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
    """Return what kinds of mounts an engine supports."""
    return MountSupport(
        binds=True,
        overlays=engine.kind == "podman",
        nested=True,
        reserved=("/bass", "/proc", "/sys", "/dev"),
        forbidden=":,\n",
    )


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """The settings that all containers of a runner share.

    Args:
        owner: the value of their label.
        prefix: the beginning of their names.
        reachable: see :class:`RunnerOptions`.
    """

    engine: ContainerEngine
    owner: str
    prefix: str
    limits: CommandLimits
    reachable: str | None = None

    @property
    def disks(self) -> tuple[Path, ...]:
        """The folders in which the engine stores containers' file systems, as far as known."""
        return () if self.engine.index is None else (self.engine.index.parent,)

    @property
    def secret_prefix(self) -> str:
        """The beginning of the names of this runner's secrets in the engine's store."""
        return f"{self.prefix}-{self.owner}"


class ContainerLauncher(Launcher):
    """Starts a command in a container.

    Args:
        image: the id of the image that the container starts from.
        root: the image at the root of the chain, whose variables the command gets.
        secret_folder: a private folder in memory.
    """

    is_contained = True

    def __init__(
        self,
        settings: ContainerSettings,
        image: str,
        root: Image,
        secret_folder: Path,
        *,
        insecure: bool = False,
    ) -> None:
        self._settings = settings
        self._image = image
        self._root = root
        self._secret_folder = secret_folder
        self._insecure = insecure
        self.mount_support = mount_support(settings.engine)
        self.name = f"{settings.prefix}-{secrets.token_hex(8)}"
        self.network: str | None = None
        """The container's network, if it isn't the engine's default."""
        self.defaults: Mapping[str, str] = {}
        """Variables that the image or the command may override."""

    @asynccontextmanager
    async def launching(
        self, execution: Execution, start: str, mounts: Sequence[BindMount]
    ) -> AsyncGenerator[Launch]:
        """Yield how to start the engine's program, which runs until the container ends."""
        command, output = execution.command, execution.output
        settings, root = self._settings, self._root
        temporary = output.path / "tmp"
        temporary.mkdir()
        temporary.chmod(0o1777)
        variables = secret_variables(
            settings.engine, settings.secret_prefix, command.secret_env, self._secret_folder
        )
        async with variables as stored:
            container = ContainerSpec(
                name=self.name,
                image=self._image,
                words=command.words,
                env={**DEFAULTS, **self.defaults, **root.env, **command.env},
                image_env=root.env,
                dir=start if start.startswith("/") else f"{WORK_FOLDER}/{start}".removesuffix("/."),
                owner=settings.owner,
                binds=[
                    BindMount(output.files, WORK_FOLDER),
                    BindMount(temporary, "/tmp"),  # noqa: S108
                    *mounts,
                ],
                secrets=stored,
                stdin=bool(command.stdin) or execution.interactive,
                tty=execution.interactive and os.isatty(0),
                limits=settings.limits,
                network=self.network,
                insecure=self._insecure,
            )
            yield Launch(
                words=run_words(settings.engine, container),
                cwd=output.path,
                env=os.environ,
                marker=None,
                grace=GRACE_SECONDS,
            )

    async def discard(self) -> None:
        await self._settings.engine.remove_container(self.name)

    def complete(self, output: ThunkOutput, mounts: Sequence[BindMount]) -> None:
        """Record the container, for commands that continue from its file system."""
        about = {
            "name": self.name,
            "base": self._image,
            "mounts": [mount.target for mount in mounts],
        }
        (output.path / "container").write_text(json.dumps(about))


@asynccontextmanager
async def secret_variables(
    engine: ContainerEngine, prefix: str, variables: Mapping[str, str], folder: Path
) -> AsyncGenerator[list[SecretVariable]]:
    """Put variables in the engine's secret store, from which it sets them when a container starts.

    That way, they appear on no command line and in no layer. Raises DriverError.

    Args:
        prefix: the beginning of their names in the store.
        folder: a folder in memory for their values, which is removed soon afterwards.
    """
    if variables and engine.kind == "docker":
        raise DriverError(
            "Docker would show a secret in the environment to anyone who inspects the container, and store "
            "it in images made from it: pass it as a file or on standard input, or use Podman"
        )
    stored: list[SecretVariable] = []
    try:
        for variable, value in variables.items():
            name = f"{prefix}-{secrets.token_hex(8)}"
            words = ("secret", "create", "--driver-opts", f"path={folder}/store", name, "-")
            await engine.ask(*words, stdin=value.encode(errors="surrogateescape"))
            stored.append(SecretVariable(name, variable))
        yield stored
    finally:
        if stored:
            with shielded(FORGET_SECONDS):
                await forget_secrets(engine, [each.name for each in stored])


async def stored_secrets(engine: ContainerEngine) -> list[str]:
    """Return the names of all secrets in the engine's store. Raises EngineError."""
    if engine.kind == "docker":
        return []
    return (await engine.ask("secret", "ls", "--format", "{{.Name}}")).split()


async def forget_secrets(engine: ContainerEngine, names: list[str]) -> None:
    """Remove secrets from the engine's store. If that fails, only their names remain there."""
    try:
        await engine.ask("secret", "rm", *names, seconds=FORGET_SECONDS)
    except EngineError:
        return  # the values were in a folder that is removed with the command
