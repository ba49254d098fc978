"""Thunks and paths: making them, and changing copies of them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bassloop.bass.combiners import expect
from bassloop.bass.errors import BassError
from bassloop.bass.ground.define import function, operative
from bassloop.bass.ground.lists import items
from bassloop.bass.paths import (
    CachePath,
    CommandPath,
    DirPath,
    FilePath,
    MemoryFiles,
    MemoryPath,
    Path,
    RepositoryPath,
    ThunkPath,
)
from bassloop.bass.printer import show
from bassloop.bass.thunk import (
    ImageArchive,
    ImageBuild,
    ImageRef,
    Mount,
    Platform,
    Thunk,
    ThunkAddr,
)
from bassloop.bass.values import (
    EMPTY,
    Pair,
    Scope,
    Secret,
    Symbol,
    Value,
    make_list,
    unwrap_form,
)

if TYPE_CHECKING:
    from bassloop.bass.machine import Machine

MOUNTABLE = (ThunkPath, MemoryPath, RepositoryPath, CachePath, Secret)
"""What stands somewhere of its own; a plain path does not."""

_MODES = {"shared": 0, "private": 1, "locked": 2}


def as_thunk(value: Value) -> Thunk:
    """The thunk, or an error that says what was there."""
    found: Thunk = expect(value, Thunk, "a thunk")
    return found


def bind_into(ground: Scope) -> None:
    """Bind these names."""
    ground.bindings["scratch"] = Thunk()
    _bind_commands(ground)
    _bind_settings(ground)
    _bind_images(ground)
    _bind_paths(ground)


def _bind_commands(ground: Scope) -> None:
    @operative(
        ground, "$", "args", "a thunk of a command; names stand for themselves, $name for its value"
    )
    def command(machine: Machine, operands: Value, scope: Scope) -> Value:
        args = []
        while isinstance(operands, Pair):
            args.append(_word(machine, operands.a, scope))
            operands = operands.d
        if operands is not EMPTY:
            args += items(machine.evaluate(operands, scope))
        return Thunk(args=tuple(args))

    @function(ground, "with-args", "[thunk args]", "with other arguments, after its command")
    def with_args(thunk: Value, args: Value) -> Value:
        found = as_thunk(thunk)
        return replace(found, args=(*found.args[:1], *items(args)))

    @function(ground, "with-cmd", "[thunk command]", "with another command and arguments")
    def with_cmd(thunk: Value, args: Value) -> Value:
        return replace(as_thunk(thunk), args=tuple(items(args)))

    @function(ground, "wrap-cmd", "[thunk & args]", "with a command in front of its own")
    def wrap_cmd(thunk: Value, *args: Value) -> Value:
        found = as_thunk(thunk)
        return replace(found, args=(*args, *found.args))

    @function(ground, "thunk-cmd", "[thunk]", "its command and arguments")
    def thunk_cmd(thunk: Value) -> Value:
        return make_list(as_thunk(thunk).args)

    @function(ground, "thunk-args", "[thunk]", "its arguments")
    def thunk_args(thunk: Value) -> Value:
        return make_list(as_thunk(thunk).args[1:])


def _word(machine: Machine, form: Value, scope: Scope) -> Value:
    plain = unwrap_form(form)
    if isinstance(plain, Symbol):
        if plain.name.startswith("$"):
            return machine.evaluate(Symbol(plain.name[1:]), scope)
        return plain.name
    return machine.evaluate(form, scope)


def _bind_settings(ground: Scope) -> None:
    @function(ground, "with-stdin", "[thunk values]", "with values on its standard input")
    def with_stdin(thunk: Value, values: Value) -> Value:
        return replace(as_thunk(thunk), stdin=tuple(items(values)))

    @function(ground, "with-env", "[thunk env]", "with more environment variables")
    def with_env(thunk: Value, env: Value) -> Value:
        found = as_thunk(thunk)
        given = dict(expect(env, Scope, "a scope of environment variables").items())
        kept = [(name, value) for name, value in found.env if name not in given]
        return replace(found, env=(*given.items(), *kept))

    @function(ground, "with-dir", "[thunk dir]", "in another working directory")
    def with_dir(thunk: Value, directory: Value) -> Value:
        return replace(as_thunk(thunk), dir=expect(directory, Path, "a directory"))

    @function(
        ground, "with-mount", "[thunk source target]", "with a path, cache or secret at a place"
    )
    def with_mount(thunk: Value, source: Value, target: Value) -> Value:
        found = as_thunk(thunk)
        expect(source, MOUNTABLE, "a path in something that can be mounted, a cache or a secret")
        place = expect(target, (FilePath, DirPath), "a file or directory to mount at")
        return replace(found, mounts=(*found.mounts, Mount(source, place)))

    @function(
        ground,
        "with-label",
        "[thunk name value]",
        "with a label, which changes nothing but its identity",
    )
    def with_label(thunk: Value, name: Value, value: Value) -> Value:
        found, key = as_thunk(thunk), expect(name, Symbol, "a label's name").name
        kept = [label for label in found.labels if label[0] != key]
        return replace(found, labels=(*kept, (key, value)))

    @function(ground, "with-port", "[thunk name port]", "with a named port that it serves")
    def with_port(thunk: Value, name: Value, port: Value) -> Value:
        found = as_thunk(thunk)
        given = (expect(name, Symbol, "a port's name").name, expect(port, int, "a port's number"))
        return replace(found, ports=(*found.ports, given))

    @function(ground, "with-insecure", "[thunk bool]", "with more rights than a container has")
    def with_insecure(thunk: Value, insecure: Value) -> Value:
        return replace(as_thunk(thunk), insecure=expect(insecure, bool, "true or false"))

    @function(ground, "insecure!", "[thunk]", "with more rights than a container has")
    def insecure(thunk: Value) -> Value:
        return replace(as_thunk(thunk), insecure=True)

    @function(ground, "addr", "[thunk port & format]", "where a thunk's port can be reached")
    def addr(thunk: Value, port: Value, *form: Value) -> Value:
        name = expect(port, Symbol, "a port's name").name
        return ThunkAddr(as_thunk(thunk), name, form[0] if form else "$host:$port")


def _bind_images(ground: Scope) -> None:
    @function(ground, "with-image", "[thunk image]", "on another image")
    def with_image(thunk: Value, image: Value) -> Value:
        return as_thunk(thunk).with_image(as_image(image))

    @function(
        ground,
        "from",
        "[image & thunks]",
        "thunks one after the other, each on what the last one left",
    )
    def from_(image: Value, *thunks: Value) -> Value:
        base = image
        for thunk in thunks:
            base = as_thunk(thunk).with_image(as_image(base))
        return base

    @function(
        ground, "cd", "[dir thunk & thunks]", "thunks one after the other, in a directory's files"
    )
    def cd(directory: Value, first: Value, *rest: Value) -> Value:
        found = as_thunk(first)
        expect(directory, MOUNTABLE, "a directory in something that can be mounted")
        base: Value = replace(found, mounts=(*found.mounts, Mount(directory, DirPath("."))))
        for thunk in rest:
            base = as_thunk(thunk).with_image(base)
        return base

    @operative(
        ground, "linux", "args", "the root of image names: (linux/alpine), (linux/python :3.13)"
    )
    def linux(machine: Machine, operands: Value, scope: Scope) -> Value:
        arguments = machine.arguments(operands, scope)
        return _image_path(machine, (), arguments)


def _image_path(machine: Machine, names: tuple[str, ...], arguments: list[Value]) -> Value:
    """Extend an image's name, or with no argument or a tag resolve it."""
    from bassloop.bass.combiners import builtin

    if len(arguments) > 1:
        raise BassError("an image takes one tag")
    given = arguments[0] if arguments else "latest"
    if isinstance(given, FilePath | DirPath):
        words = tuple(word for word in given.path.split("/") if word not in ("", "."))
        longer = (*names, *words)
        return builtin(
            "/".join(longer), "optional", lambda *more: _image_path(machine, longer, list(more))
        )
    if isinstance(given, Symbol):
        given = given.name
    ref = ImageRef("/".join(names), Platform.of("linux"), str(given))
    return machine.resolve(ref)


