"""The container driver: each command in a container of Podman or Docker."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.concurrency import run_all
from bassloop.private_files import write_private_file
from bassloop.runner import file_trees
from bassloop.runner.container import image_archive
from bassloop.runner.container import image_info as names
from bassloop.runner.container.container_engine import ContainerEngine, EngineError
from bassloop.runner.container.image_builder import ImageBuilder, source_of
from bassloop.runner.container.image_store import PUBLISHED, ImageStore, image_key, read_secret
from bassloop.runner.container.launcher import (
    LABEL,
    ContainerLauncher,
    ContainerSettings,
    forget_secrets,
    stored_secrets,
)
from bassloop.runner.container.services import (
    TRUST_VARIABLES,
    CertificateAuthority,
    Services,
    address_text,
    trust_mounts,
)
from bassloop.runner.engine.command import (
    Command,
    Environment,
    ImageDefaults,
    base_of,
    chain_of,
    command_line,
    dependencies_of,
    image_of,
    parse_thunk,
)
from bassloop.runner.engine.execution import Execution
from bassloop.runner.engine.graph import CallResources, ThunkGraph
from bassloop.runner.engine.step_progress import StepReporter, send_nowhere, step_id
from bassloop.runner.engine.thunk_driver import DriverOptions, ThunkDriver
from bassloop.runner.errors import DriverError, NotCached, not_allowed
from bassloop.runner.options import NO_LIMITS, CommandLimits
from bassloop.runner.output_cache import OutputCache, ThunkOutput
from bassloop.runner.secrets import SecretFiles
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.conventions import WORK_FOLDER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from pathlib import Path

    from bassloop.runner.call_context import CallContext
    from bassloop.runner.container.image_info import Image
    from bassloop.runner.engine.step_progress import Send
    from bassloop.runner.engine.thunk_driver import SendBytes

log = structlog.get_logger(__name__)

CLOSING_SECONDS = 10.0
"""How long images of thunks that have just ended may still be made when the runner ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOptions(DriverOptions):
    """The options of a container driver.

    Args:
        limits: the limits of each command.
        allow_insecure: let thunks that ask for it run privileged.
        publish_to: names of images, or prefixes of names, that thunks may push.
        reachable: see :class:`RunnerOptions`.
    """

    limits: CommandLimits = NO_LIMITS
    allow_insecure: bool = False
    publish_to: tuple[str, ...] = ()
    reachable: str | None = None


