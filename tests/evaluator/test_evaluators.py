"""Hooks in processes of their own: what they may ask for, and how each of them ends."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bassloop import bass
from bassloop.evaluator import (
    EvaluatorLost,
    HookCrashed,
    HookFailed,
    HookStopped,
    HostRefusal,
)
from bassloop.evaluator.messages import PIECE
from bassloop.wire import bass_pb2
from tests.until import until

from .conftest import GUARD, SHA, THUNK, evaluating, hook

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import Evaluating

FREEZE = "(defn grow [n v] (if (= n 0) v (grow (- n 1) [v v])))"


async def test_a_hook_gets_its_event_and_logs(small: Evaluating) -> None:
    payload = b'{"ref": "refs/heads/main", "n": [1, 2.5, null]}'
    await small.evaluate(
        "(log event:payload:ref :n event:payload:n :e event:event)", payload=payload
    )
    assert small.host.logged == ['refs/heads/main n=(1 "2.5" null) e=push']


async def test_the_payload_of_a_waiting_hook_is_not_kept_in_memory(small: Evaluating) -> None:
    """It may have 25 MB, and the hook may wait for hours."""
    freed = trio.Event()

    class Payload(bytes):
        def __del__(self) -> None:
            freed.set()

    async def payload() -> bytes:
        return Payload(b'{"ref": "' + b"x" * (2 * PIECE) + b'"}')

    small.host.payload = payload  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(small.evaluate, f'((client:start-check {THUNK} "it" "{SHA}"))')
        await small.host.asked.wait()
        assert freed.is_set()
        small.host.going.set()


async def test_a_script_gets_its_event_on_stdin(small: Evaluating) -> None:
    source = "(defn main [] (log (:event (next *stdin*)) :there (binds? *loop* :start-check)))"
    request = hook("", source=source, module=False, path="bass/github-hook")
    await small.evaluators.evaluate(request, small.host, 1)
    assert small.host.logged == ["push there=true"]


async def test_a_payload_that_is_not_json_makes_the_hook_fail(small: Evaluating) -> None:
    with pytest.raises(HookFailed, match="payload can't be read"):
        await small.evaluate("null", payload=b'{"a": nonsense}')
    with pytest.raises(HookFailed, match="nested too deep"):
        await small.evaluate("null", payload=b"[" * 100_000)


async def test_a_payload_of_many_pieces_arrives_whole(small: Evaluating) -> None:
    payload = b'{"text": "%s"}' % (b"x" * (3 * PIECE + 5))
    await small.evaluate(
        "(log (length (str->chars event:payload:text)))",
        payload=payload,
        before="(def str->chars (fn [s] [s]))",
    )
    assert small.host.logged == ["1"]


async def test_a_hook_reads_the_files_of_its_repository(small: Evaluating) -> None:
    small.host.files = {"words.txt": b"one two", "large.txt": b"x" * (2 * PIECE + 1)}
    await small.evaluate(
        "(do (log (next (read *dir*/words.txt :raw))) (log (next (read *dir*/large.txt :raw))))",
        output=5 * PIECE,
    )
    assert small.host.logged[0] == "one two"
    assert len(small.host.logged[1]) > PIECE // 2
    with pytest.raises(HookFailed, match=r"no file missing\.txt") as caught:
        await small.evaluate("(next (read *dir*/missing.txt :raw))")
    assert "github-hook" in caught.value.report


async def test_starting_a_check_sends_the_thunk_in_gos_encoding(small: Evaluating) -> None:
    await small.evaluate(f'(client:start-check {THUNK} "it" "{SHA}")')
    [(thunk, name, sha)] = small.host.checks
    assert (name, sha) == ("it", SHA)
    message = bass_pb2.Thunk.FromString(thunk)
    assert bass.encode_go_order(message) == thunk
    assert bass.decode_thunk(message).cmdline() == "echo hi"


async def test_refusals_of_the_host_are_errors_of_the_script(small: Evaluating) -> None:
    with pytest.raises(HookFailed, match="nowhere is no head"):
        await small.evaluate(f'(client:start-check {THUNK} "it" "nowhere")')
    with pytest.raises(HookFailed, match="takes a thunk, a name and a head"):
        await small.evaluate('(client:start-check 1 "it" "nowhere")')


@pytest.mark.parametrize("limit", ["true", "0", "-1", '"1h"'])
async def test_a_checks_time_limit_is_a_number_of_seconds(small: Evaluating, limit: str) -> None:
    with pytest.raises(HookFailed, match=":limit is a number of seconds, at least 1"):
        await small.evaluate(f'(client:start-check-with {THUNK} "it" "{SHA}" {{:limit {limit}}})')


async def test_a_hook_waits_for_its_check(small: Evaluating) -> None:
    small.host.going.set()
    await small.evaluate(f'(do ((client:start-check {THUNK} "it" "{SHA}")) (log "over"))')
    assert small.host.logged == ["over"]
    with pytest.raises(HookFailed, match="the check failed"):
        await small.evaluate(f'((client:start-check {THUNK} "broken" "{SHA}"))')


async def test_outputs_are_read_piece_by_piece(small: Evaluating) -> None:
    small.host.output = [b'{"a": 1}', b"\n", b'{"a": 2}\n' + b" " * PIECE]
    await small.evaluate(
        f"(let [out (read {THUNK} :json)] (log [(next out) (next out) (next out :end)]))"
    )
    assert small.host.logged == ["({:a 1} {:a 2} end)"]
    small.host.output = [b"1\n", b"lost"]
    with pytest.raises(HookFailed, match="the runner was lost"):
        await small.evaluate(f"(let [out (read {THUNK} :json)] [(next out) (next out)])")


async def test_thunks_that_are_started_run_at_the_same_time(small: Evaluating) -> None:
    body = (
        f"(let [w (map (fn [n] (start {THUNK} (fn [err] n))) [1 2 3])] (log (map (fn [x] (x)) w)))"
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(small.evaluate, body)
        while len(small.host.ran) < 3:
            await small.host.asked.wait()
            small.host.asked = trio.Event()
        small.host.going.set()
    assert small.host.logged == ["(1 2 3)"]


async def test_a_thunk_that_nobody_waits_for_is_waited_for(small: Evaluating) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(small.evaluate, f'(start {THUNK} (fn [err] (log "ran")))')
        await small.host.asked.wait()
        assert not small.host.logged
        small.host.going.set()
    assert small.host.logged == ["ran"]


async def test_errors_of_the_host_are_raised(small: Evaluating) -> None:
    async def broken(path: str) -> bytes:
        raise OSError("the disk is full")

    small.host.read_file = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="the disk is full"):
        await small.evaluate("(next (read *dir*/words.txt :raw))")


async def test_a_hook_that_freezes_is_ended_by_its_limit_on_processor_time(
    hasty: Evaluating,
) -> None:
    with pytest.raises(HookStopped, match="more than 1 s of processor time") as caught:
        await hasty.evaluate("(= (grow 40 1) (grow 40 1))", before=FREEZE)
    assert caught.value.setting == "HOOK_CPU"


@pytest.mark.parametrize(
    "bomb",
    [
        "(defn bomb [n list] (bomb (+ n 1) (cons (str n) list)))",
        "(defn bomb [n text] (bomb n (str text text text)))",
        "(defn bomb [n list] (+ 1 (bomb n (fn [] list))))",
    ],
)
async def test_a_hook_that_uses_too_much_memory_is_ended_by_its_limit(bomb: str) -> None:
    async with evaluating(memory=32 << 20) as made:
        with pytest.raises((HookStopped, HookFailed)) as caught:
            await made.evaluate('(bomb 1 "some text")', before=bomb)
    if isinstance(caught.value, HookStopped):
        assert caught.value.setting == "HOOK_MEMORY"
    else:
        assert "too" in str(caught.value)


async def test_a_hook_that_takes_long_without_computing_is_killed(mock_clock: MockClock) -> None:
    async with evaluating(seconds=10) as made, trio.open_nursery() as nursery:

        async def frozen() -> None:
            with pytest.raises(HookStopped, match="more than 10 s") as caught:
                await made.evaluate("(next (read *dir*/a :raw))")
            assert caught.value.setting == "HOOK_SECONDS"

        stopped = trio.Event()

        async def stop(path: str) -> bytes:
            [pid] = set(made.processes()) - before
            os.kill(pid, signal.SIGSTOP)
            stopped.set()
            return b""

        made.host.read_file = stop  # type: ignore[method-assign]
        await until(lambda: made.evaluators.ready)
        before = set(made.processes())
        nursery.start_soon(frozen)
        await stopped.wait()
        await wait_all_tasks_blocked()  # until it has its answer
        mock_clock.jump(11)


async def test_time_in_which_a_hook_waits_does_not_count(mock_clock: MockClock) -> None:
    async with evaluating(seconds=10) as made, trio.open_nursery() as nursery:
        nursery.start_soon(
            made.evaluate, f'(do ((client:start-check {THUNK} "it" "{SHA}")) (log "over"))'
        )
        await made.until_waiting("it")
        mock_clock.jump(100)
        made.host.going.set()
    assert made.host.logged == ["over"]


async def test_a_script_that_prints_too_much_is_ended(small: Evaluating) -> None:
    with pytest.raises(HookFailed, match=r"output.*HOOK_OUTPUT"):
        await small.evaluate("(f)", before='(defn f [] (log "again and again") (f))', output=1000)


async def test_no_message_is_lost_before_the_script_fails(small: Evaluating) -> None:
    loop = "(defn f [n] (when (> n 0) (log {}) (f (- n 1))))"
    await small.evaluate("(f 15)", before=loop.format('""'), output=1000)
    assert small.host.logged == [""] * 15
    with pytest.raises(HookFailed, match=r"output.*HOOK_OUTPUT"):
        await small.evaluate("(f 100)", before=loop.format(f'"" :{"n" * 100} ""'), output=1000)
    assert len(small.host.logged) == 15 + 6


async def test_handlers_that_load_a_module_at_the_same_time_share_it(small: Evaluating) -> None:
    small.host.files = {"m.bass": f'(log "loaded") (run {THUNK}) (def x 1)'.encode()}
    small.host.going.set()
    start = f"(start {THUNK} (fn [_] (:x (load (*dir*/m.bass)))))"
    await small.evaluate(f"(let [a {start} b {start}] (log (str (a) (b))))")
    assert small.host.logged == ["loaded", "11"]


async def test_a_cancelled_hook_leaves_no_process(small: Evaluating) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(small.evaluate, f'((client:start-check {THUNK} "it" "{SHA}"))')
        await small.host.asked.wait()
        alive = set(small.processes())
        nursery.cancel_scope.cancel()
    with trio.fail_after(GUARD):
        while alive <= set(small.processes()):  # nothing tells when a zombie is gone
            await trio.sleep(0.01)
    assert len(alive - set(small.processes())) == 1


async def test_a_spare_is_used_once() -> None:
    async with evaluating(spares=2) as made:
        before = await made.spares()
        await made.evaluate('(log "one")')
        with trio.fail_after(GUARD):
            while before <= set(made.processes()):  # nothing tells when a zombie is gone
                await trio.sleep(0.01)
        after = await made.spares()
        assert len(before - after) == len(after - before) == 1


async def test_spares_that_were_killed_are_not_used() -> None:
    async with evaluating(spares=2) as made:
        for spare in await made.spares():
            os.kill(spare, signal.SIGKILL)
        await until(lambda: not made.evaluators.statistics()["spares"])
        await made.evaluate('(log "well")')
        assert made.host.logged == ["well"]


async def test_a_spare_is_limited_like_every_other_process() -> None:
    async with evaluating(spares=2, cpu_seconds=1) as made:
        await made.spares()
        with pytest.raises(HookStopped) as stopped:
            await made.evaluate("(= (grow 40 1) (grow 40 1))", before=FREEZE)
        assert stopped.value.setting == "HOOK_CPU"


async def test_the_next_hook_is_evaluated_after_one_that_was_killed(hasty: Evaluating) -> None:
    with pytest.raises(HookStopped):
        await hasty.evaluate("(= (grow 40 1) (grow 40 1))", before=FREEZE)
    await hasty.evaluate('(log "well")')
    assert hasty.host.logged == ["well"]


async def test_a_fork_server_that_dies_is_started_again(small: Evaluating) -> None:
    await small.evaluate('(log "before")')
    async with trio.open_nursery() as nursery:

        async def lost() -> None:
            with pytest.raises(EvaluatorLost):
                await small.evaluate(f'((client:start-check {THUNK} "it" "{SHA}"))')

        nursery.start_soon(lost)
        await small.host.asked.wait()
        for pid in small.processes():
            with suppress(ProcessLookupError):  # it has ended with the server
                os.kill(pid, signal.SIGKILL)
    await small.evaluate('(log "after")')
    assert small.host.logged == ["before", "after"]
    assert small.evaluators.statistics()["starts"] == 2


async def test_a_thunk_is_described_in_another_process(small: Evaluating) -> None:
    await small.evaluate(f'(client:start-check {THUNK} "it" "{SHA}")')
    encoded = small.host.checks[0][0]
    described = await small.evaluators.describe(encoded, 1)
    assert described.command == "echo hi"
    assert described.platform is not None
    assert described.platform[0] == "linux"
    assert b'"repository": "alpine"' in described.content
    with pytest.raises(HookFailed, match="isn't a thunk"):
        await small.evaluators.describe(b"\xff\xff", 1)


async def test_many_small_values_in_a_thunk_do_not_delay_other_hooks(small: Evaluating) -> None:
    null = bass_pb2.Value(null=bass_pb2.Null())
    with pytest.raises(HookFailed, match="more than 200,000 parts"):
        await small.evaluators.describe(
            bass_pb2.Thunk(args=[null]).SerializeToString() * 1_000_000, 1
        )


async def test_too_many_waiting_hooks_end_one_of_the_repository_that_has_the_most() -> None:
    async with evaluating(waiting=3) as made:
        ended: list[str] = []

        async def wait(name: str, key: int) -> None:
            try:
                await made.evaluate(f'((client:start-check {THUNK} "{name}" "{SHA}"))', key=key)
                ended.append(f"{name} succeeded")
            except HookStopped as error:
                ended.append(f"{name} {error.setting}")

        async with trio.open_nursery() as nursery:
            for name, key in (("a1", 1), ("b1", 2), ("b2", 2)):
                nursery.start_soon(wait, name, key)
                await made.until_waiting(name)
            for name, key, cost in (("a2", 1, "a1"), ("b3", 2, "b1")):
                ended.clear()
                nursery.start_soon(wait, name, key)
                await until(lambda: ended)
                assert ended == [f"{cost} HOOKS_WAITING"]
                await made.until_waiting(name)
            ended.clear()
            made.host.going.set()
    assert sorted(ended) == ["a2 succeeded", "b2 succeeded", "b3 succeeded"]


async def test_an_error_of_the_host_is_raised(small: Evaluating) -> None:
    async def refuse(path: str) -> bytes:
        raise HostRefusal("no \udcff files today")

    small.host.read_file = refuse  # type: ignore[method-assign]
    with pytest.raises(HookFailed, match=r"no . files today"):
        await small.evaluate("(next (read *dir*/a :raw))")


async def test_a_process_that_dies_of_a_signal_is_reported_with_the_signal(
    small: Evaluating,
) -> None:
    await small.evaluate("null")
    before = set(small.processes())

    async def kill(path: str) -> bytes:
        [pid] = set(small.processes()) - before
        os.kill(pid, signal.SIGSEGV)
        await trio.sleep_forever()
        raise AssertionError

    small.host.read_file = kill  # type: ignore[method-assign]
    with pytest.raises(HookCrashed, match="SIGSEGV"):
        await small.evaluate("(next (read *dir*/a :raw))")
