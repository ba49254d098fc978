"""Thunks: changing them, taking them apart; images; secrets; values as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bassloop.bass import arguments
from bassloop.bass.errors import BassError, brief, wrong_type
from bassloop.bass.filesystem import FSPath
from bassloop.bass.json import encode
from bassloop.bass.path import CachePath, DirPath, FilePath, HostPath
from bassloop.bass.registry import function
from bassloop.bass.thunk import (
    ARCHITECTURE,
    BuildInput,
    Image,
    ImageArchive,
    ImageBuild,
    ImageRef,
    Platform,
    Secret,
    Thunk,
    ThunkAddr,
    ThunkPath,
)
from bassloop.bass.values import MISSING, Scope, bytes_of, from_list, plain

if TYPE_CHECKING:
    from bassloop.bass.arguments import SymbolName
    from bassloop.bass.machine import Machine
    from bassloop.bass.path import NamePath
    from bassloop.bass.values import Value


@function("with-image")
def with_image(thunk: Thunk, image: Value) -> Value:
    """Returns the thunk on another image.

    The image is a thunk, or a scope with :platform and one of :repository, :file and :docker_build. If the thunk is on
    other thunks, the image goes under the deepest of them. See [from].

    => (with-image ($ go test ./...) (linux/golang))
    """
    return thunk.with_image(as_image(image, "with-image"))


@function("with-dir")
def with_dir(thunk: Thunk, dir: Value) -> Value:
    """Returns the thunk with another working directory.

    A plain path is one in the container. Use [cd] to mount a directory and work there.

    => (with-dir (.tests) ./src/)
    """
    directory = plain(dir)
    if isinstance(directory, ThunkPath | HostPath):
        if not isinstance(directory.path, DirPath):
            raise BassError(f"with-dir: {brief(directory)} is a file: a directory is needed")
    elif isinstance(directory, FSPath):
        raise BassError(
            f"with-dir: {brief(directory)} must be mounted: (with-mount thunk dir ./), or [cd]"
        )
    elif not isinstance(directory, DirPath):
        raise wrong_type(directory, "directory", "with-dir")
    return thunk.replace(dir=directory)


@function("with-cmd")
def with_cmd(thunk: Thunk, cmd: list[Value]) -> Value:
    """Returns the thunk with another command and other arguments.

    => (with-cmd ($ replaced) ["go" "test" ./...])
    """
    return thunk.replace(args=tuple(cmd))


@function("with-args")
def with_args(thunk: Thunk, args: list[Value]) -> Value:
    """Returns the thunk with the same command and other arguments.

    => (with-args (.go) ["test" "./..."])
    """
    return thunk.with_args(args)


@function("with-entrypoint")
def with_entrypoint(thunk: Thunk, entrypoint: list[str]) -> Value:
    """Returns the thunk as an image that has this entrypoint; [] for none."""
    return thunk.with_entrypoint(tuple(entrypoint))


@function("with-default-args")
def with_default_args(thunk: Thunk, args: list[str]) -> Value:
    """Returns the thunk as an image that is run with these arguments by default."""
    return thunk.with_default_args(tuple(args))


@function("with-entrypoint-args")
def with_entrypoint_args(thunk: Thunk, args: list[Value]) -> Value:
    """Returns the thunk with arguments to the entrypoint of its image."""
    return thunk.replace(args=tuple(args), use_entrypoint=True)


@function("with-stdin")
def with_stdin(thunk: Thunk, vals: list[Value]) -> Value:
    """Returns the thunk with these values on its standard input, as a stream of JSON.

    => (with-stdin ($ jq ".a") [{:a 1} {:a 2}])
    """
    return thunk.replace(stdin=tuple(vals))


@function("with-env")
def with_env(thunk: Thunk, env: Scope) -> Value:
    """Returns the thunk with more environment variables.

    => (with-env ($ jq ".a") {:FOO "hello"})
    """
    return thunk.with_env(env)


@function("with-insecure")
def with_insecure(thunk: Thunk, bool: bool) -> Value:
    """Returns the thunk with or without elevated rights, as far as its runtime grants them.

    => (with-insecure (.boom) true)
    """
    return thunk.replace(insecure=bool)


@function("with-label")
def with_label(thunk: Thunk, name: SymbolName, val: Value) -> Value:
    """Returns the thunk with a label.

    The command doesn't see labels, but a thunk with another label runs again, for example with another time.

    => (with-label ($ sleep 10) :at (now 10))
    """
    return thunk.with_label(name, val)


@function("with-port")
def with_port(thunk: Thunk, sym: SymbolName, int: int) -> Value:
    """Returns the thunk with one more named port that it listens on.

    => (with-port ($ python3 -m http.server) :http 8000)
    """
    return thunk.with_port(sym, int)


@function("with-tls")
def with_tls(thunk: Thunk, cert_path: FilePath, key_path: FilePath) -> Value:
    """Returns the thunk with the paths at which it gets a TLS certificate and its key.

    => (with-tls ($ serve) ./cert.pem ./key.pem)
    """
    return thunk.replace(tls=(cert_path, key_path))


_MOUNTS: Final = (ThunkPath, HostPath, FSPath, CachePath, Secret)


@function("with-mount")
def with_mount(thunk: Thunk, source: Value, target: NamePath) -> Value:
    """Returns the thunk with a directory, file, cache or secret mounted at a path.

    => (with-mount ($ find ./inputs/) *dir*/inputs/ ./inputs/)
    """
    source = plain(source)
    if not isinstance(source, _MOUNTS):
        raise wrong_type(
            source, "path into a thunk, directory or cache, or secret, to mount", "with-mount"
        )
    return thunk.with_mount(source, target)


@function("thunk-cmd")
def thunk_cmd(thunk: Thunk) -> Value:
    """Returns the command of a thunk, with its arguments.

    => (thunk-cmd ($ foo abc))
    """
    return from_list(thunk.args)


@function("thunk-args")
def thunk_args(thunk: Thunk) -> Value:
    """Returns the arguments to a thunk's command.

    => (thunk-args ($ foo abc))
    """
    return from_list(thunk.args[1:])


@function("addr")
def addr(thunk: Thunk, port: SymbolName, *fmt: str) -> Value:
    """Returns the address of a thunk's port, to pass to another thunk.

    The format has $host and $port in it. The default is "$host:$port".

    => (addr (with-port ($ python3 -m http.server) :http 8000) :http "http://$host:$port")
    """
    return thunk.address(port, *fmt[:1])


@function("mask")
def mask(secret: str, name: SymbolName) -> Value:
    """Returns a string as a secret.

    It prints and encodes as its name. Only commands that this machine runs get its value.

    => (mask "hunter2" :password)
    """
    return Secret(name, bytes_of(secret))


@function("json")
def json(val: Value, *, machine: Machine) -> Value:
    """Returns a value as JSON, a string.

    => (json {:foo-bar "baz"})
    """
    return machine.with_files(lambda: encode(val), val)


def as_image(value: Value, where: str) -> Image:
    """Return an image, from a thunk or a scope. Raises `BassError`, which names the key that is missing or wrong."""
    value = plain(value)
    if isinstance(value, Thunk):
        return value
    if not isinstance(value, Scope):
        raise wrong_type(value, "thunk, or a scope with :repository, :file or :docker_build", where)
    failure: BassError | None = None
    for key, read in (("repository", _ref), ("file", _archive), ("docker_build", _build)):
        if value.get(key) is not MISSING:
            try:
                return read(value, where)
            except BassError as error:
                failure = failure or error
    raise failure or BassError(
        lambda: (
            f"{where}: {brief(value)} is no image: it has none of :repository, :file, :docker_build"
        )
    )


def image_ref(value: Value, where: str) -> ImageRef:
    """Return an image in a registry, from a scope; raises as `as_image` does."""
    scope = arguments.scope(value, where)
    if scope.get("repository") is MISSING:
        raise BassError(lambda: f"{where}: {brief(scope)} has no :repository")
    return _ref(scope, where)


def platform(value: Value, where: str) -> Platform:
    """Return a platform, from a scope. The architecture is this machine's unless it is given."""
    scope = arguments.scope(value, where)
    if scope.get("os") is MISSING:
        raise BassError(
            lambda: f'{where}: the platform {brief(scope)} has no :os, for example {{:os "linux"}}'
        )
    for key in ("os.version", "variant"):
        _text(scope, key, where)
    features = scope.get("os.features")
    if features is not MISSING:
        for feature in arguments.items(features, where):
            arguments.text(feature, where)
    arch = scope.get("architecture")
    return Platform(
        _text(scope, "os", where), ARCHITECTURE if arch is MISSING else arguments.text(arch, where)
    )


