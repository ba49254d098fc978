"""A daemon that starts while its bucket is away: it works, says so, and stores the logs once the bucket is back."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import trio

from tests.s3_server import IGNORES_DEPRECATION, SETTINGS, bucket_url, serve_bucket
from tests.until import until

from .world import open_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

    from .world import LoopNode

pytestmark = IGNORES_DEPRECATION

HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "echo a line") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""


async def logged(node: LoopNode, event: str, **values: str) -> dict[str, Any]:
    """Wait until a node logs this, and return the entry."""

    def found() -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in node.log if line.startswith(b"{")]
        wanted = {"event": event, **values}
        return [each for each in entries if wanted.items() <= each.items()]

    await until(found)
    return found()[0]


async def test_a_daemon_starts_without_its_bucket_and_continues_once_it_is_back(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    repository = make_repository(**{"project.bass": HOOK})
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        settings = {
            "BLOBS_URL": bucket_url("127.0.0.1", port),
            **SETTINGS,
        }
        with trio.fail_after(600):
            around = open_world(repository, tmp_path / "world", **settings)
            async with around as world, world.node("only") as node:
                daemon = await node.ready()
                said = await logged(node, "bucket not reached")
                assert "is the endpoint in BLOBS_URL right, and up?" in said["error"]
                await logged(node, "not ready", part="bucket")
                status = await world.command("status", fails=True)
                assert "bucket  FIX it can't be reached" in status
                async with world.runner(daemon):
                    payload = await world.standin.payload("check_suite")
                    await world.standin.deliver(daemon.url, "check_suite", payload)
                    await world.concluded()
                await logged(node, "logs can't be shipped to the bucket, and wait")
                reserved.close()
                with serve_bucket(port):
                    await logged(node, "ready again", part="bucket")
                    await logged(node, "logs are shipped to the bucket again")
                    [run] = world.standin.check_runs
                    shown = await world.command("logs", f"{daemon.url}/runs/{run['external_id']}")
    assert run["conclusion"] == "success"
    assert "a line" in shown
