"""The container driver: what a runner asks for, carried out in containers."""

from __future__ import annotations

import hashlib
import math
import secrets
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.runner import file_trees
from bassloop.runner.cache.outputs import OutputCache, ThunkOutput
from bassloop.runner.container import image as names
from bassloop.runner.container.calls import calling
from bassloop.runner.container.engine import ContainerEngine, ContainerLimits, EngineError
from bassloop.runner.container.images import PUBLISHED, ImageStore, image_key, secret_of
from bassloop.runner.container.spec import LABEL
from bassloop.runner.container.variables import forget, names_in_engine
from bassloop.runner.engine.progress import StepReporter
from bassloop.runner.errors import DriverError
from bassloop.runner.secrets import OwnerSecrets
from bassloop.wire import bass_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from bassloop.runner.context import CallContext
    from bassloop.runner.engine.driver import Give
    from bassloop.runner.engine.progress import Send
    from bassloop.runner.events import RunnerEvent
    from bassloop.wire import progrock_pb2 as progrock

log = structlog.get_logger(__name__)

CLOSING_SECONDS = 10.0
"""How long what was begun after a thunk may take when the runner ends."""


@dataclass(eq=False)
class ContainerDriver:
    """Carries thunks out in containers. Made with :meth:`open`.

    async with ContainerDriver.open(folder, engine) as driver:
        output = await driver.run(thunk, LOCAL, show)
    """

    engine: ContainerEngine
    cache: OutputCache
    images: ImageStore
    slots: trio.CapacityLimiter
    on_event: Callable[[RunnerEvent], None]
    secret: str
    limits: ContainerLimits
    secrets: OwnerSecrets
    allow_host_path: bool
    allow_insecure: bool
    publish_to: tuple[str, ...]
    _nursery: trio.Nursery = field(repr=False)

    @property
    def owner(self) -> str:
        """What marks the containers and images of this runner."""
        return self.images.owner

    @property
    def prefix(self) -> str:
        """What the names of this runner's containers begin with."""
        return f"bassloop-{self.cache.session}"

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        state_dir: Path,
        engine: ContainerEngine,
        *,
        on_event: Callable[[RunnerEvent], None] = lambda event: None,
        limits: ContainerLimits | None = None,
        secrets: OwnerSecrets | None = None,
        allow_host_path: bool = False,
        allow_insecure: bool = False,
        publish_to: tuple[str, ...] = (),
        jobs: int | None = None,
    ) -> AsyncGenerator[ContainerDriver]:
        """A driver that keeps outputs in `state_dir`. Raises DriverError when it can't.

        Args:
            secrets: what thunks may have, and of which repository.
            allow_insecure: whether a thunk that asks for it may do what root may.
            publish_to: the names of images, or what they are in, that may be pushed.
            jobs: how many commands run at the same time; as many as are asked for when it is None.
        """
        opened = OutputCache.open(state_dir)
        try:
            cache = await opened.__aenter__()
            secret = await trio.to_thread.run_sync(_secret_of, state_dir)
        except OSError as error:
            raise DriverError(f"outputs can't be kept in {state_dir}: {error.strerror}") from error
        try:
            owner = hashlib.sha256(secret.encode()).hexdigest()[:16]
            images = ImageStore(engine, owner, secret, state_dir)
            await _remove_abandoned(engine, owner, cache)
            slots = trio.CapacityLimiter(math.inf if jobs is None else jobs)
            async with trio.open_nursery() as nursery:
                yield cls(
                    engine=engine,
                    cache=cache,
                    images=images,
                    slots=slots,
                    on_event=on_event,
                    secret=secret,
                    limits=limits or ContainerLimits(),
                    secrets=secrets or OwnerSecrets(),
                    allow_host_path=allow_host_path,
                    allow_insecure=allow_insecure,
                    publish_to=publish_to,
                    _nursery=nursery,
                )
                nursery.cancel_scope.deadline = trio.current_time() + CLOSING_SECONDS
        finally:
            await opened.__aexit__(None, None, None)

    @asynccontextmanager
    async def running(
        self, thunk: pb.Thunk, scope: CallContext, send: Send
    ) -> AsyncGenerator[ThunkOutput]:
        """Carry a thunk out, and what it needs before it; an output that is kept is used again.

        `send` is awaited with progress; while it waits, so do the commands. Cancelled, the containers
        are gone when this returns. Raises DriverError when a thunk fails. The output is not removed
        while the context lasts.
        """
        async with calling(self, scope, send, lambda call: call.output(thunk)) as output:
            yield output

    async def run(self, thunk: pb.Thunk, scope: CallContext, send: Send) -> ThunkOutput:
        """The same, for who has no use for the output or knows that it stays."""
        async with self.running(thunk, scope, send) as output:
            return output

    async def resolve(self, ref: pb.ImageRef, scope: CallContext) -> pb.Thunk:
        """A thunk of the image of this name, with the digest that its registry has for it now.

        What is here only, or when the registry can't be reached, counts as it is here.
        """
        found = pb.ImageRef()
        found.CopyFrom(ref)
        name, platform = names.name_of(ref), names.platform_of(ref.platform)
        if not ref.digest:
            reason = "it is not on this runner's machine"
            if not name.startswith(names.LOCAL):
                vertex = StepReporter(_unseen, image_key(name, platform), name, ())
                try:
                    await self.images.pull(name, platform, vertex)
                except EngineError as error:
                    reason = str(error)
            image = await self.images.inspect(name)
            if image is None:
                raise DriverError(f"the image {name} can't be had: {reason}")
            if image.digest is not None:
                found.digest = image.digest
        return pb.Thunk(image=pb.ThunkImage(ref=found))

    async def export(self, thunk: pb.Thunk, scope: CallContext, send: Send, give: Give) -> None:
        """Give an OCI archive of the image that a thunk makes. Raises DriverError."""
        async with self.cache.making() as place:
            target = place.path / "image.tar"
            async with calling(self, scope, send, lambda call: call.exported(thunk, target)):
                pass
            async with aclosing(file_trees.read(target)) as chunks:
                async for chunk in chunks:
                    await give(chunk)

    async def publish(
        self, ref: pb.ImageRef, thunk: pb.Thunk, scope: CallContext, send: Send
    ) -> pb.ImageRef:
        """Push the image that a thunk makes; the name with its digest is returned.

        Only where the owner allows it: it is done with the owner's login. Raises DriverError.
        """
        untagged = pb.ImageRef()
        untagged.CopyFrom(ref)
        untagged.ClearField("digest")
        to = names.name_of(untagged)
        if scope.fork or not any(names.is_within(to, each) for each in self.publish_to):
            raise DriverError(
                f"this runner's owner does not let {scope.repository or 'scripts'} publish to {to}; "
                "--publish REGISTRY/NAME does, and never for forks"
            )
        async with self.cache.making() as place:
            name = self.images.own_name(f"{PUBLISHED}{secrets.token_hex(8)}")
            target = place.path / "image.tar"
            async with calling(self, scope, send, lambda call: call.exported(thunk, target, name)):
                pass
            digest = await self.images.push(target, name, to, place.path / "digest")
        published = pb.ImageRef()
        published.CopyFrom(untagged)
        if digest:
            published.digest = digest
        return published

    def finish(self, output: ThunkOutput, key: str) -> None:
        """Make an image of what a thunk has left, after it, and remove its container."""
        self._nursery.start_soon(self._finish, output, key)

    async def _finish(self, output: ThunkOutput, key: str) -> None:
        try:
            await self.images.left(output, key)
        except DriverError as error:
            # Whoever wants to go on from it tries again, and is told then.
            log.warning("image not made", key=key, error=str(error))


