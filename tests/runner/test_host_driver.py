"""The host driver, for real: commands, their environment, their outputs, and what it refuses."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.runner import file_trees, process
from bassloop.runner.call_context import CallContext
from bassloop.runner.engine import execution, step_progress
from bassloop.runner.engine.execution import Execution, Launch, Launcher, run_logged
from bassloop.runner.engine.graph import run_all
from bassloop.runner.engine.step_progress import StepReporter
from bassloop.runner.errors import DriverError
from bassloop.runner.host import sandbox
from bassloop.runner.host.host_driver import HostDriver, HostOptions
from bassloop.runner.options import default_limits
from bassloop.wire import bass_pb2 as pb
from bassloop.wire import progrock_pb2 as progrock
from tests.until import named_pipe

from .made import Recorder

if TYPE_CHECKING:
    from bassloop.runner.output_cache import ThunkOutput

LOCAL = CallContext()


def text(value: str) -> pb.Value:
    return pb.Value(string=pb.String(value=value))


def sh(script: str, **more: Any) -> pb.Thunk:
    return pb.Thunk(args=[text("sh"), text("-c"), text(script)], **more)


def at(thunk: pb.Thunk, path: str, *, directory: bool = False) -> pb.ThunkPath:
    where = (
        pb.FilesystemPath(dir=pb.DirPath(path=path))
        if directory
        else pb.FilesystemPath(file=pb.FilePath(path=path))
    )
    return pb.ThunkPath(thunk=thunk.SerializeToString(), path=where)


def mount(source: pb.ThunkMountSource, target: str) -> pb.ThunkMount:
    return pb.ThunkMount(source=source, target=pb.FilesystemPath(dir=pb.DirPath(path=target)))


class Bench:
    """A driver and what it reports."""

    def __init__(self, driver: HostDriver) -> None:
        self.driver = driver
        self.updates: list[progrock.StatusUpdate] = []

    async def send(self, update: progrock.StatusUpdate) -> None:
        copy = progrock.StatusUpdate()
        copy.CopyFrom(update)
        self.updates.append(copy)

    async def run(self, thunk: pb.Thunk, scope: CallContext = LOCAL) -> ThunkOutput:
        return await self.driver.run(thunk, scope, self.send)

    async def said(self, thunk: pb.Thunk, scope: CallContext = LOCAL) -> str:
        return (await self.run(thunk, scope)).stdout.read_text()

    def last(self) -> progrock.Vertex:
        return [vertex for update in self.updates for vertex in update.vertexes][-1]

    def started(self) -> int:
        ids = {
            vertex.id
            for update in self.updates
            for vertex in update.vertexes
            if vertex.HasField("started") and not vertex.cached
        }
        return len(ids)


@pytest.fixture
async def bench(tmp_path: Path) -> Any:
    async with HostDriver.open(tmp_path / "state") as driver:
        yield Bench(driver)


async def test_a_command_gets_its_arguments_and_a_clean_environment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWNERS_SECRET", "hunter2")
    thunk = sh("env; pwd", env=[pb.Binding(symbol="GREETING", value=text("hello you"))])
    said = await bench.said(thunk)
    assert "GREETING=hello you" in said
    assert "hunter2" not in said
    assert f"HOME={os.path.expanduser('~')}\n" not in said


async def test_standard_input_is_a_stream_of_json(bench: Bench) -> None:
    number = pb.Value(int=pb.Int(value=1))
    scope = pb.Value(object=pb.Object(bindings=[pb.Binding(symbol="a", value=number)]))
    thunk = pb.Thunk(args=[text("cat")], stdin=[number, text("é"), scope])
    assert await bench.said(thunk) == '1\n"é"\n{"a":1}\n'


async def test_each_command_of_a_chain_sees_the_files_of_the_one_before(bench: Bench) -> None:
    first = sh("echo one > file")
    second = sh("echo two >> file; cat file", image=pb.ThunkImage(thunk=first.SerializeToString()))
    assert await bench.said(second) == "one\ntwo\n"
    assert bench.last().inputs


async def test_an_output_can_be_mounted_or_passed_as_an_argument(bench: Bench) -> None:
    made = sh("mkdir d; echo inside > d/file")
    mounted = sh(
        "cat here/file",
        mounts=[mount(pb.ThunkMountSource(thunk=at(made, "d", directory=True)), "here")],
    )
    assert await bench.said(mounted) == "inside\n"
    argument = pb.Thunk(args=[text("cat"), pb.Value(thunk_path=at(made, "d/file"))])
    assert await bench.said(argument) == "inside\n"


async def test_files_that_are_sent_with_a_thunk_exist(bench: Bench) -> None:
    inner = pb.LogicalPath(file=pb.LogicalPath.File(name="b.txt", content=b"b"))
    deep = pb.LogicalPath(dir=pb.LogicalPath.Dir(name="deep", entries=[inner]))
    files = pb.LogicalPath(dir=pb.LogicalPath.Dir(name="fs", entries=[deep]))
    thunk = sh("cat in/deep/b.txt", mounts=[mount(pb.ThunkMountSource(logical=files), "in")])
    assert await bench.said(thunk) == "b"


async def test_a_cache_is_kept_between_runs_of_one_repository(bench: Bench) -> None:
    def counting(n: int) -> pb.Thunk:
        cache = pb.CachePath(id="c", path=pb.FilesystemPath(dir=pb.DirPath(path=".")))
        script = f"echo {n} >> c/log; cat c/log"
        return sh(script, mounts=[mount(pb.ThunkMountSource(cache=cache), "c")])

    ours, fork = CallContext("octocat/hello"), CallContext("octocat/hello", fork=True)
    assert await bench.said(counting(1), ours) == "1\n"
    assert await bench.said(counting(2), ours) == "1\n2\n"
    assert await bench.said(counting(3), fork) == "3\n"


async def test_a_thunk_that_has_run_is_not_run_again(bench: Bench) -> None:
    thunk = sh("date +%N")
    first = await bench.said(thunk)
    assert await bench.said(thunk) == first
    assert bench.last().cached
    assert bench.started() == 1


async def test_a_fork_never_gets_outputs_of_its_base_repository(bench: Bench) -> None:
    thunk = sh("date +%N")
    ours = await bench.said(thunk, CallContext("octocat/hello"))
    assert await bench.said(thunk, CallContext("octocat/hello", fork=True)) != ours
    assert await bench.said(thunk, CallContext("octocat/other")) != ours


async def test_equal_thunks_at_the_same_time_run_once(bench: Bench) -> None:
    thunk = sh("sleep 0.1; date +%N")
    said: list[str] = []

    async def one() -> None:
        said.append(await bench.said(thunk))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one)
    assert len(set(said)) == 1
    assert bench.started() == 1


async def test_a_failure_is_reported_with_its_status_and_is_not_cached(bench: Bench) -> None:
    thunk = sh("echo out; echo err >&2; exit 3")
    for _ in range(2):
        with pytest.raises(DriverError, match="exit status 3: sh -c"):
            await bench.run(thunk)
    assert bench.last().error.startswith("exit status 3")
    logs = {log.stream: log.data for update in bench.updates for log in update.logs}
    assert logs[progrock.LogStream.STDOUT] == b"out\n"
    assert logs[progrock.LogStream.STDERR] == b"err\n"


HOSTILE = {
    "a mount outside": sh(
        "true", mounts=[mount(pb.ThunkMountSource(logical=pb.LogicalPath()), "../up")]
    ),
    "an absolute mount": sh(
        "true", mounts=[mount(pb.ThunkMountSource(logical=pb.LogicalPath()), "/etc")]
    ),
    "a file's name that climbs": sh(
        "true",
        mounts=[
            mount(
                pb.ThunkMountSource(
                    logical=pb.LogicalPath(
                        dir=pb.LogicalPath.Dir(
                            name="d",
                            entries=[
                                pb.LogicalPath(
                                    file=pb.LogicalPath.File(name="../../x", content=b"")
                                )
                            ],
                        )
                    )
                ),
                "in",
            )
        ],
    ),
    "an output's path that climbs": pb.Thunk(
        args=[text("cat"), pb.Value(thunk_path=at(sh("true"), "../../../etc/passwd"))]
    ),
    "a link out of an output": pb.Thunk(
        args=[text("cat"), pb.Value(thunk_path=at(sh("ln -s /etc out"), "out/passwd"))]
    ),
    "a link out of the work directory": sh(
        "true",
        image=pb.ThunkImage(thunk=sh("ln -s /tmp out").SerializeToString()),
        mounts=[mount(pb.ThunkMountSource(logical=pb.LogicalPath()), "out/deep")],
    ),
    "a path of the machine": sh(
        "true",
        mounts=[
            mount(
                pb.ThunkMountSource(
                    host=pb.HostPath(
                        context="/etc", path=pb.FilesystemPath(file=pb.FilePath(path="passwd"))
                    )
                ),
                "in",
            )
        ],
    ),
    "a secret": pb.Thunk(args=[text("echo"), pb.Value(secret=pb.Secret(name="token"))]),
    "more rights": sh("true", insecure=True),
    "a variable's name": sh("true", env=[pb.Binding(symbol="A=B", value=text("x"))]),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_thunks_that_reach_outside_are_refused_with_the_reason(
    bench: Bench, what: str
) -> None:
    with pytest.raises(DriverError) as refused:
        await bench.run(HOSTILE[what])
    assert len(str(refused.value)) > 20


async def test_a_cancelled_command_is_killed_with_all_its_children(
    bench: Bench, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; (trap '' TERM; echo $$ >> {pids}; sleep 600) & echo $$ >> {pids}; wait"
    with named_pipe(pids) as pipe:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.run, sh(script))
            with trio.fail_after(120):
                started = [int(line) for line in await pipe.lines(2)]
            began = time.monotonic()
            nursery.cancel_scope.cancel()
    assert time.monotonic() - began < 120  # its grace, on a busy machine, and not its `sleep`
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    left = (tmp_path / "state" / "making").glob("*/*")
    assert sorted(path.name for path in left) == ["lock", "mark", "using"]


@pytest.mark.parametrize("is_contained", [False, pytest.param(True, marks=pytest.mark.containers)])
async def test_a_cancelled_command_has_time_to_clean_up_and_still_has_its_network(
    tmp_path: Path, is_contained: bool
) -> None:
    source = pb.CachePath(id="c", path=pb.FilesystemPath(dir=pb.DirPath(path=".")))
    thunk = sh(
        "trap 'sleep 0.2; cat /proc/net/dev >c/cleaned; exit 1' TERM; echo up; sleep 600 & wait",
        mounts=[mount(pb.ThunkMountSource(cache=source), "c")],
    )
    box = await sandbox.find(limits=default_limits()) if is_contained else None
    recorder = Recorder()
    async with HostDriver.open(tmp_path / "state", HostOptions(sandbox=box)) as driver:
        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(driver.run, thunk, LOCAL, recorder)
                await recorder.printed.wait()
                nursery.cancel_scope.cancel()
        [cleaned] = driver.cache.folder.glob("caches/*/cleaned")
        if is_contained:
            assert "tap0" in cleaned.read_text() or box.helper.kind == "pasta"


async def test_a_command_is_ended_if_there_is_no_room_for_its_output(bench: Bench) -> None:
    step = StepReporter(bench.send, "key", "yes", ())
    with trio.fail_after(120), pytest.raises(DriverError) as failed:
        await run_logged(
            Launch(["yes"], bench.driver.cache.folder, os.environ), step, stdout=Path("/dev/full")
        )
    assert str(failed.value) == "the runner can't store the output (No space left on device)"


async def test_several_reasons_to_end_a_command_are_all_reported(bench: Bench) -> None:
    async def guard() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise DriverError("the disk is nearly full")

    step = StepReporter(bench.send, "key", "yes", ())
    launch = Launch(["yes"], bench.driver.cache.folder, os.environ, alongside=guard)
    with trio.fail_after(120), pytest.raises(DriverError) as failed:
        await run_logged(launch, step, stdout=Path("/dev/full"))
    assert "the runner can't store the output" in str(failed.value)
    assert "the disk is nearly full" in str(failed.value)


async def test_output_left_in_a_pipe_is_not_lost_on_a_stalling_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that is silent after its command's end is given up at once here, as after a stall."""
    monkeypatch.setattr(process, "QUIET_SECONDS", 0.0)
    kill_rest, ended = process._Running._kill_rest, trio.Event()

    async def kill(running: process._Running) -> None:
        await kill_rest(running)
        ended.set()

    monkeypatch.setattr(process._Running, "_kill_rest", kill)
    received = bytearray()

    async def on_bytes(stream: int, data: bytes) -> None:
        received.extend(data)
        if len(received) == 1:
            (tmp_path / "go").touch()
            await ended.wait()

    script = "printf 1; until test -e go; do sleep 0.01; done; head -c 50000 /dev/zero"
    words = ["sh", "-c", script]
    await process.run_command(words, cwd=tmp_path, env=os.environ, stdin=b"", on_bytes=on_bytes)
    assert len(received) == 50_001


