"""Evaluation of scripts: deep, long, bounded, suspended, cancelled; and their errors."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from bassloop import bass

from .conftest import FakeHost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from .conftest import Evaluate


async def test_a_tail_call_costs_no_stack(evaluate: Evaluate) -> None:
    program = "(defn loop [n] (if (= n 0) :done (loop (- n 1)))) (loop 50000)"
    assert bass.show(await evaluate(program)) == "done"


@pytest.mark.parametrize(
    "again",
    [
        "(deep (- n 1))",
        "(case n _ (let [m (- n 1)] (deep m)))",
        "(do 1 (when true (apply deep [(- n 1)])))",
        "(first (map deep [(- n 1)]))",
    ],
)
async def test_twenty_thousand_nested_calls_work(evaluate: Evaluate, again: str) -> None:
    program = f"(defn deep [n] (if (= n 0) 0 (+ 1 {again}))) (deep 20000)"
    assert await evaluate(program) == 20000


async def test_two_hundred_thousand_nested_calls_exceed_the_budget(
    evaluate: Evaluate,
) -> None:
    program = "(defn deep [n] (if (= n 0) 0 (+ 1 (deep (- n 1))))) (deep 200000)"
    with pytest.raises(bass.Exhausted, match="too deep"):
        await evaluate(program)


async def test_endless_nesting_ends_in_an_error_and_not_in_a_crash(
    evaluate: Evaluate,
) -> None:
    with pytest.raises(bass.Exhausted, match="too deep"):
        await evaluate("(defn deep [n] (+ 1 (deep n))) (deep 1)")


async def test_an_endless_loop_ends_with_its_budget_of_steps(evaluate: Evaluate) -> None:
    with pytest.raises(bass.Exhausted, match=r"steps.*HOOK_STEPS"):
        await evaluate("(defn f [] (f)) (f)", steps=10_000)


async def test_a_script_that_prints_too_much_ends_with_its_budget_of_output(
    evaluate: Evaluate,
) -> None:
    with pytest.raises(bass.Exhausted, match=r"output.*HOOK_OUTPUT"):
        await evaluate('(defn f [] (log "again and again") (f)) (f)', output=1000)


@pytest.mark.parametrize(
    ("form", "size"),
    [
        ('(log "abcd")', 4),
        ('(log "é🎉")', 6),
        ('(log "")', 0),
        ('(log "" :größe "🎉")', 7 + 4),
        ('(dump "é🎉")', 9),
    ],
)
async def test_output_counts_in_bytes_and_each_message_64_more(
    evaluate: Evaluate, host: FakeHost, form: str, size: int
) -> None:
    limit = 10 * (size + 64)
    program = f"(defn repeat [n] (when (> n 0) {form} (repeat (- n 1)))) (repeat TIMES)"
    await evaluate(program.replace("TIMES", "10"), output=limit)
    assert len(host.said) == 10
    with pytest.raises(bass.Exhausted, match=f"{limit} bytes, counting 64 more for each message"):
        await evaluate(program.replace("TIMES", "11"), output=limit)
    assert len(host.said) == 20


async def test_an_endless_loop_lets_other_tasks_run(evaluate: Evaluate) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        with pytest.raises(bass.Exhausted):
            await evaluate("(defn f [] (f)) (f)", steps=40_000)
        nursery.cancel_scope.cancel()
    assert turns > 5


async def test_a_script_is_cancelled_where_it_waits(host: FakeHost) -> None:
    entered, left = trio.Event(), trio.Event()

    async def forever(thunk: bass.Thunk) -> None:
        entered.set()
        try:
            await trio.sleep_forever()
        finally:
            left.set()

    host.run = forever  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:

        async def script() -> None:
            async with bass.open_session(host) as session:
                program = '(run (with-image ($ sleep) {:repository "alpine"}))'
                await session.evaluate(program, "program", bass.DirPath("."))

        nursery.start_soon(script)
        await entered.wait()
        nursery.cancel_scope.cancel()
    assert left.is_set()


async def test_started_thunks_run_in_the_background_and_are_waited_for(
    evaluate: Evaluate, host: FakeHost
) -> None:
    program = """
    (defn on [thunk] (with-image thunk {:repository "alpine"}))
    (let [good (start (on ($ true)) null?)
          bad (start (on ($ false)) null?)]
      [(good) (bad)])
    """
    assert bass.show(await evaluate(program)) == "(true false)"
    assert sorted(host.ran) == ["false", "true"]


async def test_a_failed_thunk_fails_its_script(evaluate: Evaluate) -> None:
    with pytest.raises(bass.BassError, match="exit status 1"):
        await evaluate('(run (with-image ($ false) {:repository "alpine"}))')


async def test_a_thunks_output_is_read_as_a_table(evaluate: Evaluate, host: FakeHost) -> None:
    host.output = b"abc123 refs/heads/main\ndef456 refs/heads/other\n"
    program = """
    (-> ($ git ls-remote) (with-image {:repository "alpine/git"}) (read :unix-table) next first)
    """
    assert await evaluate(program) == "abc123"


async def test_a_module_is_loaded_once_and_sees_its_own_folder(
    evaluate: Evaluate, host: FakeHost
) -> None:
    host.files = {
        "lib/one.bass": b'(use (*dir*/two.bass)) (log "loaded") (def x two:y)',
        "lib/two.bass": b"(def y 42)",
    }
    program = "(use (*dir*/lib/one.bass)) (use (*dir*/lib/one.bass)) one:x"
    assert await evaluate(program) == 42
    assert host.said == ["loaded"]


async def test_a_repositorys_files_travel_with_a_thunk(host: FakeHost) -> None:
    host.files = {"src/a.txt": b"a", "src/deep/b.txt": b"b"}
    async with bass.open_session(host) as session:
        here = host.directory()
        thunk = await session.evaluate("(with-mount ($ ls) *dir*/src/ ./in/)", "program", here)
        await bass.read_files(thunk)
        [mount] = bass.encode_thunk(thunk).mounts
    entries = {entry.file.name or entry.dir.name for entry in mount.source.logical.dir.entries}
    assert entries == {"a.txt", "deep"}


async def test_no_path_leaves_the_repository(evaluate: Evaluate) -> None:
    with pytest.raises(bass.BassError, match="leads out"):
        await evaluate("(read *dir*/../../etc/passwd :raw)")


async def test_an_error_shows_where_it_is_and_how_it_came_there(evaluate: Evaluate) -> None:
    with pytest.raises(bass.BassError) as raised:
        await evaluate("\n(defn f [x]\n  (g x))\n(+ 1 (f 1))")
    shown = bass.render(raised.value)
    assert "error: unbound symbol: g" in shown
    assert "program:3:4" in shown
    assert "3 |   (g x))\n  |    ^" in shown
    assert "called at program:4:6" in shown


async def rendered_trace(evaluate: Evaluate, program: str) -> list[str]:
    """The lines of an error about where it is, and about the calls that led there."""
    with pytest.raises(bass.BassError) as raised:
        await evaluate("\n" + program)
    lines = map(str.strip, bass.render(raised.value).splitlines())
    return [line for line in lines if line.startswith(("-->", "called", "raised", "…"))]


async def test_an_error_names_a_call_and_not_the_code_around_it(evaluate: Evaluate) -> None:
    program = "(defn f [x] (let [y (g x)]\n (+ 1 y)))\n(defn g [x] (nosuch))\n(list (f 1))"
    assert await rendered_trace(evaluate, program) == [
        "--> program:4:14",
        "called at program:2:21: (g x)",
        "called at program:5:7: (f 1)",
    ]


async def test_an_error_counts_the_calls_of_a_recursion(evaluate: Evaluate) -> None:
    program = '(defn f [n] (if (= n 0) (error "end")\n (list (f (- n 1)))))\n(list (f 50))'
    assert await rendered_trace(evaluate, program) == [
        "--> program:2:25",
        "called at program:3:8: (f (- n 1)) (50 times)",
        "called at program:4:7: (f 50)",
    ]


async def test_an_error_says_where_tail_calls_are_missing(evaluate: Evaluate) -> None:
    program = "(defn f [] (g))\n(defn g [] (nosuch))\n(list (f))"
    assert await rendered_trace(evaluate, program) == [
        "--> program:3:13",
        "called at program:4:7: (f), which went on with tail calls",
    ]


async def test_an_error_shows_the_users_code_and_not_the_librarys(
    evaluate: Evaluate,
) -> None:
    program = """(use (.github))
