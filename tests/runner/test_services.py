"""What a service that doesn't listen is reported as. Its container is a stand-in: nothing here takes real time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
import trio.testing

from bassloop.runner.call_context import LOCAL
from bassloop.runner.container import services
from bassloop.runner.container.services import Services, log_text, service_name
from bassloop.runner.engine.execution import Launch
from bassloop.runner.engine.step_progress import STDERR, LogChunk, StepReporter
from bassloop.runner.errors import DriverError, ServiceFailed
from bassloop.runner.host import host_driver
from bassloop.runner.host.host_driver import HostDriver, HostGraph
from bassloop.wire import bass_pb2 as pb

from .made import Recorder, sh, string

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bassloop.runner.engine.command import Command, ImageDefaults
    from bassloop.runner.engine.execution import Execution

DB = pb.Thunk(
    image=pb.ThunkImage(ref=pb.ImageRef(repository="postgres", tag="17")),
    args=[string("postgres")],
    ports=[pb.ThunkPort(name="port", port=5432)],
    labels=[pb.Binding(symbol="service", value=string("db"))],
)


class Container:
    """An engine, a launcher and an execution in one: a container whose process runs, and logs one line."""

    name, network, pid = "db", "", 0

    def __init__(self, seen: Recorder) -> None:
        self.step = StepReporter(seen, "db", "postgres", [])

    async def ask(self, *words: str) -> str:
        await trio.lowlevel.checkpoint()
        return str(self.pid)

    @asynccontextmanager
    async def prepared(self) -> AsyncIterator[Launch]:
        yield Launch(["postgres"], Path("/"), {})

    async def run_process(self, launch: Launch) -> int:
        await self.step.log([LogChunk(STDERR, b"\x1b[31mFATAL\x1b[0m: no role\r\n\n")])
        await trio.sleep_forever()
        return 0

    async def discard(self) -> None:
        await trio.lowlevel.checkpoint()


async def failure(container: Container, time_limit: float | None) -> str:
    """Return the error of whoever waits for the service."""

    @asynccontextmanager
    async def prepare(thunk: pb.Thunk) -> AsyncIterator[tuple[Any, Any]]:
        yield container, container

    async with trio.open_nursery() as nursery:
        engine = cast("Any", container)
        started = Services(engine, prepare, nursery, time_limit)
        with pytest.raises(ServiceFailed) as failed:
            await started.start(DB, "db")
        nursery.cancel_scope.cancel()
    return str(failed.value)


@pytest.fixture
def container() -> Container:
    return Container(Recorder())


async def test_a_service_that_never_listens_is_named_with_its_port_and_the_end_of_its_log(
    container: Container, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    container.pid = 1
    monkeypatch.setattr(services, "listening_ports", lambda tables: {5433})
    assert await failure(container, None) == (
        "the service db (postgres:17) didn't listen on port 5432 within 300 s, but on port 5433. "
        "Its process was still running. Its log ends with:\nFATAL: no role"
    )


async def test_a_services_failure_is_reported_before_the_check_runs_out_of_time(
    container: Container, autojump_clock: trio.testing.MockClock
) -> None:
    container.pid = 1
    began = trio.current_time()
    told = await failure(container, 60)
    assert trio.current_time() - began < 60
    assert "within 50 s (the check's time limit is 60 s)" in told


async def test_a_service_whose_container_does_not_start_is_reported_as_such(
    container: Container, autojump_clock: trio.testing.MockClock
) -> None:
    assert "within 300 s, because its container hasn't started" in await failure(container, None)


def test_the_end_of_a_log_is_short_and_printable() -> None:
    many = "".join(f"line {number}\n" for number in range(9))
    assert log_text(many.encode()) == ". Its log ends with:\nline 6\nline 7\nline 8"
    assert (
        log_text(b"\x1b]0;title\x07a\x00b\xff\n \n")
        == ". Its log ends with:\n0;titleab\N{REPLACEMENT CHARACTER}"
    )
    assert log_text(b"\n") == ". Its log is empty"
    assert len(log_text(b"x" * 4096)) < 300


def test_a_service_without_a_label_is_named_by_its_command() -> None:
    thunk = pb.Thunk(args=[string("httpd"), string("x" * 1000)])
    assert service_name(thunk) == f"httpd {'x' * 93}…"


class WithService(HostGraph):
    """A call whose commands need a service that can't start."""

    def resolve(self, thunk: pb.Thunk, image: ImageDefaults | None = None) -> Command:
        return replace(super().resolve(thunk, image), services=(DB,))

    async def key(self, thunk: pb.Thunk) -> str:
        return "key"

    @asynccontextmanager
    async def preparing(self, *_: object) -> AsyncIterator[Execution]:
        await trio.lowlevel.checkpoint()
        raise ServiceFailed("the service db can't start", "db")
        yield


async def test_a_command_whose_service_can_not_start_has_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_driver, "HostGraph", WithService)
    seen = Recorder()
    async with HostDriver.open(tmp_path) as driver:
        with pytest.raises(DriverError, match="the service db can't start"):
            await driver.run(sh("make"), LOCAL, seen)
    steps = [each for each in seen.history if each.name == "sh -c make"]
    assert steps[-1].error == "the service db can't start"
    assert steps[-1].HasField("completed")
    assert not any(each.HasField("started") for each in steps)
