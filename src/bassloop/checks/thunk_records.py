"""A Bass thunk as the store and the pool know it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToJson

from bassloop import bass
from bassloop.runtimes import Platform
from bassloop.store import ThunkRecord

if TYPE_CHECKING:
    from bassloop.wire import bass_pb2


def thunk_record(thunk: bass.Thunk, proto: bass_pb2.Thunk) -> ThunkRecord:
    """What the store keeps of a thunk: its name, its proof, and its forms."""
    return ThunkRecord(
        digest=thunk.digest(),
        sha256=bass.thunk_sha256(proto),
        json=MessageToJson(proto, preserving_proto_field_name=True, indent=2),
        proto=proto.SerializeToString(deterministic=True),
        cmdline=thunk.cmdline(),
        created_at=time.time(),
    )


def platform_of(thunk: bass.Thunk) -> Platform | None:
    """The platform that a thunk asks for; None asks for any."""
    wanted = thunk.platform()
    return None if wanted is None else Platform(wanted.os, wanted.arch)
