"""Thunks: changing them, taking them apart; images; secrets; values as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bassloop.bass import arguments
from bassloop.bass.errors import BassError, brief, wrong_type
from bassloop.bass.filesystem import FSPath
from bassloop.bass.json import encode
from bassloop.bass.path import CachePath, DirPath, FilePath, HostPath
from bassloop.bass.registry import builtin
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
    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Value


def _texts(value: Value, where: str) -> tuple[str, ...]:
    return tuple(arguments.text(each, where) for each in arguments.items(value, where))


@builtin(
    "with-image",
    "[thunk image]",
    """Returns the thunk on another image.

    The image is a thunk, or a scope with :platform and one of :repository, :file and :docker_build. If the thunk is
    on other thunks, the image goes under the deepest of them. See [from].

    => (with-image ($ go test ./...) (linux/golang))
    """,
)
def with_image(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return arguments.thunk(args[0], "with-image").with_image(image(args[1], "with-image"))


@builtin(
    "with-dir",
    "[thunk dir]",
    """Returns the thunk with another working directory.

    A plain path is one in the container. Use [cd] to mount a directory and work there.

    => (with-dir (.tests) ./src/)
    """,
)
def with_dir(args: list[Value], scope: Scope, machine: Machine) -> Value:
    directory = plain(args[1])
    if isinstance(directory, ThunkPath | HostPath):
        if not isinstance(directory.path, DirPath):
            raise BassError(f"with-dir: {brief(directory)} is a file: a directory is needed")
    elif isinstance(directory, FSPath):
        raise BassError(
            f"with-dir: {brief(directory)} must be mounted: (with-mount thunk dir ./), or [cd]"
        )
    elif not isinstance(directory, DirPath):
        raise wrong_type(directory, "directory", "with-dir")
    return arguments.thunk(args[0], "with-dir").replace(dir=directory)


@builtin(
    "with-cmd",
    "[thunk cmd]",
    """Returns the thunk with another command and other arguments.

    => (with-cmd ($ replaced) ["go" "test" ./...])
    """,
)
def with_cmd(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return arguments.thunk(args[0], "with-cmd").replace(
        args=tuple(arguments.items(args[1], "with-cmd"))
    )


@builtin(
    "with-args",
    "[thunk args]",
    """Returns the thunk with the same command and other arguments.

    => (with-args (.go) ["test" "./..."])
    """,
)
def with_args(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return arguments.thunk(args[0], "with-args").with_args(arguments.items(args[1], "with-args"))


@builtin(
    "with-entrypoint",
    "[thunk entrypoint]",
    "Returns the thunk as an image that has this entrypoint; [] for none.",
)
def with_entrypoint(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return arguments.thunk(args[0], "with-entrypoint").with_entrypoint(
        _texts(args[1], "with-entrypoint")
    )


@builtin(
    "with-default-args",
    "[thunk args]",
    "Returns the thunk as an image that is run with these arguments by default.",
)
def with_default_args(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return arguments.thunk(args[0], "with-default-args").with_default_args(
        _texts(args[1], "with-default-args")
    )


@builtin(
    "with-entrypoint-args",
    "[thunk args]",
    "Returns the thunk with arguments to the entrypoint of its image.",
)
def with_entrypoint_args(args: list[Value], scope: Scope, machine: Machine) -> Value:
    values = tuple(arguments.items(args[1], "with-entrypoint-args"))
    return arguments.thunk(args[0], "with-entrypoint-args").replace(
        args=values, use_entrypoint=True
    )


@builtin(
    "with-stdin",
    "[thunk vals]",
    """Returns the thunk with these values on its standard input, as a stream of JSON.

    => (with-stdin ($ jq ".a") [{:a 1} {:a 2}])
    """,
)
def with_stdin(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return arguments.thunk(args[0], "with-stdin").replace(
        stdin=tuple(arguments.items(args[1], "with-stdin"))
    )


@builtin(
    "with-env",
    "[thunk env]",
    """Returns the thunk with more environment variables.

    => (with-env ($ jq ".a") {:FOO "hello"})
    """,
)
def with_env(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return arguments.thunk(args[0], "with-env").with_env(arguments.scope(args[1], "with-env"))


@builtin(
    "with-insecure",
    "[thunk bool]",
    """Returns the thunk with or without elevated rights, as far as its runtime grants them.

    => (with-insecure (.boom) true)
    """,
)
def with_insecure(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return arguments.thunk(args[0], "with-insecure").replace(
        insecure=arguments.boolean(args[1], "with-insecure")
    )


@builtin(
    "with-label",
    "[thunk name val]",
    """Returns the thunk with a label.

    The command doesn't see labels, but a thunk with another label runs again, for example with another time.

    => (with-label ($ sleep 10) :at (now 10))
    """,
)
def with_label(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return arguments.thunk(args[0], "with-label").with_label(
        arguments.symbol(args[1], "with-label"), args[2]
    )


@builtin(
    "with-port",
    "[thunk sym int]",
    """Returns the thunk with one more named port that it listens on.

    => (with-port ($ python3 -m http.server) :http 8000)
    """,
)
def with_port(args: list[Value], scope: Scope, machine: Machine) -> Value:
    name = arguments.symbol(args[1], "with-port")
    return arguments.thunk(args[0], "with-port").with_port(
        name, arguments.integer(args[2], "with-port")
    )


@builtin(
    "with-tls",
    "[thunk cert-path key-path]",
    """Returns the thunk with the paths at which it gets a TLS certificate and its key.

    => (with-tls ($ serve) ./cert.pem ./key.pem)
    """,
)
def with_tls(args: list[Value], scope: Scope, machine: Machine) -> Value:
    paths = arguments.file_path(args[1], "with-tls"), arguments.file_path(args[2], "with-tls")
    return arguments.thunk(args[0], "with-tls").replace(tls=paths)


_MOUNTS: Final = (ThunkPath, HostPath, FSPath, CachePath, Secret)


@builtin(
    "with-mount",
    "[thunk source target]",
    """Returns the thunk with a directory, file, cache or secret mounted at a path.

    => (with-mount ($ find ./inputs/) *dir*/inputs/ ./inputs/)
    """,
)
def with_mount(args: list[Value], scope: Scope, machine: Machine) -> Value:
    source = plain(args[1])
    if not isinstance(source, _MOUNTS):
        raise wrong_type(
            source, "path into a thunk, directory or cache, or secret, to mount", "with-mount"
        )
    target = arguments.name_path(args[2], "with-mount")
    return arguments.thunk(args[0], "with-mount").with_mount(source, target)


@builtin(
    "thunk-cmd",
    "[thunk]",
    "Returns the command of a thunk, with its arguments.\n\n=> (thunk-cmd ($ foo abc))",
)
def thunk_cmd(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return from_list(arguments.thunk(args[0], "thunk-cmd").args)


@builtin(
    "thunk-args",
    "[thunk]",
    "Returns the arguments to a thunk's command.\n\n=> (thunk-args ($ foo abc))",
)
def thunk_args(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return from_list(arguments.thunk(args[0], "thunk-args").args[1:])


@builtin(
    "addr",
    "[thunk port & fmt]",
    """Returns the address of a thunk's port, to pass to another thunk.

    The format has $host and $port in it. The default is "$host:$port".

    => (addr (with-port ($ python3 -m http.server) :http 8000) :http "http://$host:$port")
    """,
)
def addr(args: list[Value], scope: Scope, machine: Machine) -> Value:
    port = arguments.symbol(args[1], "addr")
    formats = [arguments.text(each, "addr") for each in args[2:]]
    return arguments.thunk(args[0], "addr").address(port, *formats[:1])


@builtin(
    "mask",
    "[secret name]",
    """Returns a string as a secret.

    It prints and encodes as its name. Only commands that this machine runs get its value.

    => (mask "hunter2" :password)
    """,
)
def mask(args: list[Value], scope: Scope, machine: Machine) -> Value:
    value = bytes_of(arguments.text(args[0], "mask"))
    return Secret(arguments.symbol(args[1], "mask"), value)


@builtin("json", "[val]", 'Returns a value as JSON, a string.\n\n=> (json {:foo-bar "baz"})')
def json(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return machine.with_files(lambda: encode(args[0]), args[0])


def image(value: Value, where: str) -> Image:
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
    """Return an image in a registry, from a scope; raises as `image` does."""
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
