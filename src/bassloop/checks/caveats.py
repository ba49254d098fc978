"""What the check of a run should say of the kind of runner that it runs on, or ran on. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.runtimes import caveat
from bassloop.wire import bass_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from bassloop.runtimes import Runtime
    from bassloop.store import Run, ThunkRecord


def foreseen(runtime: Runtime) -> list[str]:
    """What may surprise whoever waits for a run on this runtime, as one sentence."""
    if not runtime.caveats:
        return []
    return [f"This runner is a {_KINDS[runtime.kind]}: {'; '.join(runtime.caveats)}."]


def notes(run: Run, thunk: ThunkRecord | None) -> list[str]:
    """What may have surprised whoever waited for this run, a sentence each."""
    found = []
    if thunk is not None and names_secret(bass_pb2.Thunk.FromString(thunk.proto)):
        found.append(caveat(run.runner_kind, "secrets"))
    if run.state in ("cancelled", "timed_out"):
        found.append(caveat(run.runner_kind, "cancelling"))
    return [f"This runner is a {_KINDS[str(run.runner_kind)]}: {each}." for each in found if each]


_KINDS = {"go": "Go `bass --runner`"}


def names_secret(message: Message) -> bool:
    """Whether a thunk, or one that it is made from, asks for a secret."""
    waiting = [message]
    while waiting:
        each = waiting.pop()
        if isinstance(each, bass_pb2.Secret):
            return True
        for field, value in each.ListFields():
            if field.type == field.TYPE_MESSAGE:
                waiting.extend(value if field.is_repeated else [value])
    return False
