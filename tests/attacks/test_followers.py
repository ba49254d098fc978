"""Visitors who follow a run that was made expensive to follow."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.bridge.grpc import open_grpc_server
from bassloop.wire import progrock_pb2, runtime_pb2
from bassloop.wire.runtime_grpc import RuntimeBase
from tests.until import until

from .runners import HOOK, registered
from .test_visitors import KEY, address, request_again

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.attacks

STEPS, LOGS, LINES = 9_900, 5, 1_000
CONNECTIONS = 8
LEAST, LEAST_BYTES = 30, 2_000_000
"""Websockets that were opened, and bytes that they got, when the attack is over."""


class Dear(RuntimeBase):
    """Reports, to its first call, as many steps as a run may have and long logs, and then never ends."""

    has_begun = has_reported = False

    async def Run(self, stream) -> None:  # type: ignore[no-untyped-def]
        await stream.recv_message()
        if self.has_begun:
            await asyncio.Event().wait()
        self.has_begun = True
        for first in range(0, STEPS, 900):
            steps = [
                progrock_pb2.Vertex(id=f"step {number}", name=f"make target-{number}.o")
                for number in range(first, first + 900)
            ]
            for step in steps:
                step.started.GetCurrentTime()
            await self._send(stream, progrock_pb2.StatusUpdate(vertexes=steps))
        line = b"\x1b[31;1merror\x1b[0m: \x1b[4msrc/main.c\x1b[24m:12: <b>undefined</b>\n"
        for number in range(LOGS):
            log = progrock_pb2.VertexLog(vertex=f"step {number}", data=line * LINES)
            await self._send(stream, progrock_pb2.StatusUpdate(logs=[log]))
        self.has_reported = True
        for number in itertools.count():
            log = progrock_pb2.VertexLog(vertex="step 1", data=b"%d\n" % number)
            await self._send(stream, progrock_pb2.StatusUpdate(logs=[log]))
            await asyncio.sleep(0.05)

    async def _send(self, stream, update: progrock_pb2.StatusUpdate) -> None:  # type: ignore[no-untyped-def]
        await stream.send_message(runtime_pb2.RunResponse(progress=update))

    Read = Export = ExportPath = Publish = Resolve = Run


def upgrade(path: str) -> bytes:
    """Return the bytes that ask for a websocket."""
    head = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\n"
    )
    return head.encode() + KEY + b"\r\n"


def message(hello: dict[str, object]) -> bytes:
    """Return the frame of a websocket's first message."""
    text = json.dumps(hello).encode().ljust(126)  # whose length takes two bytes
    return b"\x81\xfe" + len(text).to_bytes(2) + bytes(4) + text


async def a_dear_run(target: Target, runner: Dear) -> str:
    """Wait until a run has reported all that it has; return its path."""
    await target.push(HOOK)

    def runs() -> list[dict[str, Any]]:
        runs = target.world.standin.check_runs
        return [each for each in runs if each["status"] == "in_progress"]

    await until(runs)
    path = "/" + str(runs()[0]["details_url"]).split("/", 3)[3]
    await until(lambda: runner.has_reported)
    return path


async def test_followers_of_a_huge_run_do_not_hold_up_others(target: Target) -> None:
    runner = Dear()
    async with open_grpc_server([runner]) as new_session, registered(target, new_session):
        path = await a_dear_run(target, runner)
        opened, received, enough = 0, 0, trio.Event()

        async def follow(number: int) -> None:
            nonlocal opened, received
            for count in itertools.count():
                stream = await trio.open_tcp_stream(*address(target))
                async with stream:
                    with suppress(trio.BrokenResourceError):
                        await stream.send_all(upgrade(f"{path}/live"))
                        assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
                        await stream.send_all(message({"logs": {str(count): number}}))
                        received += len(await stream.receive_some(4096))
                        # Some come back at once, some read slowly, and some read all.
                        with trio.move_on_after(0 if number % 4 == 0 else 2):
                            while data := await stream.receive_some(4096):
                                received += len(data)
                                if number % 4 == 1:
                                    await trio.sleep(0.1)
                opened += 1
                if opened >= LEAST and received > LEAST_BYTES:
                    enough.set()

        async def flood() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(CONNECTIONS):
                    nursery.start_soon(follow, number)

        await target.withstand("followers", flood, enough)


async def test_pages_of_a_huge_run_do_not_hold_up_others(target: Target) -> None:
    runner = Dear()
    async with open_grpc_server([runner]) as new_session, registered(target, new_session):
        path = await a_dear_run(target, runner)
        for page in ("", ".json", "/vertexes/1"):

            async def flood(page: str = page) -> None:
                request = f"GET {path}{page} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                async with trio.open_nursery() as nursery:
                    for _ in range(CONNECTIONS):
                        nursery.start_soon(request_again, target, request)

            await target.withstand(f"pages {page}", flood)