(def event {:event "check_suite" :payload {:action "requested" :repository {:clone_url ""}
                                           :check_suite {:head_sha ""}}})
(defn checks [source] (nosuch))
(list (github:check-hook event (fn [url sha] url) CHECKS))"""
    assert await rendered_trace(evaluate, program.replace("CHECKS", "checks")) == [
        "--> program:5:24",
        "called in .github: (checks (clone url sha))",
        "called at program:6:7: (github:check-hook event (fn [url sha] url) checks)"
        ", which went on with tail calls",
    ]
    assert await rendered_trace(evaluate, program.replace("CHECKS", "null")) == [
        "--> program:6:7",
        "raised in .github: (checks (clone url sha))",
    ]


async def test_an_error_that_is_raised_again_shows_only_the_calls_of_that_time(
    evaluate: Evaluate,
) -> None:
    raised = """
(def wait (start (.missing) (fn [error] error)))
(def again (wait))
(defn earlier [] (again))
(case {} {(:a (earlier)) x} x _ null)
(again)"""
    with pytest.raises(bass.BassError, match="no standard module") as error:
        await evaluate(raised)
    assert "(again)" in bass.render(error.value)
    assert "earlier" not in bass.render(error.value)


async def test_a_failed_handlers_error_shows_only_the_call_that_waits(evaluate: Evaluate) -> None:
    raised = """
