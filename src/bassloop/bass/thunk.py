"""Thunks, which are commands with images, files and settings as values, and their parts.

A thunk never changes: each `with_…` returns a new one. `wire.digest.thunk_digest` returns its name.
"""

from __future__ import annotations

import platform as host_platform
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, final

from bassloop.bass.errors import BassError, brief
from bassloop.bass.path import HERE, DirPath, FilePath, NamePath, Path, PlacedPath, after_slash
from bassloop.bass.printer import PRINTED, Parts, Verbatim, show
from bassloop.bass.values import Object, Scope, Value, strip, value_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bassloop.bass.filesystem import FSPath
    from bassloop.bass.path import CachePath, HostPath
    from bassloop.bass.wire.protobuf_fields import Encoded

ARCHITECTURE: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}.get(
    host_platform.machine(), host_platform.machine()
)
"""The default architecture of a platform: this machine's, as Go names it."""


@final
class Secret(Object):
    """A masked string. Its printed form and encodings contain only its name, and not even its length."""

    __slots__ = ("_value", "name")
    kind = "secret"

    def __init__(self, name: str, value: bytes | None = None) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> bytes | None:
        """Return the value, for a command that runs on this machine; None if the secret came in a message."""
        return self._value

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")


# --- images ---


@dataclass(frozen=True, slots=True)
class Platform:
    """The platform of an image, as Go names it: "linux", "amd64"."""

    os: str = ""
    arch: str = ""

    def scope(self) -> Scope:
        """Return the platform as a scope."""
        return Scope({"os": self.os, "architecture": self.arch})


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image in a registry. The repository is a name, or the address of a thunk that serves a registry."""

    repository: str | ThunkAddr
    platform: Platform = Platform()
    tag: str = ""
    digest: str = ""

    def scope(self) -> Scope:
        """Return the reference as a scope, which `with-image` accepts."""
        bound: dict[str, Value] = {"repository": self.repository, "platform": self.platform.scope()}
        bound.update(
            (name, text) for name, text in (("tag", self.tag), ("digest", self.digest)) if text
        )
        return Scope(bound)


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """An image in an OCI archive."""

    file: BuildInput
    platform: Platform
    tag: str = ""


@dataclass(frozen=True, slots=True)
class ImageBuild:
    """An image that is built from a Dockerfile in a directory."""

    context: BuildInput
    platform: Platform
    dockerfile: FilePath | None = None
    target: str = ""
    args: Bindings = ()


@dataclass(frozen=True, slots=True)
class Mount:
    """A file, directory, cache or secret that is mounted at a path in the container."""

    source: MountSource
    target: NamePath


BuildInput: TypeAlias = "ThunkPath | HostPath | FSPath"
MountSource: TypeAlias = "ThunkPath | HostPath | FSPath | CachePath | Secret"
Image: TypeAlias = "ImageRef | ImageArchive | ImageBuild | Thunk"
Bindings: TypeAlias = "tuple[tuple[str, Value], ...]"


# --- thunks ---


@final
@dataclass(slots=True, eq=False, repr=False, kw_only=True)
class Thunk(Path):
    """A command with its image, files and settings. Without an image, it's a Bass script or a module of std.

    `args` begin with the command. `env` and `labels` are pairs, and their order affects the digest. Called with a path,
    a thunk returns a `ThunkPath`.
    """

    kind = "thunk"

    image: Image | None = None
    insecure: bool = False
    args: tuple[Value, ...] = ()
    use_entrypoint: bool = False
    stdin: tuple[Value, ...] = ()
    env: Bindings = ()
    dir: DirPath | ThunkPath | HostPath | None = None
    mounts: tuple[Mount, ...] = ()
    labels: Bindings = ()
    ports: tuple[tuple[str, int], ...] = ()
    tls: tuple[FilePath, FilePath] | None = None
    entrypoint: tuple[str, ...] = ()
    clear_entrypoint: bool = False
    default_args: tuple[str, ...] = ()
    clear_default_args: bool = False
    cached_digest: str = field(init=False)
    cached_encoding: Encoded = field(init=False)

    def replace(self, **changes: Any) -> Thunk:
        """Return the thunk with other values of these fields."""
        return Thunk(**{name: getattr(self, name) for name in _FIELDS} | changes)

    def cmdline(self) -> str:
        """Return the command for messages: strings without spaces as they are, everything else as it prints."""
        return " ".join(part if part.__class__ is Verbatim else show(part) for part in self.words())

    def words(self) -> Iterator[Verbatim | Value]:
        """Yield the parts of `cmdline`."""
        for arg in self.args:
            bare = strip(arg)
            yield Verbatim(bare) if bare.__class__ is str and " " not in bare else arg

    def platform(self) -> Platform | None:
        """Return the image's platform; None for a Bass script, which has no image."""
        image = self.image
        while isinstance(image, Thunk):
            image = image.image
        return None if image is None else image.platform

    def extend(self, child: Path) -> ThunkPath:
        return ThunkPath(self).extend(child)

    def with_image(self, image: Image) -> Thunk:
        """Return the thunk with another image. In a chain of thunks, the deepest one gets it."""
        chain = [self]
        while isinstance(chain[-1].image, Thunk):
            chain.append(chain[-1].image)
        while chain:
            image = chain.pop().replace(image=image)
        assert isinstance(image, Thunk)
        return image

    def with_args(self, args: Iterable[Value]) -> Thunk:
        """Return the thunk with other arguments to the same command."""
        return self.replace(args=(*self.args[:1], *args))

    def with_env(self, env: Scope) -> Thunk:
        """Return the thunk with these variables in front of its own, of which they replace those of the same name."""
        new = dict(env.items())
        return self.replace(env=(*new.items(), *(pair for pair in self.env if pair[0] not in new)))

    def with_label(self, name: str, value: Value) -> Thunk:
        """Return the thunk with a label. An existing label of that name keeps its position."""
        return self.replace(labels=tuple((dict(self.labels) | {name: value}).items()))

    def with_mount(self, source: MountSource, target: NamePath) -> Thunk:
        """Return the thunk with one more mount."""
        return self.replace(mounts=(*self.mounts, Mount(source, target)))

    def with_port(self, name: str, port: int) -> Thunk:
        """Return the thunk with one more port that it listens on."""
        return self.replace(ports=(*self.ports, (name, port)))

    def with_entrypoint(self, entrypoint: tuple[str, ...]) -> Thunk:
        """Return the thunk as an image with this entrypoint; () clears it."""
        return self._as_image().replace(entrypoint=entrypoint, clear_entrypoint=not entrypoint)

    def with_default_args(self, args: tuple[str, ...]) -> Thunk:
        """Return the thunk as an image with these default arguments; () clears them."""
        return self._as_image().replace(default_args=args, clear_default_args=not args)

    def _as_image(self) -> Thunk:
        if not self.args:
            return self
        return Thunk(
            image=self,
            dir=self.dir,
            ports=self.ports,
            labels=self.labels,
            entrypoint=self.entrypoint,
            clear_entrypoint=self.clear_entrypoint,
            default_args=self.default_args,
            clear_default_args=self.clear_default_args,
        )

    def address(self, port: str, format: str = "$host:$port") -> ThunkAddr:
        """Return the address of a port. Raises `BassError` if the thunk has no port of that name."""
        if not any(name == port for name, _ in self.ports):
            raise BassError(
                lambda: (
                    f"{brief(self)} has no port {port}: give it one, (with-port thunk :{port} 8080)"
                )
            )
        return ThunkAddr(self, port, format)


_FIELDS: Final = tuple(each.name for each in fields(Thunk) if each.init)

SCRATCH: Final = Thunk()
"""The empty thunk."""


@final
@value_type
class ThunkPath(PlacedPath):
    """A path among the files that a thunk produces. Using it runs the thunk first."""

    kind = "thunk path"

    thunk: Thunk
    path: NamePath = HERE

    def at(self, path: NamePath) -> ThunkPath:
        return ThunkPath(self.thunk, path)


@final
@value_type
class ThunkAddr(Object):
    """The address of a port of a running thunk; `format` has `$host` and `$port` in it."""

    kind = "thunk address"

    thunk: Thunk
    port: str
    format: str = "$host:$port"


# --- how they print; a thunk's own printer needs the digest, and is in `wire/digest.py` ---


@PRINTED.of(Secret)
def _secret(secret: Secret) -> Parts:
    yield Verbatim(f"<secret: {secret.name}>")


@PRINTED.of(ThunkPath)
def _path(path: ThunkPath) -> Parts:
    yield path.thunk
    yield Verbatim("/" + after_slash(path.path))


@PRINTED.of(ThunkAddr)
def _address(address: ThunkAddr) -> Parts:
    yield address.thunk
    yield Verbatim(":" + address.port)
