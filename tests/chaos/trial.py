"""Chaos, played out: pushes come, checks run, and nodes are killed, paused, cut off and drained meanwhile.

GitHub is the stand-in, and all else is real: nodes, HAProxy, PostgreSQL, runners. The bucket is moto's. A trial ends
when nothing is left to do, or when its patience does, and says what became of everything.
"""

from __future__ import annotations

import math
import random
import signal
import time
from collections import Counter
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncssh
import psycopg
import trio

from bassloop.settings import Settings
from bassloop.standin import StandInError
from bassloop.store import find_blobs, open_store
from bassloop.store.liveness import LEASE_SECONDS
from bassloop.store.logs.log_files import LogFiles
from tests.repositories import commits

from .cluster import DRAIN_SECONDS, Cluster, Slot, open_cluster, run_user_s_runner
from .report import Report

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence
    from pathlib import Path

    from bassloop.store import Run, Store
    from tests.loop.world import World

LINES = 20
COMMAND = f"for i in $(seq {LINES}); do echo $(date +%s.%N) line $i >> FOLDER/$0; echo line $i; sleep 0.1; done"
HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "COMMAND" event:payload:after)
      {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:after))
"""
LOSS_SECONDS = 2.0
"""The seconds of a log that may be lost with its node."""

GONE_SECONDS = 8.0
"""For how long the bucket can't be reached."""

BACK_SECONDS = 1.5
"""How long after its return a node may try the bucket again."""

NEAR_SECONDS = 10.0
"""How long before the loss of a node slow answers of the bucket, and late tasks, excuse the loss of more of a log."""

TOLD_SECONDS = 30.0
"""How long GitHub's checks may take to say what became of the last logs."""

FAULTS = ("kill", "pause", "cut_off", "drain", "take_bucket", "kill_without_bucket")
LOOK_SECONDS = 0.3
GROWTH_SECONDS = 0.1
NO_COMMIT = "0" * 40


@dataclass(frozen=True, slots=True)
class Plan:
    """The course of a trial.

    Args:
        seconds: how long pushes come, and something goes wrong every `pause` seconds.
        rate: pushes a second, each to a branch of its own, by one of the users.
        users: how many have a runner.
        patience: seconds after the last push by which everything has to be done.
        faults: what may go wrong.
    """

    seed: int
    seconds: float = 60.0
    rate: float = 1.0
    pause: float = 4.0
    users: int = 6
    patience: float = 300.0
    faults: tuple[str, ...] = FAULTS


@dataclass
class Loss:
    """The loss of a node.

    Args:
        at: since when it couldn't renew its lease.
        until: until when it could store logs.
    """

    slot: str
    at: float
    until: float