def as_image(value: Value) -> Any:
    """An image of a thunk, or of the scope that names one."""
    if isinstance(value, Thunk):
        return value.image if value == Thunk() else value
    if not isinstance(value, Scope):
        raise BassError(f"an image is a thunk or a scope, not {show(value)[:200]}")
    return as_ref(value)


def as_ref(value: Scope) -> ImageRef | ImageArchive | ImageBuild:
    """The image that a scope names: `:repository`, `:file` or `:docker_build`, and a `:platform`."""
    platform = value.get("platform")
    wanted = Platform()
    if isinstance(platform, Scope):
        wanted = Platform.of(platform.get("os", ""), platform.get("arch", ""))
    if value.get("docker_build") is not None:
        args = value.get("args")
        return ImageBuild(
            value.get("docker_build"),
            wanted,
            str(value.get("dockerfile")) if value.get("dockerfile") is not None else None,
            value.get("target"),
            tuple(args.items()) if isinstance(args, Scope) else (),
        )
    if value.get("file") is not None:
        return ImageArchive(value.get("file"), wanted, value.get("tag"))
    if value.get("repository") is None:
        raise BassError("an image's scope has a :repository, a :file or a :docker_build")
    return ImageRef(value.get("repository"), wanted, value.get("tag"), value.get("digest"))


