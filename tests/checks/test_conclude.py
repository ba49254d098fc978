"""A bad day of GitHub's: nothing is lost, and what can be tried again is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bassloop.checks import conclude
from bassloop.standin import Fault
from bassloop.standin.faults import secondary_limit
from bassloop.store import BucketError
from tests.small_loop import START, SmallLoop, small_loop
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.github import CheckOutput
    from tests.repositories import MakeRepository


CALLS = {
    "the token": ("POST", r"/app/installations/\d+/access_tokens"),
    "the owners' file": ("GET", r"/repos/.*/contents/\.bassloop\.toml"),
    "the commit's top level": ("GET", r"/repos/.*/git/trees/.*"),
    "the hook's source": ("GET", r"/repos/.*/contents/project\.bass"),
    "the check's creation": ("POST", r"/repos/.*/check-runs"),
    "the check's end": ("PATCH", r"/repos/.*/check-runs/\d+"),
}
DAYS = {
    "401": {"status": 401},
    "429": {"status": 429},
    "500": {"status": 500},
    "502 after it was done": {"status": 502, "after": True},
    "garbage": {"status": 200, "body": b"<html>what?</html>"},
    "a broken connection": {"status": None, "cut": True},
}


async def all_concluded(loop: SmallLoop) -> bool:
    return not await loop.store.checks.unfinished()


async def run_ended(loop: SmallLoop) -> bool:
    return any(run.ended_at for _, run in await loop.store.checks.unfinished())


@pytest.mark.parametrize(
    ("call", "day"),
    # A file may say anything, so that garbage for one is no bad day but a script that does not parse.
    [
        (call, day)
        for call in CALLS
        for day in DAYS
        if not ("file" in call or "source" in call) or day != "garbage"
    ],
)
async def test_temporary_errors_are_waited_out(
    make_repository: MakeRepository, tmp_path: Path, call: str, day: str
) -> None:
    method, path = CALLS[call]
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        fault = loop.standin.faults.add(Fault(method, path, times=3, **DAYS[day]))
        if day == "429":
            fault.headers = {"Retry-After": "0"}
        async with loop.runner():
            assert await loop.deliver(await loop.standin.payload("check_suite"), "g1") == 202
            assert (await loop.inbox.finished("g1")).state == "done"
            await loop.until_stored(lambda: all_concluded(loop))
            # What was done although its answer was lost is found, and not done again.
            assert fault.happened in ({1, 3} if fault.after or fault.cut else {3})
            [run] = loop.standin.check_runs
            assert run["conclusion"] == "success"


@pytest.mark.parametrize("day", DAYS)
async def test_temporary_errors_while_finding_the_heads_author_are_waited_out(
    make_repository: MakeRepository, tmp_path: Path, day: str
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        loop.standin.add_user("stranger")
        await loop.standin.payload("pull_request", fork="stranger")
        fault = loop.standin.faults.add(Fault("GET", r"/repos/.*/pulls", times=3, **DAYS[day]))
        if day == "429":
            fault.headers = {"Retry-After": "0"}
        async with loop.runner("stranger") as theirs, loop.runner() as mine:
            await loop.deliver(await loop.standin.payload("check_suite", fork="stranger"), "g1")
            assert (await loop.inbox.finished("g1")).state == "done"
            assert (len(theirs.told), mine.told) == (1, [])
        assert loop.check_run()["conclusion"] == "success"


@pytest.mark.parametrize("status", [403, 422])
@pytest.mark.parametrize("call", ["the token", "the owners' file", "the hook's source"])
async def test_a_permanent_refusal_is_reported_with_the_fix_and_can_be_replayed(
    make_repository: MakeRepository, tmp_path: Path, call: str, status: int
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        fault = loop.standin.faults.add(Fault(*CALLS[call], status=status, times=1000))
        loop.inbox.attempts = 1
        async with loop.runner():
            await loop.deliver(await loop.standin.payload("check_suite"), "g1")
            finished = await loop.inbox.finished("g1")
            assert finished.state == "set_aside"
            assert f"GitHub answered {status} to {fault.method}" in str(finished.error)
            assert status != 403 or "grant the App the permission" in str(finished.error)
            loop.standin.faults.clear()
            assert await loop.inbox.replay("g1")
            assert (await loop.inbox.finished("g1")).state == "done"
        assert loop.check_run()["conclusion"] == "success"


async def test_a_rate_limit_is_waited_for_as_long_as_github_says_and_does_not_count_as_an_attempt(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        loop.standin.faults.add(secondary_limit(CALLS["the hook's source"][1], seconds=1))
        async with loop.runner():
            await loop.deliver(await loop.standin.payload("check_suite"), "g1")
            finished = await loop.inbox.finished("g1")
            assert (finished.state, finished.attempts, finished.failures) == ("done", 1, 0)
            assert finished.postponed == 1


@pytest.mark.parametrize("status", [403, 404, 422])
async def test_a_delivery_whose_check_github_refuses_to_create_is_set_aside_and_a_replay_runs_it(
    make_repository: MakeRepository, tmp_path: Path, status: int
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        method, path = CALLS["the check's creation"]
        loop.standin.faults.add(Fault(method, path, status=status, times=1000))
        loop.inbox.attempts = 1
        async with loop.runner() as runner:
            await loop.deliver(await loop.standin.payload("check_suite"), "g1")
            finished = await loop.inbox.finished("g1")
            assert finished.state == "set_aside"
            assert finished.error is not None
            assert str(status) in finished.error
            [run] = (await loop.store.runs.newest()).items
            assert run.state == "interrupted"
            assert "bassloop deliveries replay g1" in (run.message or "")
            assert runner.told == []
            loop.standin.faults.clear()
            assert await loop.inbox.replay("g1")
            assert (await loop.inbox.finished("g1")).state == "done"
            assert len(runner.told) == 1
            assert loop.check_run()["conclusion"] == "success"


async def test_a_conclusion_that_github_did_not_accept_is_repeated_after_a_restart(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    repository = make_repository(**{"project.bass": START})
    async with small_loop(repository, tmp_path) as loop:
        loop.standin.faults.add(Fault(*CALLS["the check's end"], status=500, times=1000))
        async with loop.runner():
            await loop.deliver(await loop.standin.payload("check_suite"), "g1")
            await loop.inbox.finished("g1")
            standin = loop.standin
            await loop.until_stored(lambda: run_ended(loop))
            await until(lambda: standin.requests[-1][0] == "PATCH")
        [(_, run)] = await loop.store.checks.unfinished()
        assert run.state == "succeeded"
    standin.faults.clear()
    async with small_loop(repository, tmp_path, standin=standin) as loop:
        await until(lambda: loop.check_run()["status"] == "completed")
        assert loop.check_run()["conclusion"] == "success"
        await loop.until_stored(lambda: all_concluded(loop))


async def test_a_conclusion_is_reported_once_the_bucket_with_the_logs_is_back(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = conclude.describe
    away = [BucketError("the bucket is away")] * 2

    async def describe(*args: Any) -> CheckOutput:
        if away:
            raise away.pop()
        return await original(*args)

    monkeypatch.setattr("bassloop.checks.conclude.describe", describe)
    repository = make_repository(**{"project.bass": START})
    async with small_loop(repository, tmp_path) as loop, loop.runner():
        await loop.deliver(await loop.standin.payload("check_suite"), "g1")
        await until(lambda: loop.standin.check_runs and loop.check_run()["status"] == "completed")
        assert loop.check_run()["conclusion"] == "success"
    assert away == []


async def test_temporary_errors_are_also_waited_out_for_a_file_that_the_hook_loads(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    hook = "(use (*dir*/more.bass))\n" + START.replace('"it"', "more:name")
    files = {"project.bass": hook, "more.bass": '(provide [name] (def name "it"))'}
    async with small_loop(make_repository(**files), tmp_path) as loop:
        loop.standin.faults.add(Fault("GET", r"/repos/.*/contents/more\.bass", status=502, times=2))
        async with loop.runner():
            await loop.deliver(await loop.standin.payload("check_suite"), "g1")
            assert (await loop.inbox.finished("g1")).state == "done"
        assert [run["name"] for run in loop.standin.check_runs] == ["it"]
