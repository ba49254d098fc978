"""What an output is kept under, and what a command is called."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bassloop.bass import thunk_sha256
from bassloop.runner.secrets.git_credentials import PrivateSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.wire import bass_pb2 as pb


@dataclass(frozen=True, slots=True)
class CallContext:
    """For whom something runs: outputs are never shared between scopes.

    So a fork can't poison what its base repository takes from the cache, nor one repository what
    another does. Without a repository the scope is the local one, of whoever sits at this machine.

    Args:
        cached_only: nothing is run, only what is kept is given: somebody looks at an output.
        source: where a private repository is checked out from; it does not tell scopes apart.
    """

    repository: str | None = None
    fork: bool = False
    cached_only: bool = False
    source: PrivateSource | None = field(default=None, compare=False)

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> CallContext:
        """The scope of a call; who does not say that it is no fork is treated as one."""
        repository = metadata.get("bassloop-repository") or None
        fork = repository is not None and metadata.get("bassloop-fork") != "false"
        cached_only = metadata.get("bassloop-kept-only") == "true"
        whose = repository.lower() if repository else None
        return cls(whose, fork, cached_only, PrivateSource.of(metadata))

    def own(self, name: str) -> str:
        """A name of this scope's own: 64 hexadecimal digits, different for every scope and name."""
        trust = "fork" if self.fork else "own"
        about = f"{self.repository or ''}\n{trust}\n{name}"
        return hashlib.sha256(about.encode()).hexdigest()


LOCAL = CallContext()


def key(scope: CallContext, thunk: pb.Thunk) -> str:
    """What a thunk's output is kept under: 64 hexadecimal digits."""
    return scope.own(thunk_sha256(thunk))


def command_line(thunk: pb.Thunk) -> str:
    """A thunk's command as a person would type it; for an image alone, its name."""
    if thunk.args:
        return " ".join(_word(arg) for arg in thunk.args)
    if thunk.image.WhichOneof("image") == "thunk":
        return command_line(thunk.image.thunk)
    ref = thunk.image.ref
    name = ref.repository or "an image"
    return f"image {name}:{ref.tag}" if ref.HasField("tag") else f"image {name}"


def _word(value: pb.Value) -> str:
    match value.WhichOneof("value"):
        case "string":
            return shlex.quote(value.string.value)
        case "command_path":
            return value.command_path.name
        case "file_path":
            return written(value.file_path.path)
        case "dir_path":
            return written(f"{value.dir_path.path.rstrip('/')}/")
        case "thunk_path":
            return _inner(value.thunk_path.path)
        case "cache_path":
            return _inner(value.cache_path.path)
        case "host_path":
            return _inner(value.host_path.path)
        case "logical_path":
            return value.logical_path.file.name or value.logical_path.dir.name
        case "int":
            return str(value.int.value)
        case "array":
            return "".join(_word(each) for each in value.array.values)
        case "secret":
            return f"<secret: {value.secret.name}>"
        case "thunk_addr":
            return value.thunk_addr.format or value.thunk_addr.port
    return "…"


def _inner(path: pb.FilesystemPath) -> str:
    return path.file.path if path.WhichOneof("path") == "file" else f"{path.dir.path}/"


def written(path: str) -> str:
    """A path as it is written in a command: one that is relative begins with a dot."""
    return path if path.startswith(("/", "./", "../")) else f"./{path}"
