"""Paths: making, extending and narrowing them, taking them apart; files in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import arguments
from bassloop.bass.errors import BassError, bad_syntax, brief, wrong_type
from bassloop.bass.filesystem import FSPath, MemoryFiles, NotRead
from bassloop.bass.path import (
    CachePath,
    CommandPath,
    DirPath,
    FilePath,
    HostPath,
    NamePath,
    clean,
    parse_file_or_dir,
)
from bassloop.bass.registry import builtin, function
from bassloop.bass.thunk import Thunk, ThunkPath
from bassloop.bass.values import bytes_of, plain
from bassloop.bass.wire.digest import path_name, thunk_digest
from bassloop.bass.wire.encode import read_files

if TYPE_CHECKING:
    from bassloop.bass.arguments import SymbolName
    from bassloop.bass.machine import Machine
    from bassloop.bass.path import Path
    from bassloop.bass.values import Scope, Value


@builtin("mkfs", "file-content-kv")
def mkfs(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a directory of files in memory.

    The arguments are the paths of files, each followed by its content, a string. Thunks that use the directory, or
    files in it, contain their content.

    => (mkfs ./hello "hey" ./sub/file "down here")
    """
    if len(args) % 2:
        raise bad_syntax("mkfs: the last path has no content")
    files: dict[str, bytes] = {}
    for name, content in zip(args[::2], args[1::2], strict=True):
        where = clean(arguments.file_path(name, "mkfs").path)
        if where in (".", "..") or where.startswith(("/", "../")):
            raise BassError(f"mkfs: {brief(name)} isn't a path below the new directory")
        files[where] = bytes_of(arguments.text(content, "mkfs"))
    return FSPath(MemoryFiles(files))


@function("string->fs-path", shown="string->fspath")
def string_to_fs_path(str: str) -> Value:
    """Returns a string as the path of a file or, if it ends in a slash, of a directory.

    => (string->fs-path "./file")

    => (string->fs-path "dir/")
    """
    return parse_file_or_dir(str)


@function("string->cmd-path")
def string_to_cmd_path(str: str) -> Value:
    """Returns a string as the path of a command or, if there is a slash in it, of a file.

    => (string->cmd-path "bash")

    => (string->cmd-path "scripts/foo")
    """
    return FilePath(parse_file_or_dir(str).path) if "/" in str else CommandPath(str)


@function("string->dir")
def string_to_dir(str: str) -> Value:
    """Returns a string as the path of a directory, whether it ends in a slash or not.

    => (string->dir "dir")
    """
    return DirPath(parse_file_or_dir(str).path)


@function("subpath")
def subpath(parent_dir: Path, child_path: Path) -> Value:
    """Returns the path of something in a directory.

    => (subpath ./dir/ ./file)

    => (subpath (.tests) ./coverage.html)
    """
    return parent_dir.extend(child_path)


def _name(path: Path, machine: Machine) -> str:
    if isinstance(path, Thunk):
        try:
            thunk_digest(path)
        except NotRead:
            machine.wait(read_files(path))
        except BassError:
            pass  # `path_name` returns it
    return path_name(path)


@function("path-name")
def path_name_(path: Path, *, machine: Machine) -> Value:
    """Returns the last part of a path: the name of a command, file or directory, or the digest of a thunk.

    => (path-name ./some/file)

    => (path-name .bash)
    """
    return _name(path, machine)


@function("path-stem")
def path_stem(path: Path, *, machine: Machine) -> Value:
    """Returns the last part of a path, without its extension.

    => (path-stem ./some/file.bass)
    """
    return stem(_name(path, machine))


def stem(name: str) -> str:
    """Return a name up to its last dot."""
    before, dot, _ = name.rpartition(".")
    return before if dot else name


@function("cache-dir")
def cache_dir(id: str, *mode: SymbolName) -> Value:
    """Returns a directory that a runtime keeps between runs, to be mounted into thunks.

    By default (:shared), thunks can use it at the same time. With :locked, one waits for the other. With :private, each
    has its own.

    => (cache-dir "go-mod")

    => (cache-dir "apt" :locked)
    """
    wanted = mode[0] if mode else "shared"
    if wanted not in CachePath.MODES:
        raise BassError(
            f"cache-dir: there is no mode :{wanted}; give it one of :shared, :private, :locked"
        )
    return CachePath(id, mode=CachePath.MODES.index(wanted))


@function("only-globs")
def only_globs(path: Value, *globs: NamePath) -> Value:
    """Returns a directory with only the files that match one of the globs.

    => (only-globs *dir* ./**/*.go)
    """
    return _with_globs(path, globs, "only-globs", exclude=False)


@function("except-globs")
def except_globs(path: Value, *globs: NamePath) -> Value:
    """Returns a directory without the files that match one of the globs.

    => (except-globs *dir* ./.git/)
    """
    return _with_globs(path, globs, "except-globs", exclude=True)


def _with_globs(path: Value, patterns: tuple[NamePath, ...], where: str, *, exclude: bool) -> Value:
    target = plain(path)
    globs = tuple(each.slash() for each in patterns)
    if isinstance(target, DirPath):
        return _narrowed(target, globs, exclude)
    if isinstance(target, HostPath | ThunkPath | FSPath):
        in_memory = isinstance(target, FSPath) and isinstance(target.fs, MemoryFiles)
        if not in_memory:
            return target.at(_narrowed(target.path, globs, exclude))
    raise wrong_type(target, "directory that can be narrowed down", where)


def _narrowed(path: NamePath, globs: tuple[str, ...], exclude: bool) -> NamePath:
    if isinstance(path, FilePath):
        return path
    if exclude:
        return DirPath(path.path, path.include, (*path.exclude, *globs))
    return DirPath(path.path, (*path.include, *globs), path.exclude)
