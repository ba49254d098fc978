"""Bass, a small Lisp for describing commands in containers. It does no I/O itself: a `Host` does.

    async with bass.open_session(host, budget=bass.Budget(steps=1_000_000)) as session:
        module = await session.load(source, "project.bass", directory)
        await session.call(bass.binding(module, "github-hook", "project.bass"), event, client)
        await session.wait()

`open_session` needs Trio, an optional dependency that is imported on first use. If the host never waits for anything,
`immediate_session` does without an event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bassloop.bass.embedding import binding, builtin, immediate_session, run_now, scope
from bassloop.bass.errors import BassError, EndOfSource, Exhausted, ReadError, render
from bassloop.bass.filesystem import (
    DirEntry,
    FileSystem,
    FSPath,
    MemoryFiles,
    memory_file,
    repository_dir,
)
from bassloop.bass.host import UNAVAILABLE, ByteStream, Host
from bassloop.bass.json import from_python, to_python
from bassloop.bass.machine import Budget
from bassloop.bass.path import CachePath, CommandPath, DirPath, FilePath, HostPath
from bassloop.bass.printer import show
from bassloop.bass.reader import read_source
from bassloop.bass.session import Session
from bassloop.bass.thunk import ImageRef, Platform, Secret, Thunk, ThunkPath
from bassloop.bass.values import Scope, Symbol, Value
from bassloop.bass.wire.decode import decode_encoded_thunk, decode_flat, decode_ref, decode_thunk
from bassloop.bass.wire.digest import (
    digest_of,
    digest_of_encoded,
    encode_go_order,
    thunk_digest,
    thunk_sha256,
)
from bassloop.bass.wire.encode import (
    encode_name_path,
    encode_ref,
    encode_thunk,
    encoded_thunk,
    read_files,
)

if TYPE_CHECKING:
    from bassloop.bass.trio_driver import open_session

__all__ = [
    "UNAVAILABLE",
    "BassError",
    "Budget",
    "ByteStream",
    "CachePath",
    "CommandPath",
    "DirEntry",
    "DirPath",
    "EndOfSource",
    "Exhausted",
    "FSPath",
    "FilePath",
    "FileSystem",
    "Host",
    "HostPath",
    "ImageRef",
    "MemoryFiles",
    "Platform",
    "ReadError",
    "Scope",
    "Secret",
    "Session",
    "Symbol",
    "Thunk",
    "ThunkPath",
    "Value",
    "binding",
    "builtin",
    "decode_encoded_thunk",
    "decode_flat",
    "decode_ref",
    "decode_thunk",
    "digest_of",
    "digest_of_encoded",
    "encode_go_order",
    "encode_name_path",
    "encode_ref",
    "encode_thunk",
    "encoded_thunk",
    "from_python",
    "immediate_session",
    "memory_file",
    "open_session",
    "read_files",
    "read_source",
    "render",
    "repository_dir",
    "run_now",
    "scope",
    "show",
    "thunk_digest",
    "thunk_sha256",
    "to_python",
]


def __getattr__(name: str) -> Any:
    if name == "open_session":
        from bassloop.bass.trio_driver import open_session

        return open_session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
