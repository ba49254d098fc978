"""`bassloop deliveries`, beside a daemon and without one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import trio

from bassloop.standin import Fault
from tests.forked_programs import run_bassloop

from .world import open_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

    from .world import World

HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""


async def command(world: World, *args: str, status: int = 0) -> str:
    """Return the output of the command, or its error message."""
    done = await run_bassloop("deliveries", *args, env=world.env)
    assert done.returncode == status, (done.stdout, done.stderr)
    return str((done.stdout if status == 0 else done.stderr).decode())


async def test_deliveries_are_listed_shown_and_replayed(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    with trio.fail_after(600):
        async with open_world(
            make_repository(**{"project.bass": HOOK}), tmp_path / "world", DELIVERY_ATTEMPTS="1"
        ) as world:
            assert "there is no database" in await command(world, "list", status=1)
            refused = world.standin.faults.add(
                Fault("POST", "/repos/.*/check-runs", status=403, times=1000)
            )
            payload = await world.standin.payload("check_suite")
            async with world.daemon() as daemon, world.runner(daemon):
                assert await command(world, "list") == ""
                first = await world.standin.deliver(daemon.url, "check_suite", payload)
                await world.handled(first.guid, "set_aside")
                [line] = (
                    await command(world, "list", "--json", "--state", "set_aside")
                ).splitlines()
                listed = json.loads(line)
                assert (listed["guid"], listed["state"]) == (first.guid, "set_aside")
                assert "grant the App the permission" in listed["note"]

                shown = await command(world, "show", first.guid)
                assert "set_aside" in shown
                assert "bassloop deliveries replay" in shown
                assert json.loads(await command(world, "show", "--body", first.guid)) == payload
                assert "no delivery" in await command(world, "show", "unknown", status=1)

                refused.status = None  # the owner grants the permission
                said = await command(world, "replay", first.guid, "--url", daemon.url)
                assert said == "accepted\n"
                await world.concluded()
                await world.handled(first.guid)
                assert f"done      {first.guid}" in await command(world, "list")
                message = await command(world, "replay", first.guid, status=1)
                assert "the delivery is done" in message

                world.standin.faults.clear()
                world.standin.faults.add(
                    Fault("GET", "/repos/.*/contents/.*", status=403, times=1000)
                )
                second = await world.standin.deliver(daemon.url, "check_suite", payload)
                await world.handled(second.guid, "set_aside")
            said = await command(world, "replay", second.guid)
            assert said == "it will be handled when the daemon starts\n"
            assert "received" in await command(world, "list", "-n", "1")
            async with world.daemon():
                await world.handled(second.guid, "set_aside")
                assert "set_aside" in await command(world, "list", "-n", "1")
