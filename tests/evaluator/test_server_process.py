"""The daemon's side of the fork server, on a machine that has run out of something."""

from __future__ import annotations

import errno
import socket

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bassloop.evaluator import EvaluatorLost
from bassloop.evaluator.server_process import ServerProcess, SpareProcesses


def refuse(*_: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


async def test_without_a_descriptor_a_hook_can_be_tried_again_and_there_is_just_no_spare(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = socket.socketpair()
    with theirs, trio.socket.from_stdlib_socket(ours) as control:
        server = ServerProcess(control)
        spares = SpareProcesses(1, is_quiet=lambda: True)
        monkeypatch.setattr(socket, "socketpair", refuse)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spares.run)
            spares.use(server)
            await wait_all_tasks_blocked()
            assert not len(spares)
            with pytest.raises(EvaluatorLost, match="Too many open files"):
                async with spares.process(server):
                    pass
            nursery.cancel_scope.cancel()
