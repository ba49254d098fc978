"""A slow disk slows the command whose log it is: nothing between them holds more than its bound."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import trio

from bassloop.store.logs import log_writer
from bassloop.tools.trial import TrialOptions, open_trial

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.repositories import MakeRepository

BLOCK, BLOCKS = 100_000, 400
BOUND = BLOCK * BLOCKS // 2
"""Twice of what may be held on the way: the store's 4 MB, the windows of HTTP/2 and SSH, pipes."""
SCRIPT = """
n=0
while [ $n -lt BLOCKS ]; do
  head -c BLOCK /dev/zero | tr '\\0' x
  n=$((n+1))
  echo $n > PROGRESS
done
"""


async def stalled(progress: Path) -> int:
    """Return the number of blocks written, once it doesn't grow any more."""
    before, same = "", 0
    while not before or same < 20:
        await trio.sleep(0.1)
        now = progress.read_text() if progress.exists() else ""
        before, same = now, same + 1 if now == before else 0
    return int(before)


async def test_a_disk_that_does_not_write_pauses_the_command(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, progress, write = threading.Event(), tmp_path / "progress", log_writer._write_all

    def slow(jobs: Any) -> Any:
        disk.wait()
        return write(jobs)

    monkeypatch.setattr(log_writer, "_write_all", slow)
    script = SCRIPT.replace("BLOCKS", str(BLOCKS)).replace("BLOCK", str(BLOCK))
    path = make_repository(
        ":flood (on src ($ sh flood.sh))",
        **{"flood.sh": script.replace("PROGRESS", str(progress))},
    )
    with trio.fail_after(600):
        async with open_trial(TrialOptions(path)) as trial:
            try:
                assert await stalled(progress) * BLOCK < BOUND
            finally:
                disk.set()
            await trial.daemon.inbox.finished(trial.guid)
            [flood] = trial.standin.check_runs
            assert flood["conclusion"] == "success", flood["output"]
            assert int(progress.read_text()) == BLOCKS
            steps = await trial.daemon.store.steps.of_run(flood["external_id"])
            assert max(each.raw_bytes for each in steps) == BLOCK * BLOCKS
