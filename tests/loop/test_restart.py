"""A daemon killed and started again: nothing accepted is lost, nothing spins, nothing runs twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.until import named_pipe, until

from .world import open_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

START = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "COMMAND") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""


async def test_a_check_that_ran_when_the_daemon_was_killed_is_concluded_and_not_run_again(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    begun = tmp_path / "begun"
    project = START.replace("COMMAND", f"echo ran >> {ran}; echo begun > {begun}; sleep 600")
    repository = make_repository(**{"project.bass": project})
    with trio.fail_after(600), named_pipe(begun) as pipe:
        async with open_world(repository, tmp_path / "world") as world:
            async with world.daemon() as daemon, world.runner(daemon):
                payload = await world.standin.payload("check_suite")
                delivered = await world.standin.deliver(daemon.url, "check_suite", payload)
                assert delivered.status == 202
                await pipe.lines()
                daemon.process.kill()
            async with world.daemon() as daemon, world.runner(daemon):
                await world.concluded()
            [run] = world.standin.check_runs
            assert run["conclusion"] == "cancelled"
            assert "restarted while this check ran" in run["output"]["summary"]
            assert ran.read_text() == "ran\n"


async def test_a_check_that_waited_when_the_daemon_was_killed_keeps_its_check_run(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    repository = make_repository(**{"project.bass": START.replace("COMMAND", "echo done")})
    with trio.fail_after(600):
        async with open_world(repository, tmp_path / "world", RUNNER_WAIT="600") as world:
            async with world.daemon() as daemon:
                payload = await world.standin.payload("check_suite")
                delivered = await world.standin.deliver(daemon.url, "check_suite", payload)
                assert delivered.status == 202
                # Killed as soon as GitHub has the check run, most often before the daemon knows.
                await until(lambda: world.standin.check_runs)
                daemon.process.kill()
            async with world.daemon() as daemon, world.runner(daemon):
                await world.concluded()
            [run] = world.standin.check_runs
            assert run["conclusion"] == "success"


async def test_sigterm_lets_a_running_check_finish(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    project = START.replace("COMMAND", f"echo begun > {begun}; sleep 0.5; echo finished")
    repository = make_repository(**{"project.bass": project})
    with trio.fail_after(600), named_pipe(begun) as pipe:
        async with (
            open_world(repository, tmp_path / "world", DRAIN_SECONDS="600") as world,
            world.daemon() as daemon,
            world.runner(daemon),
        ):
            payload = await world.standin.payload("check_suite")
            await world.standin.deliver(daemon.url, "check_suite", payload)
            await pipe.lines()
            daemon.process.terminate()
            assert await daemon.process.wait() == 0
            [run] = world.standin.check_runs
            assert run["conclusion"] == "success"


async def test_a_check_that_does_not_finish_in_time_is_concluded_before_the_daemon_ends(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    project = START.replace("COMMAND", f"echo begun > {begun}; sleep 600")
    repository = make_repository(**{"project.bass": project})
    with trio.fail_after(600), named_pipe(begun) as pipe:
        async with (
            open_world(repository, tmp_path / "world", DRAIN_SECONDS="0.2") as world,
            world.daemon() as daemon,
            world.runner(daemon),
        ):
            payload = await world.standin.payload("check_suite")
            await world.standin.deliver(daemon.url, "check_suite", payload)
            await pipe.lines()
            daemon.process.terminate()
            assert await daemon.process.wait() == 0
            [run] = world.standin.check_runs
            assert run["conclusion"] == "cancelled"
            assert "shut down" in run["output"]["summary"]


async def test_sigterm_does_not_wait_for_a_check_that_waits_for_a_runner(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    repository = make_repository(**{"project.bass": START.replace("COMMAND", "echo done")})
    settings = {"RUNNER_WAIT": "600", "DRAIN_SECONDS": "600"}
    with trio.fail_after(600):
        async with open_world(repository, tmp_path / "world", **settings) as world:
            async with world.daemon() as daemon:
                payload = await world.standin.payload("check_suite")
                await world.standin.deliver(daemon.url, "check_suite", payload)
                await until(lambda: world.standin.check_runs)
                daemon.process.terminate()
                assert await daemon.process.wait() == 0
            async with world.daemon() as daemon, world.runner(daemon):
                await world.concluded()
            [run] = world.standin.check_runs
            assert run["conclusion"] == "success"
