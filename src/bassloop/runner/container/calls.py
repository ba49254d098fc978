"""One call on the container driver: its thunks, from their images to what they leave."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from bassloop.bass import thunk_sha256
from bassloop.runner.container import addresses, archive
from bassloop.runner.container import image as names
from bassloop.runner.container.config import config_after
from bassloop.runner.container.image_builder import ImageBuilder, input_of
from bassloop.runner.container.images import image_key
from bassloop.runner.container.services import Services, certificates
from bassloop.runner.container.spec import WORK
from bassloop.runner.container.trust import VARIABLES, trusting
from bassloop.runner.container.work import Base, Place, Work
from bassloop.runner.context import command_line
from bassloop.runner.engine import command as commands
from bassloop.runner.engine.graph import Call, hiding, together
from bassloop.runner.engine.progress import step_id
from bassloop.runner.errors import DriverError, NotCached, refused
from bassloop.runner.secrets import GrantedSecrets, SecretFiles
from bassloop.runner.secrets.git_credentials import with_credential

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from pathlib import Path

    from bassloop.runner.cache.outputs import CallCache, ThunkOutput
    from bassloop.runner.container.driver import ContainerDriver
    from bassloop.runner.container.image import Image
    from bassloop.runner.context import CallContext
    from bassloop.runner.engine.command import Command
    from bassloop.runner.engine.progress import Send, StepReporter
    from bassloop.wire import bass_pb2 as pb

Result = TypeVar("Result")


class ContainerCall(Call):
    """What one call asks of the container driver."""

    def __init__(
        self,
        driver: ContainerDriver,
        hold: CallCache,
        granted: GrantedSecrets,
        send: Send,
        nursery: trio.Nursery,
    ) -> None:
        super().__init__(driver.cache, hold, granted, send, driver.on_event)
        self._driver = driver
        self.services = Services(driver.engine, self._service, nursery)
        self._keys: dict[str, str] = {}
        self._images: dict[str, Image] = {}
        self._joined: set[str] = set()

    # --- what a thunk is -----------------------------------------------------------------------------

    async def key(self, thunk: pb.Thunk) -> str:
        """Its message, the images that names in it mean now, the secrets' versions, and its inputs' keys.

        So a name that is given to another image, or a secret that is changed, makes another thunk.
        """
        sha = thunk_sha256(thunk)
        if sha not in self._keys:
            facts = ["container", sha]
            command = self._resolve(thunk, commands.ImageDefaults())
            facts += sorted(map(self.granted.version, command.secrets))
            if commands.base_of(thunk) is None:
                facts += await self._facts_of(commands.image_of(thunk))
            for each in (*self.needs(command, thunk), *command.services):
                facts.append(await self.key(each))
            self._keys[sha] = self.scope.own("\n".join(facts))
        return self._keys[sha]

    async def _facts_of(self, image: pb.ThunkImage) -> list[str]:
        """What tells an image from others that its message could mean."""
        if image.WhichOneof("image") == "ref" and not image.ref.digest:
            return [(await self.image_named(image.ref)).id]
        return []

    def resolve(self, thunk: pb.Thunk) -> Command:
        if thunk.insecure and not self._driver.allow_insecure:
            raise refused("have rights beyond a container's (insecure)", "--allow-insecure")
        return self._resolve(thunk, commands.ImageDefaults())

    def _resolve(self, thunk: pb.Thunk, inherited: commands.ImageDefaults) -> Command:
        environment = _Surroundings(self.granted)
        command = commands.resolve(thunk, image=inherited, environment=environment)
        return with_credential(command, self.granted.credential)

    def needs(self, command: Command, thunk: pb.Thunk) -> Iterable[pb.Thunk]:
        yield from commands.needs(command, thunk)
        if commands.base_of(thunk) is None:
            source = input_of(commands.image_of(thunk))
            if source is not None and source.WhichOneof("input") == "thunk":
                yield source.thunk.thunk

    def inputs(self, thunk: pb.Thunk) -> list[str]:
        """The vertex of the image that a thunk starts from."""
        image = commands.image_of(thunk)
        if commands.base_of(thunk) is None and image.WhichOneof("image") == "ref":
            ref = image.ref
            return [step_id(image_key(names.name_of(ref), names.platform_of(ref.platform)))]
        return []

    # --- images --------------------------------------------------------------------------------------

    async def image_named(self, ref: pb.ImageRef) -> Image:
        """The image of a name. Raises DriverError."""
        name, platform = names.name_of(ref), names.platform_of(ref.platform)
        key = image_key(name, platform)
        if self.scope.cached_only and await self._driver.images.inspect(name) is None:
            raise NotCached(f"the image {name} is not here any more")
        if key not in self._images:
            self._images[key] = await self._driver.images.named(name, platform, self.send)
        return self._images[key]

    async def root(self, image: pb.ThunkImage) -> Image:
        """The image at the root of a chain. Raises DriverError."""
        match image.WhichOneof("image"):
            case "ref":
                return await self.image_named(image.ref)
            case "archive" | "docker_build":
                return await self._roots().made(image)
        raise DriverError("this thunk has no image, and a container needs one")

    def _roots(self) -> ImageBuilder:
        driver = self._driver

        async def needed(thunk: pb.Thunk) -> str:
            await self.output(thunk)
            return await self.key(thunk)

        return ImageBuilder(
            engine=driver.engine,
            images=driver.images,
            cache=self.cache,
            hold=self.hold,
            limits=driver.limits,
            vertex=self.vertex,
            kept=self.kept,
            needed=needed,
            own=self.scope.own,
            allow_host_path=driver.allow_host_path,
        )

    async def base(self, thunk: pb.Thunk) -> Base:
        """What a thunk's container starts from. Raises DriverError."""
        root = await self.root(commands.image_of(thunk))
        before = commands.base_of(thunk)
        if before is None:
            return Base(root.id, root)
        image, kept = await self._left_by(before)
        return Base(image, root, kept)

    async def _left_by(self, thunk: pb.Thunk) -> tuple[str, ThunkOutput]:
        """The image that a thunk leaves, and its output. Raises DriverError."""
        for _ in range(2):
            kept = await self.output(thunk)
            key = await self.key(thunk)
            image = await self._driver.images.left(kept, key)
            if image is not None:
                return image, kept
            # Somebody has removed what it left: it has to run again.
            await self.cache.drop(key)
            self.forget(key)
        raise DriverError(f"what {command_line(thunk)} has left is removed again and again")

    async def exported(self, thunk: pb.Thunk, archive_file: Path, name: str | None = None) -> None:
        """Write an OCI archive of the image that a thunk makes. Raises DriverError, or OSError."""
        root = await self.root(commands.image_of(thunk))
        image = (await self._left_by(thunk))[0] if thunk.args else (await self.base(thunk)).image
        config = config_after(thunk, root.config)
        saved = archive_file.with_suffix(".saved")
        await self._driver.images.save(image, saved)

        def write() -> None:
            with archive_file.open("wb") as out:
                archive.export_archive(saved, out, lambda _: config, name)
            saved.unlink()

        await trio.to_thread.run_sync(write)

    # --- carrying out --------------------------------------------------------------------------------

    async def carry_out(
        self, thunk: pb.Thunk, command: Command, output: ThunkOutput, vertex: StepReporter
    ) -> None:
        async with self._work(thunk, output, vertex) as work:
            await work.carry_out()

    @asynccontextmanager
    async def _work(
        self, thunk: pb.Thunk, output: ThunkOutput, vertex: StepReporter
    ) -> AsyncGenerator[Work]:
        """A thunk's work, while the secrets and services that it needs are there."""
        driver = self._driver
        base = await self.base(thunk)
        with SecretFiles.open(self.granted, self.cache.memory) as revealed:
            command = self._resolve(thunk, base.root.inherited)
            if not command.words:
                raise DriverError("there is no command, and the image does not say what it runs")
            await together([partial(self._start, each) for each in command.services])
            work = Work(
                self.place(), command, base, output, vertex, revealed, insecure=thunk.insecure
            )
            if command.services:
                work.network = self.services.network
                self._joined.add(await self.key(thunk))
            if any(each.HasField("tls") for each in command.services):
                authority = self.services.authority.certificate
                work.more += await trusting(
                    driver.engine,
                    base.image,
                    driver.prefix,
                    driver.owner,
                    authority,
                    output.path,
                )
                work.defaults = VARIABLES
            if thunk.HasField("tls"):
                work.more += certificates(thunk, self.services.authority, revealed.folder)
            yield work

    async def _start(self, thunk: pb.Thunk) -> None:
        await self.services.start(thunk, await self.key(thunk))

    @asynccontextmanager
    async def _service(self, thunk: pb.Thunk) -> AsyncGenerator[tuple[Work, StepReporter]]:
        """The work of a service, with all that it needs made."""
        command = self.resolve(thunk)
        needed = {await self.key(each): each for each in self.needs(command, thunk)}
        inputs = [*map(step_id, needed), *self.inputs(thunk)]
        vertex = self.vertex(await self.key(thunk), command_line(thunk), inputs)
        await together([partial(self.output, each) for each in needed.values()])
        async with self.cache.making() as output, self._work(thunk, output, vertex) as work:
            yield work, vertex

    def place(self) -> Place:
        """What a container of this call may use."""
        driver = self._driver
        return Place(
            engine=driver.engine,
            cache=driver.cache,
            scope=self.scope,
            owner=driver.owner,
            prefix=driver.prefix,
            limits=driver.limits,
            slots=driver.slots,
            kept=self.kept,
            allow_host_path=driver.allow_host_path,
            overlays=driver.engine.kind == "podman",
        )

    async def after(self, output: ThunkOutput, name: str) -> None:
        if name in self._joined:
            # Its container holds the network of services that are about to be stopped.
            await self._driver.images.left(output, name)
        else:
            self._driver.finish(output, name)


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What this driver has beside files."""

    granted: GrantedSecrets
    root: str | None = WORK

    def address(self, addr: pb.ThunkAddr) -> str:
        return addresses.written(addr)

    def secret(self, name: str) -> str:
        return self.granted.value(name)


@asynccontextmanager
async def calling(
    driver: ContainerDriver,
    scope: CallContext,
    send: Send,
    work: Callable[[ContainerCall], Awaitable[Result]],
) -> AsyncGenerator[Result]:
    """Do a call's work; what it used stays while the context lasts, and its services are stopped before.

    Raises DriverError.
    """
    result: list[Result] = []
    failure: DriverError | OSError | None = None
    granted = await driver.secrets.grant(scope)
    with driver.cache.holding() as hold:
        with hiding(granted.mask):
            async with trio.open_nursery() as nursery:
                try:
                    result.append(await work(ContainerCall(driver, hold, granted, send, nursery)))
                except (DriverError, OSError) as error:
                    failure = error
                nursery.cancel_scope.cancel()
            if failure is not None:
                raise failure
        yield result[0]
