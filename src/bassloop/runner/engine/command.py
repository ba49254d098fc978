"""Resolve a thunk to a command: words, variables, standard input and mounts. No I/O.

Files are laid out as in the reference: a command starts in its work directory. Each path of another thunk among its
arguments is mounted in a folder of its own in there, and written relative to where the command starts.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import xxhash
from cachetools import LRUCache
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from bassloop.runner.engine import path_rules
from bassloop.runner.errors import DriverError
from bassloop.wire import bass_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bassloop.runner.secrets.owner_secrets import GitCredential

INPUTS = ".bass"
"""The folder for a command's inputs in its work directory. It isn't part of the output."""

MAX_WORDS = 20_000
MAX_WORD = 128 << 10
"""The length limit of one argument or variable in bytes, which is Linux's."""


@dataclass(frozen=True, slots=True)
class CommandMount:
    """A mount's source, and its mount point: relative to the work directory, or absolute."""

    source: pb.ThunkMountSource
    target: str

    @property
    def kind(self) -> str | None:
        kind: str | None = self.source.WhichOneof("source")
        return kind


@dataclass(frozen=True, slots=True)
class Command:
    """A resolved thunk. Without words, there is nothing to run.

    Args:
        dir: the directory it starts in, relative to the work directory, or absolute.
        mounts: in the order in which they must be made.
        secret_env: the variables that contain a secret.
        services: thunks that must be running while it runs.
        secrets: the names of all secrets that it uses.
    """

    words: tuple[str, ...]
    env: dict[str, str]
    stdin: bytes
    dir: str
    mounts: tuple[CommandMount, ...]
    secret_env: dict[str, str] = field(default_factory=dict)
    services: tuple[pb.Thunk, ...] = ()
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ImageDefaults:
    """What an image runs, for thunks that don't set it."""

    entrypoint: tuple[str, ...] = ()
    default_args: tuple[str, ...] = ()


def _no_services(addr: pb.ThunkAddr) -> str:
    image = parse_thunk(addr.thunk).image.ref.repository
    what = f"a service ({path_rules.printable(image)})" if image else "a service"
    raise DriverError(
        f"this needs {what}, and services need containers: install Podman or Docker. If one of them is installed, "
        "--engine podman or --engine docker uses it, or says why it can't"
    )


def _no_secrets(name: str) -> str:
    raise DriverError(f"the secret {name} has no value on this runner")


@dataclass(frozen=True, slots=True)
class Environment:
    """What a driver provides to commands, besides files.

    Args:
        root: the path of the work directory as commands see it; None if it isn't known beforehand.
        address: returns the address of a service. Raises DriverError.
        secret: returns the value of a secret. Raises DriverError.
    """

    root: str | None = None
    address: Callable[[pb.ThunkAddr], str] = _no_services
    secret: Callable[[str], str] = _no_secrets


def resolve(
    thunk: pb.Thunk,
    *,
    forced: bool = True,
    image: ImageDefaults | None = None,
    environment: Environment | None = None,
) -> Command:
    """Resolve a thunk. Raises DriverError if it can't be run.

    Args:
        forced: let a thunk without words run what its image runs. That's right for a thunk that was requested, but
            not for one that others only start from.
        image: the defaults of the image at the root of the chain; None without images.
    """
    resolver = _Resolver(environment or Environment())
    resolver.start_in(thunk.dir)
    words = [resolver.word(arg) for arg in thunk.args]
    wants_entrypoint = thunk.use_entrypoint
    if not words and forced:
        words = _inherited(thunk, "default_args", image) or []
        wants_entrypoint = True
    if wants_entrypoint:
        entrypoint = _inherited(thunk, "entrypoint", image)
        if entrypoint is None and thunk.use_entrypoint:
            raise DriverError(
                "this thunk needs the entrypoint of its image, and the host driver has no images"
            )
        words = [*(entrypoint or ()), *words]
    if resolver.has_secret:
        raise DriverError(
            "a secret can't be an argument, because everybody on the machine could read it: pass it in the "
            "environment, on standard input or as a file"
        )
    env, secret_env = resolver.variables(thunk.env)
    stdin = b"".join(_json_line(resolver.data(value)) for value in thunk.stdin)
    mounts = resolver.mounts + [
        CommandMount(
            each.source, path_rules.normalized(path_rules.path_text(each.target), "the mount")
        )
        for each in thunk.mounts
    ]
    mounts.sort(key=lambda mount: "" if mount.target == "." else mount.target)
    _check_words(words, [*env.values(), *secret_env.values()])
    return Command(
        words=tuple(words),
        env=env,
        stdin=stdin,
        dir=resolver.dir,
        mounts=tuple(mounts),
        secret_env=secret_env,
        services=tuple(resolver.services.values()),
        secrets=frozenset(
            resolver.secrets | {each.source.secret.name for each in mounts if each.kind == "secret"}
        ),
    )


