"""A thunk: a command in a container, as a value. It never changes; every `with_…` makes another."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import Any

from bassloop.bass.paths import CommandPath, FilePath, Path


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image is for, in Go's words; an empty part matches any."""

    os: str = ""
    arch: str = ""


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
        return f"<thunk {self.digest()}: {self.cmdline()}>"

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
        words = []
        for arg in self.args:
            if isinstance(arg, str):
                words.append(shlex.quote(arg) if " " in arg or not arg else arg)
            elif isinstance(arg, CommandPath):
                words.append(arg.command)
            else:
                words.append(_short(arg))
        return " ".join(words)


def _short(arg: Any) -> str:
    from bassloop.bass.paths import ThunkPath
    from bassloop.bass.printer import show

    if isinstance(arg, ThunkPath):
        return f"{arg.thunk.digest()}/{str(arg.path).removeprefix('./')}"
    return show(arg)