(def wait-for-it (start (.missing) (fn [error] (error))))
(defn earlier [] (wait-for-it))
(case {} {(:a (earlier)) x} x _ null)
(wait-for-it)"""
    with pytest.raises(bass.BassError, match="no standard module") as error:
        await evaluate(raised)
    assert "earlier" not in bass.render(error.value)


async def test_a_source_that_has_failed_does_not_end_as_if_it_had_not(
    evaluate: Evaluate,
) -> None:
    class Failing(FakeHost):
        @contextlib.asynccontextmanager
        async def read(self, thunk: bass.Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
            async def pieces() -> AsyncGenerator[bytes]:
                yield b"first\nsec"
                raise bass.BassError("the connection was lost")

            yield pieces()

    session = bass.immediate_session(Failing())
    program = """
(def lines (read (from {:repository "a" :platform {:os "linux"}} ($ cat)) :lines))
(next lines)
(case {} {(:a (next lines)) x} x _ null)
(next lines)"""
    with pytest.raises(bass.BassError, match="the connection was lost"):
        bass.run_now(session.evaluate(program, "script", None))


@pytest.mark.parametrize(
    "read", ["(take-all SOURCE)", "(next SOURCE :none)", "(for [x SOURCE] (log x))"]
)
async def test_a_script_that_misses_a_value_fails_whoever_reads_what_it_emits(
    evaluate: Evaluate, host: FakeHost, read: str
) -> None:
    host.files["sum.bass"] = b"(defn main [] (emit (+ (next *stdin*) (next *stdin*)) *stdout*))"
    with pytest.raises(bass.BassError, match="end of source") as error:
        await evaluate(read.replace("SOURCE", "(read (*dir*/sum.bass 1) :json)"))
    assert "(next *stdin*)" in bass.render(error.value)


async def test_a_scripts_error_is_raised_even_if_cleaning_up_fails() -> None:
    class Broken(FakeHost):
        @contextlib.asynccontextmanager
        async def read(self, thunk: bass.Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
            try:
                async with super().read(thunk) as pieces:
                    yield pieces
                    await trio.sleep_forever()
            finally:
                raise OSError("cannot be closed")

    program = """
