"""The disk fills up under a daemon, for real, and has room again later."""

from __future__ import annotations

import subprocess
import tempfile
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.store import FileBlobs, find_database, open_store
from bassloop.store.maintenance.integrity import check_store
from tests.commands import run_command
from tests.until import named_pipe

from .world import open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.repositories import MakeRepository

START = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh "./talk") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""

LINES = 30_000
"""A line of a hundred bytes each: more than the disk has room for while it is full."""

pytestmark = pytest.mark.mounts


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    folder.mkdir()
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue


async def test_nothing_that_was_acknowledged_is_lost_and_the_run_goes_on(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    go, began = tmp_path / "go", tmp_path / "began"
    talk = f"""
echo begun
echo begun > {began}
while ! test -e {go}; do sleep 0.05; done
i=0
while test $i -lt {LINES}; do
  printf '%06d %092d\\n' $i 0
  i=$((i+1))
done
"""
    project = START.replace('"./talk"', f'"{tmp_path / "talk"}"')
    (tmp_path / "talk").write_text(talk)
    repository = make_repository(**{"project.bass": project})
    folder = tmp_path / "world"
    data = folder / "data"
    with trio.fail_after(600), named_pipe(began) as pipe:
        async with open_world(repository, folder, FREE_SPACE="0") as world:
            with small_disk(data, 16):
                async with world.daemon() as daemon, world.runner(daemon):
                    payload = await world.standin.payload("check_suite")
                    promised = []

                    async def deliver() -> int:
                        guid = str(uuid.uuid4())
                        answer = await world.standin.deliver(
                            daemon.url, "check_suite", payload, guid=guid
                        )
                        if answer.status == 202:
                            promised.append(guid)
                        return answer.status

                    assert await deliver() == 202
                    await pipe.lines()
                    filler = data / "filler"
                    await trio.to_thread.run_sync(fill, filler)
                    go.touch()
                    # For long enough that the run mentions it, which it doesn't below half a second.
                    until, statuses = trio.current_time() + 2, []
                    while trio.current_time() < until or len(statuses) < 20:
                        statuses.append(await deliver())
                    assert 507 in statuses
                    assert set(statuses) <= {202, 507}
                    assert daemon.process.returncode is None
                    assert [run["status"] for run in world.standin.check_runs] == ["in_progress"]
                    filler.unlink()
                    while await deliver() != 202:
                        await trio.sleep(0.1)
                    await world.concluded()
                    for guid in promised:
                        await world.handled(guid)
                assert (
                    list(
                        check_store(
                            find_database(data / "loop.db"), FileBlobs(data / "blobs"), in_use=False
                        )
                    )
                    == []
                )
                async with open_store(data / "loop.db", data / "blobs") as store:
                    assert await store.deliveries.stored(promised) == set(promised)
                    [run] = (await store.runs.newest()).items
                    assert run.state == "succeeded"
                    steps = await store.steps.of_run(run.id)
                    assert any("the disk was full" in each.name for each in steps)
                    [said] = [each for each in steps if each.lines > 100]
                    text = b"".join([chunk async for chunk in store.logs.raw(run.id, said.row)])
            lines = text.decode().split("\n")
            assert lines[0] == "begun"
            assert [int(line.split()[0]) for line in lines[1:-1]] == list(range(LINES))


@pytest.mark.parametrize("megabytes", [1, 4])
def test_a_trial_on_a_full_disk_ends_and_says_where_it_needs_room(
    make_repository: MakeRepository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    megabytes: int,
) -> None:
    path = make_repository(**{".bassloop.toml": '[checks.a]\nrun = "yes"\n'})
    folder = tmp_path / "small"
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with small_disk(folder, megabytes):
        done = run_command("try", "--engine", "host", path)
        assert not list(folder.iterdir())
    assert done.returncode == 1
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    assert text.count(f"a trial's files are in {folder}, on a disk of ") == 1
    assert text.count("set TMPDIR to a folder with more room") == 1
