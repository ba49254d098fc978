"""Sessions with several fibers: modules that more than one needs, waits that are cancelled, streams that break off."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop import bass

from .conftest import FakeHost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from trio.testing import MockClock

THUNK = '(from {:repository "image" :digest "sha256:0" :platform {:os "linux"}} ($ true))'


class SlowFiles:
    """A file system whose files take a second to read, so that other fibers run meanwhile."""

    name = "slow"

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    async def read_file(self, path: str) -> bytes:
        await trio.sleep(1)
        return self._files[path]

    async def list_dir(self, path: str) -> Sequence[bass.DirEntry]:
        raise AssertionError("not used here")


async def load_in_handlers(host: FakeHost, files: dict[str, bytes], names: str) -> bass.Value:
    """Load modules, each in a handler of its own, at the same time. Return what they bind to `x`."""
    program = f"""
(defn loading [path] (start {THUNK} (fn [_] (:x (load ((*dir* path)))))))
(map (fn [wait] (wait)) (map loading [{names}]))"""
    async with bass.open_session(host) as session:
        directory = bass.repository_dir(SlowFiles(files))
        return bass.to_python(await session.evaluate(program, "program", directory))


async def test_handlers_that_load_a_module_at_the_same_time_share_it(
    host: FakeHost, autojump_clock: MockClock
) -> None:
    files = {"m.bass": b'(log "loaded") (load (*dir*/slow.bass)) (def x 1)', "slow.bass": b""}
    assert await load_in_handlers(host, files, "./m.bass ./m.bass ./m.bass") == [1, 1, 1]
    assert host.said == ["loaded"]


async def test_a_module_that_fails_to_load_fails_for_each_that_needs_it(
    host: FakeHost, autojump_clock: MockClock
) -> None:
    files = {
        "slow.bass": b"",
        "m.bass": b'(log "tried") (load (*dir*/slow.bass)) (error "broken")',
        "one.bass": b"(load (*dir*/m.bass))",
        "other.bass": b"(load (*dir*/m.bass))",
    }
    with pytest.raises(bass.BassError, match="broken"):
        await load_in_handlers(host, files, "./one.bass ./other.bass")
    assert host.said == ["tried", "tried"]


async def test_modules_that_load_each_other_fail_even_if_two_handlers_begin(
    host: FakeHost, autojump_clock: MockClock
) -> None:
    files = {
        "one.bass": b"(load (*dir*/other.bass)) (def x 1)",
        "other.bass": b"(load (*dir*/one.bass)) (def x 2)",
    }
    with pytest.raises(bass.BassError, match="loads itself"):
        await load_in_handlers(host, files, "./one.bass ./other.bass")


async def test_a_cancelled_wait_can_be_repeated(host: FakeHost, autojump_clock: MockClock) -> None:
    program = f"""
(start {THUNK} (fn [_] (load (*dir*/slow.bass))))
(start {THUNK} (fn [_] (do (load (*dir*/slow.bass)) (error "broken"))))"""
    async with bass.open_session(host) as session:
        directory = bass.repository_dir(SlowFiles({"slow.bass": b""}))
        await session.evaluate(program, "program", directory)
        with trio.move_on_after(0.5) as scope:
            await session.wait()
        assert scope.cancelled_caught
        with pytest.raises(bass.BassError, match="broken"):
            await session.wait()


class BrokenHost(FakeHost):
    """A host whose streams break off after a line."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.closed = False

    @asynccontextmanager
    async def read(self, thunk: bass.Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncGenerator[bytes]:
            yield b"1\n"
            raise self.error

        try:
            yield pieces()
        finally:
            self.closed = True


READ_ALL = f"(let [source (read {THUNK} :json)] [(next source) (next source :end)])"


async def test_a_stream_that_a_lost_connection_breaks_off_does_not_count_as_complete() -> None:
    host = BrokenHost(trio.BrokenResourceError("the connection is lost"))
    with pytest.RaisesGroup(trio.BrokenResourceError):
        async with bass.open_session(host) as session:
            await session.evaluate(READ_ALL, "program", None)


def test_a_session_without_an_event_loop_closes_a_stream_that_fails() -> None:
    host = BrokenHost(bass.BassError("the runner is lost"))
    with pytest.raises(bass.BassError, match="the runner is lost"):
        bass.run_now(bass.immediate_session(host).evaluate(READ_ALL, "program", None))
    assert host.closed
