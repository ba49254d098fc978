"""Bass, a small Lisp for commands in containers. It does no I/O: it asks a Host.

async with open_session(host, budget=Budget()) as session:
    scope = await session.load(source, "project.bass", directory)
    await session.call(scope.get("github-hook"), event, client)
    await session.wait()
"""

from __future__ import annotations

from bassloop.bass.combiners import builtin
from bassloop.bass.errors import BassError, BudgetExceeded, ReadError
from bassloop.bass.host import Host
from bassloop.bass.jsonform import from_python, to_python
from bassloop.bass.machine import Budget
from bassloop.bass.paths import DirPath, FilePath, RepositoryPath, ThunkPath
from bassloop.bass.printer import show
from bassloop.bass.proto import decode_thunk, encode_ref, encode_thunk, thunk_sha256
from bassloop.bass.reader import read
from bassloop.bass.session import Session, open_session
from bassloop.bass.thunk import ImageRef, Platform, Thunk
from bassloop.bass.values import Scope, Value

__all__ = [
    "BassError",
    "Budget",
    "BudgetExceeded",
    "DirPath",
    "FilePath",
    "Host",
    "ImageRef",
    "Platform",
    "ReadError",
    "RepositoryPath",
    "Scope",
    "Session",
    "Thunk",
    "ThunkPath",
    "Value",
    "builtin",
    "decode_thunk",
    "encode_ref",
    "encode_thunk",
    "from_python",
    "open_session",
    "read",
    "scope",
    "show",
    "thunk_sha256",
    "to_python",
]


def scope(bindings: dict[str, Value]) -> Scope:
    """A scope of these bindings."""
    return Scope(dict(bindings))
