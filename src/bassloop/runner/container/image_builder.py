"""Images that are not fetched by name: out of an archive, or made as a Dockerfile says.

They are kept under a name of this runner's own, by what they are made of, and made once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.bass.wire.digest import encode_go_order
from bassloop.runner import file_trees
from bassloop.runner.container import archive
from bassloop.runner.container import image as names
from bassloop.runner.container.engine import EngineError
from bassloop.runner.engine import layout
from bassloop.runner.engine.progress import step_id
from bassloop.runner.engine.sources import copy_inside, wanted_of, write_logical
from bassloop.runner.errors import DriverError, host_path_refused
from bassloop.runner.ssh import this_platform

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from bassloop.runner.cache.outputs import CallCache, OutputCache, ThunkOutput
    from bassloop.runner.container.engine import ContainerEngine, ContainerLimits
    from bassloop.runner.container.image import Image
    from bassloop.runner.container.images import ImageStore
    from bassloop.runner.engine.progress import StepReporter
    from bassloop.wire import bass_pb2 as pb

PERIOD = 100_000
"""Microseconds over which an engine shares processors out."""


def input_of(image: pb.ThunkImage) -> pb.ImageBuildInput | None:
    """The file or folder that an image is made of, if it is made of one."""
    match image.WhichOneof("image"):
        case "archive":
            return image.archive.file
        case "docker_build":
            return image.docker_build.context
    return None


def described(image: pb.ThunkImage) -> str:
    """An image as a person would name it."""
    if image.WhichOneof("image") == "archive":
        return f"image of {_written(image.archive.file)}"
    return f"docker build {_written(image.docker_build.context)}"


def _written(source: pb.ImageBuildInput) -> str:
    match source.WhichOneof("input"):
        case "thunk":
            path = source.thunk.path
        case "host":
            path = source.host.path
        case _:
            return source.logical.file.name or source.logical.dir.name or "./"
    return layout.written(layout.filesystem(path), directory=layout.is_directory(path))


@dataclass(frozen=True, slots=True)
class ImageBuilder:
    """Makes such images for one call.

    Args:
        hold: keeps what is used from being removed.
        vertex: makes a place in the progress, from a key, a name and inputs.
        kept: finds the output of a thunk that ran.
        needed: makes a thunk's output, and says what it is kept under.
        own: makes a name the scope's own.
    """

    engine: ContainerEngine
    images: ImageStore
    cache: OutputCache
    hold: CallCache
    limits: ContainerLimits
    vertex: Callable[[str, str, Iterable[str]], StepReporter]
    kept: Callable[[pb.Thunk], Awaitable[ThunkOutput]]
    needed: Callable[[pb.Thunk], Awaitable[str]]
    own: Callable[[str], str]
    allow_host_path: bool

    async def made(self, image: pb.ThunkImage) -> Image:
        """The image, made if it has to be. Raises DriverError."""
        facts = ["image", hashlib.sha256(encode_go_order(image)).hexdigest()]
        inputs = []
        source = input_of(image)
        assert source is not None
        if source.WhichOneof("input") == "thunk":
            inputs.append(await self.needed(source.thunk.thunk))
        key = self.own("\n".join([*facts, *inputs]))
        name = self.images.own_name(key)
        vertex = self.vertex(key, described(image), map(step_id, inputs))
        self.hold.image(key)
        async with self.cache.locks.holding(key):
            found = await self.images.inspect(name)
            if found is not None:
                await vertex.cached()
                return found
            await vertex.started()
            error: str | None = "cancelled"
            try:
                async with self.cache.making() as place:
                    await self._make(image, source, name, vertex, place.path)
                found = await self.images.inspect(name)
                error = None if found else "it was made, and is not there"
            except DriverError as failure:
                error = str(failure)
            except OSError as failure:
                error = f"{failure.strerror or failure} ({failure.filename})"
            await vertex.completed(error)
            if found is None:
                raise DriverError(f"{described(image)}: {error}")
            return found

    async def _make(
        self,
        image: pb.ThunkImage,
        source: pb.ImageBuildInput,
        name: str,
        vertex: StepReporter,
        place: Path,
    ) -> None:
        given = await self._given(source, place)
        if image.WhichOneof("image") == "archive":
            await self._load(image.archive, given, name, vertex, place)
        else:
            await self._build(image.docker_build, given, name, vertex)

    async def _given(self, source: pb.ImageBuildInput, place: Path) -> Path:
        """The file or folder that an image is made of."""
        match source.WhichOneof("input"):
            case "thunk":
                root, path = (await self.kept(source.thunk.thunk)).files, source.thunk.path
                if wanted_of(path) is None:
                    within = layout.inside(layout.filesystem(path), "the path")
                    return await trio.to_thread.run_sync(file_trees.resolved, root, within)
                await copy_inside(root, path, place / "given")
            case "logical":
                await write_logical(source.logical, place / "given")
            case "host":
                if not self.allow_host_path:
                    raise host_path_refused()
                await copy_inside(Path(source.host.context), source.host.path, place / "given")
            case _:
                raise DriverError("this image is made of nothing")
        return place / "given"

    async def _load(
        self, message: pb.ImageArchive, given: Path, name: str, vertex: StepReporter, place: Path
    ) -> None:
        names.platform_of(message.platform)
        arch = message.platform.arch or this_platform()[1]
        wanted = archive.ImageSelector(message.tag or None, arch)
        clean = place / "image.tar"
        go_on = trio.from_thread.check_cancelled
        await trio.to_thread.run_sync(archive.import_archive, given, clean, wanted, name, go_on)
        await self.images.told(self.engine.command("load", "--input", str(clean)), vertex)

    async def _build(
        self, message: pb.ImageDockerBuild, context: Path, name: str, vertex: StepReporter
    ) -> None:
        within = layout.inside(message.dockerfile or "Dockerfile", "the Dockerfile")
        dockerfile = await trio.to_thread.run_sync(file_trees.resolved, context, within)
        words = ["build", "--tag", name, "--file", str(dockerfile), *self._rights()]
        platform = names.platform_of(message.platform)
        if platform is not None:
            words += ["--platform", platform]
        if message.target:
            words.append(f"--target={message.target}")
        for each in message.args:
            words.append(f"--build-arg={each.name}={each.value}")
        for label in self.images.labels:
            words += ["--label", label]
        try:
            await self.images.told(self.engine.command(*words, str(context)), vertex)
        except EngineError as error:
            raise DriverError(str(error)) from error

    def _rights(self) -> list[str]:
        """No layers are shared: they are known by the text of a step, and not by for whom it ran."""
        engine, limits = self.engine, self.limits
        words = ["--no-cache"] if engine.kind == "docker" else ["--no-cache", "--layers=false"]
        for each in engine.ulimits:
            words += ["--ulimit", each]
        if engine.network in ("none", "host"):
            words += ["--network", engine.network]
        elif engine.kind == "podman" and not engine.rootless and engine.network != "bridge":
            words += ["--network", "none"]  # this engine builds with a bridge, or with nothing
        if limits.memory is not None:
            words += ["--memory", str(limits.memory)]
        if limits.cpus is not None:
            words += ["--cpu-period", str(PERIOD), "--cpu-quota", str(int(limits.cpus * PERIOD))]
        return words
