"""Foreign runners at a real daemon: `python -m benchmarks.peers --bass PATH --buildkit ADDR --image REF`.

Registers the Go client (`bass --runner`, in front of BuildKit at ADDR) and the stock OpenSSH client (in
front of this project's own service) at a daemon in a process of its own, with a stand-in for GitHub
around it. Prints what each check came to, from its hook to its check run and its page, and how long it
takes each client to register, to run a thunk, to be missed after `kill -9` and SIGSTOP, and to be back.

REF is an image with a shell, busybox's names and httpd, that BuildKit can pull: a registry on loopback
does. The Go client has only what it finds in its home, so it is given one of its own with bubblewrap.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import structlog
import trio
from tests.loop.world import Daemon, World, open_world
from tests.repositories import commit, git

from bassloop.bridge import call_asyncio
from bassloop.runner import RunnerOptions
from bassloop.runner.driver_choice import open_driver
from bassloop.runner.service import RuntimeService
from bassloop.store import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

HOOK = """
(def base {:repository "REPOSITORY" :tag "TAG" :platform {:os "linux"}})
(def words (subpath (from base ($ sh -c "echo made before > words.txt")) ./words.txt))
(def server (with-port (from base ($ sh -c "echo served > index.html; exec httpd -f -p 8000")) :http 8000))

(defn checks []
  {CHECKS})

(defn github-hook [event client]
  (map-pairs
    (fn [name thunk] (client:start-check thunk (str name) event:payload:check_suite:head_sha))
    (scope->list (checks))))
"""


@dataclass(frozen=True)
class Check:
    """A check, how it should end, and what its logs, its check run or its message should say."""

    thunk: str
    conclusion: str = "success"
    says: str = ""


CHECKS = {
    "image": Check('(from base ($ sh -c "echo $FROM_IMAGE $0" it))', says="yes it"),
    "environment": Check(
        '(with-env (from base ($ sh -c "echo $ONE $(pwd)")) {:ONE "two"})', says="two /"
    ),
    "stdin": Check("(with-stdin (from base ($ cat)) [{:a 1} 2])", says='{"a":1}'),
    "mount": Check(
        '(with-mount (from base ($ cat in.txt)) (mkfile ./in.txt "in memory") ./in.txt)',
        says="in memory",
    ),
    "output": Check("(with-mount (from base ($ cat w.txt)) words ./w.txt)", says="made before"),
    "argument": Check("(from base ($ cat $words))", says="made before"),
    "chain": Check(
        '(from base ($ sh -c "echo one > a") ($ sh -c "echo two >> a") ($ cat a))', says="two"
    ),
    "cache": Check(
        '(with-mount (from base ($ sh -c "date >> c/days; wc -l c/days")) (cache-dir "days") ./c/)',
        says="c/days",
    ),
    "service": Check(
        '(from base ($ wget -q -O- (addr server :http "http://$host:${port}/")))', says="served"
    ),
    "failing": Check('(from base ($ sh -c "echo no >&2; exit 3"))', "failure", "exit code: 3"),
    "missing": Check(
        '(from {:repository "REPOSITORY-of-nobody" :tag "1" :platform {:os "linux"}} ($ true))',
        "failure",
        "not found",
    ),
    "secret": Check(
        '(with-env (from base ($ sh -c "echo [$TOKEN]")) {:TOKEN (mask "s3cret" :token)})',
        says="secrets reach it without a value",
    ),
    "read": Check(
        '(with-env (from base ($ sh -c "echo $A$B")) '
        "{:A (next (read (from base ($ echo read)) :raw)) :B (next (read words :raw))})",
        says="made before",
    ),
    "resolved": Check("(from (resolve base) ($ echo resolved))", says="resolved"),
    "stderr": Check('(from base ($ sh -c "echo out; echo err >&2"))', says="err"),
    "long": Check('(from base ($ sh -c "seq 1 3000000"))', says="clipped"),
}
ONE = Check('(from base ($ sh -c "echo STAMP"))')
SLEEP = Check('(from base ($ sh -c "echo begun STAMP; sleep 600"))', "cancelled", "run the check")


def repository(folder: Path, image: str, checks: dict[str, Check]) -> Path:
    """A repository with these checks; committed anew when it is there already."""
    name, _, tag = image.rpartition(":")
    listed = "\n   ".join(f":{key} {check.thunk}" for key, check in checks.items())
    text = HOOK.replace("CHECKS", listed).replace("REPOSITORY", name).replace("TAG", tag)
    new = not folder.exists()
    folder.mkdir(exist_ok=True)
    (folder / "project.bass").write_text(text.replace("STAMP", str(time.time_ns())))
    if new:
        git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder)
    return folder


@dataclass
class Go:
    """The Go client, in front of BuildKit."""

    world: World
    bass: Path
    buildkit: str

    def command(self, daemon: Daemon) -> tuple[list[str], dict[str, str]]:
        home = self.world.folder / "go"
        ssh, config = home / "ssh", home / "config" / "bass"
        ssh.mkdir(parents=True, exist_ok=True, mode=0o700)
        config.mkdir(parents=True, exist_ok=True)
        (ssh / "id_ed25519").write_bytes(self.world.key.export_private_key())
        (ssh / "id_ed25519").chmod(0o600)
        (ssh / "known_hosts").write_text(daemon.host_key + "\n")
        runtime = {
            "platform": {"os": "linux"},
            "runtime": "buildkit",
            "config": {"addr": self.buildkit},
        }
        (config / "config.json").write_text(json.dumps({"runtimes": [runtime]}))
        kinds = ("CONFIG", "STATE", "DATA", "CACHE", "RUNTIME")
        env = {
            f"XDG_{kind}_{'DIR' if kind == 'RUNTIME' else 'HOME'}": str(home / kind.lower())
            for kind in kinds
        }
        for path in env.values():
            Path(path).mkdir(exist_ok=True, mode=0o700)
        for stale in (home / "state" / "bass").glob("recorder.*.sock"):
            stale.unlink()
        theirs = str(Path.home() / ".ssh")
        box = ["bwrap", "--dev-bind", "/", "/", "--tmpfs", theirs, "--bind", str(ssh), theirs]
        login = self.world.standin.login
        where = f"{login}@127.0.0.1:{daemon.ssh_port}"
        return [*box, "--", str(self.bass), "--runner", where], env | {"HOME": str(Path.home())}


@dataclass
class OpenSSH:
    """The stock client, in front of this project's runner service on a Unix socket."""

    world: World
    socket: Path

    def command(self, daemon: Daemon) -> tuple[list[str], dict[str, str]]:
        identity, known = self.world.folder / "id", self.world.folder / "known_hosts"
        identity.write_bytes(self.world.key.export_private_key())
        identity.chmod(0o600)
        known.write_text(daemon.host_key + "\n")
        options = [f"UserKnownHostsFile={known}", "IdentitiesOnly=yes", "IdentityAgent=none"]
        flags = [word for option in options for word in ("-o", option)]
        where = ["-p", str(daemon.ssh_port), "-i", str(identity), "-R", f"/runtime:{self.socket}"]
        login = f"{self.world.standin.login}@127.0.0.1"
        return ["ssh", "-F", "none", *flags, *where, login, "forward --os linux --arch amd64"], {}


