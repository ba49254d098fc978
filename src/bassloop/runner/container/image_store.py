"""The images of an engine: those pulled by name, and those made from thunks' containers.

A thunk leaves its stopped container. If the command changed its file system, it's committed to an image, in the
background so that nobody waits. Then the container is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio
from cachetools import LRUCache

from bassloop.concurrency import KeyedLock, shielded
from bassloop.runner.container import image_info as names
from bassloop.runner.container.container_engine import (
    ContainerEngine,
    EngineError,
    installed_engines,
    is_missing,
    last_message,
)
from bassloop.runner.container.launcher import LABEL
from bassloop.runner.engine.execution import Launch, run_logged
from bassloop.runner.engine.step_progress import Send, StepReporter
from bassloop.runner.errors import DriverError
from bassloop.runner.runner_events import PullEnded, PullStarted
from bassloop.wire.conventions import WORK_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from bassloop.runner.container.image_info import Image
    from bassloop.runner.output_cache import ThunkOutput
    from bassloop.runner.runner_events import RunnerEvent

log = structlog.get_logger(__name__)

TRANSFER_SECONDS = 1_800
COMMIT_SECONDS = 600
CLEANUP_SECONDS = 60
MAX_INSPECTED = 1_000
PUBLISHED = "publish-"
"""The prefix of the key of an image that exists only while it's pushed."""
_OF_ENGINE = ("/", "/bass", WORK_FOLDER, "/dev", "/etc", "/proc", "/run", "/sys", "/tmp")  # noqa: S108
_FILES_OF_ENGINE = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv")

IndexState = tuple[int, int, int]


@dataclass(eq=False)
class ImageStore:
    """The images of an engine, for one runner.

    Args:
        owner: the value of the label of everything the runner makes.
        secret: an unguessable part of the names of the images it makes.
        folder: the working directory of the engine's program.
        on_event: called when a pull starts or ends.
    """

    engine: ContainerEngine
    owner: str
    secret: str
    folder: Path
    on_event: Callable[[RunnerEvent], None] = lambda event: None
    _locks: KeyedLock[str] = field(default_factory=KeyedLock)
    _inspected: LRUCache[str, tuple[IndexState, Image]] = field(
        default_factory=lambda: LRUCache(MAX_INSPECTED)
    )

    @property
    def label(self) -> str:
        """The label of everything this runner makes."""
        return f"{LABEL}={self.owner}"

    def own_name(self, key: str) -> str:
        """Return the name of an image that this runner makes."""
        return f"{_own_repository(self.secret)}:{key}"

    async def inspect(self, name: str) -> Image | None:
        """Return an image on this machine, or None. Raises EngineError.

        The result is cached until some image has changed, because the engine's program takes a tenth of a second to
        start.
        """
        state = self._index_state()
        stored = self._inspected.get(name)
        if state is not None and stored is not None and stored[0] == state:
            return stored[1]
        try:
            found = names.parse(await self.engine.ask("image", "inspect", name))
        except EngineError as error:
            if is_missing(error):
                return None
            raise
        if state is not None:
            self._inspected[name] = (state, found)
        return found

    def _index_state(self) -> IndexState | None:
        """Return a value that changes whenever an image does, or None if there is none."""
        if self.engine.index is None:
            return None
        try:
            found = self.engine.index.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    async def named(self, name: str, platform: str | None, send: Send) -> Image:
        """Return an image by its full name; pull it if it isn't on this machine. Raises DriverError."""
        async with self._locks.hold(f"{name} {platform}"):
            step = StepReporter(send, image_key(name, platform), f"image {name}", ())
            found = await self.inspect(name)
            if found is not None:
                await step.cached()
                return found
            await step.start()
            error: str | None = "cancelled"
            try:
                await self.pull(name, platform, step)
                found = await self.inspect(name)
                error = None if found else "the engine pulled it, but doesn't have it"
            except DriverError as failure:
                error = str(failure)
            finally:
                with shielded(1 if error == "cancelled" else TRANSFER_SECONDS):
                    await step.complete(error)
            if found is None:
                raise DriverError(f"the image {name} can't be pulled: {error}")
            return found

    async def pull(self, name: str, platform: str | None, step: StepReporter) -> None:
        """Pull an image from its registry, and log the engine's output. Raises DriverError."""
        words = ["pull"]
        if platform is not None:
            words += ["--platform", platform]
        if self.engine.kind == "podman" and names.is_loopback(name):
            words.append("--tls-verify=false")
        began = time.monotonic()
        self.on_event(PullStarted(name))
        error: str | None = "cancelled"
        try:
            await self.call(self.engine.command(*words, name), step)
            error = None
        except DriverError as failure:
            error = str(failure)
            raise
        finally:
            self.on_event(PullEnded(name, time.monotonic() - began, error))

    async def call(
        self, words: Sequence[str], step: StepReporter, env: Mapping[str, str] | None = None
    ) -> None:
        """Run the engine, and log its output. Raises DriverError with the last line of its standard error.

        Args:
            env: variables to add to those of this process.
        """
        environment = {**os.environ, **(env or {})}
        done = await run_logged(Launch(words, self.folder, environment, marker=None), step)
        if done.status:
            message = last_message(done.stderr)
            failed = f"{self.engine.kind} failed: exit status {done.status}"
            raise EngineError(message or failed)

    # --- images of thunks ----------------------------------------------------------------------------

    async def left_by(self, output: ThunkOutput, key: str) -> str | None:
        """Return the id of a thunk's image; make it from the thunk's container if that wasn't done yet.

        Return None if somebody has removed both.
        """
        async with self._locks.hold(key):
            made = output.path / "image"
            if made.exists():
                found = await self.inspect(made.read_text())
                return None if found is None else found.id
            try:
                about = json.loads((output.path / "container").read_text())
                container, base = str(about["name"]), str(about["base"])
                image = base
                if has_changed(await self.engine.ask("diff", container), about["mounts"]):
                    image = await self._commit(container, key)
                    output.add_size(await self._added_size(image, base))
            except (OSError, ValueError, LookupError):
                return None
            except EngineError as error:
                if is_missing(error):
                    return None
                raise
            temporary = output.path / f"image.{secrets.token_hex(4)}"
            temporary.write_text(image)
            temporary.rename(made)
            await self.engine.remove_container(container)
            return image

    async def _commit(self, container: str, key: str) -> str:
        """Commit a container to an image, and return its id. Raises EngineError."""
        words = ["commit", "--pause=false", "--change", f"LABEL {self.label}"]
        if self.engine.kind == "podman":
            words.append("--quiet")
        words += [container, self.own_name(key)]
        return names.bare_id(await self.engine.ask(*words, seconds=COMMIT_SECONDS))

    async def _added_size(self, image: str, base: str) -> int:
        """Return by how many bytes an image is larger than its base. Raises EngineError."""
        sizes = await self.engine.ask("image", "inspect", "--format", "{{.Size}}", image, base)
        whole, before = map(int, sizes.split())
        return max(0, whole - before)

    # --- archives ------------------------------------------------------------------------------------

    async def save(self, image: str, target: Path) -> None:
        """Write an image to an OCI archive. Raises EngineError."""
        words = ["save", "--output", str(target)]
        if self.engine.kind == "podman":
            words += ["--quiet", "--format", "oci-archive"]
        await self.engine.ask(*words, image, seconds=TRANSFER_SECONDS)

    async def push(self, archive: Path, name: str, to: str, digest_file: Path) -> str:
        """Load and push the image that an archive contains under this name; return its digest. Raises EngineError."""
        ask = self.engine.ask
        await ask("load", "--input", str(archive), seconds=TRANSFER_SECONDS)
        try:
            if self.engine.kind == "podman":
                words = ["push", "--quiet", "--digestfile", str(digest_file)]
                if names.is_loopback(to):
                    words.append("--tls-verify=false")
                await ask(*words, name, f"docker://{to}", seconds=TRANSFER_SECONDS)
                return await trio.Path(digest_file).read_text()
            await ask("tag", name, to)
            await ask("push", "--quiet", to, seconds=TRANSFER_SECONDS)
            pushed = await self.inspect(to)
            return (pushed.digest if pushed else None) or ""
        finally:
            with shielded(CLEANUP_SECONDS), suppress(EngineError):
                await ask("rmi", "--force", name, seconds=CLEANUP_SECONDS)


