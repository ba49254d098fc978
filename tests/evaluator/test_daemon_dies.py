"""What is left of a daemon that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from .conftest import descendants


def alive(pids: list[int]) -> list[str]:
    """Those of these processes that there are, with what they are."""
    found = []
    for pid in pids:
        with suppress(OSError):
            found.append(Path(f"/proc/{pid}/stat").read_text())
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_is_left_of_a_daemon_that_is_killed(number: int) -> None:
    command = [sys.executable, "-m", "tests.evaluator.dying"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        lines = iter(daemon.stdout.readline, "ready\n")
        for _ in lines:
            pass
        pids = descendants(daemon.pid)
        assert len(pids) == 4  # the fork server, its first process, and two hooks
        os.kill(daemon.pid, number)
        daemon.wait(10)
    until = time.monotonic() + 5
    while time.monotonic() < until and alive(pids):
        time.sleep(0.02)
    assert alive(pids) == []


def test_no_process_is_left_of_a_fork_server_that_is_killed() -> None:
    command = [sys.executable, "-m", "tests.evaluator.dying"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        for _ in iter(daemon.stdout.readline, "ready\n"):
            pass
        pids = descendants(daemon.pid)
        os.kill(pids[0], signal.SIGKILL)
        until = time.monotonic() + 5
        while time.monotonic() < until and alive(pids):
            time.sleep(0.02)
        assert alive(pids) == []
        daemon.kill()
