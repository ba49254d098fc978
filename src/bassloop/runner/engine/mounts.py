"""Prepare the files that a command uses: mount them, or copy or link them where mounts aren't possible.

What a command writes to an input is discarded, since others may use the same input. Mount points in the work directory
are created before the command runs, and removed afterwards. Nothing is ever written through a symbolic link that a
command has left.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import shielded
from bassloop.runner import file_trees
from bassloop.runner.engine import path_rules
from bassloop.runner.engine.command import INPUTS, parse_thunk
from bassloop.runner.errors import DriverError, host_path_not_allowed
from bassloop.wire.conventions import WORK_FOLDER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence

    from bassloop.runner.engine.command import CommandMount
    from bassloop.runner.output_cache import ThunkOutput
    from bassloop.wire import bass_pb2 as pb

CACHES = "/bass/caches"
UNDO_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class BindMount:
    """A file or folder of this machine that is mounted for a command.

    Args:
        target: an absolute path. Paths in the work directory begin with `WORK_FOLDER`.
        overlay: discard everything that is written to it.
        copied: whether the source is a copy made for this command alone.
    """

    source: Path
    target: str
    overlay: bool = False
    read_only: bool = False
    copied: bool = False


@dataclass(frozen=True, slots=True)
class MountSupport:
    """The kinds of mounts that are possible.

    Args:
        binds: folders and files can be mounted. If not, they are copied or linked into the work directory, and
            nothing can be mounted outside it.
        overlays: folders can be mounted so that writes are discarded.
        nested: mounts within shared folders are safe, because the mounting program doesn't follow links in them.
        reserved: folders that nothing can be mounted at or in.
        existing_only: folders in which only existing paths can be mount points.
        moved: where to mount caches that belong in a folder of images, such as root's home or that of Go's modules.
        forbidden: characters that paths may not contain.
    """

    binds: bool
    overlays: bool = False
    nested: bool = False
    reserved: tuple[str, ...] = ()
    existing_only: tuple[str, ...] = ()
    moved: Mapping[str, str] = field(default_factory=dict)
    forbidden: str = ""

    def cache_target(self, path: str) -> str | None:
        """Return the absolute path of a cache's mount point; None if nothing can be mounted there.

        Without its cache, a command gives the same result, only more slowly. Raises DriverError.
        """
        for folder, place in self.moved.items():
            if path.startswith(f"{folder}/"):
                return place + path.removeprefix(folder)
        missing = _is_within(path, self.existing_only) and not os.path.exists(path)
        if path.startswith("/") and (missing or not self.binds):
            return None
        return self.target(path)

    def target(self, path: str, what: str = "the mount") -> str:
        """Return the absolute path of a mount point, in `WORK_FOLDER` if it's relative. Raises DriverError."""
        target = path
        if not path.startswith("/"):
            target = f"{WORK_FOLDER}/{path_rules.inside(path, what)}"
        elif not self.binds:
            raise DriverError(
                f"{what} {path!r} is outside of the work directory, which the host driver supports only in a "
                "sandbox: install bubblewrap on the runner's machine"
            )
        elif path == "/" or _is_within(path, self.reserved):
            raise DriverError(f"nothing can be mounted at {path!r} on this runner")
        elif _is_within(path, self.existing_only) and not os.path.exists(path):
            raise DriverError(
                f"nothing can be mounted at {path!r} on this runner, because its machine has no such path"
            )
        if any(character in target for character in self.forbidden):
            raise DriverError(
                f"nothing can be mounted at {path!r}: the path contains a colon or comma"
            )
        return target


