"""Remove cached items when they take too much space, least recently used first.

These are outputs and the images of their thunks, images made from archives and Dockerfiles, and cache folders. Items
in use stay, whichever process uses them. So do images that were pulled by name, which belong to the owner of the
container engine.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from bassloop.concurrency import shielded
from bassloop.runner import file_trees
from bassloop.runner.errors import DriverError
from bassloop.runner.output_cache import (
    KINDS,
    REMOVE_SECONDS,
    ThunkOutput,
    remove_abandoned,
    removing,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bassloop.runner.output_cache import OutputCache


log = structlog.get_logger(__name__)

LEFT_SECONDS = 3_600.0
"""After this time, in seconds, something half removed counts as left by a crashed process."""
MEASURE_SECONDS = 600.0
"""How often everything is measured, in seconds, since cache folders grow unnoticed."""


class PrunableImages(Protocol):
    """The images that a runner has made in one container engine, by cache key."""

    async def sizes(self) -> Mapping[str, int]:
        """Return their sizes in bytes; nothing if the engine doesn't answer."""

    async def remove(self, key: str) -> None:
        """Remove an image if it exists. One that another image is based on only loses its name."""


@dataclass(frozen=True, slots=True)
class CachedItem:
    """Something cached, when it was last used, and the bytes that it takes."""

    kind: str
    name: str
    used: float
    size: int


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The number and bytes of removed items, the bytes left, and how many items are in use."""

    count: int
    freed: int
    left: int
    in_use: int

    def __str__(self) -> str:
        text = f"removed {self.count:,}, {self.freed / 1e6:,.1f} MB; {self.left / 1e6:,.1f} MB are left"
        return text + (f", {self.in_use} of them in use" if self.in_use else "")


async def prune(
    folder: Path, limit: int, images: Sequence[PrunableImages], *, kinds: Sequence[str] = KINDS
) -> PruneResult:
    """Remove cached items from a runner's folder until at most `limit` bytes are left.

    Only `kinds` are removed and counted. A limit of 0 removes everything that isn't in use. A runner may use the
    folder at the same time. Raises OSError.
    """
    sizes = [(each, await each.sizes()) for each in images]

    def measure() -> list[CachedItem]:
        _remove_leftovers(folder)
        image_sizes = [found for _, found in sizes]
        return [_measured(kind, path, image_sizes) for kind in kinds for path in _in(folder / kind)]

    items = await trio.to_thread.run_sync(measure)
    total = sum(item.size for item in items)
    count = freed = in_use = 0
    for item in sorted(items, key=lambda each: each.used):
        if 0 < limit >= total - freed:
            break
        holders = [each for each, found in sizes if item.name in found and item.kind != "caches"]
        if await _remove(folder, item, holders):
            count, freed = count + 1, freed + item.size
        else:
            in_use += 1
    if "outputs" in kinds and "images" in kinds:
        known = {item.name for item in items}
        for each, found in sizes:
            for key in found:
                if key not in known and not any((folder / kind / key).exists() for kind in KINDS):
                    await each.remove(key)
    return PruneResult(count, freed, total - freed, in_use)


async def keep_within(cache: OutputCache, limit: int, images: Sequence[PrunableImages]) -> None:
    """Prune whenever the cache has grown, until cancelled."""
    while True:
        try:
            pruned = await prune(cache.folder, limit, images)
            log.info("pruned", removed=pruned.count, freed=pruned.freed, left=pruned.left)
        except (OSError, DriverError) as error:
            log.warning("not pruned", error=str(error))
        with trio.move_on_after(MEASURE_SECONDS):
            await cache.grown(limit // 20)


def _remove_leftovers(folder: Path) -> None:
    """Remove what crashed runners left incomplete or half removed."""
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


def _measured(kind: str, path: Path, image_sizes: Iterable[Mapping[str, int]]) -> CachedItem:
    try:
        used = path.stat().st_mtime
    except FileNotFoundError:
        used = 0.0
    match kind:
        case "outputs":
            size = ThunkOutput(path).size
        case "images":
            size = max((sizes.get(path.name, 0) for sizes in image_sizes), default=0)
        case _:
            size = file_trees.size(path)
    return CachedItem(kind, path.name, used, size)


async def _remove(folder: Path, item: CachedItem, holders: Iterable[PrunableImages]) -> bool:
    """Remove something and its images if nobody uses it, and return whether it is gone."""

    def take() -> Path | None:
        with removing(folder, item.kind, item.name) as unused:
            if not unused:
                return None
            gone = Path(tempfile.mkdtemp(dir=folder, prefix="gone-"))
            with suppress(FileNotFoundError):
                (folder / item.kind / item.name).rename(gone / "it")
            return gone

    gone = await trio.to_thread.run_sync(take)
    if gone is None:
        return False
    try:
        for each in holders:
            await each.remove(item.name)
    finally:
        with shielded(REMOVE_SECONDS):
            await file_trees.remove(gone)
    return True