TWO_WRITERS = """
import os, threading
def write(stream):
    text = b"".join(b"%d.%06d\\n" % (stream, each) for each in range(30_000))
    for at in range(0, len(text), 997):
        os.write(stream, text[at : at + 997])
threads = [threading.Thread(target=write, args=[each]) for each in (1, 2)]
for each in threads: each.start()
for each in threads: each.join()
"""


async def test_lines_of_two_streams_stay_whole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine, a writer may pause within a line for longer than a reader waits for its end.
    monkeypatch.setattr(step_progress, "HOLD_SECONDS", 600)
    await bench.run(pb.Thunk(args=[text("python3"), text("-c"), text(TWO_WRITERS)]))
    log = b"".join(each.data for update in bench.updates for each in update.logs).splitlines()
    for stream in (1, 2):
        lines = [each for each in log if each.startswith(b"%d." % stream)]
        assert lines == [b"%d.%06d" % (stream, each) for each in range(30_000)]
    assert len(log) == 60_000


async def test_a_prompt_is_shown_while_its_command_waits(bench: Bench, tmp_path: Path) -> None:
    seen = trio.Event()

    async def send(update: progrock.StatusUpdate) -> None:
        if any(b"Name? " in each.data for each in update.logs):
            seen.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.driver.run, sh("printf 'Name? '; sleep 600"), LOCAL, send)
        with trio.fail_after(120):
            await seen.wait()
        nursery.cancel_scope.cancel()