@dataclass(eq=False, kw_only=True)
class ContainerDriver(ThunkDriver["ContainerGraph"]):
    """Runs thunks in containers. Made with :meth:`open`.

    async with ContainerDriver.open(folder, engine) as driver:
        output = await driver.run(thunk, LOCAL, show)

    Args:
        finishing: runs what is left to do after a thunk.
    """

    options: ContainerOptions
    settings: ContainerSettings
    images: ImageStore
    finishing: trio.Nursery

    @classmethod
    @asynccontextmanager
    async def open(
        cls, state_dir: Path, engine: ContainerEngine, options: ContainerOptions | None = None
    ) -> AsyncGenerator[ContainerDriver]:
        """Open a driver that stores outputs in `state_dir`. Raises DriverError if it can't."""
        options = options or ContainerOptions()
        async with OutputCache.open(state_dir) as cache:
            try:
                secret = await trio.to_thread.run_sync(_make_secret, state_dir)
            except OSError as error:
                text = f"outputs can't be stored in {state_dir}: {error.strerror}"
                raise DriverError(text) from error
            owner = hashlib.sha256(secret.encode()).hexdigest()[:16]
            prefix = f"bassloop-{cache.session}"
            await _remove_abandoned(engine, owner, cache)
            async with trio.open_nursery() as nursery:
                yield cls(
                    cache=cache,
                    options=options,
                    settings=ContainerSettings(
                        engine, owner, prefix, options.limits, options.reachable
                    ),
                    images=ImageStore(engine, owner, secret, state_dir, options.on_event),
                    finishing=nursery,
                )
                nursery.cancel_scope.deadline = trio.current_time() + CLOSING_SECONDS

    @property
    def is_contained(self) -> bool:
        return True

    @property
    def engine_name(self) -> str:
        return str(self.settings.engine)

    @property
    def uses_images(self) -> bool:
        return True

    def graph(self, call: CallResources) -> ContainerGraph:
        return ContainerGraph(self, call)

    async def resolve(self, ref: pb.ImageRef, context: CallContext) -> pb.Thunk:
        """Return a thunk of the named image, with its current digest in its registry.

        If there is no registry or it can't be reached, the image on this machine is used.
        """
        resolved = pb.ImageRef()
        resolved.CopyFrom(ref)
        name, platform = names.name_of(ref), names.platform_of(ref.platform)
        if not ref.digest:
            reason = "it isn't on this runner's machine"
            if not name.startswith(names.LOCAL):
                step = StepReporter(send_nowhere, image_key(name, platform), name, ())
                try:
                    await self.images.pull(name, platform, step)
                except EngineError as error:
                    reason = str(error)
            image = await self.images.inspect(name)
            if image is None:
                raise DriverError(f"the image {name} can't be pulled: {reason}")
            if image.digest is not None:
                resolved.digest = image.digest
        return pb.Thunk(image=pb.ThunkImage(ref=resolved))

    async def export(
        self, thunk: pb.Thunk, context: CallContext, send: Send, send_bytes: SendBytes
    ) -> None:
        async with self.cache.new_output() as folder:
            target = folder.path / "image.tar"
            async with self.with_graph(context, send, lambda graph: graph.export(thunk, target)):
                pass
            async with aclosing(file_trees.read(target)) as chunks:
                async for chunk in chunks:
                    await send_bytes(chunk)

    async def publish(
        self, ref: pb.ImageRef, thunk: pb.Thunk, context: CallContext, send: Send
    ) -> pb.ImageRef:
        """Push the image that a thunk makes, and return its name and digest.

        This uses the owner's login, so it's refused unless the owner allows it.
        """
        published = pb.ImageRef()
        published.CopyFrom(ref)
        published.ClearField("digest")
        to = names.name_of(published)
        if context.fork or not any(names.is_within(to, each) for each in self.options.publish_to):
            raise DriverError(
                f"this runner's owner does not let {context.repository or 'scripts'} publish to {to}; "
                "--publish REGISTRY/NAME would, but never for forks"
            )
        async with self.cache.new_output() as folder:
            name = self.images.own_name(f"{PUBLISHED}{secrets.token_hex(8)}")
            target = folder.path / "image.tar"
            async with self.with_graph(
                context, send, lambda graph: graph.export(thunk, target, name)
            ):
                pass
            digest = await self.images.push(target, name, to, folder.path / "digest")
        if digest:
            published.digest = digest
        return published


