"""Ctrl-C while the program is still being imported ends it, without a traceback."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

INTERRUPTED_AT = """
import os, runpy, sys

SIGINT = 2  # the module `signal` is one of those that the program imports
module = sys.argv.pop(1)

class Finder:
    def find_spec(self, name, path, target=None):
        if name == module:
            os.kill(os.getpid(), SIGINT)

sys.meta_path.insert(0, Finder())
runpy.run_module("bassloop", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("bassloop.interrupts", ["--help"]),
        ("signal", ["--help"]),
        ("click", ["--help"]),
        ("bassloop.cli", ["--version"]),
        ("bassloop.cli.status", ["status"]),
        ("bassloop.cli.lint", ["lint"]),
        ("bassloop.daemon.serve", ["serve"]),
        ("bassloop.cli.try_", ["try"]),
        ("bassloop.runner.runner", ["runner", "me@127.0.0.1"]),
    ],
)
def test_an_interrupt_during_an_import_ends_the_program_quietly(
    module: str, command: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT, module, *command],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_an_interrupt_during_an_import_shows_the_cursor_again(tmp_path: Path) -> None:
    (tmp_path / ".bassloop.toml").write_text('[checks]\na = "true"\n')
    command = [sys.executable, "-c", INTERRUPTED_AT, "bassloop.daemon", "try"]
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        timeout=300,
    )
    os.close(theirs)
    output = b""
    with suppress(OSError):  # the terminal has no more output
        while piece := os.read(ours, 1 << 16):
            output += piece
    os.close(ours)
    assert (done.returncode, b"Traceback" in output) == (130, False)
    hidden, shown = (output.rfind(sequence) for sequence in (b"\x1b[?25l", b"\x1b[?25h"))
    assert -1 < hidden < shown


def test_an_ignored_interrupt_stays_ignored() -> None:
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + INTERRUPTED_AT
    done = subprocess.run(
        [sys.executable, "-c", ignoring, "click", "--version"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("bassloop")
