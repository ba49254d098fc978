"""A private repository is checked out with a token that is nowhere afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .world import world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository


def everything(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_git_checks_it_out_and_the_token_is_in_no_file_and_no_log(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(
        ':it (on src ($ sh -c "cat secret.txt; env")) :git (on src ($ git config --list))',
        **{"secret.txt": "what only friends may read\n"},
    )
    with trio.fail_after(180):
        async with world(path, tmp_path / "world") as its:
            its.standin.private = True
            made: list[str] = []
            new_token = its.standin.new_token

            def noted(*args: object) -> tuple[str, float]:
                value, expires = new_token(*args)  # type: ignore[arg-type]
                made.append(value)
                return value, expires

            its.standin.new_token = noted  # type: ignore[method-assign]
            async with its.daemon() as daemon, its.runner(daemon):
                delivered = await its.standin.deliver(
                    daemon.url, "check_suite", await its.standin.payload("check_suite")
                )
                await its.handled(delivered.guid)
                runs = {run["name"]: run for run in its.standin.check_runs}
                assert {name: run["conclusion"] for name, run in runs.items()} == {
                    "it": "success",
                    "git": "success",
                }
                # The installation's own stays; those of the calls are revoked.
                assert len(made) > 2
                assert set(its.standin.tokens) <= set(made[:1])
            kept = everything(its.folder)
            assert b"what only friends may read" in kept
            assert b".extraheader=authorization: basic *" in kept.lower()
            for value in made:
                assert value.encode() not in kept
