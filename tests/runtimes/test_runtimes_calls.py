"""Calls to a runner, over a channel in memory."""

from __future__ import annotations

import asyncio

import asyncssh
import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from bassloop.bridge import open_bridge
from bassloop.bridge.grpc import ChannelLimits, open_grpc_server
from bassloop.bridge.memory_channel import memory_opener
from bassloop.runtimes import Platform, Pool, RunFailed, Runtime, RuntimeLost
from bassloop.runtimes.runtime import MAX_ENTRIES, OPENING_AT_ONCE
from bassloop.wire import bass_pb2, progrock_pb2, runtime_pb2
from bassloop.wire.runtime_grpc import RuntimeBase

THUNK = bass_pb2.Thunk(args=[])
NEWS = progrock_pb2.StatusUpdate(vertexes=[progrock_pb2.Vertex(id="v", name="echo")])


class Service(RuntimeBase):
    """A runner that handles each call as the test specifies."""

    def __init__(self) -> None:
        self.metadata: dict[str, str] = {}
        self.requests: list[object] = []
        self.running = 0
        self.sent = 0
        self.many = 3
        self.then = "end"

    async def _answer(self, stream, *answers) -> None:
        self.running += 1
        try:
            self.metadata = dict(stream.metadata)
            self.requests.append(await stream.recv_message())
            for answer in answers:
                await stream.send_message(answer)
                self.sent += 1
            if self.then == "hang":
                await asyncio.Event().wait()
            elif self.then == "fail":
                raise GRPCError(Status.UNKNOWN, "exit status 3\nsaid élan")
            elif self.then == "crash":
                raise RuntimeError("nobody's business")
        finally:
            self.running -= 1

    async def Run(self, stream):
        await self._answer(stream, *[runtime_pb2.RunResponse(progress=NEWS)] * self.many)

    async def Read(self, stream):
        say = runtime_pb2.ReadResponse
        await self._answer(stream, say(progress=NEWS), say(output=b"one"), say(output=b"two"))

    async def Export(self, stream):
        await self._answer(stream, runtime_pb2.ExportResponse(data=b"oci"))

    async def ExportPath(self, stream):
        say = runtime_pb2.ExportResponse
        await self._answer(stream, say(data=b"tar"), say(progress=NEWS))

    async def Publish(self, stream):
        ref = bass_pb2.ImageRef(repository="registry/x")
        await self._answer(stream, runtime_pb2.PublishResponse(published=ref))

    async def Resolve(self, stream):
        await self._answer(stream, *[bass_pb2.Thunk(insecure=True)] * min(self.many, 1))


def runtime(opener, **more) -> Runtime:
    return Runtime("r1", 1, "vito", Platform("linux", "amd64"), 0, 0.0, opener, **more)


async def everything(call) -> list[object]:
    async with call as answers:
        return [answer async for answer in answers]


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def runner(service):
    async with open_bridge(), open_grpc_server([service]) as new_session:
        yield runtime(memory_opener(new_session))


async def test_a_run_yields_its_progress_and_ends(runner, service):
    assert await everything(runner.run(THUNK, {"bassloop-run": "x"})) == [NEWS] * 3
    assert service.requests == [THUNK]
    assert runner.active == 0


async def test_the_other_methods_yield_progress_and_payload_in_order(runner, service):
    path = bass_pb2.ThunkPath(thunk=THUNK.SerializeToString())
    ref = bass_pb2.ImageRef(repository="x")
    assert await everything(runner.read(THUNK, {})) == [NEWS, b"one", b"two"]
    assert await everything(runner.export(THUNK, {})) == [b"oci"]
    assert await everything(runner.export_path(path, {})) == [b"tar", NEWS]
    published = await everything(runner.publish(ref, THUNK, {}))
    assert published == [bass_pb2.ImageRef(repository="registry/x")]
    assert service.requests[-2:] == [path, runtime_pb2.PublishRequest(ref=ref, thunk=THUNK)]


async def test_resolving_returns_a_thunk(runner, service):
    assert await runner.resolve(bass_pb2.ImageRef(repository="x"), {}) == bass_pb2.Thunk(
        insecure=True
    )


async def test_resolving_to_nothing_is_an_error(runner, service):
    service.many = 0
    with pytest.raises(RunFailed):
        await runner.resolve(bass_pb2.ImageRef(), {})


async def test_metadata_tells_the_runner_for_whom_it_works(runner, service):
    await everything(
        runner.run(THUNK, {"bassloop-repository": "vito/bass", "bassloop-head": "fé\nx%"})
    )
    assert service.metadata["bassloop-repository"] == "vito/bass"
    assert service.metadata["bassloop-head"] == "f%C3%A9%0Ax%25"


