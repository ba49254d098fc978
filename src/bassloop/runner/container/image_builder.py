"""Make images that aren't pulled by name: load them from an archive, or build them from a Dockerfile.

Each is made once. Its name in the engine is the runner's own, and contains a digest of what it was made of.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.bass.wire.digest import encode_go_order
from bassloop.concurrency import shielded
from bassloop.runner import file_trees
from bassloop.runner.container import image_archive
from bassloop.runner.container import image_info as names
from bassloop.runner.container.container_engine import EngineError
from bassloop.runner.engine import path_rules
from bassloop.runner.engine.command import parse_thunk
from bassloop.runner.engine.graph import describe_os_error
from bassloop.runner.engine.mounts import copy_path, write_logical
from bassloop.runner.engine.step_progress import step_id
from bassloop.runner.errors import DriverError, host_path_not_allowed
from bassloop.runner.options import this_platform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bassloop.runner.container.image_info import Image
    from bassloop.runner.container.image_store import ImageStore
    from bassloop.runner.engine.graph import ThunkGraph
    from bassloop.runner.engine.step_progress import StepReporter
    from bassloop.runner.options import CommandLimits
    from bassloop.wire import bass_pb2 as pb

REMOVE_SECONDS = 30.0
CPU_PERIOD = 100_000
"""The period in microseconds over which an engine divides processor time."""


@dataclass(frozen=True, slots=True)
class ImageBuilder:
    """Makes images for one call, and runs the thunks that they are made of."""

    images: ImageStore
    graph: ThunkGraph
    limits: CommandLimits
    allow_host_path: bool

    async def image(self, message: pb.ThunkImage) -> Image:
        """Return the image that a message describes; make it if it doesn't exist. Raises DriverError."""
        source = source_of(message)
        assert source is not None
        facts = ["image", hashlib.sha256(encode_go_order(message)).hexdigest()]
        inputs = []
        if source.WhichOneof("input") == "thunk":
            thunk = parse_thunk(source.thunk.thunk)
            await self.graph.output(thunk)
            inputs.append(await self.graph.key(thunk))
        key = self.graph.context.namespaced("\n".join([*facts, *inputs]))
        name = self.images.own_name(key)
        step = self.graph.step(key, describe(message), map(step_id, inputs))
        self.graph.call.cache.use_image(key)
        async with self.graph.cache.locks.hold(key):
            found = await self.images.inspect(name)
            if found is not None:
                await step.cached()
                return found
            await step.start()
            error: str | None
            try:
                async with self.graph.cache.new_output() as folder:
                    await self._make(message, source, name, step, folder.path)
                found = await self.images.inspect(name)
                error = None if found else "the engine made it, but doesn't have it"
            except DriverError as failure:
                error = str(failure)
            except OSError as failure:
                error = describe_os_error(failure)
            await step.complete(error)
            if found is None:
                raise DriverError(f"{describe(message)}: {error}")
            return found

    async def _make(
        self,
        message: pb.ThunkImage,
        source: pb.ImageBuildInput,
        name: str,
        step: StepReporter,
        folder: Path,
    ) -> None:
        path = await self._input(source, folder)
        if message.WhichOneof("image") == "archive":
            await self._load(message.archive, path, name, step, folder)
        else:
            await self._build(message.docker_build, path, name, step, folder)

    async def _input(self, source: pb.ImageBuildInput, folder: Path) -> Path:
        """Return the file or folder that an image is made of, copied if necessary."""
        copied = folder / "given"
        match source.WhichOneof("input"):
            case "thunk":
                output = await self.graph.cached(parse_thunk(source.thunk.thunk))
                path = source.thunk.path
                if path_rules.path_filter(path) is None:
                    within = path_rules.inside(path_rules.path_text(path), "the path")
                    return await trio.to_thread.run_sync(file_trees.resolved, output.files, within)
                await copy_path(output.files, path, copied)
            case "logical":
                await write_logical(source.logical, copied)
            case "host":
                if not self.allow_host_path:
                    raise host_path_not_allowed()
                await copy_path(Path(source.host.context), source.host.path, copied)
            case _:
                raise DriverError("this image has no file or folder that it could be made of")
        return copied

    async def _load(
        self, message: pb.ImageArchive, path: Path, name: str, step: StepReporter, folder: Path
    ) -> None:
        names.platform_of(message.platform)
        arch = message.platform.arch or this_platform()[1]
        selector = image_archive.ImageSelector(message.tag or None, arch)
        clean = folder / "image.tar"

        def check() -> None:
            trio.from_thread.check_cancelled()
            file_trees.check_disk(folder)

        await trio.to_thread.run_sync(
            image_archive.import_archive, path, clean, selector, name, check
        )
        await self.images.call(self.images.engine.command("load", "--input", str(clean)), step)

    async def _build(
        self,
        message: pb.ImageDockerBuild,
        context: Path,
        name: str,
        step: StepReporter,
        folder: Path,
    ) -> None:
        within = path_rules.inside(message.dockerfile or "Dockerfile", "the Dockerfile")
        dockerfile = await trio.to_thread.run_sync(file_trees.resolved, context, within)
        words = ["build", "--tag", name, "--file", str(dockerfile), *self._rights()]
        platform = names.platform_of(message.platform)
        if platform is not None:
            words += ["--platform", platform]
        if message.target:
            words.append(f"--target={message.target}")
        for each in message.args:
            words.append(f"--build-arg={each.name}={each.value}")
        words += ["--label", self.images.label]
        async with self._own_caches(dockerfile, folder) as (options, env):
            command = self.images.engine.command(*words, *options, str(context))
            await self.images.call(command, step, env)

    @asynccontextmanager
    async def _own_caches(
        self, dockerfile: Path, folder: Path
    ) -> AsyncGenerator[tuple[list[str], dict[str, str]]]:
        """Yield options and variables that keep a build's caches (`RUN --mount=type=cache`) to itself.

        Engines share them among all builds, for all repositories. Raises DriverError if that can't be prevented.
        """
        engine = self.images.engine
        if engine.kind == "docker":
            yield ["--build-arg", f"BUILDKIT_CACHE_MOUNT_NS={secrets.token_hex(16)}"], {}
            return
        if sys.platform != "linux":
            text = await trio.to_thread.run_sync(dockerfile.read_bytes)
            if re.search(rb"--mount=\S*type=cache", text):
                raise DriverError(
                    "this Dockerfile has cache mounts, which podman machine shares among all builds; "
                    "don't use any"
                )
        temporary = folder / "temporary"
        temporary.mkdir()
        try:
            yield [], {"TMPDIR": str(temporary)}
        finally:
            if engine.rootless:  # some files belong to users that exist only in the user namespace
                with shielded(REMOVE_SECONDS), suppress(EngineError):
                    await engine.ask("unshare", "rm", "-rf", str(temporary))

    def _rights(self) -> list[str]:
        """Return options that limit a build. Layers aren't reused, since they don't record whom they were built for."""
        engine, limits = self.images.engine, self.limits
        words = ["--no-cache"] if engine.kind == "docker" else ["--no-cache", "--layers=false"]
        for each in engine.ulimits:
            words += ["--ulimit", each]
        if engine.network in ("none", "host"):
            words += ["--network", engine.network]
        elif engine.kind == "podman" and not engine.rootless and engine.network != "bridge":
            words += ["--network", "none"]  # this engine's builds know only a bridge, or no network
        if limits.memory is not None:
            words += ["--memory", str(limits.memory)]
        if limits.cpus is not None:
            quota = str(int(limits.cpus * CPU_PERIOD))
            words += ["--cpu-period", str(CPU_PERIOD), "--cpu-quota", quota]
        return words


def source_of(image: pb.ThunkImage) -> pb.ImageBuildInput | None:
    """Return the file or folder that an image is made of, or None if it's pulled by name."""
    match image.WhichOneof("image"):
        case "archive":
            return image.archive.file
        case "docker_build":
            return image.docker_build.context
    return None


def describe(image: pb.ThunkImage) -> str:
    """Return a description of the sources of an image."""
    if image.WhichOneof("image") == "archive":
        return f"image of {_source_text(image.archive.file)}"
    return f"docker build {_source_text(image.docker_build.context)}"


def _source_text(source: pb.ImageBuildInput) -> str:
    match source.WhichOneof("input"):
        case "thunk":
            path = source.thunk.path
        case "host":
            path = source.host.path
        case _:
            return source.logical.file.name or source.logical.dir.name or "./"
    return path_rules.as_word(path_rules.path_text(path), directory=path_rules.is_directory(path))