(def lines (read (from {:repository "a" :platform {:os "linux"}} ($ cat)) :lines))
(next lines :none)
(error "the script's own")"""
    host = Broken()
    host.output = b"first\nsecond"
    with pytest.raises(bass.BassError, match="the script's own"):
        async with bass.open_session(host) as session:
            await session.evaluate(program, "script", None)


@pytest.mark.parametrize("read", ["(take-all SOURCE)", "(for [x SOURCE] x)", "(each SOURCE log)"])
def test_scripts_that_read_scripts_take_no_room_on_the_stack_of_c(read: str) -> None:
    program = f"""
import threading
from bassloop import bass

def script(number):
    body = {read!r}.replace("SOURCE", f"(read (*dir*/s{{number + 1}}.bass) :json)")
    return f"(defn main [] {{body if number < 800 else 1}})".encode()

def run():
    files = bass.MemoryFiles({{f"s{{number}}.bass": script(number) for number in range(801)}})
    session = bass.immediate_session(bass.Host())
    scope = session.scope(bass.repository_dir(files))
    bass.run_now(session.evaluate("(run (*dir*/s0.bass))", "program", None, scope=scope))
    print("done")

threading.stack_size(256 << 10)
threading.Thread(target=run).start()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"done\n"


async def test_a_time_has_four_digits_for_the_year(evaluate: Evaluate) -> None:
    assert await evaluate("(now 100000000000)") == "0001-01-01T00:00:00Z"


async def test_similar_names_are_suggested_for_an_unbound_one(evaluate: Evaluate) -> None:
    with pytest.raises(bass.BassError) as raised:
        await evaluate("(lenght [1])")
    assert "did you mean length" in bass.render(raised.value)


@pytest.mark.parametrize(
    ("program", "hint"),
    [
        ("(:nmae {:name 1})", "did you mean :name?"),
        ("(:ref {:action 1 :sender 2})", "the scope has no :ref, but :action, :sender"),
        ("(:ref {})", "the scope is empty, so it has no :ref"),
        ("(let [{:ref r} {:action 1}] r)", "the scope has no :ref, but :action"),
    ],
)
async def test_keys_that_a_scope_has_not_are_reported_with_those_that_it_has(
    evaluate: Evaluate, program: str, hint: str
) -> None:
    with pytest.raises(bass.BassError) as raised:
        await evaluate(program)
    text = bass.render(raised.value)
    assert hint in text
    assert "for a key that may be missing, give a default: (:" in text


async def test_a_secret_is_never_shown(evaluate: Evaluate) -> None:
    secret = await evaluate('(mask "hunter2" :password)')
    assert "hunter2" not in bass.show(secret)
    with pytest.raises(bass.BassError):
        bass.to_python(await evaluate("(fn [] 1)"))
    assert bass.to_python(secret) == {"name": "password"}


def test_ten_megabytes_of_brackets_fail_cleanly() -> None:
    with pytest.raises(bass.ReadError, match="deep"):
        bass.read_source("(" * 10_000_000, "text")
    with pytest.raises(bass.ReadError, match="deep"):
        bass.read_source("(" * 100_000, "text")


def test_a_byte_order_mark_is_not_part_of_the_text() -> None:
    (marked,) = bass.read_source("\ufeff1", "text")
    assert marked.form == 1


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(bass.ReadError):
        bass.read_source(text, "text")


@given(st.text(alphabet='()[]{}"\\:;^/.#_ab1 \n', max_size=60))
def test_any_brackets_and_signs_are_read_or_refused(text: str) -> None:
    with contextlib.suppress(bass.ReadError):
        bass.read_source(text, "text")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_data_survives_the_conversion_to_bass_and_back(value: object) -> None:
    assert bass.to_python(bass.from_python(value)) == value