class ContainerGraph(ThunkGraph):
    """The thunks of one call, run in containers, and the services that they use."""

    key_prefix = ("container",)
    image_defaults = ImageDefaults()

    def __init__(self, driver: ContainerDriver, call: CallResources) -> None:
        environment = Environment(WORK_FOLDER, address_text, call.granted.value)
        super().__init__(call, driver.cache, environment, driver.options.on_event)
        self._driver = driver
        self._images = driver.images
        self._services = Services(
            driver.settings.engine, self._service, call.nursery, self.context.time_limit
        )
        self._authority = CertificateAuthority()
        self._builder = ImageBuilder(
            driver.images, self, driver.settings.limits, driver.options.allow_host_path
        )
        self._named: dict[str, Image] = {}
        self._joined: set[str] = set()
        """The keys of thunks that ran in the services' network."""

    def check(self, thunk: pb.Thunk) -> None:
        if thunk.insecure and not self._driver.options.allow_insecure:
            raise not_allowed("have rights beyond a container's (insecure)", "--allow-insecure")

    def dependencies(self, command: Command, thunk: pb.Thunk) -> Iterable[pb.Thunk]:
        yield from dependencies_of(command, thunk)
        if base_of(thunk) is None:
            source = source_of(image_of(thunk))
            if source is not None and source.WhichOneof("input") == "thunk":
                yield parse_thunk(source.thunk.thunk)

    def image_steps(self, thunk: pb.Thunk) -> list[str]:
        image = image_of(thunk)
        if base_of(thunk) is None and image.WhichOneof("image") == "ref":
            ref = image.ref
            return [step_id(image_key(names.name_of(ref), names.platform_of(ref.platform)))]
        return []

    # --- images --------------------------------------------------------------------------------------

    async def image_facts(self, thunk: pb.Thunk) -> list[str]:
        """Return the id of the image if it's named without a digest."""
        image = image_of(thunk)
        if image.WhichOneof("image") == "ref" and not image.ref.digest:
            return [(await self._image_named(image.ref)).id]
        if image.WhichOneof("image") == "ref":
            self.context.images[names.name_of(image.ref)] = image.ref.digest
        return []

    async def _image_named(self, ref: pb.ImageRef) -> Image:
        """Return the named image, the same one throughout the call. Raises DriverError."""
        name, platform = names.name_of(ref), names.platform_of(ref.platform)
        key = image_key(name, platform)
        if self.context.cached_only and await self._images.inspect(name) is None:
            raise NotCached(f"the runner no longer has the image {name}")
        if key not in self._named:
            self._named[key] = await self._images.named(name, platform, self.call.send)
        found = self._named[key]
        self.context.images[name] = ref.digest or found.digest or found.id
        return found

    async def _root(self, thunk: pb.Thunk) -> Image:
        """Return the image at the root of a thunk's chain. Raises DriverError."""
        image = image_of(thunk)
        match image.WhichOneof("image"):
            case "ref":
                return await self._image_named(image.ref)
            case "archive" | "docker_build":
                return await self._builder.image(image)
        raise DriverError(
            "this thunk has no image, and a container needs one: name one (in TOML, image = …), or use this machine's "
            "own programs with `bassloop try --engine sandbox` or `bassloop runner --driver host`"
        )

    async def _left_by(self, thunk: pb.Thunk) -> tuple[str, ThunkOutput]:
        """Return the image that a thunk leaves, and its output. Raises DriverError."""
        for _ in range(2):
            output = await self.output(thunk)
            key = await self.key(thunk)
            image = await self._images.left_by(output, key)
            if image is not None:
                return image, output
            # Somebody has removed both its image and its container, so it must run again.
            await self.cache.drop(key)
            self.forget(key)
        raise DriverError(
            f"something keeps removing the container and image of {command_line(thunk)}"
        )

    async def export(self, thunk: pb.Thunk, target: Path, name: str | None = None) -> None:
        """Write an OCI archive of the image that a thunk makes. Raises DriverError, or OSError."""
        root = await self._root(thunk)
        base = thunk if thunk.args else base_of(thunk)
        image = root.id if base is None else (await self._left_by(base))[0]
        config = names.config_after(thunk, root.config)
        saved = target.with_suffix(".saved")
        await self._images.save(image, saved)

        def write() -> None:
            with target.open("wb") as out:
                image_archive.export_archive(saved, out, lambda _: config, name)
            saved.unlink()

        await trio.to_thread.run_sync(write)

    # --- execution -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def preparing(
        self, thunk: pb.Thunk, command: Command, output: ThunkOutput, step: StepReporter
    ) -> AsyncGenerator[Execution]:
        async with self._execution(thunk, output, step) as (execution, _):
            yield execution

    @asynccontextmanager
    async def _execution(
        self, thunk: pb.Thunk, output: ThunkOutput, step: StepReporter
    ) -> AsyncGenerator[tuple[Execution, ContainerLauncher]]:
        """Yield the execution of a thunk, with its secrets and services in place."""
        driver, settings = self._driver, self._driver.settings
        root, before = await self._root(thunk), base_of(thunk)
        image, base = (root.id, None) if before is None else await self._left_by(before)
        with SecretFiles.open(self.call.granted, self.cache.memory_folder) as secret_files:
            command = self.resolve(thunk, root.defaults)
            if not command.words:
                raise DriverError("there is no command, and the image has no default command")
            await run_all([partial(self._start_service, each) for each in command.services])
            launcher = ContainerLauncher(
                settings, image, root, secret_files.folder, insecure=thunk.insecure
            )
            execution = Execution(
                thunk=thunk,
                command=command,
                output=output,
                step=step,
                launcher=launcher,
                cache=self.cache,
                context=self.context,
                slots=driver.slots,
                cached=self.cached,
                secret_files=secret_files,
                base=base,
                allow_host_path=driver.options.allow_host_path,
                disks=settings.disks,
            )
            if settings.reachable and any(
                settings.reachable in command_line(each) for each in chain_of(thunk)
            ):
                launcher.network = "host"
            if command.services:
                launcher.network = self._services.network
                self._joined.add(await self.key(thunk))
            if any(each.HasField("tls") for each in command.services):
                launcher.defaults = TRUST_VARIABLES
                execution.extra_mounts += await trust_mounts(
                    settings.engine,
                    image,
                    settings.prefix,
                    settings.owner,
                    self._authority.certificate,
                    output.path,
                )
            if thunk.HasField("tls"):
                execution.extra_mounts += self._authority.mounts_for(
                    thunk, secret_files.folder, launcher.mount_support
                )
            yield execution, launcher

    async def _start_service(self, thunk: pb.Thunk) -> None:
        await self._services.start(thunk, await self.key(thunk))

    @asynccontextmanager
    async def _service(
        self, thunk: pb.Thunk
    ) -> AsyncGenerator[tuple[Execution, ContainerLauncher]]:
        """Yield the execution of a service, after the thunks that it depends on."""
        _, needed, step = await self.plan(thunk)
        await run_all([partial(self.output, each) for each in needed])
        async with (
            self.cache.new_output() as output,
            self._execution(thunk, output, step) as execution,
        ):
            yield execution

    async def after(self, output: ThunkOutput, key: str) -> None:
        """Make an image of a thunk's container, and remove the container; usually in the background."""
        if key in self._joined:
            # Its container uses the network of services that are about to be stopped.
            await self._images.left_by(output, key)
        else:
            self._driver.finishing.start_soon(self._finish, output, key)

    async def _finish(self, output: ThunkOutput, key: str) -> None:
        try:
            await self._images.left_by(output, key)
        except DriverError as error:
            # Whoever needs the image tries again, and then gets the error.
            log.warning("image not made", key=key, error=str(error))


def _make_secret(state_dir: Path) -> str:
    """Return the unguessable part of the names of a runner's images, creating it the first time."""
    while (found := read_secret(state_dir)) is None:
        with suppress(FileExistsError):
            write_private_file(state_dir / "secret", secrets.token_hex(16).encode(), replace=False)
    return found


async def _remove_abandoned(engine: ContainerEngine, owner: str, cache: OutputCache) -> None:
    """Remove the containers and secrets of sessions that crashed.

    That includes stopped containers that other commands could start from; those thunks run again.
    """
    listed = await engine.ask(
        "ps", "--all", "--filter", f"label={LABEL}={owner}", "--format", "{{.Names}}"
    )

    def is_abandoned(name: str) -> bool:
        session = name.split("-")[1:2]
        return bool(session) and not cache.is_open(session[0])

    for name in filter(is_abandoned, listed.split()):
        await engine.remove_container(name)
    known = [name for name in await stored_secrets(engine) if f"-{owner}-" in name]
    if abandoned := list(filter(is_abandoned, known)):
        await forget_secrets(engine, abandoned)
