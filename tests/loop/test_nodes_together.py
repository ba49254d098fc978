"""Several nodes work on one check: its webhook, its runners, its artifacts and its page are at different ones."""

from __future__ import annotations

import re
import subprocess
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
import trio

from bassloop.store import open_store
from tests.forked_programs import open_bassloop
from tests.s3_server import IGNORES_DEPRECATION, SETTINGS, bucket_url, serve_bucket
from tests.until import until

from .test_trusted_runners import START
from .world import open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import PostgreSQLServer
    from tests.repositories import MakeRepository

    from .world import LoopNode, World

pytestmark = IGNORES_DEPRECATION

POLICY = """
runner_wait = 600
[trust]
runners = ["alice"]
[trust.checks]
signed = "both"
"""

HOOK = """
(def build (sh "mkdir dist; head -c 300000 /dev/urandom > dist/a; sha256sum < dist/a"))
(defn github-hook [event client]
  (start client event "build" (with-label build :artifacts ["dist/*"]) [])
  (start client event "signed" (sh "echo signed") [])
  (start client event "live" (sh "echo first; until test -e GO; do sleep 0.05; done; echo last") [])
  (start client event "use"
    (with-label (sh "sha256sum < artifacts/build/dist/a") :uses ["build"]) []))
"""


@pytest.fixture
def bucket() -> Iterator[str]:
    """The URL of a bucket on an S3 server."""
    with serve_bucket() as address:
        yield bucket_url(*address)


@pytest.fixture
def url(postgresql: PostgreSQLServer) -> Iterator[str]:
    url = postgresql.create()
    yield url
    postgresql.drop(url)


def check(world: World, name: str) -> dict[str, Any]:
    """The newest check run of a name, as GitHub has it."""
    return [each for each in world.standin.check_runs if each["name"] == name][-1]


async def concluded(world: World, name: str, count: int = 1) -> None:
    """Wait until so many check runs of a name are concluded."""

    def are_concluded() -> bool:
        found = [each for each in world.standin.check_runs if each["name"] == name]
        return len(found) == count and all(each["conclusion"] for each in found)

    await until(are_concluded)


async def log(world: World, url: str, name: str) -> str:
    """The raw logs of a check's commands, as a node shows them."""
    return await world.command("logs", f"{url}/runs/{check(world, name)['external_id']}")


async def test_one_check_may_involve_several_nodes(
    make_repository: MakeRepository, url: str, bucket: str, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    hook = START + HOOK.replace("GO", str(go))
    repository = make_repository(**{"project.bass": hook, ".bassloop.toml": POLICY})
    alice = asyncssh.generate_private_key("ssh-ed25519")
    host_key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    settings = {
        "DATABASE_URL": url,
        "BLOBS_URL": bucket,
        "SSH_HOST_KEY": host_key,
        "SESSION_SECRET": "the secret of all three nodes, of this test",
        **SETTINGS,
    }
    with trio.fail_after(600):
        async with AsyncExitStack() as stack:
            world = await stack.enter_async_context(
                open_world(repository, tmp_path / "world", **settings)
            )
            world.standin.add_user(
                "alice", [alice.export_public_key().decode().strip()], permission="write"
            )
            found: list[LoopNode] = []
            for name in ("one", "two", "three"):
                node = world.node(name, DATA_DIR=str(tmp_path / name))
                found.append(await stack.enter_async_context(node))
            one, two, three = [await node.ready() for node in found]
            await stack.enter_async_context(world.runner_process(two, "alice", alice))
            async with world.runner_process(one, "octocat", world.key, name="first"):
                payload = await world.standin.payload("check_suite")
                await world.standin.deliver(three.url, "check_suite", payload)

                # What alice's runner says at node two confirms what octocat's has said at node one.
                await concluded(world, "signed")
                assert check(world, "signed")["conclusion"] == "success"

                # Node three shows live what node one records.
                await until(lambda: any(run["name"] == "live" for run in world.standin.check_runs))
                address = f"{three.url}/runs/{check(world, 'live')['external_id']}"
                followed = await open_bassloop(
                    "logs", "--follow", address, stdout=subprocess.PIPE, env=world.env
                )
                assert followed.stdout is not None
                printed = b""
                while b"first" not in printed:
                    printed += (piece := await followed.stdout.receive_some())
                    assert piece, printed
                assert b"\nlast\n" not in printed
                go.touch()
                async for piece in followed.stdout:
                    printed += piece
                assert b"\nlast\n" in printed
                assert await followed.wait() == 0

                await concluded(world, "build")
                await concluded(world, "use")
                assert check(world, "use")["conclusion"] == "success"
                built = await log(world, two.url, "build")

            # Node two gives its runner what node one has kept.
            async with world.runner_process(two, "octocat", world.key, name="second"):
                before = check(world, "use")["id"]
                payload = await world.standin.payload("check_run", "rerequested", check_run=before)
                await world.standin.deliver(three.url, "check_run", payload)
                await concluded(world, "use", 2)
                assert check(world, "use")["conclusion"] == "success"
                used = await log(world, one.url, "use")
            [digest] = re.findall(r"^[0-9a-f]{64}", built, re.MULTILINE)
            assert digest in used

            async with open_store(url, tmp_path / "blobs", owner=False) as store:
                names = {each.id: each.name for each in await store.nodes.all()}
                runs = (await store.runs.newest(20, public_only=False)).items
                where = {(run.check_name, run.runner_login): names[run.node] for run in runs}
                latest = next(run for run in runs if run.check_name == "use")
            assert where["build", "octocat"] == "one"
            assert [where[each] for each in where if each[1] == "alice"] == ["two"]
            assert names[latest.node] == "two"
