"""Images as engines describe them: their names, and what they run. No I/O."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bassloop.runner.container.container_engine import EngineError
from bassloop.runner.engine.command import ImageDefaults, chain_of
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
"""The prefix of images that no registry has."""
OURS = "localhost/bassloop"
"""The prefix of images that runners make. Thunks can't name them."""

CONFIG_KEYS = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
)
"""The keys in the OCI image specification. Engines add more."""

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the engine's store.

    Args:
        digest: its digest in its registry.
        config: its complete configuration.
    """

    id: str
    digest: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    defaults: ImageDefaults = field(default_factory=ImageDefaults)
    config: Config = field(default_factory=dict)


def name_of(ref: pb.ImageRef) -> str:
    """Return an image's full name, including its registry. Raises DriverError."""
    found = _REPOSITORY.match(ref.repository)
    if found is None or len(ref.repository) > MAX_NAME:
        raise DriverError(f"{ref.repository[:100]!r} can't be the name of an image")
    host, path = found["host"], found["path"]
    if host is not None and not (set(host) & {".", ":"} or host == "localhost"):
        host, path = None, f"{host}/{path}"  # a first part without a dot isn't a host
    if host is None:
        host = "docker.io"
        path = path if "/" in path else f"library/{path}"
    name = f"{host}/{path}"
    if name.startswith(OURS):
        raise DriverError(f"the image {ref.repository} is this runner's own")
    if ref.HasField("digest") and ref.digest:
        if not _DIGEST.match(ref.digest):
            raise DriverError(f"{ref.digest[:100]!r} can't be the digest of an image")
        return f"{name}@{ref.digest}"
    tag = ref.tag or "latest"
    if not _TAG.match(tag):
        raise DriverError(f"{tag[:100]!r} can't be the tag of an image")
    return f"{name}:{tag}"


def is_loopback(name: str) -> bool:
    """Return whether an image's registry is on this machine, so it needs no TLS."""
    host = name.partition("/")[0].rpartition(":")[0] or name.partition("/")[0]
    return host in ("localhost", "[::1]") or host.startswith("127.")


def is_within(name: str, allowed: str) -> bool:
    """Return whether a full name is the allowed one, or below it."""
    repository = name.partition("@")[0]
    if ":" in repository.rpartition("/")[2]:
        repository = repository.rpartition(":")[0]
    allowed = allowed.rstrip("/")
    return bool(allowed) and (repository == allowed or repository.startswith(f"{allowed}/"))


def platform_of(platform: pb.Platform) -> str | None:
    """Return a platform in the engines' syntax; None for this machine's. Raises DriverError."""
    if platform.os not in ("", "linux"):
        raise DriverError(f"containers here run Linux, not {platform.os[:50]}")
    if not platform.arch:
        return None
    if not re.fullmatch(r"[a-z0-9]{1,20}", platform.arch):
        raise DriverError(f"{platform.arch[:50]!r} can't be an architecture")
    return f"linux/{platform.arch}"


def parse(answer: str) -> Image:
    """Return the image that an engine's `image inspect` describes. Raises EngineError."""
    try:
        found = json.loads(answer)[0]
        config: Config = found.get("Config") or {}
        env = dict(str.partition(each, "=")[::2] for each in config.get("Env") or ())
        defaults = ImageDefaults(
            tuple(map(str, config.get("Entrypoint") or ())),
            tuple(map(str, config.get("Cmd") or ())),
        )
        return Image(bare_id(str(found["Id"])), _digest(found), env, defaults, config)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise EngineError("the engine's description of an image can't be parsed") from error


def bare_id(text: str) -> str:
    """Return an image's id without the algorithm, which only some engines include."""
    return text.strip().removeprefix("sha256:")


def _digest(found: dict[str, Any]) -> str | None:
    digest = found.get("Digest")
    if not digest:
        digests = [str(each).partition("@")[2] for each in found.get("RepoDigests") or ()]
        digest = digests[0] if digests else None
    return str(digest) if digest and _DIGEST.match(str(digest)) else None


def config_after(thunk: pb.Thunk, root: Config) -> Config:
    """Return the configuration of a thunk's image, based on that of the image at the root of its chain.

    A command's variables, user and directory don't go into the image. Raises DriverError.
    """
    config = {key: root[key] for key in CONFIG_KEYS if root.get(key)}
    for each in reversed(list(chain_of(thunk))):
        if each.entrypoint or each.clear_entrypoint:
            config["Entrypoint"] = list(each.entrypoint)
        if each.default_args or each.clear_default_args:
            config["Cmd"] = list(each.default_args)
        if each.labels:
            config["Labels"] = {label.symbol: _label(label.value) for label in each.labels}
        for port in each.ports:
            config["ExposedPorts"] = {**config.get("ExposedPorts", {}), f"{port.port}/tcp": {}}
    return {key: value for key, value in config.items() if value not in ([], {}, "")}


def _label(value: pb.Value) -> str:
    if value.WhichOneof("value") != "string":
        raise DriverError("a label's value must be text")
    return value.string.value
