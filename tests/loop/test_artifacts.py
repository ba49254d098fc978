"""Artifacts on their way from one runner's command to another check and to a download, with nothing faked."""

from __future__ import annotations

import hashlib
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from tests.forked_programs import run_bassloop
from tests.loop.test_whole_path import check_run, tried

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.repositories import MakeRepository

CHECKS = """
(defn github-hook [event client]
  (client:start-check
    (with-label
      ($ sh -c "mkdir -p dist site; echo wheel > dist/a.whl; echo page > site/i.html; ln -s / site/link")
      :artifacts ["dist/*" "site/" "nothing/*"])
    "build" event:payload:check_suite:head_sha)
  (client:start-check
    (with-label
      ($ sh -c "cat artifacts/build/dist/a.whl && tar tf artifacts/build/site.tar")
      :uses ["build"])
    "deploy" event:payload:check_suite:head_sha))
"""


LARGE = """
(defn github-hook [event client]
  (client:start-check (with-label ($ sh -c "head -c 3000000 /dev/urandom > large") :artifacts ["large"])
    "build" event:payload:check_suite:head_sha))
"""


@asynccontextmanager
async def cutting_proxy(url: str, *sizes: int) -> AsyncGenerator[str]:
    """Forward connections to an address, and cut those of large answers after so many bytes, one after the other."""
    left = list(sizes)
    host, port = urlsplit(url).hostname, urlsplit(url).port
    assert host is not None
    assert port is not None

    async def forward(client: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream(host, port) as server, trio.open_nursery() as nursery:

            async def send() -> None:
                async for data in client:
                    await server.send_all(data)

            nursery.start_soon(send)
            passed = 0
            async for data in server:
                passed += len(data)
                if left and passed > left[0]:
                    await client.send_all(data[: left[0] - passed])
                    del left[0]
                    break
                await client.send_all(data)
            nursery.cancel_scope.cancel()

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, forward, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()
    assert not left


async def test_an_interrupted_download_continues_where_it_stopped(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with tried(make_repository(**{"project.bass": LARGE})) as trial:
        run = check_run(trial, "build")["external_id"]
        async with cutting_proxy(trial.daemon.local_url, 100_000, 1_500_000) as proxy:
            done = await bassloop("artifacts", f"{proxy}/runs/{run}", "--to", str(tmp_path / "to"))
            assert done.returncode == 0, done.stderr
        [kept] = await trial.daemon.store.artifacts.of_run(run)
        assert [each.name for each in (tmp_path / "to").iterdir()] == ["large"]
        data = (tmp_path / "to" / "large").read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (3_000_000, kept.sha256)
        # Nothing comes at all: that is said at once.
        async with cutting_proxy(trial.daemon.local_url, 0) as proxy:
            done = await bassloop("artifacts", f"{proxy}/runs/{run}", "--to", str(tmp_path / "no"))
        assert done.returncode == 1
        assert not (tmp_path / "no").exists()


async def bassloop(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
    return await run_bassloop(*arguments, env=environment)


async def test_artifacts_of_a_check_can_be_used_downloaded_and_verified(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with tried(make_repository(**{"project.bass": CHECKS})) as trial:
        build, deploy = check_run(trial, "build"), check_run(trial, "deploy")
        assert (build["conclusion"], deploy["conclusion"]) == ("success", "success"), deploy
        assert "artifacts/dist/a.whl" in build["output"]["summary"]
        store = trial.daemon.store
        steps = await store.steps.of_run(deploy["external_id"])
        [step] = [each for each in steps if each.name.startswith("sh -c")]
        lines = await store.logs.lines(deploy["external_id"], step.row, 0, 9)
        assert lines == [b"wheel", b"i.html", b"link"]
        names = [each.name for each in await store.steps.of_run(build["external_id"])]
        assert [name for name in names if name.startswith("[loop]")] == [
            "[loop] artifacts are missing: there is nothing at nothing/*"
        ]
        for run in (build, deploy):
            page = f"{trial.daemon.local_url}/runs/{run['external_id']}"
            keys = tmp_path / "keys"
            keys.write_text("\n".join(trial.standin.account(trial.standin.login).keys))
            done = await bassloop("verify", page, "--keys", str(keys))
            assert done.returncode == 0, done.stdout
        page = f"{trial.daemon.local_url}/runs/{build['external_id']}"
        listed = await bassloop("artifacts", page)
        assert b"dist/a.whl" in listed.stdout
        done = await bassloop("artifacts", page, "--to", str(tmp_path / "to"))
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "to" / "dist" / "a.whl").read_text() == "wheel\n"
        again = await bassloop("artifacts", page, "dist/a.whl", "--to", str(tmp_path / "to"))
        assert again.returncode == 1
        assert b"is there already" in again.stderr
