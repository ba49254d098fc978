"""What a command in a container is given, laid out: bound where it can be, copied where it must.

What a command writes into an input is thrown away, as the input may be others' too. In the work
directory, places for mounts are made before, and taken out again afterwards.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.runner import file_trees
from bassloop.runner.container.spec import CACHES, WORK, BindMount, check_target
from bassloop.runner.engine import layout
from bassloop.runner.engine.command import INPUTS
from bassloop.runner.engine.sources import copy_inside, wanted_of, write_logical
from bassloop.runner.errors import DriverError, host_path_refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from bassloop.runner.cache.outputs import ThunkOutput
    from bassloop.runner.engine.command import Mount
    from bassloop.wire import bass_pb2 as pb


@dataclass(eq=False)
class Mounts:
    """The mounts of one command.

    Args:
        output: where the command's work directory is, and room for copies beside it.
        kept: finds the output of a thunk that ran.
        caches: the shared folders by the id of their cache.
        secret: makes a file with a secret in it.
        overlays: whether the engine can show a folder so that what is written is thrown away.
    """

    output: ThunkOutput
    kept: Callable[[pb.Thunk], Awaitable[ThunkOutput]]
    caches: Mapping[str, Path]
    secret: Callable[[str], Path]
    overlays: bool
    allow_host_path: bool = False
    binds: list[BindMount] = field(default_factory=list)
    _links: list[tuple[str, str]] = field(default_factory=list)
    _undo: list[Callable[[], None]] = field(default_factory=list)
    _count: int = 0

    async def lay_out(self, mounts: Sequence[Mount]) -> None:
        """Find or make what is mounted. Raises DriverError, or OSError."""
        for mount in mounts:
            if mount.target == ".":
                await self._fill_work(mount.source)
            else:
                await self._bind(mount)
        self.binds.sort(key=lambda bind: bind.target.count("/"))

    async def _fill_work(self, source: pb.ThunkMountSource) -> None:
        """A mount on the work directory itself: its copy is what the command works on."""
        place = self.output.files
        match source.WhichOneof("source"):
            case "thunk":
                kept = await self.kept(source.thunk.thunk)
                await copy_inside(kept.files, source.thunk.path, place)
            case "logical":
                await write_logical(source.logical, place)
            case "host":
                await copy_inside(self._host(source.host), source.host.path, place)
            case _:
                raise DriverError("only files can be mounted on the work directory itself")

    async def _bind(self, mount: Mount) -> None:
        target = mount.target
        if target.startswith("/"):
            check_target(target)
        else:
            target = check_place(f"{WORK}/{layout.inside(target, 'the mount')}")
        source = mount.source
        match source.WhichOneof("source"):
            case "thunk":
                self.binds.append(await self._of_thunk(source.thunk, target))
            case "logical":
                place = self._copy()
                await write_logical(source.logical, place)
                self.binds.append(BindMount(place, target))
            case "cache":
                self._of_cache(source.cache, mount.target, target)
            case "host":
                place = self._copy()
                await copy_inside(self._host(source.host), source.host.path, place)
                self.binds.append(BindMount(place, target))
            case "secret":
                place = self.secret(source.secret.name)
                self.binds.append(BindMount(place, target, read_only=True))
            case _:
                raise DriverError(f"the mount {target!r} has no source that this runner knows")

    async def _of_thunk(self, path: pb.ThunkPath, target: str) -> BindMount:
        kept = await self.kept(path.thunk)
        within = layout.inside(layout.filesystem(path.path), "the path")
        source = await trio.to_thread.run_sync(file_trees.resolved, kept.files, within)
        if self.overlays and source.is_dir() and wanted_of(path.path) is None:
            return BindMount(source, target, overlay=True)
        place = self._copy()
        await copy_inside(kept.files, path.path, place)
        if place.is_dir():
            await file_trees.settle(place)
        else:
            os.utime(place, (file_trees.EPOCH, file_trees.EPOCH))
        return BindMount(place, target)

    def _of_cache(self, cache: pb.CachePath, wanted: str, target: str) -> None:
        """A shared folder is mounted whole: other commands may change the way to what is in it."""
        folder = self.caches[cache.id]
        within = layout.inside(layout.filesystem(cache.path), "the path")
        as_input = wanted.startswith(f"{INPUTS}/")
        if within == "." or as_input:
            whole = target if within == "." else target.removesuffix(f"/{within}")
            self.binds.append(BindMount(folder, whole))
            return
        if wanted.startswith("/"):
            raise DriverError(f"a path in the cache {cache.id} can't be mounted at {wanted!r}")
        inside = f"{CACHES}/{folder.name}"
        if all(bind.target != inside for bind in self.binds):
            self.binds.append(BindMount(folder, inside))
        self._links.append((wanted, f"{inside}/{within}"))

    def _host(self, path: pb.HostPath) -> Path:
        if not self.allow_host_path:
            raise host_path_refused()
        return Path(path.context)

    def _copy(self) -> Path:
        self._count += 1
        return self.output.path / f"mount-{self._count}"

    # --- places in the work directory ----------------------------------------------------------------

    @contextmanager
    def places(self) -> Iterator[None]:
        """While the context lasts, the work directory has a place for each mount in it.

        A mount within another has its place there, made by the engine. Whatever a command did to the
        way to a place, nothing outside of the work directory is touched.
        """
        within = [bind for bind in self.binds if bind.target.startswith(f"{WORK}/")]
        targets = {bind.target for bind in within}
        try:
            for bind in within:
                if not targets & set(_parents(bind.target)):
                    self._make_place(bind.target.removeprefix(f"{WORK}/"), bind.source.is_dir())
            for wanted, leads_to in self._links:
                self._clear(wanted)
                file_trees.follow(self.output.files, wanted).symlink_to(leads_to)
                self._undo.append(partial(self._remove, wanted))
            yield
        finally:
            while self._undo:
                with suppress(OSError):  # the command has put something else in the way
                    self._undo.pop()()

    def _make_place(self, target: str, is_dir: bool) -> None:
        place = file_trees.follow(self.output.files, target)
        if not place.is_symlink() and (place.is_dir() if is_dir else place.is_file()):
            return
        self._clear(target)
        if is_dir:
            place.mkdir()
        else:
            place.touch()
        self._undo.append(partial(self._remove, target))

    def _clear(self, target: str) -> None:
        """Make the folders on the way to a place, and move away what is there."""
        place = file_trees.follow(self.output.files, target)
        missing = []
        parent = place.parent
        while not parent.is_dir():
            missing.append(parent)
            parent = parent.parent
        for folder in reversed(missing):
            folder.mkdir()
            relative = str(folder.relative_to(self.output.files))
            self._undo.append(partial(self._remove, relative))
        if place.is_symlink() or place.exists():
            self._count += 1
            hidden = self.output.path / f"hidden-{self._count}"
            place.rename(hidden)
            self._undo.append(partial(self._put_back, hidden, target))

    def _remove(self, target: str) -> None:
        """Take a place out again, if it still is one and the command has left nothing in it."""
        place = file_trees.follow(self.output.files, target)
        if place.is_symlink():
            if (target, os.readlink(place)) in self._links:
                place.unlink()
        elif place.is_dir():
            if not any(place.iterdir()):
                place.rmdir()
        elif place.is_file() and not place.stat().st_size:
            place.unlink()

    def _put_back(self, hidden: Path, target: str) -> None:
        place = file_trees.follow(self.output.files, target)
        if place.parent.is_dir() and not os.path.lexists(place):
            hidden.rename(place)


def check_place(target: str) -> str:
    """A path in the work directory that a mount may have. Raises DriverError."""
    if any(character in target for character in ":,\n"):
        raise DriverError(f"nothing can be mounted at {target!r}: the path has a colon or comma")
    return target


def _parents(target: str) -> list[str]:
    parts = target.split("/")
    return ["/".join(parts[:count]) for count in range(2, len(parts))]