@dataclass
class Chaos:
    """A trial that goes on. Times are in seconds since the epoch. `database` is its address."""

    plan: Plan
    cluster: Cluster
    store: Store
    database: str
    written: Path
    heads: Sequence[str]
    report: Report = field(default_factory=Report)
    accepted: dict[str, str] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    drains: list[Loss] = field(default_factory=list)
    """The nodes that were stopped, and had to leave the logs that they couldn't ship."""
    late: list[tuple[float, float]] = field(default_factory=list)
    """When a task of this process was late, and by how many seconds: so may the nodes be."""
    bucket_gone: list[tuple[float, float]] = field(default_factory=list)
    harm: list[tuple[float, str, str]] = field(default_factory=list)
    """When what went wrong, and with which slot."""
    grown: dict[Path, list[tuple[float, int]]] = field(default_factory=dict)
    """When the raw file of a log on a node's disk was first seen with which size."""
    recorders: dict[str, str] = field(default_factory=dict)
    """The slot of the node that recorded each run, by the run's id."""

    async def push_all(self) -> None:
        standin, began = self.cluster.world.standin, trio.current_time()
        chance = random.Random(self.plan.seed)

        async def push(number: int, head: str) -> None:
            sender = f"user-{chance.randrange(self.plan.users)}"
            payload = await standin.payload("push", sender=sender)
            ref = f"refs/heads/topic-{number}"
            pushed = {**payload, "ref": ref, "before": NO_COMMIT, "after": head}
            with suppress(StandInError):
                delivered = await standin.deliver(self.cluster.url, "push", pushed)
                if delivered.status == 202:
                    self.accepted[delivered.guid] = head
                    return
            self.report.refused += 1

        async with trio.open_nursery() as nursery:
            for number, head in enumerate(self.heads):
                await trio.sleep_until(began + number / self.plan.rate)
                nursery.start_soon(push, number, head)

    async def do_harm(self) -> None:
        """Let one thing after the other go wrong, each once before the second time, until cancelled."""
        chance = random.Random(self.plan.seed)
        do = {
            "kill": self._kill,
            "pause": self._pause,
            "cut_off": self._cut_off,
            "drain": self._drain,
            "take_bucket": self._take_bucket,
            "kill_without_bucket": self._kill_without_bucket,
        }
        while True:
            for name in chance.sample(self.plan.faults, len(self.plan.faults)):
                await trio.sleep(self.plan.pause)
                self.report.faults[name] += 1
                slot = chance.choice(self.cluster.slots)
                self.harm.append((time.time(), name, slot.name))
                await do[name](slot)
                await self.cluster.ready()

    async def _kill(self, slot: Slot) -> None:
        now = time.time()
        self.losses.append(Loss(slot.name, now, now))
        slot.signal(signal.SIGKILL)
        await trio.sleep(1)

    async def _pause(self, slot: Slot) -> None:
        now = time.time()
        self.losses.append(Loss(slot.name, now, now))
        slot.signal(signal.SIGSTOP)
        try:
            await trio.sleep(LEASE_SECONDS + 4)
        finally:
            slot.signal(signal.SIGCONT)
        await trio.sleep(2)

    async def _cut_off(self, slot: Slot) -> None:
        async with slot.database.cut():
            await trio.sleep(LEASE_SECONDS + 4)

    async def _drain(self, slot: Slot) -> None:
        now = time.time()
        self.drains.append(Loss(slot.name, now, now + DRAIN_SECONDS))
        slot.signal(signal.SIGTERM)
        await trio.sleep(2)

    async def _take_bucket(self, slot: Slot) -> None:
        began = time.time()
        async with self.cluster.bucket.cut():
            await trio.sleep(GONE_SECONDS)
        self.bucket_gone.append((began, time.time()))

    async def _kill_without_bucket(self, slot: Slot) -> None:
        """Have the others take over while the bucket can't be reached; what was on its way there is lost."""
        began = time.time()
        async with self.cluster.bucket.cut():
            await trio.sleep(1)
            await self._kill(slot)
            await trio.sleep(LEASE_SECONDS + 4)
        self.bucket_gone.append((began, time.time()))

    async def watch(self) -> None:
        """Note which node records each run, until cancelled."""
        while True:
            names = {each.id: each.name for each in await self.store.nodes.all()}
            for run in await self.store.runs.unfinished():
                if run.state == "running" and run.node in names:
                    self.recorders.setdefault(run.id, names[run.node])
            await trio.sleep(LOOK_SECONDS)

    async def watch_logs(self) -> None:
        """Note how the files of logs grow on the nodes' disks, until cancelled."""
        folders = [self.cluster.world.folder / slot.name for slot in self.cluster.slots]
        while True:
            for folder in folders:
                # A node may remove files of logs at any time.
                with suppress(FileNotFoundError):
                    for path in folder.glob("blobs/logs/*/*"):
                        if path.name.isdecimal() and (size := path.stat().st_size):
                            seen = self.grown.setdefault(path, [])
                            if not seen or seen[-1][1] < size:
                                seen.append((time.time(), size))
            due = trio.current_time() + GROWTH_SECONDS
            await trio.sleep_until(due)
            if (late := trio.current_time() - due) >= GROWTH_SECONDS:
                self.late.append((time.time(), late))

    async def finish(self) -> None:
        """Wait until nothing is left to do, or the plan's patience is over, and count."""
        began, report = trio.current_time(), self.report
        runs = self.cluster.world.standin.check_runs
        with trio.move_on_after(self.plan.patience):
            while (
                await self.store.deliveries.unfinished()
                or await self.store.checks.unfinished()
                or any(each["status"] != "completed" for each in runs)
                or await self._is_a_log_open()
            ):
                await trio.sleep(LOOK_SECONDS)
            report.seconds = trio.current_time() - began
        await self._describe_what_is_left()
        shown = Counter(each["head_sha"] for each in runs)
        report.accepted = len(self.accepted)
        for guid, head in self.accepted.items():
            found = await self.store.deliveries.get(guid)
            report.states[found.state if found else "unknown"] += 1
            if found is None or found.state != "done" or not shown[head]:
                report.lost += 1
        report.doubled = sum(count > 1 for count in shown.values())
        report.spinning = sum(each["status"] != "completed" for each in runs)
        report.conclusions = Counter(str(each["conclusion"]) for each in runs)
        stored = [run async for run in self._runs()]
        report.handled_twice = sum(
            count > 1 for count in Counter(run.head_sha for run in stored).values()
        )
        for slot in self.cluster.slots:
            report.crashes += slot.crashes
            report.given_up += len(slot.given_up)
            # The database was out of its reach for as long as a lease, whatever kept it.
            self.losses += [Loss(slot.name, at - LEASE_SECONDS, at) for at in slot.given_up]
        report.slowest_answer = max((took for _, took in self.cluster.bucket.slow), default=0.0)
        report.latest = max((late for _, late in self.late), default=0.0)
        for run in stored:
            if run.ended:  # if it goes on, so does its log, and its check counts as spinning
                await self._count_log(run)

    async def _came(self, run: Run) -> dict[str, float]:
        """Return when which lines came to the node of a run, as that has them on its disk.

        A log's own times are the runner's, and a node that is overloaded gets its lines later. A node that was lost
        leaves the files of its logs there, and its next process, unless it's the heir, doesn't touch them.
        """
        came: dict[str, float] = {}
        blobs = self.cluster.world.folder / self.recorders.get(run.id, "none") / "blobs"
        for step in await self.store.steps.of_run(run.id):
            path, end = LogFiles.of(blobs, run.id, step.row).raw, 0
            seen = self.grown.get(path, [])
            for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
                end += len(line)
                if line.endswith(b"\n"):
                    at = next((at for at, size in seen if size >= end), math.inf)
                    came[line.decode().rstrip("\n")] = at
        return came

    async def _is_a_log_open(self) -> bool:
        """Tell whether a log waits for its end, which comes once the bucket has all of it."""

        def look() -> bool:
            with closing(psycopg.connect(self.database)) as db:
                found = db.execute("SELECT 1 FROM vertexes WHERE log_state = 'open'").fetchone()
            return found is not None

        return await trio.to_thread.run_sync(look)

    async def _describe_what_is_left(self) -> None:
        names = {each.id: each.name for each in await self.store.nodes.all()}
        for delivery in await self.store.deliveries.unfinished():
            self.report.left.append(f"delivery {delivery.guid} {delivery.state}: {delivery}")
        for run in await self.store.runs.unfinished():
            where = names.get(run.node, f"a node that is gone ({run.node})")
            self.report.left.append(f"run {run.id} {run.state} at {where}: {run}")

    async def _runs(self) -> AsyncGenerator[Run]:
        before = None
        while True:
            page = await self.store.runs.newest(100, before, public_only=False)
            for run in page.items:
                yield run
            if (before := page.next) is None:
                return

    async def _count_log(self, run: Run) -> None:
        report, emitted = self.report, list(self._emitted(run.head_sha))
        report.started_twice += sum(line == "line 1" for _, line in emitted) > 1
        kept, is_cut = dict[str, float](), False
        for step in await self.store.steps.of_run(run.id):
            found = await self.store.logs.lines(run.id, step.row, 0, step.lines)
            lines = [line.decode() for line in found]
            times = await self.store.logs.times(run.id, step.row, 0, len(lines))
            for number, line in enumerate(lines):
                kept[line] = max((each.at for each in times if each.line <= number), default=0.0)
            is_cut = is_cut or step.log_cut
        report.log_bytes += sum(len(line) + 1 for _, line in emitted)
        report.slowest = max(
            report.slowest, *(kept[line] - at for at, line in emitted if line in kept), 0.0
        )
        missing = [(at, line) for at, line in emitted if line not in kept]
        loss = self._loss_of(run)
        if loss is not None and run.ended_at is not None and run.state == "interrupted":
            report.takeovers.append(run.ended_at - loss.at)
        came = await self._came(run) if missing else {}
        if any(line in came for _, line in missing) or (missing and run.state == "succeeded"):
            report.cut += 1
            if not is_cut or not await self._is_cut_on_github(run):
                report.unmarked += 1
                report.left.append(
                    f"the log of {run} is cut, and that's not said everywhere: {is_cut}"
                )
        lost_before = report.log_bytes_lost
        for at, line in missing:
            if loss is not None:
                if line not in came:
                    report.log_bytes_not_come += len(line) + 1
                    continue
                if came[line] >= loss.until - self._may_lose(loss.until):
                    report.oldest_lost = max(report.oldest_lost, loss.until - came[line])
                    report.log_bytes_lost_at_the_end += len(line) + 1
                    continue
            if self._was_left_behind(run, came.get(line, at)):
                report.log_bytes_lost_without_bucket += len(line) + 1
            else:
                report.log_bytes_lost += len(line) + 1
        if lost := report.log_bytes_lost - lost_before:
            where = self.recorders.get(run.id, "an unknown node")
            when = [f"{at:.1f}, {came.get(line, 0):.1f}: {line}" for at, line in missing]
            report.left.append(f"{lost} bytes of the log of {run} are lost, of {where}: {when}")
            harm = [f"{at:.1f}: {name} {slot}" for at, name, slot in self.harm]
            report.left.append(f"what went wrong, and when: {harm}")

    def _was_left_behind(self, run: Run, came: float) -> bool:
        """Return whether a line came while the bucket was away, and its node was lost or stopped before it was back."""
        slot = self.recorders.get(run.id)
        return any(
            gone - self._may_lose(gone)
            <= came
            <= (end := back + BACK_SECONDS + self._slowest(back))
            and gone < each.until
            and each.at <= end
            for gone, back in self.bucket_gone
            for each in (*self.losses, *self.drains)
            if slot in (None, each.slot)
        )

    def _may_lose(self, at: float) -> float:
        """Return how many seconds of a log may be lost with a node at a time.

        That is LOSS_SECONDS, unless the bucket was slow to answer, as it may be when all of this runs on one machine:
        what comes during an upload is stored by the next one.
        """
        return max(LOSS_SECONDS, 2 * self._slowest(at))

    def _slowest(self, at: float) -> float:
        """Return how many seconds bytes took from a node's disk to the bucket at most, before a time."""
        answers = [
            took
            for asked, took in self.cluster.bucket.slow
            if asked <= at <= asked + took + NEAR_SECONDS
        ]
        late = [late for when, late in self.late if when - late <= at <= when + NEAR_SECONDS]
        return max(answers, default=0.0) + max(late, default=0.0)

    async def _is_cut_on_github(self, run: Run) -> bool:
        """Return whether GitHub's check says that its log is cut, as soon as it can be expected to."""
        [shown] = [
            each for each in self.cluster.world.standin.check_runs if each["external_id"] == run.id
        ]
        with trio.move_on_after(TOLD_SECONDS):
            while "is lost" not in shown["output"]["summary"]:
                await trio.sleep(LOOK_SECONDS)
            return True
        return False

    def _emitted(self, head: str) -> Iterator[tuple[float, str]]:
        """Yield when the command for a head wrote what."""
        with suppress(FileNotFoundError):
            for line in (self.written / head).read_text().splitlines():
                at, _, text = line.partition(" ")
                yield float(at), text

    def _loss_of(self, run: Run) -> Loss | None:
        """Return the loss of the node of a run while it was running.

        That may be before the command's first line: a runner takes its time to begin.
        """
        began = run.started_at or run.created_at
        slot = self.recorders.get(run.id)
        until = run.ended_at or time.time()
        losses = [
            each
            for each in self.losses
            if slot in (None, each.slot) and began - 1 < each.until and each.at < until
        ]
        return min(losses, key=lambda each: each.until, default=None)


