"""Images by name, found or fetched; and images that thunks have left.

A thunk that ran leaves its container, stopped. Only when its file system was changed is an image made
of it, a moment later and not on the way of whoever waits for the thunk; then the container is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.runner.cache.outputs import Locks
from bassloop.runner.container import image as names
from bassloop.runner.container.engine import ContainerEngine, EngineError, is_missing
from bassloop.runner.container.spec import LABEL, WORK
from bassloop.runner.engine.coalesce import LogBatcher
from bassloop.runner.engine.progress import Send, StepReporter
from bassloop.runner.errors import DriverError
from bassloop.runner.process import run_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bassloop.runner.cache.outputs import ThunkOutput
    from bassloop.runner.container.image import Image

PULL_SECONDS = 1_800
MOST_INSPECTED = 1_000
PUBLISHED = "publish-"
"""What the key of an image begins with that is here only while it is pushed."""
_OF_ENGINE = ("/", "/bass", WORK, "/dev", "/etc", "/proc", "/run", "/sys", "/tmp")  # noqa: S108
_FILES_OF_ENGINE = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv")


@dataclass(eq=False)
class ImageStore:
    """The images of an engine, for one runner.

    Args:
        owner: marks what is this runner's.
        secret: a part of the names of the images it makes that nobody can guess.
        folder: where the engine's program is started.
    """

    engine: ContainerEngine
    owner: str
    secret: str
    folder: Path
    _locks: Locks = field(default_factory=Locks)
    _inspected: dict[str, tuple[tuple[int, int, int] | None, Image]] = field(default_factory=dict)

    def own_name(self, key: str) -> str:
        """The name of an image that this runner makes."""
        return f"{_prefix(self.secret)}:{key}"

    @property
    def labels(self) -> tuple[str, ...]:
        """What marks all that this runner makes."""
        return (f"{LABEL}={self.owner}",)

    async def inspect(self, name: str) -> Image | None:
        """An image that is here; None when it is not.

        The engine is asked again only when some image has changed: its program takes a tenth of a second
        to start, and a file that is the same tells as much.
        """
        now = self._state()
        if now is not None and name in self._inspected and self._inspected[name][0] == now:
            return self._inspected[name][1]
        try:
            found = names.parse(await self.engine.ask("image", "inspect", name))
        except EngineError as error:
            if is_missing(error):
                return None
            raise
        if len(self._inspected) >= MOST_INSPECTED:
            self._inspected.clear()
        self._inspected[name] = (now, found)
        return found

    def _state(self) -> tuple[int, int, int] | None:
        """What tells one state of the engine's images from another; None when that can't be told."""
        if self.engine.index is None:
            return None
        try:
            found = self.engine.index.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    async def named(self, name: str, platform: str | None, send: Send) -> Image:
        """An image by its whole name, fetched when it is not here. Raises DriverError."""
        async with self._locks.holding(f"{name} {platform}"):
            vertex = StepReporter(send, image_key(name, platform), f"image {name}", ())
            found = await self.inspect(name)
            if found is not None:
                await vertex.cached()
                return found
            await vertex.started()
            error: str | None = "cancelled"
            try:
                await self.pull(name, platform, vertex)
                found = await self.inspect(name)
                error = None if found else "it was fetched, and is not there"
            except DriverError as failure:
                error = str(failure)
            finally:
                with trio.CancelScope(shield=error == "cancelled"):
                    await vertex.completed(error)
            if found is None:
                raise DriverError(f"the image {name} can't be had: {error}")
            return found

    async def pull(self, name: str, platform: str | None, vertex: StepReporter) -> None:
        """Fetch an image from its registry; what the engine says is logged. Raises DriverError."""
        words = ["pull", "--quiet"] if self.engine.kind == "podman" else ["pull"]
        if platform is not None:
            words += ["--platform", platform]
        if self.engine.kind == "podman" and names.is_loopback(name):
            words.append("--tls-verify=false")
        await self.told(self.engine.command(*words, name), vertex)

    async def told(self, words: Sequence[str], vertex: StepReporter, stdin: bytes = b"") -> None:
        """Call the engine, with what it says logged. Raises EngineError with its last line."""
        batcher = LogBatcher(vertex.logged)
        masked = {stream: vertex.mask.stream() for stream in (1, 2)}
        tail = b""

        async def on_bytes(stream: int, data: bytes) -> None:
            nonlocal tail
            tail = (tail + data)[-2_000:] if stream == 2 else tail
            await batcher.add(stream, masked[stream].feed(data))

        status, failure = 0, None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(batcher.run)
            try:
                status = await run_command(
                    words,
                    cwd=self.folder,
                    env=os.environ,
                    stdin=stdin,
                    on_bytes=on_bytes,
                    mark=None,
                )
            except OSError as error:
                failure = error
            for stream, rest in masked.items():
                await batcher.add(stream, rest.rest())
            batcher.close()
        if failure is not None:
            raise EngineError(f"{words[0]}: {failure.strerror}")
        if status:
            lines = [each for each in tail.decode(errors="replace").splitlines() if each.strip()]
            text = lines[-1].strip().removeprefix("Error: ")[:1_000] if lines else ""
            raise EngineError(text or f"{self.engine.kind} failed: exit status {status}")

    # --- what thunks have left -----------------------------------------------------------------------

    async def left(self, output: ThunkOutput, key: str) -> str | None:
        """The id of the image that a thunk left; made of its container when it is not made yet.

        None when neither is there any more: somebody has removed them.
        """
        async with self._locks.holding(key):
            made = output.path / "image"
            if made.exists():
                found = await self.inspect(made.read_text())
                return None if found is None else found.id
            try:
                about = json.loads((output.path / "container").read_text())
                container, base = about["name"], about["base"]
                diff = await self.engine.ask("diff", container)
                changed = has_changed(diff, about["mounts"])
                left = await self.commit(container, key) if changed else base
                if changed:
                    output.grow(await self._added(left, base))
            except (OSError, ValueError, LookupError):
                return None
            except EngineError as error:
                if is_missing(error):
                    return None
                raise
            temporary = output.path / f"image.{secrets.token_hex(4)}"
            temporary.write_text(left)
            temporary.rename(made)
            await self.engine.try_remove(container)
            return str(left)

    async def _added(self, image: str, base: str) -> int:
        """Bytes that an image takes beside those of another. Raises EngineError."""
        sizes = await self.engine.ask("image", "inspect", "--format", "{{.Size}}", image, base)
        whole, before = map(int, sizes.split())
        return max(0, whole - before)

    async def save(self, image: str, target: Path) -> None:
        """Write an image into an OCI archive. Raises EngineError."""
        words = ["save", "--output", str(target)]
        if self.engine.kind == "podman":
            words += ["--quiet", "--format", "oci-archive"]
        await self.engine.ask(*words, image, seconds=PULL_SECONDS)

    async def push(self, archive: Path, name: str, to: str, beside: Path) -> str:
        """Push the image in an archive that names it so; its digest is returned. Raises EngineError."""
        ask = self.engine.ask
        await ask("load", "--input", str(archive), seconds=PULL_SECONDS)
        try:
            if self.engine.kind == "podman":
                words = ["push", "--quiet", "--digestfile", str(beside)]
                if names.is_loopback(to):
                    words.append("--tls-verify=false")
                await ask(*words, name, f"docker://{to}", seconds=PULL_SECONDS)
                return await trio.Path(beside).read_text()
            await ask("tag", name, to)
            await ask("push", "--quiet", to, seconds=PULL_SECONDS)
            pushed = await self.inspect(to)
            return (pushed.digest if pushed else None) or ""
        finally:
            with trio.CancelScope(shield=True), suppress(EngineError):
                await ask("rmi", "--force", name, seconds=10)

    async def commit(self, container: str, key: str) -> str:
        """Make an image of a container, and return its id. Raises EngineError."""
        words = ["commit", "--pause=false", "--change", f"LABEL {LABEL}={self.owner}"]
        if self.engine.kind == "podman":
            words.append("--quiet")
        return names.bare(await self.engine.ask(*words, container, self.own_name(key), seconds=600))


def secret_of(folder: Path) -> str | None:
    """What makes the names of the images of this folder's runner impossible to guess; None before it is made."""
    try:
        return (folder / "secret").read_text()
    except FileNotFoundError:
        return None


def own_prefix(folder: Path) -> str | None:
    """What the names of such images are, without their tags; None when there are none."""
    secret = secret_of(folder)
    return None if secret is None else _prefix(secret)


def _prefix(secret: str) -> str:
    return f"{names.OURS}-{secret}"


def image_key(name: str, platform: str | None) -> str:
    """What the vertex of an image by name is known by."""
    return hashlib.sha256(f"image\n{name}\n{platform or ''}".encode()).hexdigest()


def has_changed(diff: str, mounted: Iterable[str]) -> bool:
    """Whether a container's file system was changed by its command, as far as an engine's `diff` says."""
    places = set(_OF_ENGINE)
    for target in mounted:
        place = target
        while place not in ("", "/"):
            places.add(place)
            place = place.rpartition("/")[0]
    for line in diff.splitlines():
        kind, _, path = line.strip().partition(" ")
        of_engine = path in places or path in _FILES_OF_ENGINE
        if kind and (kind == "D" or not of_engine):
            return True
    return False
