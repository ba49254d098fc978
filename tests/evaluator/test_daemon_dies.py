"""A daemon that is killed leaves no process behind."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import GUARD, descendants


def wait_for_ends(files: list[int]) -> None:
    """Wait until the processes of these pidfds have ended; one that doesn't fails the test."""
    for file in files:
        assert select.select([file], [], [], GUARD)[0], Path(
            f"/proc/self/fdinfo/{file}"
        ).read_text()
        os.close(file)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_is_left_of_a_daemon_that_is_killed(number: int) -> None:
    command = [sys.executable, "-m", "tests.evaluator.dying"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        said = "".join(iter(daemon.stdout.readline, "ready\n"))
        pids = descendants(daemon.pid)
        # The fork server, its first process if there may be namespaces (not in a chroot), and two hooks.
        assert len(pids) == (4 if re.search("confined_by='[^']*namespaces", said) else 3)
        files = [os.pidfd_open(pid) for pid in pids]
        os.kill(daemon.pid, number)
        daemon.wait(GUARD)
    wait_for_ends(files)


def test_no_process_is_left_of_a_fork_server_that_is_killed() -> None:
    command = [sys.executable, "-m", "tests.evaluator.dying"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        for _ in iter(daemon.stdout.readline, "ready\n"):
            pass
        pids = descendants(daemon.pid)
        files = [os.pidfd_open(pid) for pid in pids]
        os.kill(pids[0], signal.SIGKILL)
        wait_for_ends(files)
        daemon.kill()
