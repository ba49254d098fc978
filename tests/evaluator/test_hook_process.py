"""The daemon's side of a hook's process, with a process that doesn't keep to the rules."""

from __future__ import annotations

import socket

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bassloop.evaluator import HookStopped
from bassloop.evaluator.fair_share import FairLimiter, HookSlot
from bassloop.evaluator.hook_process import EvaluatorLimits, HookProcess, IdleProcesses
from bassloop.evaluator.messages import Idle, ReadFile, RunThunk, frames
from bassloop.evaluator.server_process import Job

from .conftest import GUARD, FakeHost, hook


class SlowFiles(FakeHost):
    """A host whose files take until `found` is set."""

    def __init__(self) -> None:
        super().__init__(files={"file": b"content"})
        self.found = trio.Event()

    async def read_file(self, path: str) -> bytes:
        await self.found.wait()
        return await super().read_file(path)


async def test_a_process_that_says_it_waits_before_its_answer_comes_still_has_a_deadline() -> None:
    """The answer waits for a slot, and the process can guess when it's on its way."""
    ours, theirs = socket.socketpair()
    with theirs:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        slots = FairLimiter(2)
        slot = HookSlot(slots, "hook")
        await slot.take()
        limits, host = EvaluatorLimits(seconds=0.5), SlowFiles()
        process = HookProcess(limits, IdleProcesses(8), host, slot, Job(1, theirs), stream)

        def say(*messages: RunThunk | ReadFile | Idle) -> None:
            theirs.sendall(b"".join(piece for each in messages for piece in frames(each)))

        async with stream, trio.open_nursery() as nursery:

            async def run() -> None:
                with pytest.raises(HookStopped, match="for more than"):
                    await process.run(hook("null"))
                nursery.cancel_scope.cancel()

            nursery.start_soon(run)
            await wait_all_tasks_blocked()
            say(RunThunk(1, b""), ReadFile(2, "file"), Idle(1))
            await wait_all_tasks_blocked()
            await slots.acquire("others")
            await slots.acquire("more")
            host.found.set()
            await wait_all_tasks_blocked()
            say(Idle(2))
            await wait_all_tasks_blocked()
            slots.release("others")
            with trio.fail_after(GUARD / 40):
                await trio.sleep_forever()