@asynccontextmanager
async def open_chaos(
    plan: Plan, world: World, socket: str, database: str, s3: tuple[str, int], bucket: str
) -> AsyncGenerator[Chaos]:
    """Run a cluster with everybody's runner, ready for pushes."""
    written = world.folder / "written"
    written.mkdir()
    heads = commits(world.standin.repository_path, int(plan.seconds * plan.rate))
    users = {
        f"user-{number}": asyncssh.generate_private_key("ssh-ed25519")
        for number in range(plan.users)
    }
    for login, key in users.items():
        public = key.export_public_key().decode().strip()
        world.standin.add_user(login, [public], permission="write")
    url = f"postgresql://postgres@/{database}?host={socket.rpartition('/')[0]}"
    async with open_cluster(world, database, socket, s3, bucket) as cluster:
        own = Settings(
            data_dir=world.folder / "look",
            blobs_url=f"{bucket}?endpoint=http://{s3[0]}:{s3[1]}",
            aws_access_key_id="ours",
            aws_secret_access_key="secret",
        )
        blobs = await trio.to_thread.run_sync(find_blobs, own)
        async with open_store(url, blobs, owner=False) as store, trio.open_nursery() as nursery:
            async with trio.open_nursery() as dialling:
                for login, key in users.items():

                    async def dial(login: str = login, key: asyncssh.SSHKey = key) -> None:
                        await nursery.start(run_user_s_runner, cluster, login, key)

                    dialling.start_soon(dial)
            yield Chaos(plan, cluster, store, url, written, heads)
            nursery.cancel_scope.cancel()


async def play(chaos: Chaos) -> Report:
    """Push, do harm, and wait for the end."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chaos.watch)
        nursery.start_soon(chaos.watch_logs)
        async with trio.open_nursery() as harm:
            harm.start_soon(chaos.do_harm)
            await chaos.push_all()
            harm.cancel_scope.cancel()
        await chaos.cluster.ready()
        await chaos.finish()
        chaos.report.calls = chaos.cluster.world.standin.rate_limits.used()
        chaos.report.calls_refused = chaos.cluster.world.standin.rate_limits.refused
        nursery.cancel_scope.cancel()
    return chaos.report
