"""A daemon in a process of its own, with its environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncssh
import trio

from bassloop.bridge import open_bridge
from bassloop.runner import run_runner
from bassloop.standin import StandIn, serve_standin
from bassloop.store import open_store
from tests.forked_programs import open_bassloop, run_bassloop
from tests.keys import APP
from tests.runners import host_runner
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.forked_programs import Forked


SECRET = "the webhook's secret"


@dataclass
class Daemon:
    """A daemon in a process of its own, ready."""

    process: trio.Process | Forked
    url: str
    ssh_port: int
    host_key: str
    log: deque[bytes] = field(default_factory=lambda: deque(maxlen=1000))
    """The last lines that it logged."""
    log_ended: trio.Event = field(default_factory=trio.Event)
    """Set when it has closed its log, which it does when it ends."""

    async def fail_when_ended(self) -> None:
        """Wait until it ends, and fail with its last words. For tests in which only the test ends it."""
        status = await self.process.wait()
        await self.log_ended.wait()
        raise AssertionError(f"the daemon ended by itself with {status}:\n{self.last_lines()}")

    def last_lines(self, count: int = 40) -> str:
        """Return the last lines that it logged."""
        return b"\n".join([*self.log][-count:]).decode(errors="replace")

    def lines_with(self, text: str) -> list[str]:
        """Return the last lines of the log that contain a text."""
        return [line.decode() for line in self.log if text.encode() in line]

    async def follow_log(self, stream: trio.abc.ReceiveStream) -> None:
        """Keep the last lines of its log."""
        await _drain(stream, self.log)
        self.log_ended.set()


@dataclass
class LoopNode:
    """One of several daemons that share a database."""

    name: str
    process: trio.Process | Forked
    is_ready: trio.Event = field(default_factory=trio.Event)
    log: list[bytes] = field(default_factory=list)
    daemon: Daemon | None = None

    async def read(self) -> None:
        """Follow what it logs."""
        assert self.process.stderr is not None
        rest = b""
        async for piece in self.process.stderr:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self.log.append(line)
                self._note(json.loads(line) if line.startswith(b"{") else {})
        self.is_ready.set()  # it won't be, if it isn't yet

    def _note(self, entry: dict[str, Any]) -> None:
        if entry.get("event") == "ready":
            port = int(entry["ssh"].rpartition(":")[2])
            self.daemon = Daemon(self.process, entry["url"], port, entry["host_key"])
            self.is_ready.set()

    async def ready(self) -> Daemon:
        """Wait until it takes webhooks and runners. It has to live until then."""
        await self.is_ready.wait()
        assert self.daemon is not None, b"\n".join(self.log).decode()
        return self.daemon


@dataclass
class World:
    """The environment of a daemon: a stand-in for GitHub, a folder for its data, a user's key."""

    standin: StandIn
    folder: Path
    env: dict[str, str]
    key: asyncssh.SSHKey

    @property
    def database(self) -> Path | str:
        """Return the place of the daemon's database."""
        return self.env.get("DATABASE_URL") or self.folder / "data" / "loop.db"

    @asynccontextmanager
    async def daemon(self, *, main: Path | None = None) -> AsyncGenerator[Daemon]:
        """A daemon that is killed (SIGKILL) at the end, if it has not ended by then.

        Args:
            main: a script that is `bassloop`, but for what the caller wants otherwise.
        """
        if main is None:
            process = await open_bassloop("serve", stderr=subprocess.PIPE, env=self.env)
        else:
            command = [sys.executable, str(main), "serve"]
            process = await trio.lowlevel.open_process(
                command, stderr=subprocess.PIPE, env=self.env
            )
        assert process.stderr is not None
        try:
            ready = await self._ready(process.stderr)
            async with trio.open_nursery() as nursery:
                port = ready["ssh"].rpartition(":")[2]
                daemon = Daemon(process, ready["url"], int(port), ready["host_key"])
                nursery.start_soon(daemon.follow_log, process.stderr)
                yield daemon
                nursery.cancel_scope.cancel()
        finally:
            await _kill(process)
            with trio.CancelScope(shield=True):
                await process.stderr.aclose()

    @asynccontextmanager
    async def node(self, name: str, **settings: str) -> AsyncGenerator[LoopNode]:
        """One of several daemons that share a database, killed (SIGKILL) at the end if it has not ended."""
        env = {**self.env, "NODE_NAME": name, **settings}
        process = await open_bassloop("serve", stderr=subprocess.PIPE, env=env)
        node = LoopNode(name, process)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.read)
                yield node
                nursery.cancel_scope.cancel()
        finally:
            await _kill(process)

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
        options = host_runner(
            self.standin.login,
            self.key,
            self.folder,
            known_host=daemon.host_key,
            port=daemon.ssh_port,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(run_runner, options)
            yield
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def runner_process(
        self, daemon: Daemon, login: str, key: asyncssh.SSHKey, *, name: str = ""
    ) -> AsyncGenerator[Forked]:
        """A user's `bassloop runner` in a process of its own, connected; killed (SIGKILL) at the end.

        Args:
            name: names its folder, if the user has several.
        """
        folder = self.folder / f"runner-{name or login}"
        folder.mkdir(exist_ok=True)
        identity, known_hosts = folder / "id", folder / "known_hosts"
        identity.touch(mode=0o600)
        identity.write_bytes(key.export_private_key())
        known_hosts.write_text(f"{daemon.host_key}\n")
        options = ["--driver", "host", "--unsandboxed", "--allow-foreign", "--images", "ignore"]
        options += ["-i", str(identity), "--known-hosts", str(known_hosts), "--json"]
        options += ["--state-dir", str(folder / "state"), f"{login}@127.0.0.1:{daemon.ssh_port}"]
        process = await open_bassloop(
            "runner",
            *options,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**self.env, "HOME": str(folder)},
        )
        assert process.stdout is not None
        printed: deque[bytes] = deque(maxlen=1000)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_drain, process.stdout, printed)
                with trio.fail_after(600):
                    await until(lambda: any(b'"Registered"' in each for each in printed))
                yield process
                nursery.cancel_scope.cancel()
        finally:
            await _kill(process)

    async def command(self, *words: str, fails: bool = False) -> str:
        """Run `bassloop`, which succeeds unless it `fails`, and return what it prints."""
        done = await run_bassloop(*words, env=self.env)
        assert bool(done.returncode) == fails
        return done.stdout.decode()

    async def handled(self, guid: str, state: str = "done") -> None:
        """Wait until a delivery has this state in the daemon's database, which has no event for it."""
        blobs = self.folder / "data" / "blobs"
        async with open_store(self.database, blobs, owner=False) as store:
            while True:
                found = await store.deliveries.get(guid)
                if found is not None and found.state == state:
                    return
                await trio.sleep(0.02)

    async def concluded(self) -> None:
        """Wait until the stand-in's check runs are all completed."""
        runs = self.standin.check_runs
        await until(lambda: runs and all(run["status"] == "completed" for run in runs))

    async def seen(self, status: str) -> None:
        """Wait until a check run has this status."""
        await until(lambda: any(run["status"] == status for run in self.standin.check_runs))


async def _kill(process: trio.Process | Forked) -> None:
    """Kill a process (SIGKILL) that has not ended, also when cancelled."""
    with trio.CancelScope(shield=True):
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _drain(stream: trio.abc.ReceiveStream, log: deque[bytes]) -> None:
    rest = b""
    while piece := await stream.receive_some():
        *lines, rest = (rest + piece).split(b"\n")
        log.extend(lines)


@asynccontextmanager
async def open_world(repository: Path, folder: Path, **settings: str) -> AsyncGenerator[World]:
    folder.mkdir()
    key = asyncssh.generate_private_key("ssh-ed25519")
    standin = StandIn(
        repository_path=repository,
        owner="octocat",
        name="hello",
        login="octocat",
        keys=[key.export_public_key().decode().strip()],
        app_key=APP.public,
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
            "GITHUB_APP_PRIVATE_KEY": APP.private,
            "GITHUB_APP_WEBHOOK_SECRET": SECRET,
            # Far away for tests that aren't about them, however busy the machine is.
            "HOOK_CPU": "100",
            "SSH_AUTH_SECONDS": "300",
            **settings,
        }
        yield World(standin, folder, env, key)
        nursery.cancel_scope.cancel()
