"""One thunk in its container: what it is given laid out, its command run, its output left."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.runner import file_trees
from bassloop.runner.container import spec
from bassloop.runner.container.mounts import Mounts
from bassloop.runner.container.variables import in_engine
from bassloop.runner.engine import layout
from bassloop.runner.engine.command import INPUTS
from bassloop.runner.engine.watch import ended, watch
from bassloop.runner.errors import DriverError
from bassloop.wire import bass_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from bassloop.runner.cache.outputs import OutputCache, ThunkOutput
    from bassloop.runner.container.engine import ContainerEngine, ContainerLimits
    from bassloop.runner.container.image import Image
    from bassloop.runner.context import CallContext
    from bassloop.runner.engine.command import Command
    from bassloop.runner.engine.progress import StepReporter
    from bassloop.runner.secrets import SecretFiles

KEPT = ("files", "stdout", "container", "image")
"""What is left of an output's folder."""
GRACE_SECONDS = 2.0
DEFAULTS = {"PATH": spec.PATH, "HOME": "/root", "CI": "true"}


@dataclass(frozen=True, slots=True)
class Place:
    """What a thunk's container is allowed to use.

    Args:
        owner: the label's value of this runner's containers.
        prefix: what the names of its containers begin with.
        kept: finds the output of a thunk that ran; raises DriverError when it is gone.
        slots: how many commands may run at the same time.
    """

    engine: ContainerEngine
    cache: OutputCache
    scope: CallContext
    owner: str
    prefix: str
    limits: ContainerLimits
    slots: trio.CapacityLimiter
    kept: Callable[[pb.Thunk], Awaitable[ThunkOutput]]
    allow_host_path: bool = False
    overlays: bool = False

    @property
    def secret_prefix(self) -> str:
        """What the names begin with that the engine's store has of this runner."""
        return f"{self.prefix}-{self.owner}"


@dataclass(frozen=True, slots=True)
class Base:
    """What a container starts from.

    Args:
        image: the id of what its file system is.
        root: the image at the root of the chain: what it says of variables counts.
        output: the work directory that the thunk before has left.
    """

    image: str
    root: Image
    output: ThunkOutput | None = None


@dataclass(eq=False)
class Work:
    """One thunk being carried out, in `output`, which is empty.

    Args:
        network: what the container's network is instead of the engine's.
        more: what else is bound in the container.
        defaults: variables that the image or the command may set otherwise.
    """

    place: Place
    command: Command
    base: Base
    output: ThunkOutput
    vertex: StepReporter
    revealed: SecretFiles
    insecure: bool = False
    network: str | None = None
    more: list[spec.BindMount] = field(default_factory=list)
    defaults: Mapping[str, str] = field(default_factory=dict)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = f"{self.place.prefix}-{secrets.token_hex(8)}"

    async def carry_out(self) -> None:
        """Do it, and leave the stopped container. Raises DriverError, or OSError."""
        async with self.laid_out() as container:
            async with self.place.slots:
                status = await self.run(container)
            if status:
                await self.place.engine.try_remove(container.name)
                raise DriverError(ended(status, contained=True))
            self._leave(container)
        await self._settle()

    async def run(self, container: spec.ContainerSpec, *, grace: float = GRACE_SECONDS) -> int:
        """Run the container to its end, and leave it, stopped. Returns the exit status.

        Cancelled, it is asked to end, has `grace` seconds for that, and nothing of it is left.
        """
        engine = self.place.engine
        over = False
        try:
            status = await watch(
                spec.run(engine, container),
                cwd=self.output.path,
                env=os.environ,
                stdin=self.command.stdin,
                vertex=self.vertex,
                output=self.output,
                mark=None,
                grace=grace,
            )
            over = True
            return status
        finally:
            if not over:
                await engine.try_remove(container.name)

    @asynccontextmanager
    async def laid_out(self) -> AsyncGenerator[spec.ContainerSpec]:
        """The container, while all that it is given is there. Raises DriverError, or OSError."""
        wanted = {
            mount.source.cache.id: _cache_of(self.place.scope, mount.source.cache)
            for mount in self.command.mounts
            if mount.source.WhichOneof("source") == "cache"
        }
        async with AsyncExitStack() as stack:
            folders = await stack.enter_async_context(self.place.cache.folders(wanted.values()))
            caches = {each: folders[name] for each, (name, _) in wanted.items()}
            stack.push_async_callback(self._clean_up)
            if self.base.output is not None and not self._remounted:
                await file_trees.copy(self.base.output.files, self.output.files)
            mounts = Mounts(
                self.output,
                self.place.kept,
                caches,
                self.revealed.file,
                self.place.overlays,
                self.place.allow_host_path,
            )
            await mounts.lay_out(self.command.mounts)
            temporary = self.output.path / "tmp"
            temporary.mkdir()
            temporary.chmod(0o1777)
            start = self._start()
            stack.enter_context(mounts.places())
            stored = await stack.enter_async_context(
                in_engine(
                    self.place.engine,
                    self.place.secret_prefix,
                    self.command.secret_env,
                    self.revealed.folder,
                )
            )
            yield spec.ContainerSpec(
                name=self.name,
                image=self.base.image,
                words=self.command.words,
                env={**DEFAULTS, **self.defaults, **self.base.root.env, **self.command.env},
                image_env=self.base.root.env,
                dir=start,
                owner=self.place.owner,
                binds=[
                    spec.BindMount(self.output.files, spec.WORK),
                    spec.BindMount(temporary, "/tmp"),  # noqa: S108
                    *mounts.binds,
                    *self.more,
                ],
                secrets=stored,
                stdin=bool(self.command.stdin),
                limits=self.place.limits,
                network=self.network,
                insecure=self.insecure,
            )

    @property
    def _remounted(self) -> bool:
        return any(mount.target == "." for mount in self.command.mounts)

    def _start(self) -> str:
        """The directory that the command starts in; in the work directory it is made."""
        start = self.command.dir
        if start.startswith("/"):
            return start
        if start.startswith(INPUTS):
            return f"{spec.WORK}/{start}"
        place = file_trees.follow(self.output.files, layout.inside(start, "the directory"))
        if place.is_symlink():
            raise DriverError(f"the directory {start} is a symbolic link")
        place.mkdir(parents=True, exist_ok=True)
        return f"{spec.WORK}/{start}".removesuffix("/.")

    def _leave(self, container: spec.ContainerSpec) -> None:
        """Say which container it was, for who wants to go on from it."""
        about = {
            "name": container.name,
            "base": self.base.image,
            "mounts": [bind.target for bind in container.binds],
        }
        (self.output.path / "container").write_text(json.dumps(about))

    async def _clean_up(self) -> None:
        with trio.CancelScope(shield=True):
            await file_trees.remove(self.output.files / INPUTS)
            for path in list(self.output.path.iterdir()):
                if path.name not in KEPT:
                    await file_trees.remove(path)

    async def _settle(self) -> None:
        await file_trees.settle(self.output.files)


def _cache_of(scope: CallContext, cache: pb.CachePath) -> tuple[str, str]:
    mode = pb.ConcurrencyMode.Name(cache.concurrency).rpartition("_")[2].lower()
    return scope.own(f"cache\n{cache.id}"), mode
