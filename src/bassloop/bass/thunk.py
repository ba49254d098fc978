"""A thunk: a command in a container, as a value. It never changes; every `with_…` makes another."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, replace
from typing import Any

from bassloop.bass.errors import BassError
from bassloop.bass.paths import FilePath, Path


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image is for, in Go's words; an empty part matches any."""

    os: str = ""
    arch: str = ""

    @classmethod
    def of(cls, os: str, arch: str = "") -> Platform:
        """A platform; without an architecture it is this machine's, as in every other Bass."""
        machine = platform.machine().lower()
        return cls(os, arch or {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine))


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image by its name in a registry."""

    repository: Any
    platform: Platform = Platform()
    tag: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """An image from an OCI archive."""

    file: Any
    platform: Platform = Platform()
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class ImageBuild:
    """An image from a Dockerfile in `context`."""

    context: Any
    platform: Platform = Platform()
    dockerfile: str | None = None
    target: str | None = None
    args: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Mount:
    """A source at a place in the container."""

    source: Any
    target: Path


@dataclass(frozen=True, slots=True)
class ThunkAddr:
    """Where a thunk's port can be reached, written in `format`."""

    thunk: Thunk
    port: str
    format: str = "$host:$port"


@dataclass(frozen=True, slots=True, eq=False)
class Thunk(Path):
    """A command and all that it needs. Without an image it is a Bass script."""

    image: Any = None
    insecure: bool = False
    args: tuple[Any, ...] = ()
    stdin: tuple[Any, ...] = ()
    env: tuple[tuple[str, Any], ...] = ()
    dir: Any = None
    mounts: tuple[Mount, ...] = ()
    labels: tuple[tuple[str, Any], ...] = ()
    ports: tuple[tuple[str, int], ...] = ()
    tls: tuple[FilePath, FilePath] | None = None
    entrypoint: tuple[str, ...] = ()
    clear_entrypoint: bool = False
    default_args: tuple[str, ...] = ()
    clear_default_args: bool = False
    use_entrypoint: bool = False

    def __str__(self) -> str:
        # Printing never fails, not even for a thunk that can't be sent.
        try:
            name = self.digest()
        except BassError as error:
            name = f"(error: {error.message})"
        return f"{{{{thunk {name}: {self.cmdline()}}}}}"

    def extend(self, child: Path) -> Path:
        """A path in what it leaves behind."""
        from bassloop.bass.paths import DirPath, ThunkPath

        return ThunkPath(self, DirPath(".")).extend(child)

    def name(self) -> str:
        """Its digest."""
        return self.digest()

    def digest(self) -> str:
        """Its name: short, in URLs, and no proof of what it is."""
        from bassloop.bass.proto import digest_of, encode_thunk

        return digest_of(encode_thunk(self))

    def with_image(self, image: Any) -> Thunk:
        """On top of another image; a chain is rebased at its deepest."""
        if isinstance(self.image, Thunk):
            return replace(self, image=self.image.with_image(image))
        return replace(self, image=image)

    def platform(self) -> Platform | None:
        """The platform that its image is for; None for a Bass script."""
        image = self.image
        while isinstance(image, Thunk):
            image = image.image
        return None if image is None else image.platform

    def cmdline(self) -> str:
        """Its command as a person would type it."""
        from bassloop.bass.printer import show

        words = []
        for arg in self.args:
            if isinstance(arg, str):
                words.append(json.dumps(arg, ensure_ascii=False) if " " in arg else arg)
            else:
                words.append(show(arg))
        return " ".join(words)