async def test_a_failure_is_raised_after_the_progress_that_came_before_it(runner, service):
    service.then, received = "fail", []
    with pytest.raises(RunFailed, match=r"^exit status 3\nsaid élan$") as failed:  # noqa: PT012
        async with runner.run(THUNK, {}) as updates:
            async for update in updates:
                received.append(update)
    assert failed.value.status == "UNKNOWN"
    assert len(received) == 3


async def test_a_crash_of_the_runner_is_a_failure(runner, service):
    service.then = "crash"
    with pytest.raises(RunFailed, match="Internal Server Error"):
        await everything(runner.run(THUNK, {}))


async def test_an_error_of_the_reader_comes_first_and_cancels_the_call(runner, service):
    service.then = "hang"
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with runner.run(THUNK, {}) as updates:
            await updates.receive()
            _ = 1 / 0
    await trio.testing.wait_all_tasks_blocked()
    assert service.running == 0


async def test_leaving_early_cancels_the_call_without_an_error(runner, service):
    service.then = "hang"
    async with runner.run(THUNK, {}) as updates:
        await updates.receive()
    await trio.testing.wait_all_tasks_blocked()
    assert service.running == 0


async def test_cancelling_the_scope_cancels_the_call(runner, service):
    service.then = "hang"
    with trio.CancelScope() as scope:
        async with runner.run(THUNK, {"bassloop-run": "x"}) as updates:
            await updates.receive()
            assert runner.runs == ("x",)
            assert "1 call active" in repr(runner)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    await trio.testing.wait_all_tasks_blocked()
    assert (service.running, runner.active) == (0, 0)


async def test_a_slow_reader_makes_the_runner_wait(service):
    service.many = 100_000
    limits = ChannelLimits(window=1 << 16)
    async with open_bridge(), open_grpc_server([service], limits=limits) as new_session:
        runner = runtime(memory_opener(new_session), limits=limits)
        async with runner.run(THUNK, {}) as updates:
            await updates.receive()
            await trio.testing.wait_all_tasks_blocked()
            window = 2 * limits.window // runtime_pb2.RunResponse(progress=NEWS).ByteSize()
            assert service.sent <= window + 100


async def test_a_runtime_that_is_lost_ends_its_calls_and_refuses_others(runner, service):
    pool, service.then = Pool(), "hang"
    gone = trio.Event()

    async def connected() -> None:
        async with pool.registered(runner):
            await gone.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connected)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeLost, match="vito's runner for linux/amd64 disconnected"):  # noqa: PT012
            async with runner.run(THUNK, {}) as updates:
                await updates.receive()
                gone.set()
                async for _ in updates:
                    pass
    with pytest.raises(RuntimeLost, match="disconnected"):
        await everything(runner.run(THUNK, {}))


async def test_two_calls_are_independent(runner, service):
    service.then = "hang"
    async with runner.run(THUNK, {}) as stalled:
        await stalled.receive()
        service.then = "end"
        assert len(await everything(runner.run(THUNK, {}))) == 3


class Noise(asyncssh.SSHUNIXSession[bytes]):
    """Something behind the forward that doesn't speak HTTP/2."""

    def __init__(self, says: bytes | None) -> None:
        self.says = says

    def connection_made(self, chan) -> None:
        if self.says is None:
            chan.abort()
        elif self.says:
            chan.write(self.says)


async def refuse(session_factory):
    raise asyncssh.ChannelOpenError(2, "Connection refused")


async def break_off(session_factory):
    raise asyncssh.ConnectionLost("connection reset")


@pytest.mark.parametrize(
    ("opener", "error", "says"),
    [
        (
            memory_opener(lambda: Noise(b"SSH-2.0-x\r\n")),
            RuntimeLost,
            "can.t be reached",
        ),
        (memory_opener(lambda: Noise(b"\x00" * 100)), RuntimeLost, "not HTTP/2"),
        (memory_opener(lambda: Noise(None)), RuntimeLost, "closed the channel at once"),
        (memory_opener(lambda: Noise(b"")), RuntimeLost, "did not answer within 30 s"),
        (refuse, RuntimeLost, r"refused a channel \(Connection refused\)"),
        (break_off, RuntimeLost, "was lost .connection reset"),
    ],
)
async def test_peers_that_are_not_runners_are_described(autojump_clock, opener, error, says):
    async with open_bridge():
        with pytest.raises(error, match=says):
            await everything(runtime(opener).run(THUNK, {}))


