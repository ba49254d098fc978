"""Where a thunk's parts lie in its work directory, and that none lies anywhere else. Pure."""

from __future__ import annotations

import json
import posixpath
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict

from bassloop.runner.drivers.progress import DriverError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.wire import bass_pb2 as pb

MAX_LOGICAL_DEPTH = 100


def inside(path: str, what: str) -> str:
    """A path relative to the work directory. Raises DriverError for one that is outside of it."""
    clean = posixpath.normpath(path or ".")
    if "\x00" in path or clean.startswith(("/", "../")) or clean == "..":
        raise DriverError(
            f"{what} {path!r} is outside of the work directory, where the host driver can put nothing"
        )
    return clean


def filesystem(path: pb.FilesystemPath) -> str:
    """The text of a file or directory path."""
    return path.file.path if path.WhichOneof("path") == "file" else path.dir.path


def name_of(name: str) -> str:
    """A single name of a file, as a message has it. Raises DriverError for one that is none."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise DriverError(f"{name!r} is no name of a file")
    return name


def logical_files(path: pb.LogicalPath, at: str = "") -> Iterator[tuple[str, bytes]]:
    """The files that travel with a message, by their path in it. Raises DriverError for bad names."""
    waiting = [(path, at, 0)]
    while waiting:
        entry, parent, depth = waiting.pop()
        if depth > MAX_LOGICAL_DEPTH:
            raise DriverError("the files of a thunk are nested too deep")
        if entry.WhichOneof("path") == "file":
            yield posixpath.join(parent, name_of(entry.file.name)), entry.file.content
        elif depth == 0:
            waiting += [(each, parent, 1) for each in entry.dir.entries]
        else:
            for each in entry.dir.entries:
                waiting.append((each, posixpath.join(parent, name_of(entry.dir.name)), depth + 1))
            if not entry.dir.entries:
                name_of(entry.dir.name)


def standard_input(values: list[Any]) -> bytes:
    """Values as a stream of JSON, one in a line."""
    return b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)


def data(value: pb.Value) -> Any:
    """A value that is plain data, as JSON has it. Raises DriverError for others."""
    kind = value.WhichOneof("value")
    match kind:
        case None | "null":
            return None
        case "bool" | "int" | "string":
            return getattr(value, kind).value
        case "array":
            return [data(each) for each in value.array.values]
        case "object":
            return {binding.symbol: data(binding.value) for binding in value.object.bindings}
        case "secret":
            raise secret(value.secret)
    return MessageToDict(getattr(value, kind), preserving_proto_field_name=True)


def secret(value: pb.Secret) -> DriverError:
    """The error for a secret: its value never leaves the machine that made it."""
    return DriverError(f"the secret {value.name} has no value on this runner")