async def test_an_error_of_files_is_raised_unchanged_by_concurrent_work() -> None:
    async def fail() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await run_all([trio.sleep_forever, fail])


async def test_a_command_waits_while_its_output_is_not_read(bench: Bench) -> None:
    taken, going = 0, trio.Event()

    async def slow(update: progrock.StatusUpdate) -> None:
        nonlocal taken
        taken += sum(len(log.data) for log in update.logs)
        if update.logs:
            await going.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.driver.run, sh("head -c 20000000 /dev/zero"), LOCAL, slow)
        await trio.sleep(0.5)
        assert taken < 1_000_000
        going.set()
    assert taken == 20_000_000


async def test_what_a_command_left_is_discarded_if_its_outputs_can_not_be_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    discarded = 0

    async def send_outputs(_execution: Execution, *, has_failed: bool) -> None:
        raise OSError("a report can't be read")

    async def discard(launcher: Launcher) -> None:
        nonlocal discarded
        discarded += 1

    monkeypatch.setattr(Execution, "_send_outputs", send_outputs)
    monkeypatch.setattr(Launcher, "discard", discard)
    for script in ("true", "false"):
        with pytest.raises(DriverError, match="a report can't be read"):
            await bench.run(sh(script))
    assert discarded == 2


async def test_an_output_is_not_kept_if_its_inputs_can_not_be_removed_in_time(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thunk = sh(f"echo again >>{tmp_path}/ran")

    async def remove(path: Path) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(file_trees, "remove", remove)
    monkeypatch.setattr(execution, "CLEANUP_SECONDS", 0.0)
    with pytest.raises(DriverError, match="inputs weren't removed"):
        await bench.run(thunk)
    monkeypatch.undo()
    await bench.run(thunk)
    assert (tmp_path / "ran").read_text() == "again\nagain\n"
