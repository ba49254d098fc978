"""Secrets: strings that a script may pass on by name and nobody gets to see."""

from __future__ import annotations

import hmac
import platform as machine_platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, final

from bassloop.bass import errors
from bassloop.bass.errors import BassError
from bassloop.bass.path import (
    HERE,
    DirPath,
    Extend,
    FilePath,
    HostPath,
    NamePath,
    Path,
    PlacedPath,
    bare,
    extend_with,
)
from bassloop.bass.scope import Scope
from bassloop.bass.values import EMPTY, Object, Value, Verbatim, strip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bassloop.bass.combiner import Combiner
    from bassloop.bass.filesystem import FSPath
    from bassloop.bass.machine import Machine
    from bassloop.bass.path import CachePath


@final
class Secret(Object):
    """A masked string. It prints, encodes and leaves as its name alone; even its length is kept.

    `reveal` is for the host that hands it to a command that runs on this machine.
    """

    __slots__ = ("_value", "name")
    kind = "secret"

    def __init__(self, name: str, value: bytes | None = None) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> bytes | None:
        """The value; None if it is not known here, as for a secret out of a message."""
        return self._value

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim(f"<secret: {self.name}>")

    def json_parts(self) -> Iterator[Verbatim | Value]:
        if not self.name:
            yield Verbatim("{}")
            return
        yield Verbatim('{"name":')
        yield self.name
        yield Verbatim("}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        return hmac.compare_digest(self._value or b"", other.reveal() or b"")

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")


ARCHITECTURE: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}.get(
    machine_platform.machine(), machine_platform.machine()
)
"""This machine's, in Go's words: what a platform's architecture is unless it says so."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on, in Go's words: "linux", "amd64"."""

    os: str = ""
    arch: str = ""

    def scope(self) -> Scope:
        """As a script sees it."""
        return Scope({"os": self.os, "architecture": self.arch})


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image in a registry: by a name, or at the address of a thunk that serves one."""

    repository: str | ThunkAddr
    platform: Platform = Platform()
    tag: str = ""
    digest: str = ""

    def scope(self) -> Scope:
        """As a script sees it, and may give it to `with-image`."""
        bound: dict[str, Value] = {"repository": self.repository, "platform": self.platform.scope()}
        bound.update(
            (name, text) for name, text in (("tag", self.tag), ("digest", self.digest)) if text
        )
        return Scope(bound)


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """An image out of an OCI archive."""

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
    """Something that appears at a path in the container."""

    source: MountSource
    target: NamePath


class ThunkPath(PlacedPath):
    """A path in what a thunk leaves behind. Using it runs the thunk first."""

    __slots__ = ("thunk",)
    kind = "thunk path"

    def __init__(self, thunk: Thunk, path: NamePath = HERE) -> None:
        self.thunk = thunk
        self.path = path

    def at(self, path: NamePath) -> ThunkPath:
        return ThunkPath(self.thunk, path)

    def parts(self) -> Iterator[Verbatim | Value]:
        yield self.thunk
        yield Verbatim("/" + bare(self.path))

    def json_parts(self) -> Iterator[Verbatim | Value]:
        from bassloop.bass.wire.encode import to_json

        yield Verbatim(to_json(self))

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        pending.append((self.path, other.path))
        pending.append((self.thunk, other.thunk))
        return True


@final
class ThunkAddr(Object):
    """Where a port of a thunk can be reached, once it runs; `format` has `$host` and `$port` in it."""

    __slots__ = ("format", "port", "thunk")
    kind = "thunk address"

    def __init__(self, thunk: Thunk, port: str, format: str = "$host:$port") -> None:
        self.thunk = thunk
        self.port = port
        self.format = format

    def parts(self) -> Iterator[Verbatim | Value]:
        yield self.thunk
        yield Verbatim(":" + self.port)

    def json_parts(self) -> Iterator[Verbatim | Value]:
        from bassloop.bass.wire.encode import to_json

        yield Verbatim(to_json(self))

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        pending.append((self.thunk, other.thunk))
        return bool(self.port == other.port and self.format == other.format)


BuildInput: TypeAlias = "ThunkPath | HostPath | FSPath"
MountSource: TypeAlias = "ThunkPath | HostPath | FSPath | CachePath | Secret"
Image: TypeAlias = "ImageRef | ImageArchive | ImageBuild | Thunk"
Bindings: TypeAlias = "tuple[tuple[str, Value], ...]"


@final
class Thunk(Path):
    """A command and all that it needs. Without an image it is a Bass script, or std module, to be loaded.

    `args` begin with the command. `env` and `labels` are pairs in the order that counts for the digest.
    """

    FIELDS: Final = (
        "image", "insecure", "args", "use_entrypoint", "stdin", "env", "dir", "mounts", "labels", "ports",
        "tls", "entrypoint", "clear_entrypoint", "default_args", "clear_default_args",
    )  # fmt: skip
    __slots__ = (*FIELDS, "_digest")
    kind = "thunk"
    sees_through = False

    image: Image | None
    insecure: bool
    args: tuple[Value, ...]
    use_entrypoint: bool
    stdin: tuple[Value, ...]
    env: Bindings
    dir: DirPath | ThunkPath | HostPath | None
    mounts: tuple[Mount, ...]
    labels: Bindings
    ports: tuple[tuple[str, int], ...]
    tls: tuple[FilePath, FilePath] | None
    entrypoint: tuple[str, ...]
    clear_entrypoint: bool
    default_args: tuple[str, ...]
    clear_default_args: bool
    _digest: str

    def __init__(
        self,
        *,
        image: Image | None = None,
        insecure: bool = False,
        args: tuple[Value, ...] = (),
        use_entrypoint: bool = False,
        stdin: tuple[Value, ...] = (),
        env: Bindings = (),
        dir: DirPath | ThunkPath | HostPath | None = None,
        mounts: tuple[Mount, ...] = (),
        labels: Bindings = (),
        ports: tuple[tuple[str, int], ...] = (),
        tls: tuple[FilePath, FilePath] | None = None,
        entrypoint: tuple[str, ...] = (),
        clear_entrypoint: bool = False,
        default_args: tuple[str, ...] = (),
        clear_default_args: bool = False,
    ) -> None:
        self.image = image
        self.insecure = insecure
        self.args = args
        self.use_entrypoint = use_entrypoint
        self.stdin = stdin
        self.env = env
        self.dir = dir
        self.mounts = mounts
        self.labels = labels
        self.ports = ports
        self.tls = tls
        self.entrypoint = entrypoint
        self.clear_entrypoint = clear_entrypoint
        self.default_args = default_args
        self.clear_default_args = clear_default_args

    def replace(self, **changes: Any) -> Thunk:
        """The same thunk with other fields."""
        return Thunk(**{name: getattr(self, name) for name in self.FIELDS} | changes)

    # --- what it says of itself ---

    def digest(self) -> str:
        """Its name: XXH3-64 over its message as Go writes it, in base32hex.

        Not a proof: see `digest.thunk_sha256`. Raises `BassError` if it has no message, and `NotRead` if files
        of the host are in it that have not been read.
        """
        try:
            return self._digest
        except AttributeError:
            from bassloop.bass.wire.digest import digest_of
            from bassloop.bass.wire.encode import encode_thunk

            self._digest = digest_of(encode_thunk(self))
            return self._digest

    def path_name(self) -> str:
        """Its digest, or in brackets why it has none."""
        try:
            return self.digest()
        except BassError as error:
            return f"(error: {error.message})"

    def cmdline(self) -> str:
        """Its command for people: strings as they are unless there are spaces in them, all else as it prints."""
        from bassloop.bass.printer import show

        return " ".join(
            part if part.__class__ is Verbatim else show(part) for part in self._words()
        )

    def platform(self) -> Platform | None:
        """What its image runs on. None for a Bass script."""
        image = self.image
        while isinstance(image, Thunk):
            image = image.image
        return None if image is None else image.platform

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim(f"{{{{thunk {self.path_name()}:")
        for word in self._words():
            yield Verbatim(" ")
            yield word
        yield Verbatim("}}" if self.args else " }}")

    def _words(self) -> Iterator[Verbatim | Value]:
        for arg in self.args:
            bare = strip(arg)
            yield Verbatim(bare) if bare.__class__ is str and " " not in bare else arg

    def json_parts(self) -> Iterator[Verbatim | Value]:
        from bassloop.bass.wire.encode import to_json

        yield Verbatim(to_json(self))

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        from bassloop.bass.wire.encode import same_thunk

        return same_thunk(self, other)

    # --- as a path, and as a combiner: it is extended ---

    def extend(self, child: Path) -> Path:
        return ThunkPath(self).extend(child)

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        return extend_with(ThunkPath(self), args)

    def call(self, operands: Value, scope: Scope, machine: Machine) -> Value:
        from bassloop.bass.compiler import evaluate_operands

        args, rest = evaluate_operands(operands, scope, machine)
        if rest is not EMPTY:
            raise errors.not_a_list(operands, self)
        return self.apply(args, scope, machine)

    def unwrap(self) -> Combiner:
        """What is inside, although a thunk is no applicative to a script."""
        return Extend(ThunkPath(self))

    # --- others like it ---

    def with_image(self, image: Image) -> Thunk:
        """On another image; if it stands on a chain of thunks, the deepest of them does."""
        chain = [self]
        while isinstance(chain[-1].image, Thunk):
            chain.append(chain[-1].image)
        while chain:
            image = chain.pop().replace(image=image)
        assert isinstance(image, Thunk)
        return image

    def with_args(self, args: Iterable[Value]) -> Thunk:
        """With other arguments to the same command; with this command, if it has none."""
        return self.replace(args=(*self.args[:1], *args))

    def with_env(self, env: Scope) -> Thunk:
        """With these variables before those it has; its own are replaced."""
        new = dict(env.items())
        return self.replace(env=(*new.items(), *(pair for pair in self.env if pair[0] not in new)))

    def with_label(self, name: str, value: Value) -> Thunk:
        """With a label; one of that name is replaced where it is."""
        return self.replace(labels=tuple((dict(self.labels) | {name: value}).items()))

    def with_mount(self, source: MountSource, target: NamePath) -> Thunk:
        """With one more mount."""
        return self.replace(mounts=(*self.mounts, Mount(source, target)))

    def with_port(self, name: str, port: int) -> Thunk:
        """With one more port that it listens on."""
        return self.replace(ports=(*self.ports, (name, port)))

    def with_entrypoint(self, entrypoint: tuple[str, ...]) -> Thunk:
        """As an image that is run with this entrypoint; () clears it."""
        return self._as_image().replace(entrypoint=entrypoint, clear_entrypoint=not entrypoint)

    def with_default_args(self, args: tuple[str, ...]) -> Thunk:
        """As an image that is run with these arguments unless others are given; () clears them."""
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
        """Where a port of it can be reached. Raises `BassError` if it has no port of that name."""
        if not any(name == port for name, _ in self.ports):
            raise BassError(
                lambda: (
                    f"{errors.brief(self)} has no port {port}: give it one, (with-port thunk :{port} 8080)"
                )
            )
        return ThunkAddr(self, port, format)

    def run_dir(self) -> Path | None:
        """The directory that a Bass script stands in, its `*dir*`; None for a module of std."""
        command = strip(self.args[0]) if self.args else None
        if isinstance(command, FilePath | PlacedPath):
            return command.parent_dir()
        return None


SCRATCH: Final = Thunk()
"""The empty thunk."""