def _bind_paths(ground: Scope) -> None:
    @function(ground, "subpath", "[parent child]", "a path inside another")
    def subpath(parent: Value, child: Value) -> Value:
        return expect(parent, Path, "a path").extend(expect(child, Path, "a path inside it"))

    @function(ground, "path-name", "[path]", "a path's last part")
    def path_name(path: Value) -> Value:
        return expect(path, Path, "a path").name()

    @function(ground, "path-stem", "[path]", "a path's last part, without its extension")
    def path_stem(path: Value) -> Value:
        return stem(expect(path, Path, "a path"))

    @function(ground, "string->fs-path", "[str]", "the file or directory path that a string writes")
    def string_to_path(text: Value) -> Value:
        given: str = expect(text, str, "a string")
        if not given:
            raise BassError("an empty string is no path")
        return DirPath(given.rstrip("/") or "/") if given.endswith("/") else FilePath(given)

    @function(ground, "string->cmd-path", "[str]", "the command or file path that a string writes")
    def string_to_command(text: Value) -> Value:
        given: str = expect(text, str, "a string")
        return FilePath(given) if "/" in given else CommandPath(given)

    @function(ground, "string->dir", "[str]", "the directory path that a string writes")
    def string_to_dir(text: Value) -> Value:
        return DirPath(expect(text, str, "a string").rstrip("/") or "/")

    @function(ground, "mkfs", "files", "files in memory, of alternating paths and contents")
    def mkfs(*files: Value) -> Value:
        made: dict[str, bytes] = {}
        for index in range(0, len(files) - 1, 2):
            path = expect(files[index], FilePath, "a file path").path
            name = path.removeprefix("./")
            if name.startswith(("/", "../")) or "/../" in name:
                raise BassError(f"{path} is not inside the files that are made")
            made[name] = expect(files[index + 1], str, "a file's content").encode()
        return MemoryPath(MemoryFiles(made), DirPath("."))

    @function(ground, "cache-dir", "[id & mode]", "a directory that a runner keeps between runs")
    def cache_dir(name: Value, *mode: Value) -> Value:
        word = mode[0].name if mode and isinstance(mode[0], Symbol) else "shared"
        if word not in _MODES:
            raise BassError(f"a cache is {', '.join(_MODES)}, not {word}")
        return CachePath(expect(name, str, "a cache's name"), _MODES[word])


def stem(path: Path) -> str:
    """A path's last part without what follows its last dot."""
    name = path.name()
    return re.sub(r"\.[^.]*\Z", "", name)
