"""What a thunk means for a process: words, variables, standard input, and what has to lie where. Pure.

The layout is the reference's: a command starts in its work directory; a path of another thunk that it is
given lies at a place of its own in there, and is written relative to where the command starts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf.json_format import MessageToDict

from bassloop.runner.engine import layout
from bassloop.runner.errors import DriverError
from bassloop.wire import bass_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

INPUTS = ".bass"
"""The folder of the work directory in which a command's inputs lie; it is no part of the output."""

MAX_WORDS = 20_000
MAX_WORD = 128 << 10
"""What Linux takes for one argument or variable."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A source, and where it has to lie: relative to the work directory, or absolute."""

    source: pb.ThunkMountSource
    target: str


@dataclass(frozen=True, slots=True)
class Command:
    """A thunk, resolved. Without words there is nothing to run.

    Args:
        dir: where it starts, relative to the work directory, or absolute.
        mounts: in the order in which they have to be made.
        secret_env: variables with a secret in them, which must not be seen from outside.
        services: thunks that have to be up while it runs.
        secrets: the names of all that it is given.
    """

    words: tuple[str, ...]
    env: dict[str, str]
    stdin: bytes
    dir: str
    mounts: tuple[Mount, ...]
    secret_env: dict[str, str] = field(default_factory=dict)
    services: tuple[pb.Thunk, ...] = ()
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ImageDefaults:
    """What an image says that it runs."""

    entrypoint: tuple[str, ...] = ()
    default_args: tuple[str, ...] = ()


class Environment(Protocol):
    """What a driver has beside files. Each raises DriverError for what it has not."""

    @property
    def root(self) -> str | None:
        """Where the work directory is for the command; None when that is not known beforehand."""

    def address(self, addr: pb.ThunkAddr) -> str:
        """Where a service will be reached, as the address has it."""

    def secret(self, name: str) -> str:
        """The value of a secret."""


class _Bare:
    """The environment of a driver that has neither services nor secrets."""

    root: str | None = None

    def address(self, addr: pb.ThunkAddr) -> str:
        raise DriverError("this thunk needs a service, which the host driver can't start")

    def secret(self, name: str) -> str:
        raise DriverError(f"the secret {name} has no value on this runner")


def resolve(
    thunk: pb.Thunk,
    *,
    forced: bool = True,
    image: ImageDefaults | None = None,
    environment: Environment | None = None,
) -> Command:
    """What a thunk means for a process. Raises DriverError for what can't be.

    Args:
        forced: whether a thunk without words runs what its image would run, as it does when it is run
            itself, and not when it is only what another is from.
        image: what the image at the chain's root runs; None when there are no images.
    """
    resolver = _Resolver(environment or _Bare())
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
    if resolver.revealed:
        raise DriverError(
            "a secret can't be an argument, which everybody on the machine could read: give it in the "
            "environment, on standard input or as a file"
        )
    env, secret_env = resolver.variables(thunk.env)
    stdin = b"".join(_json(resolver.data(value)) for value in thunk.stdin)
    mounts = resolver.mounts + [
        Mount(mount.source, layout.clean(layout.filesystem(mount.target), "the mount"))
        for mount in thunk.mounts
    ]
    if len(words) > MAX_WORDS:
        raise DriverError(f"a command has {MAX_WORDS:,} words at most")
    for text in (*words, *env.values(), *secret_env.values()):
        if len(text.encode(errors="surrogateescape")) > MAX_WORD or "\0" in text:
            raise DriverError("a word of the command is too long, or has a zero byte in it")
    mounts.sort(key=lambda mount: "" if mount.target == "." else mount.target)
    return Command(
        tuple(words),
        env,
        stdin,
        resolver.dir,
        tuple(mounts),
        secret_env,
        tuple(resolver.services.values()),
        frozenset(resolver.secrets)
        | {
            mount.source.secret.name
            for mount in mounts
            if mount.source.WhichOneof("source") == "secret"
        },
    )


def needs(command: Command, thunk: pb.Thunk) -> Iterator[pb.Thunk]:
    """The thunks whose output a thunk starts from or is given."""
    if (base := base_of(thunk)) is not None:
        yield base
    for mount in command.mounts:
        if mount.source.WhichOneof("source") == "thunk":
            yield mount.source.thunk.thunk


def base_of(thunk: pb.Thunk) -> pb.Thunk | None:
    """The thunk that this one is from, if that runs anything: one without words only sets the scene."""
    while thunk.image.WhichOneof("image") == "thunk":
        thunk = thunk.image.thunk
        if thunk.args:
            return thunk
    return None


def image_of(thunk: pb.Thunk) -> pb.ThunkImage:
    """The image that a chain of thunks is from."""
    while thunk.image.WhichOneof("image") == "thunk":
        thunk = thunk.image.thunk
    return thunk.image


