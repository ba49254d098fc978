"""`bassloop try` with a container engine: commands reach the stand-in's repository from their own network."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from bassloop.runner.container.image_store import own_repository
from tests.commands import run_command

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.runner.container.container_engine import ContainerEngine
    from tests.repositories import MakeRepository

pytestmark = pytest.mark.containers

HOOK = """
(defn github-hook [{:payload {:repository {:clone_url url} :check_suite {:head_sha sha}}} client]
  (client:start-check
    (from (linux/localhost/base :bassloop-tests)
      ($ wget -q -O refs (str url "/info/refs?service=git-upload-pack"))
      ($ grep -a -o "refs/heads/main" refs))
    "fetch" sha))
"""


def test_a_container_can_check_out_the_repository(
    make_repository: MakeRepository, engine: ContainerEngine
) -> None:
    path = make_repository(**{"project.bass": HOOK})
    done = run_command("try", "--engine", engine.kind, path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fetch │ refs/heads/main\n" in done.stdout


LONG = """
(defn github-hook [{:payload {:check_suite {:head_sha sha}}} client]
  (client:start-check
    (from (linux/localhost/base :bassloop-tests)
      ($ sh -c "echo one > /one")
      ($ sh -c "echo begun; sleep 600"))
    "long" sha))
"""
SECONDS = 120


async def test_an_interrupted_trial_leaves_no_images(
    make_repository: MakeRepository, engine: ContainerEngine, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    path = make_repository(**{"project.bass": LONG})
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TMPDIR": str(tmp_path / "tmp"),
    }
    command = [sys.executable, "-m", "bassloop", "try", "--engine", engine.kind, str(path)]
    with (
        subprocess.Popen(  # noqa: ASYNC220
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as trial,
        ExitStack() as ending,
    ):
        ending.callback(trial.kill)
        assert trial.stdout is not None
        assert any(line == "long │ begun\n" for line in trial.stdout)
        [folder] = (tmp_path / "tmp").glob("bassloop-try-*")
        ours = own_repository(folder / "runner")
        assert ours is not None
        assert await _images(engine, ours)
        guard = _guard_of(trial.pid)
        trial.send_signal(signal.SIGINT)
        assert trial.wait(SECONDS) == 130
    assert select.select([guard], [], [], SECONDS)[0]
    os.close(guard)
    assert not folder.exists()
    assert await _images(engine, ours) == []


async def _images(engine: ContainerEngine, repository: str) -> list[str]:
    words = ("images", "--quiet", "--filter", f"reference={repository}")
    return (await engine.ask(*words, seconds=SECONDS)).split()


def _guard_of(trial: int) -> int:
    """Return a handle of the process that looks after the trial with this process id."""
    found = subprocess.run(
        ["pgrep", "--parent", str(trial), "--full", "bassloop-guard"],
        capture_output=True,
        text=True,
        check=True,
    )
    return os.pidfd_open(int(found.stdout.split()[0]))