def with_credential(command: Command, credential: GitCredential | None) -> Command:
    """Return the command with a Git credential, if it runs Git and has no such settings of its own."""
    if credential is None or not command.words or "GIT_CONFIG_COUNT" in command.env:
        return command
    if PurePosixPath(command.words[0]).name != "git":
        return command
    return replace(command, secret_env={**credential.variables(), **command.secret_env})


def _check_words(words: list[str], values: Iterable[str]) -> None:
    if len(words) > MAX_WORDS:
        raise DriverError(f"a command has {MAX_WORDS:,} words at most")
    for text in (*words, *values):
        if len(text.encode(errors="surrogateescape")) > MAX_WORD or "\0" in text:
            raise DriverError("a word of the command is too long, or has a zero byte in it")


# --- thunks within thunks ---------------------------------------------------------------------------------


def parse_thunk(encoded: bytes) -> pb.Thunk:
    """Parse a thunk that is embedded in a message. Raises DriverError if it's malformed."""
    try:
        return pb.Thunk.FromString(encoded)
    except DecodeError as error:
        raise DriverError(f"a part of this thunk can't be read: {error}") from error


def chain_of(thunk: pb.Thunk) -> Iterator[pb.Thunk]:
    """Generate a thunk, the thunk it starts from, and so on."""
    yield thunk
    while thunk.image.WhichOneof("image") == "thunk":
        thunk = parse_thunk(thunk.image.thunk)
        yield thunk


def base_of(thunk: pb.Thunk) -> pb.Thunk | None:
    """Return the nearest thunk in the chain below this one that runs a command, or None."""
    chain = chain_of(thunk)
    next(chain)
    return next((each for each in chain if each.args), None)


def image_of(thunk: pb.Thunk) -> pb.ThunkImage:
    """Return the image at the root of a thunk's chain."""
    # Callers go through all thunks of a chain, which may be long: without the cache, that would be quadratic.
    unknown: list[bytes] = []
    image = thunk.image
    while image.WhichOneof("image") == "thunk":
        name = xxhash.xxh3_128_digest(image.thunk)
        if name in _roots:
            image = _roots[name]
            break
        unknown.append(name)
        image = parse_thunk(image.thunk).image
    _roots.update(dict.fromkeys(unknown, image))
    return image


_roots: LRUCache[bytes, pb.ThunkImage] = LRUCache(4_096)
"""The images at the roots of chains, by the digest of the encoded thunk."""


def dependencies_of(command: Command, thunk: pb.Thunk) -> Iterator[pb.Thunk]:
    """Generate the thunks whose output a thunk starts from or uses."""
    if (base := base_of(thunk)) is not None:
        yield base
    for mount in command.mounts:
        if mount.kind == "thunk":
            yield parse_thunk(mount.source.thunk.thunk)


def _inherited(thunk: pb.Thunk, name: str, image: ImageDefaults | None) -> list[str] | None:
    """Return the entrypoint or default words of a thunk's chain; None if they are unknown without its image."""
    for each in chain_of(thunk):
        values = list(getattr(each, name))
        if values or getattr(each, f"clear_{name}"):
            return values
    return None if image is None else list(getattr(image, name))


# --- values -------------------------------------------------------------------------------------------


