"""Runners that send parts of artifacts and of test reports as no runner would: each costs its own run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.bridge.grpc import open_grpc_server
from bassloop.wire import progrock_pb2, runtime_pb2
from bassloop.wire.conventions import ARTIFACT_PREFIX, MAX_ARTIFACTS, REPORT_PREFIX
from bassloop.wire.runtime_grpc import RuntimeBase

from .runners import HOOK, registered
from .test_runners import Updates

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Target

pytestmark = pytest.mark.attacks

PARTS = 19_000
"""Entries of a message, nearly as many as it may have."""

CHUNK = 4_000_000
"""Nearly as many bytes as a message may have."""

SETTINGS = {"ARTIFACT_LIMIT": "64MiB", "RUN_ARTIFACTS": "128MiB"}

NOWHERE = ("../../escaped", "/tmp/escaped", "a/../../escaped", "a\0b", "\u202e", "x" * 100_000, "")
"""Paths that an artifact can't have."""


def logs(names: list[str], data: bytes = b"x") -> progrock_pb2.StatusUpdate:
    return progrock_pb2.StatusUpdate(
        logs=[progrock_pb2.VertexLog(vertex=name, data=data) for name in names]
    )


def ends(names: list[str], error: str | None = None) -> progrock_pb2.StatusUpdate:
    update = progrock_pb2.StatusUpdate()
    for name in names:
        vertex = update.vertexes.add(id=name, error=error)
        vertex.completed.GetCurrentTime()
    return update


def whole(names: list[str], data: bytes = b"x") -> progrock_pb2.StatusUpdate:
    update = logs(names, data)
    update.MergeFrom(ends(names))
    return update


def numbered(prefix: str, most: int = PARTS) -> list[str]:
    return [f"{prefix}{number}" for number in range(most)]


ATTACKS: dict[str, Callable[[], progrock_pb2.StatusUpdate]] = {
    "an artifact without an end": lambda: logs([f"{ARTIFACT_PREFIX}a"], bytes(CHUNK)),
    "an artifact, a byte at a time": lambda: logs([f"{ARTIFACT_PREFIX}a"] * PARTS),
    "parts of nothing": lambda: logs([f"{ARTIFACT_PREFIX}a"] * PARTS, b""),
    "artifacts without a number": lambda: logs(numbered(ARTIFACT_PREFIX)),
    "artifacts that end before they begin": lambda: ends(numbered(ARTIFACT_PREFIX)),
    "artifacts that fail": lambda: ends(numbered(ARTIFACT_PREFIX), "the disk is broken " * 5),
    "artifacts that end twice": lambda: whole([f"{ARTIFACT_PREFIX}a"] * 5_000),
    "reports, a byte at a time": lambda: logs([f"{REPORT_PREFIX}a"] * PARTS),
    "reports without a number": lambda: logs(numbered(REPORT_PREFIX)),
    "reports that end twice": lambda: whole([f"{REPORT_PREFIX}a"] * 5_000, b"1..0\n"),
}


async def test_parts_of_artifacts_and_reports_do_not_hold_up_others(target: Target) -> None:
    async def push() -> None:
        await target.push(HOOK)
        await trio.sleep_forever()

    for name, make in ATTACKS.items():
        async with (
            open_grpc_server([Updates(make())]) as new_session,
            registered(target, new_session, client_version="bassloop"),
        ):
            await target.withstand(name, push)
    assert not target.daemon.lines_with("Traceback")


class Hostile(RuntimeBase):
    """Sends each call these messages, and succeeds."""

    def __init__(self, *updates: progrock_pb2.StatusUpdate) -> None:
        self._updates = updates

    async def Run(self, stream) -> None:  # type: ignore[no-untyped-def]
        await stream.recv_message()
        for update in (*self._updates, progrock_pb2.StatusUpdate()):
            await stream.send_message(runtime_pb2.RunResponse(progress=update))

    Read = Export = ExportPath = Publish = Resolve = Run


async def test_what_is_wrong_with_artifacts_and_reports_is_a_matter_of_their_run(
    target: Target,
) -> None:
    """A run ends, and keeps no artifact whose path leads elsewhere, nor more than it may have."""
    runner = Hostile(
        *(whole([f"{ARTIFACT_PREFIX}{path}"]) for path in NOWHERE),
        whole([f"{REPORT_PREFIX}a"] * 2, b"1..0\n"),
        whole(numbered(ARTIFACT_PREFIX, 2 * MAX_ARTIFACTS)),
    )
    async with (
        open_grpc_server([runner]) as new_session,
        registered(target, new_session, client_version="bassloop"),
    ):
        check = await target.concluded(await target.push(HOOK), "check 0")
    assert check["conclusion"] == "success", check["output"]
    assert "is not kept" in str(check["output"])
    kept = [each for each in target.world.folder.rglob("artifacts/*/*") if each.is_file()]
    assert all(each.stat().st_size == 1 for each in kept)
    assert not list(target.world.folder.rglob("escaped"))
    assert not target.daemon.lines_with("Traceback")
