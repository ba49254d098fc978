"""Checks that `.bassloop.toml` declares, from the webhook to their conclusions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.runtimes import RunFailed
from tests.small_loop import START, FakeRuntime, small_loop
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.repositories import MakeRepository

CHAIN = """
hold = "nobody"

[checks.last]
run = "c"
needs = ["first", "second"]

[checks.first]
image = "alpine"
run = "a"

[checks.second]
run = "${x}"
matrix = { x = ["a", "b"] }
"""


async def test_declared_checks_are_started_and_wait_for_each_other(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{".bassloop.toml": CHAIN}), tmp_path) as loop:
        await loop.deliver(await loop.standin.payload("check_suite"), "g")
        async with loop.runner(ready=False) as runner:
            await until(lambda: len(runner.told) == 3 and len(loop.standin.check_runs) == 4)
            waiting = loop.check_run("last")
            assert (waiting["status"], waiting["output"]["title"]) == (
                "queued",
                "Waiting for other checks",
            )
            runner.going.set()
            ended = await loop.inbox.finished("g")
        assert (ended.state, ended.error) == ("done", None)
        assert {run["name"]: run["conclusion"] for run in loop.standin.check_runs} == {
            "first": "success",
            "second (a)": "success",
            "second (b)": "success",
            "last": "success",
        }
        assert len(runner.told) == 4


async def test_a_check_does_not_run_when_one_that_it_needs_has_failed(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = '[checks.a]\nrun = "false"\n[checks.b]\nrun = "true"\nneeds = ["a"]\n'

    def fail(self: FakeRuntime, thunk: object, metadata: object) -> object:
        raise RunFailed("exit status 1")

    monkeypatch.setattr(FakeRuntime, "run", fail)
    async with small_loop(make_repository(**{".bassloop.toml": toml}), tmp_path) as loop:
        await loop.deliver(await loop.standin.payload("check_suite"), "g")
        async with loop.runner():
            await loop.inbox.finished("g")
        assert loop.check_run("a")["conclusion"] == "failure"
        skipped = loop.check_run("b")
        assert skipped["conclusion"] == "cancelled"
        assert "not run: it needs a, which failed" in skipped["output"]["summary"]


async def test_declared_checks_and_a_hook_are_used_together(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    files = {".bassloop.toml": '[checks]\nlint = "true"\n', "project.bass": START}
    async with small_loop(make_repository(**files), tmp_path) as loop:
        await loop.deliver(await loop.standin.payload("check_suite"), "g")
        async with loop.runner():
            await loop.inbox.finished("g")
        assert {run["name"]: run["conclusion"] for run in loop.standin.check_runs} == {
            "lint": "success",
            "it": "success",
        }


async def test_mistakes_in_declarations_are_reported_with_their_lines(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    toml = '[checks.test]\nrun = "pytest"\nimag = "python"\n'
    async with small_loop(make_repository(**{".bassloop.toml": toml}), tmp_path) as loop:
        await loop.deliver(await loop.standin.payload("check_suite"), "g")
        await loop.inbox.finished("g")
        told = loop.check_run(".bassloop.toml")
        assert told["conclusion"] == "failure"
        assert (
            ".bassloop.toml:3: checks.test.imag: there is no such key" in told["output"]["summary"]
        )