@dataclass
class _Resolver:
    """Turns values into text, and collects what that text refers to."""

    environment: Environment
    dir: str = "."
    mounts: list[CommandMount] = field(default_factory=list)
    services: dict[bytes, pb.Thunk] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    has_secret: bool = False
    """Whether the text resolved last contains a secret."""
    _inputs: dict[bytes, str] = field(default_factory=dict)

    def start_in(self, where: pb.ThunkDir) -> None:
        match where.WhichOneof("dir"):
            case "local":
                self.dir = path_rules.normalized(where.local.path, "the directory")
            case "thunk":
                self.dir = self._input(pb.ThunkMountSource(thunk=where.thunk), where.thunk.path)
            case "host":
                self.dir = self._input(pb.ThunkMountSource(host=where.host), where.host.path)

    def variables(self, bindings: Iterable[pb.Binding]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the variables without secrets, and those with secrets. Variables that are null are left out."""
        plain: dict[str, str] = {}
        secret: dict[str, str] = {}
        for binding in bindings:
            if not binding.symbol or "=" in binding.symbol or "\0" in binding.symbol:
                raise DriverError(
                    f"{binding.symbol!r} can't be the name of an environment variable"
                )
            if binding.value.WhichOneof("value") not in (None, "null"):
                self.has_secret = False
                text = self.word(binding.value)
                (secret if self.has_secret else plain)[binding.symbol] = text
        return plain, secret

    def word(self, value: pb.Value) -> str:
        """Return a value as one word; the members of a list are joined."""
        if value.WhichOneof("value") == "array":
            return "".join(self.word(each) for each in value.array.values)
        data = self.data(value)
        if isinstance(data, bool):
            return "true" if data else "false"
        if isinstance(data, int):
            return str(data)
        if not isinstance(data, str):
            raise DriverError("an argument or variable is neither text nor a path")
        return data

    def data(self, value: pb.Value) -> Any:
        """Return a value as JSON data, with paths as text."""
        kind = value.WhichOneof("value")
        match kind:
            case None | "null":
                return None
            case "bool" | "int" | "string":
                return getattr(value, kind).value
            case "array":
                return [self.data(each) for each in value.array.values]
            case "object":
                return {each.symbol: self.data(each.value) for each in value.object.bindings}
            case "command_path":
                return value.command_path.name
            case "file_path":
                path = path_rules.normalized(value.file_path.path, "the path")
                return path_rules.as_word(path, directory=False)
            case "dir_path":
                path = path_rules.normalized(value.dir_path.path, "the path")
                return path_rules.as_word(path, directory=True)
            case "thunk_path":
                source = pb.ThunkMountSource(thunk=value.thunk_path)
                return self._input_word(source, value.thunk_path.path)
            case "host_path":
                source = pb.ThunkMountSource(host=value.host_path)
                return self._input_word(source, value.host_path.path)
            case "cache_path":
                source = pb.ThunkMountSource(cache=value.cache_path)
                return self._input_word(source, value.cache_path.path)
            case "logical_path":
                source = pb.ThunkMountSource(logical=value.logical_path)
                return self._input_word(source, _logical_place(value.logical_path))
            case "secret":
                self.has_secret = True
                self.secrets.add(value.secret.name)
                return self.environment.secret(value.secret.name)
            case "thunk_addr":
                service = value.thunk_addr.thunk
                self.services[service] = parse_thunk(service)
                return self.environment.address(value.thunk_addr)
        return MessageToDict(getattr(value, kind))

    def _input_word(self, source: pb.ThunkMountSource, path: pb.FilesystemPath) -> str:
        place = self._input(source, path)
        if self.dir.startswith("/"):
            if self.environment.root is None:
                raise DriverError(
                    f"a command that starts in {self.dir} can't be given paths of thunks"
                )
            place = f"{self.environment.root}/{place}"
        return path_rules.relative_word(place, self.dir, directory=path_rules.is_directory(path))

    def _input(self, source: pb.ThunkMountSource, path: pb.FilesystemPath) -> str:
        """Return the mount point of a source, relative to the work directory. Equal sources share one."""
        identity = source.SerializeToString(deterministic=True)
        if identity not in self._inputs:
            within = path_rules.inside(path_rules.path_text(path), "the path")
            folder = f"{INPUTS}/{len(self._inputs) + 1}"
            place = folder if within == "." else f"{folder}/{within}"
            self._inputs[identity] = place
            self.mounts.append(CommandMount(source, place))
        return self._inputs[identity]


def _logical_place(path: pb.LogicalPath) -> pb.FilesystemPath:
    """Return the path of a logical path in its folder, which is its name."""
    if path.WhichOneof("path") == "file":
        return pb.FilesystemPath(file=pb.FilePath(path=path_rules.file_name(path.file.name)))
    name = path.dir.name if path.dir.name in ("", ".") else path_rules.file_name(path.dir.name)
    return pb.FilesystemPath(dir=pb.DirPath(path=name))


def _json_line(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="surrogatepass") + b"\n"


# --- for people ---------------------------------------------------------------------------------------


def command_line(thunk: pb.Thunk) -> str:
    """Return a thunk's command as a person would type it, or the image's name if it has none."""
    for each in chain_of(thunk):
        if each.args:
            return " ".join(_shown(arg) for arg in each.args)
    ref = image_of(thunk).ref
    name = ref.repository or "an image"
    return f"image {name}:{ref.tag}" if ref.HasField("tag") else f"image {name}"


def _shown(value: pb.Value) -> str:
    match value.WhichOneof("value"):
        case "string":
            return shlex.quote(value.string.value)
        case "command_path":
            return value.command_path.name
        case "file_path":
            return _shown_path(value.file_path.path)
        case "dir_path":
            return _shown_path(f"{value.dir_path.path.rstrip('/')}/")
        case "thunk_path":
            return _shown_within(value.thunk_path.path)
        case "cache_path":
            return _shown_within(value.cache_path.path)
        case "host_path":
            return _shown_within(value.host_path.path)
        case "logical_path":
            return value.logical_path.file.name or value.logical_path.dir.name
        case "int":
            return str(value.int.value)
        case "array":
            return "".join(_shown(each) for each in value.array.values)
        case "secret":
            return f"<secret: {value.secret.name}>"
        case "thunk_addr":
            return value.thunk_addr.format or value.thunk_addr.port
    return "…"


def _shown_within(path: pb.FilesystemPath) -> str:
    return path.file.path if path.WhichOneof("path") == "file" else f"{path.dir.path}/"


def _shown_path(path: str) -> str:
    return path if path.startswith(("/", "./", "../")) else f"./{path}"
