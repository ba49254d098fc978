"""`bassloop runners`, beside a daemon and after one that was killed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import trio

from tests.forked_programs import run_bassloop
from tests.until import until

from .world import open_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

    from .world import World

HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "echo begun; while [ ! -e FLAG ]; do sleep 0.05; done")
                {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""


async def command(world: World, *args: str) -> tuple[int, str]:
    """The command's exit status, and what it prints."""
    done = await run_bassloop("runners", *args, env=world.env)
    return done.returncode, (done.stdout + done.stderr).decode()


async def test_connected_runners_and_their_runs_are_listed(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    repository = make_repository(**{"project.bass": HOOK.replace("FLAG", str(flag))})
    with trio.fail_after(600):
        async with open_world(repository, tmp_path / "world") as world:
            async with world.daemon() as daemon:
                assert await command(world) == (0, "nobody is connected\n")
                async with world.runner(daemon):
                    await world.standin.deliver(
                        daemon.url, "check_suite", await world.standin.payload("check_suite")
                    )
                    await until(lambda: daemon.lines_with('"run started"'))
                    status, said = await command(world, "--json")
                    assert status == 0
                    listed = json.loads(said)
                    assert (listed["login"], listed["kind"]) == ("octocat", "bassloop")
                    assert (listed["priority"], listed["caveats"]) == (0, [])
                    [run] = listed["runs"]
                    assert (run["check"], run["repository"]) == ("it", "octocat/hello")
                    _, shown = await command(world)
                    assert f"runs {run['id']}  octocat/hello  it" in shown
                    flag.touch()
                    await world.concluded()
                    daemon.process.kill()
                    await daemon.process.wait()
                    status, said = await command(world)
            assert status == 1
            assert "nobody is connected" in said
            assert "octocat" not in said