async def _unseen(update: progrock.StatusUpdate) -> None:
    """Progress of a call that reports none."""
    await trio.lowlevel.checkpoint()


def _secret_of(state_dir: Path) -> str:
    """What makes the names of a runner's images impossible to guess: made once."""
    while (found := secret_of(state_dir)) is None:
        path = state_dir / "secret"
        temporary = path.with_suffix(f".{secrets.token_hex(4)}")
        temporary.touch(mode=0o600)
        temporary.write_text(secrets.token_hex(16))
        temporary.rename(path)
    return found


async def _remove_abandoned(engine: ContainerEngine, owner: str, cache: OutputCache) -> None:
    """Remove the containers that a runner has left when it crashed, and the secrets that they had.

    One that had ended too: what it left for others to go on from is made again.
    """
    listed = await engine.ask(
        "ps", "--all", "--filter", f"label={LABEL}={owner}", "--format", "{{.Names}}"
    )

    def is_abandoned(name: str) -> bool:
        session = name.split("-")[1:2]
        return bool(session) and not cache.is_making(session[0])

    for name in filter(is_abandoned, listed.split()):
        await engine.try_remove(name)
    known = [name for name in await names_in_engine(engine) if f"-{owner}-" in name]
    if abandoned := list(filter(is_abandoned, known)):
        await forget(engine, abandoned)
