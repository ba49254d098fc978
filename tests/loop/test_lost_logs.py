"""A node is lost while its bucket can't be reached, and the end of a log with it: pages and GitHub say so."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncssh
import httpx
import pytest
import trio

from tests.chaos.cluster import Cable
from tests.forked_programs import run_bassloop
from tests.s3_server import IGNORES_DEPRECATION, SETTINGS, bucket_url, serve_bucket
from tests.until import until

from .world import open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import PostgreSQLServer
    from tests.repositories import MakeRepository

    from .world import Daemon, World

pytestmark = IGNORES_DEPRECATION

HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "COMMAND") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""


@pytest.fixture
def s3() -> Iterator[tuple[str, int]]:
    """The address of an S3 server with a bucket."""
    with serve_bucket() as address:
        yield address


@pytest.fixture
def url(postgresql: PostgreSQLServer) -> Iterator[str]:
    url = postgresql.create()
    yield url
    postgresql.drop(url)


async def steps(daemon: Daemon, run_id: str) -> list[dict[str, Any]]:
    """Return the steps of a run as a node's JSON has them."""
    async with httpx.AsyncClient(timeout=120, trust_env=False) as client:
        headers = {"Accept": "application/json"}
        answer = await client.get(f"{daemon.url}/runs/{run_id}", headers=headers)
        return list(answer.raise_for_status().json()["vertexes"])


async def pages(daemon: Daemon, run_id: str, row: int) -> tuple[str, str]:
    """Return the pages of a run and of a step."""
    async with httpx.AsyncClient(timeout=120, trust_env=False) as client:
        run = await client.get(f"{daemon.url}/runs/{run_id}")
        step = await client.get(f"{daemon.url}/runs/{run_id}/vertexes/{row}")
        return run.raise_for_status().text, step.raise_for_status().text


def summary(world: World) -> str:
    [run] = world.standin.check_runs
    return str(run["output"]["summary"])


@pytest.mark.parametrize(
    ("how", "conclusion"), [("stopped once it had ended", "success"), ("killed", "cancelled")]
)
async def test_a_log_that_is_lost_with_its_node_is_marked_on_the_pages_and_on_github(
    make_repository: MakeRepository,
    url: str,
    s3: tuple[str, int],
    tmp_path: Path,
    how: str,
    conclusion: str,
) -> None:
    command = "echo a line" if conclusion == "success" else "echo a line; sleep 600"
    repository = make_repository(**{"project.bass": HOOK.replace("COMMAND", command)})
    way = Cable(partial(trio.open_tcp_stream, *s3))
    with trio.fail_after(600):
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            await nursery.start(way.run)
            host_key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
            settings = {
                "DATABASE_URL": url,
                "BLOBS_URL": bucket_url("127.0.0.1", way.port),
                "SSH_HOST_KEY": host_key,
                "SESSION_SECRET": "the secret of both nodes, of this test",
                **SETTINGS,
            }
            around = open_world(repository, tmp_path / "world", **settings)
            world = await stack.enter_async_context(around)
            lost, heir = [
                await stack.enter_async_context(world.node(name, DATA_DIR=str(tmp_path / name)))
                for name in ("lost", "heir")
            ]
            daemon, other = await lost.ready(), await heir.ready()
            async with way.cut():
                async with world.runner(daemon):
                    payload = await world.standin.payload("check_suite")
                    await world.standin.deliver(daemon.url, "check_suite", payload)
                    if conclusion == "success":
                        await world.concluded()
                        lost.process.send_signal(signal.SIGTERM)
                    else:
                        logs = tmp_path / "lost" / "blobs" / "logs"
                        await until(
                            lambda: any(b"a line" in path.read_bytes() for path in logs.glob("*/*"))
                        )
                        lost.process.kill()
                    await lost.process.wait()
                    await world.concluded()
                assert "is lost" not in summary(world), "nobody knows it yet"
            await until(lambda: "is lost" in summary(world))
            [run] = world.standin.check_runs
            run_id = run["external_id"]
            [step] = [each for each in await steps(other, run_id) if each["log_cut"]]
            shown = await pages(other, run_id, step["row"])
            printed = await run_bassloop("logs", f"{other.url}/runs/{run_id}", env=world.env)
            nursery.cancel_scope.cancel()
    assert (run["status"], run["conclusion"]) == ("completed", conclusion)
    assert "The end of the log of" in summary(world)
    assert b"the end of this log is lost" in printed.stderr
    for page in shown:
        assert "the end of its log is lost" in page
