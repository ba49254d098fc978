"""What is kept is removed again when it takes too much room: least recently used goes first.

Outputs with the images that their thunks have left, images that were made of archives and Dockerfiles,
and folders that thunks share. Nothing that is in use is removed, whoever uses it; nor are images that
were fetched by name, which are the engine's owner's.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.runner import file_trees
from bassloop.runner.cache.outputs import ThunkOutput, remove_abandoned
from bassloop.runner.cache.pins import KINDS, removing
from bassloop.runner.container.engine import ContainerEngine, EngineError, is_missing
from bassloop.runner.container.images import PUBLISHED, own_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bassloop.runner.cache.outputs import OutputCache

log = structlog.get_logger(__name__)

LEFT_SECONDS = 3_600.0
LOOK_SECONDS = 600.0
"""How often shared folders are measured, which grow unseen."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """Something that is kept, when it was used last, and the bytes that it takes."""

    kind: str
    name: str
    used: float
    size: int


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was removed, in number and bytes; what is left, in bytes; and how much of that is in use."""

    count: int
    freed: int
    left: int
    in_use: int

    def __str__(self) -> str:
        text = f"removed {self.count:,}, {self.freed / 1e6:,.1f} MB; {self.left / 1e6:,.1f} MB are left"
        return text + (f", {self.in_use} of them in use" if self.in_use else "")


def engines() -> list[ContainerEngine]:
    """The engines whose programs are here: removing images needs none of what running containers does."""
    found = ((kind, shutil.which(kind)) for kind in ("podman", "docker"))
    return [ContainerEngine(path, kind) for kind, path in found if path is not None]  # type: ignore[arg-type]


async def prune(
    folder: Path, limit: int, engines: Sequence[ContainerEngine], *, kinds: Sequence[str] = KINDS
) -> PruneResult:
    """Remove what is kept in a runner's folder, until no more than `limit` bytes are left.

    Only `kinds` are removed and counted; with a limit of 0 all goes that nobody uses. A runner may use
    the folder meanwhile. Raises OSError.
    """
    prefix = await trio.to_thread.run_sync(own_prefix, folder)
    images = [_Images(engine, prefix) for engine in engines] if prefix else []
    for one in images:
        await one.look()

    def look() -> list[CacheEntry]:
        _remove_leftovers(folder)
        return [
            _measured(folder, kind, path, images) for kind in kinds for path in _in(folder / kind)
        ]

    kept = await trio.to_thread.run_sync(look)
    known = {each.name for each in kept}
    total = sum(each.size for each in kept)
    count = freed = in_use = 0
    for each in sorted(kept, key=lambda one: one.used):
        if 0 < limit >= total - freed:
            break
        if await _remove(folder, each, images):
            count, freed = count + 1, freed + each.size
        else:
            in_use += 1
    if "outputs" in kinds and "images" in kinds:
        for one in images:
            await one.remove_unknown(folder, known)
    return PruneResult(count, freed, total - freed, in_use)


async def keep_within(cache: OutputCache, limit: int, engine: ContainerEngine | None) -> None:
    """Prune what is kept whenever it has grown, until cancelled."""
    while True:
        try:
            pruned = await prune(cache.folder, limit, [] if engine is None else [engine])
            log.info("pruned", removed=pruned.count, freed=pruned.freed, left=pruned.left)
        except (OSError, EngineError) as error:
            log.warning("not pruned", error=str(error))
        with trio.move_on_after(LOOK_SECONDS):
            await cache.uses.grown(limit // 20)


def _remove_leftovers(folder: Path) -> None:
    """What crashed runners were making, and what was being removed when somebody crashed."""
    if (folder / "making").is_dir():
        remove_abandoned(folder / "making")
    for path in folder.glob("gone-*"):
        with suppress(OSError):  # somebody else removes it
            if time.time() - path.stat().st_mtime > LEFT_SECONDS:
                file_trees.remove_now(path)


def _in(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return list(folder.iterdir())
    return []


def _measured(folder: Path, kind: str, path: Path, images: Iterable[_Images]) -> CacheEntry:
    try:
        used = path.stat().st_mtime
    except FileNotFoundError:
        used = 0.0
    match kind:
        case "outputs":
            size = ThunkOutput(path).size
        case "images":
            size = max((each.sizes.get(path.name, 0) for each in images), default=0)
        case _:
            size = file_trees.size(path)
    return CacheEntry(kind, path.name, used, size)


async def _remove(folder: Path, each: CacheEntry, images: Iterable[_Images]) -> bool:
    """Remove one thing, if nobody uses it. Returns whether it is gone."""

    def take() -> Path | None:
        with removing(folder, each.kind, each.name) as unused:
            if not unused:
                return None
            gone = Path(tempfile.mkdtemp(dir=folder, prefix="gone-"))
            with suppress(FileNotFoundError):
                (folder / each.kind / each.name).rename(gone / "it")
            return gone

    gone = await trio.to_thread.run_sync(take)
    if gone is None:
        return False
    try:
        if each.kind != "caches":
            for one in images:
                await one.remove(each.name)
    finally:
        with trio.CancelScope(shield=True):
            await file_trees.remove(gone)
    return True


class _Images:
    """The images that a runner has made in one engine, by key."""

    def __init__(self, engine: ContainerEngine, prefix: str) -> None:
        self._engine = engine
        self._prefix = prefix
        self.sizes: dict[str, int] = {}

    async def look(self) -> None:
        """Find them. An engine that does not answer has none."""
        form = "{{.Repository}} {{.Tag}} {{.ID}}"
        try:
            listed = await self._engine.ask("images", "--no-trunc", "--format", form)
            found = [line.split() for line in listed.splitlines()]
            ours = {key: image for name, key, image in found if name == self._prefix}
            if ours:
                inspect = ("image", "inspect", "--format", "{{.Size}}")
                sizes = (await self._engine.ask(*inspect, *ours.values())).split()
                self.sizes = dict(zip(ours, map(int, sizes), strict=True))
        except (EngineError, ValueError) as error:
            log.warning("images not looked at", engine=self._engine.kind, error=str(error))

    async def remove(self, key: str) -> None:
        """Remove one, if it is there; one that a container or another image is from loses its name only."""
        if key in self.sizes:
            try:
                await self._engine.ask("rmi", f"{self._prefix}:{key}")
            except EngineError as error:
                if not is_missing(error):
                    log.warning("image not removed", key=key, error=str(error))

    async def remove_unknown(self, folder: Path, known: set[str]) -> None:
        """Remove those of which nothing else is kept any more."""
        for key in self.sizes:
            is_kept = key in known or any((folder / kind / key).exists() for kind in KINDS)
            if not is_kept and not key.startswith(PUBLISHED):
                await self.remove(key)
