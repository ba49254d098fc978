"""Answers of this implementation, in the shape of the stored ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bassloop.bass.embedding import immediate_session, run_now
from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import memory_file
from bassloop.bass.host import Host
from bassloop.bass.json import encode
from bassloop.bass.path import HostPath
from bassloop.bass.printer import show
from bassloop.bass.thunk import Thunk
from bassloop.bass.values import plain
from bassloop.bass.wire.digest import encode_go_order, thunk_digest
from bassloop.bass.wire.encode import encode as encode_value
from bassloop.bass.wire.encode import encode_thunk

if TYPE_CHECKING:
    from bassloop.bass.values import Value

REASON = re.compile(r"{{thunk \(error: .*?\): ")


class Nothing(Host):
    """A host that can do nothing, as the reference was asked."""


def evaluate(program: str) -> Value:
    """The value of a program, on this machine's current directory."""
    session = immediate_session(Nothing())
    file = memory_file("program", program.encode())
    return run_now(session.evaluate(program, "program", HostPath("."), file=file))


def answer(program: str) -> dict[str, Any]:
    """The answer of this implementation. A reason why a thunk has no digest is left out."""
    try:
        value = evaluate(program)
    except BassError:
        return {"ok": False}
    given = {"ok": True, "value": REASON.sub("{{thunk (error): ", show(value))}
    try:
        given["json"] = encode(value)
    except BassError:
        pass
    bare = plain(value)
    try:
        if isinstance(bare, Thunk):
            given["digest"] = thunk_digest(bare)
            given["proto"] = encode_go_order(encode_thunk(bare)).hex()
        else:
            given["proto"] = encode_go_order(encode_value(value)).hex()
    except BassError:
        pass
    if given.get("proto") == "":
        del given["proto"]  # as the stored answers have it
    return given
