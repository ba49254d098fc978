"""Test reports that a runner sends: each costs its own run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.bridge.grpc import open_grpc_server
from bassloop.wire import progrock_pb2, runtime_pb2
from bassloop.wire.conventions import MAX_REPORT, REPORT_PREFIX
from bassloop.wire.runtime_grpc import RuntimeBase

from .runners import HOOK, registered

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Target

pytestmark = pytest.mark.attacks

PIECE = 1 << 20


# A report is put together when it's sent: all of them take long, in each process that collects this module.


def filled(start: bytes, part: bytes, end: bytes) -> bytes:
    return start + part * ((MAX_REPORT - len(start) - len(end)) // len(part)) + end


def deep() -> bytes:
    depth = MAX_REPORT // 16
    return b"<testsuite>" + b"<a>" * depth + b"</a>" * depth + b"</testsuite>"


REPORTS: dict[str, Callable[[], bytes]] = {
    "many tests": partial(filled, b"<testsuite>", b'<testcase name="x"/>', b"</testsuite>"),
    "many failures": partial(
        filled,
        b"<testsuite>",
        b'<testcase name="x"><failure>src/a.py:1: AssertionError\n</failure></testcase>',
        b"</testsuite>",
    ),
    "deep elements": deep,
    "entities": partial(
        filled, b"<testsuite><testcase><failure>", b"&lt;", b"</failure></testcase></testsuite>"
    ),
    "TAP": partial(filled, b"TAP version 13\n", b"not ok 1 - x\n", b""),
    "TAP of one line": partial(filled, b"TAP version 13\nok ", b"1 ", b"\n"),
}


class Reports(RuntimeBase):
    """Answers each call with the same report, again and again."""

    def __init__(self, report: bytes) -> None:
        self._report = report

    async def Run(self, stream) -> None:  # type: ignore[no-untyped-def]
        await stream.recv_message()
        for number in range(1 << 20):
            name = f"{REPORT_PREFIX}{number}.xml"
            for at in range(0, len(self._report), PIECE):
                log = progrock_pb2.VertexLog(vertex=name, data=self._report[at : at + PIECE])
                update = progrock_pb2.StatusUpdate(logs=[log])
                await stream.send_message(runtime_pb2.RunResponse(progress=update))
            vertex = progrock_pb2.Vertex(id=name)
            vertex.completed.GetCurrentTime()
            update = progrock_pb2.StatusUpdate(vertexes=[vertex])
            await stream.send_message(runtime_pb2.RunResponse(progress=update))

    Read = Export = ExportPath = Publish = Resolve = Run


async def test_expensive_test_reports_do_not_hold_up_others(target: Target) -> None:
    async def push() -> None:
        await target.push(HOOK)
        await trio.sleep_forever()

    for name, make in REPORTS.items():
        async with (
            open_grpc_server([Reports(make())]) as new_session,
            registered(target, new_session),
        ):
            await target.withstand(f"reports of {name}", push)