def _inherited(thunk: pb.Thunk, what: str, image: ImageDefaults | None) -> list[str] | None:
    """The entrypoint or default words of a thunk's chain; None when there is no image to know them."""
    while True:
        values = list(getattr(thunk, what))
        if values or getattr(thunk, f"clear_{what}"):
            return values
        if thunk.image.WhichOneof("image") != "thunk":
            return None if image is None else list(getattr(image, what))
        thunk = thunk.image.thunk


@dataclass
class _Resolver:
    """Turns values into text, and remembers what has to be there for that."""

    environment: Environment
    dir: str = "."
    mounts: list[Mount] = field(default_factory=list)
    services: dict[bytes, pb.Thunk] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    revealed: bool = False
    """Whether a secret is in what was resolved."""
    _places: dict[bytes, str] = field(default_factory=dict)

    def start_in(self, where: pb.ThunkDir) -> None:
        match where.WhichOneof("dir"):
            case "local":
                self.dir = layout.clean(where.local.path, "the directory")
            case "thunk":
                self.dir = self._input(pb.ThunkMountSource(thunk=where.thunk), where.thunk.path)
            case "host":
                self.dir = self._input(pb.ThunkMountSource(host=where.host), where.host.path)

    def variables(self, bindings: Any) -> tuple[dict[str, str], dict[str, str]]:
        """The environment, and apart what has secrets in it; a variable that is null is left out."""
        plain: dict[str, str] = {}
        secret: dict[str, str] = {}
        for binding in bindings:
            if not binding.symbol or "=" in binding.symbol or "\0" in binding.symbol:
                raise DriverError(f"{binding.symbol!r} is no name of an environment variable")
            if binding.value.WhichOneof("value") not in (None, "null"):
                self.revealed = False
                text = self.word(binding.value)
                (secret if self.revealed else plain)[binding.symbol] = text
        return plain, secret

    def word(self, value: pb.Value) -> str:
        """A value as one word; the members of a list are put together."""
        if value.WhichOneof("value") == "array":
            return "".join(self.word(each) for each in value.array.values)
        text = self.data(value)
        if isinstance(text, bool):
            return "true" if text else "false"
        if isinstance(text, int):
            return str(text)
        if not isinstance(text, str):
            raise DriverError("an argument or variable is neither text nor a path")
        return text

    def data(self, value: pb.Value) -> Any:
        """A value as JSON has it, its paths as text."""
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
                path = layout.clean(value.file_path.path, "the path")
                return layout.written(path, directory=False)
            case "dir_path":
                path = layout.clean(value.dir_path.path, "the path")
                return layout.written(path, directory=True)
            case "thunk_path":
                source = pb.ThunkMountSource(thunk=value.thunk_path)
                return self._written(source, value.thunk_path.path)
            case "host_path":
                source = pb.ThunkMountSource(host=value.host_path)
                return self._written(source, value.host_path.path)
            case "cache_path":
                source = pb.ThunkMountSource(cache=value.cache_path)
                return self._written(source, value.cache_path.path)
            case "logical_path":
                source = pb.ThunkMountSource(logical=value.logical_path)
                return self._written(source, _logical(value.logical_path))
            case "secret":
                self.revealed = True
                self.secrets.add(value.secret.name)
                return self.environment.secret(value.secret.name)
            case "thunk_addr":
                service = value.thunk_addr.thunk
                self.services[service.SerializeToString(deterministic=True)] = service
                return self.environment.address(value.thunk_addr)
        return MessageToDict(getattr(value, kind))

    def _written(self, source: pb.ThunkMountSource, path: pb.FilesystemPath) -> str:
        place = self._input(source, path)
        if self.dir.startswith("/"):
            if self.environment.root is None:
                raise DriverError(
                    f"a command that starts in {self.dir} can't be given paths of thunks"
                )
            place = f"{self.environment.root}/{place}"
        return layout.relative(place, self.dir, directory=layout.is_directory(path))

    def _input(self, source: pb.ThunkMountSource, path: pb.FilesystemPath) -> str:
        """A place for a source; equal sources have one."""
        identity = source.SerializeToString(deterministic=True)
        if identity not in self._places:
            within = layout.inside(layout.filesystem(path), "the path")
            folder = f"{INPUTS}/{len(self._places) + 1}"
            place = folder if within == "." else f"{folder}/{within}"
            self._places[identity] = place
            self.mounts.append(Mount(source, place))
        return self._places[identity]


def _logical(path: pb.LogicalPath) -> pb.FilesystemPath:
    """Where a logical path lies in its place: under its own name."""
    if path.WhichOneof("path") == "file":
        return pb.FilesystemPath(file=pb.FilePath(path=layout.name_of(path.file.name)))
    name = path.dir.name if path.dir.name in ("", ".") else layout.name_of(path.dir.name)
    return pb.FilesystemPath(dir=pb.DirPath(path=name))


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="surrogatepass") + b"\n"