def _is_within(path: str, folders: Iterable[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(each) for each in folders)


@dataclass(eq=False)
class Mounts:
    """The mounts of one command.

    Args:
        output: the folder with the work directory, and for copies.
        caches: the cache folders, by cache id.
        cached: returns the output of a thunk that ran before. Raises DriverError.
        secret: returns a file that contains a secret. Raises DriverError.
        left_out: the mount points of caches that can't be mounted there.
    """

    output: ThunkOutput
    caches: Mapping[str, Path]
    cached: Callable[[pb.Thunk], Awaitable[ThunkOutput]]
    secret: Callable[[str], Path]
    support: MountSupport
    allow_host_path: bool = False
    binds: list[BindMount] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _links: dict[str, str] = field(default_factory=dict)
    _undo: list[Callable[[], None]] = field(default_factory=list)
    _count: int = 0

    async def lay_out(self, mounts: Sequence[CommandMount]) -> None:
        """Find or copy what will be mounted. Raises DriverError, or OSError."""
        for mount in mounts:
            if mount.target == ".":
                await self._fill_work_dir(mount.source)
            else:
                await self._add(mount)
        self.binds.sort(key=lambda bind: bind.target.count("/"))

    async def add_file(self, source: Path, target: str) -> None:
        """Mount a copy of a file in the work directory. Raises DriverError, or OSError."""
        place = self._new_copy()
        await file_trees.copy(source, place)
        os.utime(place, (file_trees.EPOCH, file_trees.EPOCH))
        self.binds.append(BindMount(place, self.support.target(target), copied=True))
        self.binds.sort(key=lambda bind: bind.target.count("/"))

    async def _fill_work_dir(self, source: pb.ThunkMountSource) -> None:
        """Copy a mount on the work directory itself: the command works on the copy."""
        place = self.output.files
        match source.WhichOneof("source"):
            case "thunk":
                cached = await self.cached(parse_thunk(source.thunk.thunk))
                await copy_path(cached.files, source.thunk.path, place)
            case "logical":
                await write_logical(source.logical, place)
            case "host":
                await copy_path(self._host_folder(source.host), source.host.path, place)
            case _:
                raise DriverError("only files can be mounted on the work directory itself")

    async def _add(self, mount: CommandMount) -> None:
        source = mount.source
        if mount.kind == "cache":
            wanted = self.support.cache_target(mount.target)
            if wanted is None:
                self.left_out.append(mount.target)
            else:
                self._add_cache(source.cache, mount.target, wanted)
            return
        target = self.support.target(mount.target)
        match mount.kind:
            case "thunk":
                self.binds.append(await self._output_mount(source.thunk, target))
            case "logical":
                place = self._new_copy()
                await write_logical(source.logical, place)
                self.binds.append(BindMount(place, target, copied=True))
            case "host":
                place = self._new_copy()
                await copy_path(self._host_folder(source.host), source.host.path, place)
                self.binds.append(BindMount(place, target, copied=True))
            case "secret":
                place = self.secret(source.secret.name)
                self.binds.append(BindMount(place, target, read_only=True))
            case _:
                raise DriverError(f"the mount {target!r} has no source that this runner knows")

    async def _output_mount(self, path: pb.ThunkPath, target: str) -> BindMount:
        cached = await self.cached(parse_thunk(path.thunk))
        source = await trio.to_thread.run_sync(_resolved, cached.files, path.path)
        if self.support.overlays and source.is_dir() and path_rules.path_filter(path.path) is None:
            return BindMount(source, target, overlay=True)
        place = self._new_copy()
        await copy_path(cached.files, path.path, place)
        if place.is_dir():
            await file_trees.settle(place)
        else:
            os.utime(place, (file_trees.EPOCH, file_trees.EPOCH))
        return BindMount(place, target, copied=True)

    def _add_cache(self, cache: pb.CachePath, wanted: str, target: str) -> None:
        """Mount a whole cache folder and link to a path in it, since other commands may change that path's parents."""
        folder = self.caches[cache.id]
        within = path_rules.inside(path_rules.path_text(cache.path), "the path")
        if not self.support.binds:
            self.binds.append(BindMount(file_trees.resolved(folder, within), target))
        elif within == ".":
            self.binds.append(BindMount(folder, target))
        elif wanted.startswith(f"{INPUTS}/"):
            self.binds.append(BindMount(folder, target.removesuffix(f"/{within}")))
        elif wanted.startswith("/"):
            raise DriverError(f"a path in the cache {cache.id} can't be mounted at {wanted!r}")
        else:
            place = f"{CACHES}/{folder.name}"
            if all(bind.target != place for bind in self.binds):
                self.binds.append(BindMount(folder, place))
            self._links[wanted] = f"{place}/{within}"

    def _host_folder(self, path: pb.HostPath) -> Path:
        if not self.allow_host_path:
            raise host_path_not_allowed()
        return Path(path.context)

    def _new_copy(self) -> Path:
        self._count += 1
        return self.output.path / f"mount-{self._count}"

    # --- mount points in the work directory -----------------------------------------------------------

    @asynccontextmanager
    async def mount_points(self) -> AsyncGenerator[None]:
        """Create all mount points, and on exit remove them from the work directory.

        Raises DriverError, or OSError. Nothing outside the work directory is touched, whatever a command did to the
        parents of a mount point.
        """
        try:
            await trio.to_thread.run_sync(self._make_mount_points)
            yield
        finally:
            with shielded(UNDO_SECONDS):
                await trio.to_thread.run_sync(self._undo_all)

    def _make_mount_points(self) -> None:
        for bind in self.binds:
            outer = self._outer(bind)
            if not self.support.binds:
                self._move_in(bind)
            elif outer is None:
                if bind.target.startswith(f"{WORK_FOLDER}/"):
                    self._make_mount_point(bind)
            elif not self.support.nested:
                make_nested_mount_point(outer, bind)
        for wanted, leads_to in self._links.items():
            self._clear(wanted)
            file_trees.follow(self.output.files, wanted).symlink_to(leads_to)
            self._undo.append(partial(self._remove_mount_point, wanted))

    def _outer(self, bind: BindMount) -> BindMount | None:
        """Return the innermost mount that contains another one."""
        outer = [each for each in self.binds if bind.target.startswith(f"{each.target}/")]
        return max(outer, key=lambda each: len(each.target), default=None)

    def _move_in(self, bind: BindMount) -> None:
        """Put the source itself, or a link to it, where it would be mounted."""
        target = bind.target.removeprefix(f"{WORK_FOLDER}/")
        place = file_trees.follow(self.output.files, target)
        self._clear(target)
        if bind.copied:
            bind.source.rename(place)
        else:
            place.symlink_to(bind.source, target_is_directory=bind.source.is_dir())
        self._undo.append(partial(self._remove_tree, target))

    def _make_mount_point(self, bind: BindMount) -> None:
        target = bind.target.removeprefix(f"{WORK_FOLDER}/")
        place = file_trees.follow(self.output.files, target)
        is_dir = bind.source.is_dir()
        if not place.is_symlink() and (place.is_dir() if is_dir else place.is_file()):
            return
        self._clear(target)
        if is_dir:
            place.mkdir()
        else:
            place.touch()
        self._undo.append(partial(self._remove_mount_point, target))

    def _clear(self, target: str) -> None:
        """Create the parents of a mount point, and move an existing file or directory aside."""
        place = file_trees.follow(self.output.files, target)
        missing = []
        parent = place.parent
        while not parent.is_dir():
            missing.append(parent)
            parent = parent.parent
        for folder in reversed(missing):
            folder.mkdir()
            relative = str(folder.relative_to(self.output.files))
            self._undo.append(partial(self._remove_mount_point, relative))
        if place.is_symlink() or place.exists():
            self._count += 1
            hidden = self.output.path / f"hidden-{self._count}"
            place.rename(hidden)
            self._undo.append(partial(self._put_back, hidden, target))

    def _undo_all(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _remove_tree(self, target: str) -> None:
        """Remove what was moved in, unless the command has replaced a parent with a link."""
        try:
            place = file_trees.follow(self.output.files, target)
        except OSError:
            return
        file_trees.remove_now(place)

    def _remove_mount_point(self, target: str) -> None:
        """Remove a mount point if it still is one, and the command has left nothing in it."""
        with suppress(OSError):  # the command has replaced it
            place = file_trees.follow(self.output.files, target)
            if place.is_symlink():
                if self._links.get(target) == os.readlink(place):
                    place.unlink()
            elif place.is_dir():
                if not any(place.iterdir()):
                    place.rmdir()
            elif place.is_file() and not place.stat().st_size:
                place.unlink()

    def _put_back(self, hidden: Path, target: str) -> None:
        with suppress(OSError):
            place = file_trees.follow(self.output.files, target)
            if place.parent.is_dir() and not os.path.lexists(place):
                hidden.rename(place)


def make_nested_mount_point(outer: BindMount, bind: BindMount) -> None:
    """Create a mount point in another mount's copy. Raises DriverError, or OSError, if there's a link in its path.

    bubblewrap would follow such a link, also out of the sandbox, and create the mount point there.
    """
    if not outer.copied:
        raise DriverError(
            f"nothing can be mounted at {bind.target!r}, within a folder that is shared"
        )
    within = bind.target.removeprefix(f"{outer.target}/")
    place = file_trees.follow(outer.source, within)
    if place.is_symlink():
        raise DriverError(f"the mount point {bind.target!r} is a symbolic link")
    place.parent.mkdir(parents=True, exist_ok=True)
    if bind.source.is_dir():
        place.mkdir(exist_ok=True)
    else:
        place.touch()


def _resolved(root: Path, path: pb.FilesystemPath) -> Path:
    """Return where a path leads that a command is given. Raises DriverError if nothing is there, or another OSError."""
    within = path_rules.inside(path_rules.path_text(path), "the path")
    what = "folder" if path.WhichOneof("path") == "dir" else "file"
    try:
        found = file_trees.resolved(root, within)
    except FileNotFoundError as error:
        if os.path.lexists(root / within):
            raise
        text = f"there is no {what} {path_rules.printable(within)} in the files that the command is given"
        raise DriverError(text) from error
    if what == "folder" and not found.is_dir():
        raise DriverError(f"{path_rules.printable(within)} is a file, and is used as a folder")
    return found


async def copy_path(root: Path, path: pb.FilesystemPath, place: Path) -> None:
    """Copy a path in a folder, following links that stay in the folder."""
    source = await trio.to_thread.run_sync(_resolved, root, path)
    await file_trees.copy(source, place, path_rules.path_filter(path))


async def write_logical(logical: pb.LogicalPath, place: Path) -> None:
    """Write files that are embedded in a message."""

    def write() -> None:
        if logical.WhichOneof("path") == "file":
            place.write_bytes(logical.file.content)
            return
        place.mkdir(exist_ok=True)
        for path, content in path_rules.logical_files(logical):
            if content is None:
                (place / path).mkdir()
            else:
                (place / path).write_bytes(content)

    await trio.to_thread.run_sync(write)
