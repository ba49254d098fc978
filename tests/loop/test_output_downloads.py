"""Downloads of files that a thunk made, from the runner that has cached them."""

from __future__ import annotations

import io
import shutil
import tarfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from bassloop.checks.output_downloads import (
    AT_ONCE_OF_ONE_USER,
    Output,
    OutputBusy,
    OutputInterrupted,
    Outputs,
    OutputUnavailable,
)
from bassloop.runner.runner_events import ThunkStarted
from bassloop.tools.trial import Trial, TrialOptions, open_trial
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bassloop.runner import RunnerEvent
    from bassloop.store import Run
    from tests.repositories import MakeRepository

SCRIPT = "mkdir dist; echo hello > dist/a.txt; head -c 3000000 /dev/zero > big.bin; ln -s /etc/passwd out"


@asynccontextmanager
async def run_with_outputs(
    make_repository: MakeRepository,
) -> AsyncGenerator[tuple[Trial, Run, list[str]]]:
    """A run that left files, and what its runner began to run."""
    path = make_repository(f':files (from (linux/alpine) ($ sh -c "{SCRIPT}"))')
    began: list[str] = []

    def hear(event: RunnerEvent) -> None:
        if isinstance(event, ThunkStarted):
            began.append(event.cmdline)

    with trio.fail_after(600):
        async with open_trial(TrialOptions(path), hear) as trial:
            await trial.daemon.inbox.finished(trial.guid)
            [run] = (await trial.daemon.store.runs.newest()).items
            assert run.state == "succeeded", run.message
            yield trial, run, began


@asynccontextmanager
async def streaming(
    trial: Trial, limit: int = 1 << 30, *, slow_seconds: float = 30.0
) -> AsyncGenerator[Outputs]:
    """Outputs with limits of their own."""
    outputs = Outputs(trial.daemon.store, trial.daemon.pool, limit, slow_seconds)
    async with trio.open_nursery() as nursery:
        await nursery.start(outputs.run)
        yield outputs
        nursery.cancel_scope.cancel()


async def get(trial: Trial, run: Run, path: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=120) as client:
        address = f"{trial.daemon.local_url}/runs/{run.id}/output"
        return await client.get(address, params={"path": path}, headers={"accept": "text/plain"})


async def test_a_file_is_downloaded_and_a_directory_as_an_archive(
    make_repository: MakeRepository,
) -> None:
    async with run_with_outputs(make_repository) as (trial, run, began):
        runs_before = list(began)
        file = await get(trial, run, "dist/a.txt")
        assert (file.status_code, file.content) == (200, b"hello\n")
        assert file.headers["content-length"] == "6"
        assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''a.txt"
        assert "sandbox" in file.headers["content-security-policy"]
        async with httpx.AsyncClient(timeout=120) as client:
            page = await client.get(f"{trial.daemon.local_url}/runs/{run.id}")
            assert f'href="/runs/{run.id}/output"' in page.text
            thunk = await client.get(f"{trial.daemon.local_url}/thunks/{run.thunk_digest}")
            assert f'action="/runs/{run.id}/output"' in thunk.text
        whole = await get(trial, run, ".")
        with tarfile.open(fileobj=io.BytesIO(whole.content)) as tar:
            assert {"dist/a.txt", "big.bin"} <= {name.removeprefix("./") for name in tar.getnames()}
        for path, said in (
            ("dist", "it is a directory"),
            ("nothere", "nothere"),
            ("../../etc/passwd", "relative"),
            ("/etc/passwd", "relative"),
            ("out", ""),
        ):
            answer = await get(trial, run, path)
            assert answer.status_code == 404, path
            assert said in answer.text
            assert "root:" not in answer.text
        assert began == runs_before


async def test_an_output_that_is_no_longer_cached_is_not_made_again(
    make_repository: MakeRepository,
) -> None:
    async with run_with_outputs(make_repository) as (trial, run, began):
        assert (await get(trial, run, "dist/a.txt")).status_code == 200
        runs_before = list(began)
        for output in (trial.folder / "runner" / "outputs").iterdir():
            shutil.rmtree(output)
        gone = await get(trial, run, "dist/a.txt")
        assert gone.status_code == 404
        assert "no longer has the output" in gone.text
        assert began == runs_before


