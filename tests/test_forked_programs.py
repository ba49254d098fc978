"""Programs that tests fork are like those that are started: their arguments, folder, streams, signals and status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.forked_programs import open_bassloop, run_bassloop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "arguments", [["--version"], ["eval", "script.bass"], ["fmt", "-"], ["eval", "none"], ["evl"]]
)
async def test_a_forked_program_prints_and_returns_what_a_started_one_does(
    arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "script.bass").write_text('(log "here") [*dir* 1]\n')
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    stdin = b"(+ 1\n 2)"
    started = await trio.run_process(
        [sys.executable, "-m", "bassloop", *arguments],
        env=env,
        cwd=tmp_path,
        stdin=stdin,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    forked = await run_bassloop(*arguments, env=env, cwd=tmp_path, stdin=stdin)
    assert forked.returncode == started.returncode
    assert forked.stdout == started.stdout
    assert forked.stderr == started.stderr


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, -15), (signal.SIGINT, 130)]
)
async def test_a_forked_program_ends_with_a_signal(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    script = tmp_path / "script.bass"
    script.write_text('(log "ready") (defn forever [n] (forever (+ n 1))) (forever 0)')
    process = await open_bassloop(
        "eval", str(script), env={"HOME": str(tmp_path)}, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    async with process.stderr:
        assert b"ready" in await process.stderr.receive_some()
        assert process.returncode is None
        process.send_signal(number)
        assert await process.wait() == status
    process.kill()  # has no effect any more
    assert process.returncode == status
