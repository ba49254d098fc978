"""Images as engines describe them, and their names. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bassloop.runner.container.engine import EngineError
from bassloop.runner.engine.command import ImageDefaults
from bassloop.runner.errors import DriverError

if TYPE_CHECKING:
    from bassloop.wire import bass_pb2 as pb

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?:(?P<host>{_HOST})/)?(?P<path>{_PART}(?:/{_PART})*)\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
MAX_NAME = 255

LOCAL = "localhost/"
"""What the names of images begin with that no registry has."""
OURS = "localhost/bassloop"
"""What the names of images begin with that runners make; nobody else may ask for those."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is here."""

    id: str
    digest: str | None = None
    """What its registry knows it by."""
    env: dict[str, str] = field(default_factory=dict)
    inherited: ImageDefaults = field(default_factory=ImageDefaults)
    config: dict[str, Any] = field(default_factory=dict)
    """All that it says of what is run."""


def name_of(ref: pb.ImageRef, repository: str | None = None) -> str:
    """The whole name of an image, with its registry. Raises DriverError.

    Args:
        repository: instead of the one in `ref`, when that is the address of a service.
    """
    written = repository or ref.repository
    found = _REPOSITORY.match(written)
    if found is None or len(written) > MAX_NAME:
        raise DriverError(f"{written[:100]!r} is no name of an image")
    host, path = found["host"], found["path"]
    if host is not None and not (set(host) & {".", ":"} or host == "localhost"):
        host, path = None, f"{host}/{path}"  # a first part without a dot is no host
    if host is None:
        host = "docker.io"
        path = path if "/" in path else f"library/{path}"
    name = f"{host}/{path}"
    if name.startswith(OURS):
        raise DriverError(f"the image {written} is this runner's own")
    if ref.HasField("digest") and ref.digest:
        if not _DIGEST.match(ref.digest):
            raise DriverError(f"{ref.digest[:100]!r} is no digest of an image")
        return f"{name}@{ref.digest}"
    tag = ref.tag or "latest"
    if not _TAG.match(tag):
        raise DriverError(f"{tag[:100]!r} is no tag of an image")
    return f"{name}:{tag}"


def is_loopback(name: str) -> bool:
    """Whether an image's registry is on this machine, where it needs no TLS."""
    host = name.partition("/")[0].rpartition(":")[0] or name.partition("/")[0]
    return host in ("localhost", "[::1]") or host.startswith("127.")


def is_within(name: str, allowed: str) -> bool:
    """Whether a whole name is the one that is allowed, or in it."""
    repository = name.partition("@")[0]
    repository = (
        repository.rpartition(":")[0] if ":" in repository.rpartition("/")[2] else repository
    )
    allowed = allowed.rstrip("/")
    return bool(allowed) and (repository == allowed or repository.startswith(f"{allowed}/"))


def platform_of(platform: pb.Platform) -> str | None:
    """A platform as engines take it; None for this machine's. Raises DriverError."""
    if platform.os not in ("", "linux"):
        raise DriverError(f"containers here run Linux, and not {platform.os[:50]}")
    if not platform.arch:
        return None
    if not re.fullmatch(r"[a-z0-9]{1,20}", platform.arch):
        raise DriverError(f"{platform.arch[:50]!r} is no architecture")
    return f"linux/{platform.arch}"


def parse(answer: str) -> Image:
    """An image out of an engine's `image inspect`. Raises EngineError."""
    try:
        found = json.loads(answer)[0]
        config: dict[str, Any] = found.get("Config") or {}
        env = dict(_variable(each) for each in config.get("Env") or ())
        inherited = ImageDefaults(
            tuple(map(str, config.get("Entrypoint") or ())),
            tuple(map(str, config.get("Cmd") or ())),
        )
        return Image(bare(str(found["Id"])), _digest(found), env, inherited, config)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise EngineError("what the engine says of an image is not understood") from error


def bare(written: str) -> str:
    """An image's id without its algorithm, as one engine writes it and the other does not."""
    return written.strip().removeprefix("sha256:")


def _variable(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _digest(found: dict[str, Any]) -> str | None:
    digest = found.get("Digest")
    if not digest:
        digests = [str(each).partition("@")[2] for each in found.get("RepoDigests") or ()]
        digest = digests[0] if digests else None
    return str(digest) if digest and _DIGEST.match(str(digest)) else None
