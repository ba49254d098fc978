"""A daemon killed and started again: nothing accepted is lost, nothing spins, nothing runs twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncssh
import httpx
import trio

from bassloop.bridge import open_bridge
from bassloop.runner import RunnerOptions, run_runner
from bassloop.standin import StandIn, serve_standin
from bassloop.trial import app_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.loop.conftest import MakeRepository

SECRET = "the webhook's secret"


@dataclass
class Daemon:
    """A daemon in a process of its own, ready."""

    process: trio.Process
    url: str
    ssh_port: int
    host_key: str


@dataclass
class World:
    """What is around a daemon: a stand-in for GitHub, a folder for its data, a user's key."""

    standin: StandIn
    folder: Path
    env: dict[str, str]
    key: asyncssh.SSHKey

    @asynccontextmanager
    async def daemon(self) -> AsyncGenerator[Daemon]:
        """A daemon that is killed (SIGKILL) at the end, if it has not ended by then."""
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "bassloop", "serve"], stderr=subprocess.PIPE, env=self.env
        )
        assert process.stderr is not None
        try:
            ready = await self._ready(process.stderr)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_drain, process.stderr)
                host, _, port = ready["ssh"].rpartition(":")
                yield Daemon(process, ready["url"], int(port), ready["host_key"])
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
                await process.stderr.aclose()

    async def _ready(self, stream: trio.abc.ReceiveStream) -> dict[str, Any]:
        text = b""
        while True:
            piece = await stream.receive_some()
            assert piece, text.decode()
            text += piece
            for line in text.splitlines():
                if b'"event": "ready"' in line and line.endswith(b"}"):
                    return dict(json.loads(line))

    @asynccontextmanager
    async def runner(self, daemon: Daemon) -> AsyncGenerator[None]:
        """The user's runner, connected to a daemon."""
        identity, known_hosts = self.folder / "id", self.folder / "known_hosts"
        identity.write_bytes(self.key.export_private_key())
        identity.chmod(0o600)
        known_hosts.write_text(daemon.host_key + "\n")
        options = RunnerOptions(
            login=self.standin.login,
            host="127.0.0.1",
            port=daemon.ssh_port,
            identities=(identity,),
            known_hosts=known_hosts,
            state_dir=self.folder / "runner",
            use_agent=False,
            default_identities=False,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(run_runner, options)
            yield
            nursery.cancel_scope.cancel()

    async def concluded(self, daemon: Daemon) -> None:
        """Wait until the stand-in's check runs are all completed; asks the daemon's page meanwhile."""
        async with httpx.AsyncClient() as client:
            while True:
                runs = self.standin.check_runs
                if runs and all(run["status"] == "completed" for run in runs):
                    return
                await client.get(f"{daemon.url}/up")
                await trio.sleep(0.02)

    async def seen(self, status: str) -> None:
        """Wait until a check run has this status."""
        while not any(run["status"] == status for run in self.standin.check_runs):
            await trio.sleep(0.02)


async def _drain(stream: trio.abc.ReceiveStream) -> None:
    while await stream.receive_some():
        pass


@asynccontextmanager
async def world(repository: Path, folder: Path, **settings: str) -> AsyncGenerator[World]:
    folder.mkdir()
    key, app = asyncssh.generate_private_key("ssh-ed25519"), app_key()
    standin = StandIn(
        repository_path=repository,
        owner="octocat",
        name="hello",
        login="octocat",
        keys=[key.export_public_key().decode().strip()],
        app_key=app.public,
        webhook_secret=SECRET,
    )
    async with open_bridge(), trio.open_nursery() as nursery:
        api: str = await nursery.start(serve_standin, standin)
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "BASSLOOP_SETTINGS": str(folder / "none"),
            "LISTEN": "127.0.0.1:0",
            "SSH_ADDR": "127.0.0.1:0",
            "DATA_DIR": str(folder / "data"),
            "GITHUB_API_URL": api,
            "GITHUB_APP_ID": str(standin.app_id),
            "GITHUB_APP_PRIVATE_KEY": app.private,
            "GITHUB_APP_WEBHOOK_SECRET": SECRET,
            **settings,
        }
        yield World(standin, folder, env, key)
        nursery.cancel_scope.cancel()


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
    project = START.replace("COMMAND", f"echo ran >> {ran}; sleep 600")
    repository = make_repository(**{"project.bass": project})
    with trio.fail_after(50):
        async with world(repository, tmp_path / "world") as its:
            async with its.daemon() as daemon, its.runner(daemon):
                payload = await its.standin.payload("check_suite")
                delivered = await its.standin.deliver(daemon.url, "check_suite", payload)
                assert delivered.status == 202
                while not ran.exists():
                    await trio.sleep(0.02)
                daemon.process.kill()
            async with its.daemon() as daemon, its.runner(daemon):
                await its.concluded(daemon)
            [run] = its.standin.check_runs
            assert run["conclusion"] == "cancelled"
            assert "restarted while this check ran" in run["output"]["summary"]
            assert ran.read_text() == "ran\n"


async def test_a_check_that_waited_when_the_daemon_was_killed_is_the_same_check_afterwards(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    repository = make_repository(**{"project.bass": START.replace("COMMAND", "echo done")})
    with trio.fail_after(50):
        async with world(repository, tmp_path / "world", RUNNER_WAIT="600") as its:
            async with its.daemon() as daemon:
                payload = await its.standin.payload("check_suite")
                delivered = await its.standin.deliver(daemon.url, "check_suite", payload)
                assert delivered.status == 202
                await its.seen("queued")
                daemon.process.kill()
            async with its.daemon() as daemon, its.runner(daemon):
                await its.concluded(daemon)
            [run] = its.standin.check_runs
            assert run["conclusion"] == "success"


async def test_sigterm_lets_a_running_check_finish(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    project = START.replace("COMMAND", f"touch {ran}; sleep 0.5; echo finished")
    repository = make_repository(**{"project.bass": project})
    with trio.fail_after(50):
        async with (
            world(repository, tmp_path / "world") as its,
            its.daemon() as daemon,
            its.runner(daemon),
        ):
            payload = await its.standin.payload("check_suite")
            await its.standin.deliver(daemon.url, "check_suite", payload)
            while not ran.exists():
                await trio.sleep(0.02)
            daemon.process.terminate()
            assert await daemon.process.wait() == 0
            [run] = its.standin.check_runs
            assert run["conclusion"] == "success"


async def test_a_check_that_does_not_finish_in_time_is_concluded_before_the_daemon_ends(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    project = START.replace("COMMAND", f"touch {ran}; sleep 600")
    repository = make_repository(**{"project.bass": project})
    with trio.fail_after(50):
        async with (
            world(repository, tmp_path / "world", DRAIN_SECONDS="0.2") as its,
            its.daemon() as daemon,
            its.runner(daemon),
        ):
            payload = await its.standin.payload("check_suite")
            await its.standin.deliver(daemon.url, "check_suite", payload)
            while not ran.exists():
                await trio.sleep(0.02)
            daemon.process.terminate()
            assert await daemon.process.wait() == 0
            [run] = its.standin.check_runs
            assert run["conclusion"] == "cancelled"
            assert "shut down" in run["output"]["summary"]