async def test_a_response_without_the_requested_value_is_malformed(runner, service):
    async def empty(stream):
        await service._answer(stream, runtime_pb2.RunResponse())

    service.Run = empty
    async with open_bridge(), open_grpc_server([service]) as new_session:
        with pytest.raises(RunFailed, match="a RunResponse without progress") as failed:
            await everything(runtime(memory_opener(new_session)).run(THUNK, {}))
    assert failed.value.status == "MALFORMED"


async def test_very_many_steps_and_logs_in_one_message_are_malformed(service):
    async def crowded(stream):
        update = progrock_pb2.StatusUpdate(logs=[progrock_pb2.VertexLog()] * (MAX_ENTRIES + 1))
        await service._answer(stream, runtime_pb2.RunResponse(progress=update))

    service.Run = crowded
    async with open_bridge(), open_grpc_server([service]) as new_session:
        with pytest.raises(RunFailed, match="more than 20,000 steps and logs") as failed:
            await everything(runtime(memory_opener(new_session)).run(THUNK, {}))
    assert failed.value.status == "MALFORMED"


async def test_a_message_beyond_the_limit_ends_the_call(service):
    async with open_bridge(), open_grpc_server([service]) as new_session:
        runner = runtime(memory_opener(new_session), limits=ChannelLimits(message=5))
        with pytest.raises(RunFailed, match=r"a message of 1. bytes; at most 5 are read"):
            await everything(runner.run(THUNK, {}))


async def test_a_method_that_a_runner_does_not_know_is_a_failure():
    class Older:
        def __mapping__(self):
            return {}

    async with open_bridge(), open_grpc_server([Older()]) as new_session:
        with pytest.raises(RunFailed) as failed:
            await everything(runtime(memory_opener(new_session)).run(THUNK, {}))
    assert failed.value.status == "UNIMPLEMENTED"


def test_the_limitations_of_each_kind_of_runner_are_known():
    assert runtime(refuse).caveats == ()
    assert "it can't publish" in runtime(refuse, kind="go").caveats


async def test_a_kind_of_runner_that_cannot_publish_is_not_asked_to():
    with pytest.raises(RunFailed, match="it can't publish"):
        async with runtime(refuse, kind="go").publish(bass_pb2.ImageRef(), THUNK, {}):
            pytest.fail("it was asked")


async def test_a_thunk_has_begun_once_the_runner_has_answered(runner, service):
    asked: list[int] = []

    async def begin() -> None:
        asked.append(len(service.requests))

    assert len(await everything(runner.run(THUNK, {}, None, begin))) == 3
    assert (asked, len(service.requests)) == ([0], 1)


async def test_a_thunk_has_not_begun_on_a_silent_runner(autojump_clock):
    begun = trio.Event()

    async def begin() -> None:
        begun.set()

    async with open_bridge():
        silent = runtime(memory_opener(lambda: Noise(b"")))
        with pytest.raises(RuntimeLost, match="did not answer within 30 s"):
            await everything(silent.run(THUNK, {}, None, begin))
    assert not begun.is_set()


async def test_an_error_at_the_beginning_ends_the_call_before_the_runner_is_called(runner, service):
    async def begin() -> None:
        raise KeyError("the caller's own")

    with pytest.raises(KeyError, match="the caller's own"):
        await everything(runner.run(THUNK, {}, None, begin))
    assert service.requests == []


async def test_a_busy_runner_gets_few_calls_at_a_time_and_the_time_limit_of_the_others_has_not_begun(
    autojump_clock,
):
    asked = 0

    async def slow(session_factory):
        nonlocal asked
        asked += 1
        await asyncio.sleep(20)
        raise asyncssh.ChannelOpenError(2, "busy")

    refused: list[float] = []
    async with open_bridge(), trio.open_nursery() as nursery:
        busy = runtime(slow)

        async def ask() -> None:
            with pytest.raises(RuntimeLost, match="busy"):
                await everything(busy.run(THUNK, {}))
            refused.append(trio.current_time())

        for _ in range(3 * OPENING_AT_ONCE):
            nursery.start_soon(ask)
        await trio.sleep(10)
        assert asked == OPENING_AT_ONCE
    assert sorted({round(at) for at in refused}) == [20, 40, 60]


async def test_calls_that_wait_for_their_turn_fail_if_the_runner_is_lost(autojump_clock):
    async def never(session_factory):
        await asyncio.Event().wait()

    async with open_bridge(), trio.open_nursery() as nursery:
        busy = runtime(never)

        async def ask() -> None:
            with pytest.raises(RuntimeLost, match="gone"):
                await everything(busy.run(THUNK, {}))

        for _ in range(OPENING_AT_ONCE + 1):
            nursery.start_soon(ask)
        await trio.sleep(1)
        busy.lose("gone")
    assert busy.active == 0