async def test_a_visitor_who_leaves_ends_the_call_at_the_runner(
    make_repository: MakeRepository,
) -> None:
    async with run_with_outputs(make_repository) as (trial, run, _):
        port = int(trial.daemon.local_url.rpartition(":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", port) as visitor:
            asked = f"GET /runs/{run.id}/output?path=big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n"
            await visitor.send_all(asked.encode())
            assert b" 200 " in await visitor.receive_some()
        await until(lambda: not trial.daemon.pool.statistics()["calls"])
        assert (await get(trial, run, "dist/a.txt")).status_code == 200


async def test_a_runner_sends_one_output_at_a_time_and_none_beyond_the_limit(
    make_repository: MakeRepository,
) -> None:
    async with (
        run_with_outputs(make_repository) as (trial, run, _),
        streaming(trial, limit=1_000_000) as outputs,
    ):
        first = await outputs.open(run, "big.bin")
        with pytest.raises(OutputBusy):
            await outputs.open(run, "dist/a.txt")
        size = 0
        with pytest.raises(OutputInterrupted, match="OUTPUT_LIMIT"):  # noqa: PT012
            async for piece in first:
                size += len(piece)
        assert size <= 1_000_000
        small = await outputs.open(run, "dist/a.txt")
        assert b"hello\n" in b"".join([piece async for piece in small])


async def test_one_of_two_simultaneous_downloads_from_a_runner_has_to_wait(
    make_repository: MakeRepository,
) -> None:
    async with run_with_outputs(make_repository) as (trial, run, _), streaming(trial) as outputs:
        told: list[Output | OutputBusy] = []

        async def ask() -> None:
            try:
                told.append(await outputs.open(run, "big.bin"))
            except OutputBusy as busy:
                told.append(busy)

        async with trio.open_nursery() as both:
            both.start_soon(ask)
            both.start_soon(ask)
        assert sorted(type(each).__name__ for each in told) == ["Output", "OutputBusy"]


async def test_slow_runners_of_one_user_leave_room_for_those_of_others(
    make_repository: MakeRepository,
) -> None:
    async with run_with_outputs(make_repository) as (trial, run, _), streaming(trial) as outputs:
        outputs.busy |= {f"{number}": run.user_id + 1 for number in range(AT_ONCE_OF_ONE_USER)}
        await (await outputs.open(run, "big.bin")).aclose()
        outputs.busy = {f"{number}": run.user_id for number in range(AT_ONCE_OF_ONE_USER)}
        with pytest.raises(OutputBusy, match=f"from runners of {run.login}"):
            await outputs.open(run, "big.bin")


async def test_a_reader_that_stops_reading_is_disconnected(make_repository: MakeRepository) -> None:
    async with (
        run_with_outputs(make_repository) as (trial, run, _),
        streaming(trial, slow_seconds=0.05) as outputs,
    ):
        slow = await outputs.open(run, "big.bin")
        await until(lambda: not outputs.busy)
        (await outputs.open(run, "dist/a.txt")).close()
        with pytest.raises(OutputInterrupted, match="not taken"):
            async for _piece in slow:
                pass


async def test_downloads_end_with_their_service_and_are_then_refused(
    make_repository: MakeRepository,
) -> None:
    async with run_with_outputs(make_repository) as (trial, run, _):
        async with streaming(trial) as outputs:
            begun = await outputs.open(run, "big.bin")
        with pytest.raises(OutputInterrupted, match="runner is gone"):
            async for _chunk in begun:
                pass
        with pytest.raises(OutputUnavailable, match="shutting down"):
            await outputs.open(run, "big.bin")
        assert not outputs.busy


async def test_outputs_of_a_runner_that_is_gone_can_not_be_downloaded(
    make_repository: MakeRepository,
) -> None:
    async with run_with_outputs(make_repository) as (trial, run, _), streaming(trial) as outputs:
        trial.runner.cancel()
        await until(lambda: not trial.daemon.pool.statistics()["runtimes"])
        assert not outputs.may_have(run)
        with pytest.raises(OutputUnavailable, match="no runner is connected"):
            await outputs.open(run, ".")
        assert (await get(trial, run, ".")).status_code == 404
