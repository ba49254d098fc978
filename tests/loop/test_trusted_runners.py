"""Trusted checks with real daemons and real runners, each in a process of its own."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncssh
import httpx
import trio

from tests.until import until

from .world import open_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.repositories import MakeRepository

    from .world import Daemon, World

START = """
(def image {:repository "alpine" :platform {:os "linux"}})
(defn sh [script] (with-image ($ sh -c (str script)) image))
(defn start [client event name thunk after]
  (if (= event:event "check_run")
    (when (= name event:payload:check_run:name)
      (client:start-check thunk name event:payload:check_run:head_sha))
    (client:start-check-with thunk name event:payload:check_suite:head_sha {:after after})))
"""


@dataclass
class Machines:
    """A loop whose policy trusts alice's runner, and octocat, who contributes."""

    world: World
    daemon: Daemon
    alice: asyncssh.SSHKey

    def check(self, name: str) -> dict[str, Any]:
        """The newest check run of a name, as GitHub has it."""
        return [each for each in self.world.standin.check_runs if each["name"] == name][-1]

    async def push(self, *names: str) -> None:
        """Deliver the push of the head, and wait until checks of these names are concluded."""
        payload = await self.world.standin.payload("check_suite")
        await self.world.standin.deliver(self.daemon.url, "check_suite", payload)
        await self.concluded(*names)

    async def rerun(self, name: str) -> None:
        """Press "Re-run" on a check, and wait until it is concluded."""
        before = self.check(name)["id"]
        payload = await self.world.standin.payload("check_run", "rerequested", check_run=before)
        await self.world.standin.deliver(self.daemon.url, "check_run", payload)
        await until(lambda: self.check(name)["id"] != before)
        await self.concluded(name)

    async def concluded(self, *names: str) -> None:
        runs = self.world.standin.check_runs

        def are_concluded() -> bool:
            found = {each["name"] for each in runs}
            return set(names) <= found and all(self.check(each)["conclusion"] for each in names)

        await until(are_concluded)

    async def log(self, name: str) -> str:
        """The raw logs of the check's commands."""
        async with httpx.AsyncClient(base_url=self.daemon.url, timeout=120) as client:
            page = f"/runs/{self.check(name)['external_id']}"
            shown = (await client.get(page, headers={"accept": "application/json"})).json()
            texts = [
                (await client.get(f"{page}/vertexes/{each['row']}/raw")).text
                for each in shown["vertexes"]
            ]
        return "".join(texts)


@asynccontextmanager
async def open_machines(
    make_repository: MakeRepository, folder: Path, policy: str, hook: str
) -> AsyncGenerator[Machines]:
    repository = make_repository(
        **{"project.bass": START + hook, ".bassloop.toml": f"runner_wait = 600\n{policy}"}
    )
    alice = asyncssh.generate_private_key("ssh-ed25519")
    with trio.fail_after(600):
        async with open_world(repository, folder / "world") as world:
            keys = [alice.export_public_key().decode().strip()]
            world.standin.add_user("alice", keys, permission="write")
            async with world.daemon() as daemon:
                yield Machines(world, daemon, alice)


TRUSTED = """
[trust]
runners = ["alice"]
[trust.checks]
poisons = "trusted"
reuses = "trusted"
again = "trusted"
"""
CACHE = """
(def dir (cache-dir "shared"))
(defn caching [thunk] (with-mount thunk dir ./cache/))
(def made (caching (sh "cat cache/x > made || echo clean > made")))
(def reading (caching (with-mount (sh "ls cache; cat in/made") made/./ ./in/)))
(defn github-hook [event client]
  (start client event "poisons" (caching (sh "echo poison > cache/x")) [])
  (start client event "reuses" reading ["poisons"])
  (start client event "again" (with-label reading :again "yes") ["reuses"]))
"""


async def test_a_trusted_check_reuses_nothing_of_another_one(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    """Both mount one cache, and an output that the first has made of it."""
    async with (
        open_machines(make_repository, tmp_path, TRUSTED, CACHE) as machines,
        machines.world.runner_process(machines.daemon, "alice", machines.alice),
    ):
        await machines.push("poisons", "reuses", "again")
        found = {each["name"]: each["conclusion"] for each in machines.world.standin.check_runs}
        assert found == dict.fromkeys(("poisons", "reuses", "again"), "success")
        assert await machines.log("reuses") == "cat: cache/x: No such file or directory\nclean\n"
        assert await machines.log("again") == await machines.log("reuses")


ARTIFACTS = """
(def build (sh "mkdir dist; head -c 300000 /dev/urandom > dist/a; sha256sum < dist/a"))
(defn github-hook [event client]
  (start client event "build" (with-label build :artifacts ["dist/*"]) [])
  (start client event "use"
    (with-label (sh "sha256sum < artifacts/build/dist/a") :uses ["build"]) []))
"""


async def test_artifacts_of_one_runner_are_used_on_another(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_machines(make_repository, tmp_path, "", ARTIFACTS) as machines:
        here, there = machines.world, machines.daemon
        async with here.runner_process(there, "octocat", here.key, name="first"):
            await machines.push("build", "use")
            built = await machines.log("build")
            assert machines.check("use")["conclusion"] == "success"
        async with here.runner_process(there, "octocat", here.key, name="second"):
            await machines.rerun("use")
            assert machines.check("use")["conclusion"] == "success"
            used = await machines.log("use")
        assert used == built
        assert len(used.split()[0]) == hashlib.sha256().digest_size * 2