def _ref(scope: Scope, where: str) -> ImageRef:
    repository = plain(scope.get("repository"))
    if not isinstance(repository, ThunkAddr):
        repository = arguments.text(repository, f"{where}: :repository")
    given = scope.get("platform")
    return ImageRef(
        repository,
        Platform() if given is MISSING else platform(given, where),
        _text(scope, "tag", where),
        _text(scope, "digest", where),
    )


def _archive(scope: Scope, where: str) -> ImageArchive:
    return ImageArchive(
        _input(scope, "file", where), _platform(scope, where), _text(scope, "tag", where)
    )


def _build(scope: Scope, where: str) -> ImageBuild:
    dockerfile = plain(scope.get("dockerfile"))
    if dockerfile is MISSING:
        dockerfile = None
    elif not isinstance(dockerfile, FilePath):
        raise wrong_type(dockerfile, "file path", f"{where}: :dockerfile")
    args = scope.get("args")
    return ImageBuild(
        _input(scope, "docker_build", where),
        _platform(scope, where),
        dockerfile,
        _text(scope, "target", where),
        () if args is MISSING else tuple(arguments.scope(args, where).items()),
    )


def _platform(scope: Scope, where: str) -> Platform:
    value = scope.get("platform")
    if value is MISSING:
        raise BassError(
            lambda: f'{where}: {brief(scope)} has no :platform, for example {{:os "linux"}}'
        )
    return platform(value, where)


def _input(scope: Scope, key: str, where: str) -> BuildInput:
    value = plain(scope.get(key))
    if not isinstance(value, ThunkPath | HostPath | FSPath):
        raise wrong_type(value, "path into a thunk or directory", f"{where}: :{key}")
    return value


def _text(scope: Scope, key: str, where: str) -> str:
    value = scope.get(key)
    return "" if value is MISSING else arguments.text(value, f"{where}: :{key}")
