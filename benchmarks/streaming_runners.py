"""Simulated runners that send a log as fast as it is taken, in a process of their own: see
`benchmarks.runners`. Prints a line once all are registered, and stays until it is killed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from benchmarks.idle_runners import arguments, dial, register

from bassloop.bridge import call_asyncio, open_bridge
from bassloop.bridge.grpc import open_grpc_server
from bassloop.wire import progrock_pb2, runtime_pb2
from bassloop.wire.runtime_grpc import RuntimeBase

if TYPE_CHECKING:
    import argparse


class Streaming(RuntimeBase):
    """Answers Run with a log of so many messages of so many bytes."""

    def __init__(self, messages: int, size: int) -> None:
        self.messages = messages
        line = b"x" * 99 + b"\n"
        self.data = (line * (size // 100 + 1))[:size]

    async def Run(self, stream: Any) -> None:
        await stream.recv_message()
        vertex = progrock_pb2.Vertex(id="v", name="a log")
        vertex.started.GetCurrentTime()
        first = progrock_pb2.StatusUpdate(vertexes=[vertex])
        await stream.send_message(runtime_pb2.RunResponse(progress=first))
        log = progrock_pb2.VertexLog(vertex="v", data=self.data, stream=1)
        answer = runtime_pb2.RunResponse(progress=progrock_pb2.StatusUpdate(logs=[log]))
        for _ in range(self.messages):
            await stream.send_message(answer)
        vertex.completed.GetCurrentTime()
        last = progrock_pb2.StatusUpdate(vertexes=[vertex])
        await stream.send_message(runtime_pb2.RunResponse(progress=last))

    Resolve = Read = Export = ExportPath = Publish = Run


async def streaming(given: argparse.Namespace) -> None:
    """Runners that stream a log to whoever calls, each on a connection of its own."""
    service = Streaming(given.messages, given.size)
    async with open_bridge(), open_grpc_server([service]) as session:
        held = []
        for _ in range(given.count):
            held.append(await call_asyncio(dial, given))
            await call_asyncio(register, held[-1], session)
        print("registered", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(partial(streaming, arguments()))