@asynccontextmanager
async def client(kind: Go | OpenSSH, daemon: Daemon) -> AsyncGenerator[trio.Process]:
    """The client in a process group of its own, which is killed at the end."""
    words, env = kind.command(daemon)
    with (kind.world.folder / "client.log").open("ab") as log:
        process = await trio.lowlevel.open_process(
            words,
            env={"PATH": os.environ["PATH"]} | env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with trio.CancelScope(shield=True):
                send(process, signal.SIGKILL)
                await process.wait()


def send(process: trio.Process, number: signal.Signals) -> None:
    """Send a signal to the client and to what it was started in."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


async def until(condition: Callable[[], Any], seconds: float = 30) -> float:
    """Seconds until a condition holds."""
    began = time.perf_counter()
    with trio.fail_after(seconds):
        while not await condition():
            await trio.sleep(0.005)
    return time.perf_counter() - began


@dataclass
class Watch:
    """The daemon's database, looked into from beside it, and its stand-in for GitHub."""

    world: World
    store: Any
    daemon: Daemon

    async def connected(self) -> bool:
        return bool(await self.store.runtimes.connected())

    async def alone(self) -> bool:
        return not await self.connected()

    async def deliver(self) -> list[dict[str, Any]]:
        """Deliver an event for HEAD; the check runs that its checks came to."""
        before = len(self.world.standin.check_runs)
        payload = await self.world.standin.payload("check_suite")
        delivered = await self.world.standin.deliver(self.daemon.url, "check_suite", payload)
        with trio.fail_after(300):
            await self.world.handled(delivered.guid)
        return self.world.standin.check_runs[before:]

    async def running(self) -> bool:
        """Whether a run's command has begun."""
        for run in await self.store.runs.unfinished():
            for step in await self.store.steps.of_run(run.id):
                if "sleep" in step.name and step.started_at:
                    return True
        return False


@asynccontextmanager
async def watched(path: Path, folder: Path) -> AsyncGenerator[Watch]:
    async with (
        open_world(path, folder, SSH_REFUSALS_PER_MINUTE="1000") as world,
        world.daemon() as daemon,
    ):
        data = folder / "data"
        async with open_store(data / "loop.db", data / "blobs", owner=False) as store:
            yield Watch(world, store, daemon)


async def conformance(path: Path, folder: Path, bass: Path, buildkit: str) -> None:
    """Every check of `CHECKS` on the Go client, and what came of it."""
    async with (
        watched(path, folder) as watch,
        client(Go(watch.world, bass, buildkit), watch.daemon),
    ):
        await until(watch.connected)
        found = {run["name"]: run for run in await watch.deliver()}
        async with httpx.AsyncClient() as web:
            for name, check in CHECKS.items():
                run = found.get(name, found.get("project.bass"))
                assert run is not None, list(found)
                address = f"{watch.daemon.url}/runs/{run['external_id']}"
                page = await web.get(address, headers={"accept": "application/json"})
                everything = json.dumps(run["output"])
                for step in page.json()["vertexes"]:
                    everything += (await web.get(f"{address}/vertexes/{step['row']}/raw")).text
                good = run["conclusion"] == check.conclusion and check.says in everything
                stored = await watch.store.runs.get(run["external_id"])
                took = (stored.ended_at or 0) - (stored.started_at or 0)
                sign = "as expected" if good else "UNEXPECTED"
                print(
                    f"go {name:<12} {run['conclusion']:<10} {took:5.2f} s  {sign}  {run['output']['title']}"
                )
                if not good:
                    print(json.dumps(run["output"], indent=1)[:3000])


async def connections(
    path: Path,
    folder: Path,
    image: str,
    make: Callable[[World], AbstractAsyncContextManager[Go | OpenSSH]],
    rounds: int,
) -> dict[str, list[float]]:
    """Seconds of each step of a connection's life, over some rounds."""
    took: dict[str, list[float]] = {}

    def note(step: str, seconds: float) -> None:
        took.setdefault(step, []).append(seconds)

    async with watched(path, folder) as watch, make(watch.world) as kind:
        for _ in range(rounds):
            async with client(kind, watch.daemon) as process:
                note("registered", await until(watch.connected))
                repository(path, image, {"one": ONE})
                began = time.perf_counter()
                [run] = await watch.deliver()
                assert run["conclusion"] == "success", run["output"]
                note("ran, hook to conclusion", time.perf_counter() - began)
                send(process, signal.SIGKILL)
                note("missed after kill -9, idle", await until(watch.alone))
            async with client(kind, watch.daemon) as process:
                note("registered again", await until(watch.connected))
                repository(path, image, {"sleep": SLEEP})
                async with trio.open_nursery() as nursery:
                    ended: list[dict[str, Any]] = []

                    async def deliver(ended: list[dict[str, Any]] = ended) -> None:
                        ended.extend(await watch.deliver())

                    nursery.start_soon(deliver)
                    await until(watch.running)
                    send(process, signal.SIGKILL)
                    note("missed after kill -9, in a run", await until(watch.alone))
                assert ended[0]["conclusion"] == SLEEP.conclusion, ended[0]
                assert SLEEP.says in ended[0]["output"]["summary"], ended[0]["output"]
        async with client(kind, watch.daemon) as process:
            await until(watch.connected)
            send(process, signal.SIGSTOP)
            note("missed after SIGSTOP", await until(watch.alone, 100))
            send(process, signal.SIGCONT)
            if isinstance(kind, Go):
                note("back after SIGCONT", await until(watch.connected))
    return took


@asynccontextmanager
async def behind_openssh(world: World) -> AsyncGenerator[OpenSSH]:
    """The stock client in front of this project's runner service, with the host driver, on a socket."""
    from grpclib.server import Server  # after the bridge, which must be there first

    options = RunnerOptions(
        login=world.standin.login,
        host="127.0.0.1",
        port=0,
        state_dir=world.folder / "state",
        sandbox=False,
        images="ignore",
        allow_foreign=True,
    )
    socket = world.folder / "runtime.sock"
    async with (
        open_driver(options, lambda event: None) as driver,
        RuntimeService.open(driver) as ours,
    ):
        server = Server([ours])
        await call_asyncio(server.start, path=str(socket))
        yield OpenSSH(world, socket)
        server.close()
        await call_asyncio(server.wait_closed)


async def main(arguments: argparse.Namespace) -> None:
    """Everything, one after the other."""
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        folder = Path(name)
        path = repository(folder / "checks", arguments.image, CHECKS)
        await conformance(path, folder / "conformance", arguments.bass, arguments.buildkit)
        path = repository(folder / "one", arguments.image, {"one": ONE})

        @asynccontextmanager
        async def go(world: World) -> AsyncGenerator[Go]:
            yield Go(world, arguments.bass, arguments.buildkit)

        for name, make in {"go": go, "openssh": behind_openssh}.items():
            steps = await connections(path, folder / name, arguments.image, make, arguments.rounds)
            for step, seconds in steps.items():
                middle = statistics.median(seconds)
                print(
                    f"{name} {step}: median {middle:.2f} s, most {max(seconds):.2f} s, n={len(seconds)}"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bass", type=Path, required=True)
    parser.add_argument("--buildkit", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    trio.run(main, parser.parse_args())