class OwnImages:
    """The images that the runner with this folder has made in one engine, for pruning."""

    def __init__(self, engine: ContainerEngine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder

    async def sizes(self) -> dict[str, int]:
        """Return their sizes in bytes, by cache key; an empty dict if the engine doesn't answer."""
        repository = await trio.to_thread.run_sync(own_repository, self._folder)
        if repository is None:
            return {}
        try:
            form = "{{.Repository}} {{.Tag}} {{.ID}}"
            # Without the filter, Podman adds up the size of every image on the machine: 60 ms for each.
            of_ours = ("--filter", f"reference={repository}:*")
            listed = await self._engine.ask("images", *of_ours, "--no-trunc", "--format", form)
            found = [line.split() for line in listed.splitlines()]
            own = {key: image for name, key, image in found if name == repository}
            if not own:
                return {}
            inspect = ("image", "inspect", "--format", "{{.Size}}")
            sizes = (await self._engine.ask(*inspect, *own.values())).split()
            by_key = dict(zip(own, map(int, sizes), strict=True))
        except (EngineError, ValueError) as error:
            log.warning("images not listed", engine=self._engine.kind, error=str(error))
            return {}
        return {key: size for key, size in by_key.items() if not key.startswith(PUBLISHED)}

    async def remove(self, key: str) -> None:
        """Remove an image. If a container or another image is based on it, only its name is removed."""
        repository = await trio.to_thread.run_sync(own_repository, self._folder)
        try:
            await self._engine.ask("rmi", f"{repository}:{key}")
        except EngineError as error:
            if not is_missing(error):
                log.warning("image not removed", key=key, error=str(error))


def own_images(folder: Path) -> list[OwnImages]:
    """Return the images that the runner with this folder has made, one object for each installed engine."""
    return [OwnImages(engine, folder) for engine in installed_engines()]


def read_secret(folder: Path) -> str | None:
    """Return the unguessable part of the names of a runner's images, or None if there is none yet."""
    try:
        return (folder / "secret").read_text()
    except FileNotFoundError:
        return None


def own_repository(folder: Path) -> str | None:
    """Return the name, without a tag, of the images of the runner with this folder, or None if it has none."""
    secret = read_secret(folder)
    return None if secret is None else _own_repository(secret)


def _own_repository(secret: str) -> str:
    return f"{names.OURS}-{secret}"


def image_key(name: str, platform: str | None) -> str:
    """Return the key of the step that pulls an image."""
    return hashlib.sha256(f"image\n{name}\n{platform or ''}".encode()).hexdigest()


def has_changed(diff: str, mounted: Iterable[str]) -> bool:
    """Return whether a command changed its container's file system, according to an engine's `diff`."""
    made_by_engine = {*_OF_ENGINE, *_FILES_OF_ENGINE}
    for target in mounted:
        path = target
        while path not in ("", "/"):
            made_by_engine.add(path)
            path = path.rpartition("/")[0]
    for line in diff.splitlines():
        kind, _, path = line.strip().partition(" ")
        if kind and (kind == "D" or path not in made_by_engine):
            return True
    return False
