"""A private repository is checked out with a token that is nowhere afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .world import open_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository


def everything(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_git_checks_out_private_source_and_the_token_is_in_no_file_or_log(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(
        ':it (on src ($ sh -c "cat secret.txt; env")) :git (on src ($ git config --list))',
        **{"secret.txt": "what only friends may read\n"},
    )
    with trio.fail_after(600):
        async with open_world(path, tmp_path / "world") as world:
            world.standin.private = True
            made: list[str] = []
            new_token = world.standin.new_token

            def noted(*args: object) -> tuple[str, float]:
                value, expires = new_token(*args)  # type: ignore[arg-type]
                made.append(value)
                return value, expires

            world.standin.new_token = noted  # type: ignore[method-assign]
            async with world.daemon() as daemon, world.runner(daemon):
                delivered = await world.standin.deliver(
                    daemon.url, "check_suite", await world.standin.payload("check_suite")
                )
                await world.handled(delivered.guid)
                runs = {run["name"]: run for run in world.standin.check_runs}
                assert {name: run["conclusion"] for name, run in runs.items()} == {
                    "it": "success",
                    "git": "success",
                }
                # The installation's own stays; those of the calls are revoked.
                assert len(made) > 2
                assert set(world.standin.tokens) <= set(made[:1])
            kept = everything(world.folder)
            assert b"what only friends may read" in kept
            assert b".extraheader=authorization: basic *" in kept.lower()
            for value in made:
                assert value.encode() not in kept
