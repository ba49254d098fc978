"""`bassloop repl`: on a terminal as a person sees it, and through a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyte
import pytest

from bassloop import bass
from bassloop.cli.scripts import late_imports
from bassloop.tools.local.late_driver import RuntimeOptions
from bassloop.tools.local.repl import Evaluator, Gone, entries, say
from bassloop.tools.local.repl_prompt import completions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Command

WAIT = 240.0


class Screen(pyte.Screen):
    """A screen that answers when it is asked where the cursor is."""

    def __init__(self, columns: int, lines: int, end: int) -> None:
        super().__init__(columns, lines)
        self._end = end

    def write_process_input(self, data: str) -> None:
        os.write(self._end, data.encode())


class Terminal:
    """A terminal with a program on it: what is typed goes in, what is shown can be waited for."""

    def __init__(self, arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._end, other = pty.openpty()
        self._screen = Screen(90, 40, self._end)
        self._stream = pyte.ByteStream(self._screen)
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 90, 0, 0))
        self.process = subprocess.Popen(
            arguments,
            stdin=other,
            stdout=other,
            stderr=other,
            cwd=folder,
            env={**environment, "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(other)

    def type(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def shows(self, text: str, times: int = 1, typing: str = "") -> str:
        """The screen, once it shows a text; keys are pressed until it does, if there are any to press."""
        until, pause = time.monotonic() + WAIT, 0.5
        while self.text.count(text) < times:
            assert time.monotonic() < until, f"{text!r} is not shown {times} times:\n{self.text}"
            if select.select([self._end], [], [], pause)[0]:
                self._read()
            elif typing:
                self.type(typing)
                pause *= 2  # as a busy machine may need longer for an answer than it was given
        return self.text

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def ended(self) -> int:
        """The exit status."""
        return self.process.wait(WAIT)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._end)

    def _read(self) -> None:
        piece = os.read(self._end, 1 << 16)
        self._stream.feed(piece)


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "XDG_STATE_HOME": f"{environment['HOME']}/state"}


@pytest.fixture
def terminal(tmp_path: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    made = Terminal([sys.executable, "-m", "bassloop", "repl"], tmp_path, environment)
    with contextlib.closing(made):
        made.shows("bass>")
        yield made


def test_an_entry_shows_its_values(terminal: Terminal) -> None:
    terminal.type("(def x 20) (* 2 x)\r")
    assert terminal.shows("bass>", 2) == "bass> (def x 20) (* 2 x)\nx\n40\nbass>"


def test_an_unclosed_form_continues_on_an_indented_line(terminal: Terminal) -> None:
    terminal.type("(defn f [x]\r")
    terminal.shows(".....")
    terminal.type("(* x 2))\r")
    terminal.shows("bass>", 2)
    terminal.type("(f 21)\r")
    assert terminal.shows("bass>", 3) == (
        "bass> (defn f [x]\n.....   (* x 2))\nf\nbass> (f 21)\n42\nbass>"
    )


def test_alt_enter_breaks_a_line_anywhere(terminal: Terminal) -> None:
    terminal.type("(def x 1)\x1b\r")
    terminal.shows(".....")
    terminal.type("(+ x 1)\r")
    assert terminal.shows("bass>", 2) == "bass> (def x 1)\n..... (+ x 1)\nx\n2\nbass>"


def test_an_error_is_shown_with_its_location(terminal: Terminal) -> None:
    terminal.type("(+ 1 oops)\r")
    shown = terminal.shows("bass>", 2)
    assert "error: unbound symbol: oops\n --> <1>:1:6\n" in shown
    assert "1 | (+ 1 oops)\n  |      ^^^^" in shown
    terminal.type("(+ 1 1)\r")
    terminal.shows("\n2\n")


def test_names_of_a_module_are_completed(terminal: Terminal) -> None:
    terminal.type("(use (.strings))\r")
    terminal.shows("(strings)")
    terminal.type("(strings:upp\t")
    terminal.shows("(strings:upper-case")
    terminal.type(' "abc")\r')
    terminal.shows('"ABC"')


def test_documentation_is_shown(terminal: Terminal) -> None:
    terminal.type("(doc map)\r")
    terminal.shows("Returns the list of what a function returns for each member of a list.")


def test_interrupting_a_loop_keeps_the_definitions(terminal: Terminal) -> None:
    terminal.type("(defn loop [n] (loop (+ n 1))) (def x 7)\r")
    terminal.shows("\nx\n")
    terminal.type("(do (log :looping) (loop 0))\r")
    terminal.shows("\nlooping")
    terminal.type("\x03")
    terminal.shows("interrupted")
    terminal.type("(* x 6)\r")
    terminal.shows("\n42\n")


def test_no_definition_is_lost_whenever_control_c_is_pressed(terminal: Terminal) -> None:
    terminal.type("(def x 7)\r")
    terminal.shows("\nx\n")
    for moment in range(12):
        # With the entry, which may still be read, run, print its value, or be over.
        terminal.type(f"(range {moment * 300}) (* x 6)\r")
        terminal.process.send_signal(signal.SIGINT)
    # A last press gave up what was typed before the prompt was there again.
    terminal.shows(":all-is-well\nall-is-well", typing="\x03:all-is-well\r")
    terminal.type("(* x 6)\r")
    terminal.shows("\n42\nbass>")


def test_a_running_thunk_can_be_interrupted(terminal: Terminal) -> None:
    terminal.type('(run (from (linux/alpine) ($ sh -c "echo begun; sleep 1000")))\r')
    terminal.shows("   begun")
    terminal.type("\x03")
    terminal.shows("interrupted")


def test_control_c_discards_a_line(terminal: Terminal) -> None:
    terminal.type("(half typed")
    terminal.shows("(half typed")
    terminal.type("\x03")
    terminal.shows("bass>", 2)
    terminal.type("(+ 1 1)\r")
    terminal.shows("\n2\n")


def test_control_r_finds_an_earlier_entry(terminal: Terminal) -> None:
    terminal.type("(def found 6)\r")
    terminal.shows("bass>", 2)
    terminal.type("\x12fou")
    terminal.shows("search")
    terminal.type("\r")
    terminal.shows("(def found 6)", 2)
    terminal.type("\x05 (* found 7)\r")
    terminal.shows("\n42\n")


def test_control_d_ends_the_prompt(terminal: Terminal) -> None:
    terminal.type("\x04")
    assert terminal.ended() == 0


def test_only_the_owner_can_read_the_history(
    terminal: Terminal, tmp_path: Path, environment: dict[str, str]
) -> None:
    terminal.type("(def remembered 1)\r")
    terminal.shows("bass>", 2)
    terminal.type("\x04")
    assert terminal.ended() == 0
    kept = tmp_path / "home" / "state" / "bass-loop" / "repl-history"
    assert kept.stat().st_mode & 0o777 == 0o600
    again = Terminal([sys.executable, "-m", "bassloop", "repl"], tmp_path, environment)
    with contextlib.closing(again):
        again.shows("bass>")
        # What was kept is read while the prompt is shown already.
        again.shows("(def remembered 1)", typing="\x1b[A")


def test_background_work_continues(terminal: Terminal) -> None:
    terminal.type(
        '(def w (start (from (linux/alpine) ($ sh -c "sleep 0.3; echo over")) (fn [x] :ended)))\r'
    )
    terminal.shows("\nw\n")
    terminal.type("(* 6 7)\r")
    terminal.shows("\n42\n")
    terminal.type("(w)\r")
    terminal.shows("\nended\n")


# --- through a pipe ---


def test_a_pipe_gets_values_only(bassloop: Command) -> None:
    done = bassloop("repl", stdin="(def x\n  1)\n(+ x 1) :two\n\n; a comment\n[x]")
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n2\ntwo\n(1)\n", "")


def test_the_example_of_the_documentation_works(bassloop: Command) -> None:
    page = (Path(__file__).parents[3] / "docs" / "bass-tools.md").read_text()
    found = re.search(r"\$ echo '(.*)' \| bassloop repl\n(.*)\n", page)
    assert found is not None
    assert bassloop("repl", stdin=found[1]).stdout == f"{found[2]}\n"


def test_a_pipe_continues_after_an_error_and_reports_it_at_the_end(bassloop: Command) -> None:
    done = bassloop("repl", stdin="(oops)\n(+ 1 1)\n")
    assert (done.returncode, done.stdout) == (1, "2\n")
    assert "error: unbound symbol: oops\n --> <1>:1:2" in done.stderr


def test_a_form_that_is_never_closed_is_an_error(bassloop: Command) -> None:
    done = bassloop("repl", stdin="(+ 1 1)\n(+ 1")
    assert (done.returncode, done.stdout) == (1, "2\n")
    assert "( is never closed" in done.stderr


def test_a_stream_made_in_one_entry_can_be_read_in_the_next(bassloop: Command) -> None:
    program = (
        '(def s (read (from (linux/alpine) ($ printf "a\\nb\\n")) :lines))\n(next s)\n(next s)\n'
    )
    assert bassloop("repl", stdin=program).stdout == 's\n"a"\n"b"\n'


def test_started_thunks_are_waited_for_at_the_end(bassloop: Command) -> None:
    done = bassloop("repl", stdin="(start (from (linux/alpine) ($ false)) (fn [e] (e)))")
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_deep_calls_have_the_stack_they_need(bassloop: Command) -> None:
    program = "(defn deep [n] (if (= n 0) 0 (+ 1 (deep (- n 1)))))\n"
    assert bassloop("repl", stdin=f"{program}(deep 20000)").stdout == "deep\n20000\n"
    done = bassloop("repl", stdin=f"{program}(deep 2000000)\n(+ 1 1)")
    assert (done.returncode, done.stdout) == (1, "deep\n2\n")
    assert "nests its calls too deep" in done.stderr


# --- its parts ---


def test_using_an_ended_interpreter_raises_an_error() -> None:
    class Fault(Exception):
        pass

    async def fail() -> None:
        raise Fault

    with Evaluator(RuntimeOptions(), late_imports(), say) as evaluator:
        # Something in the background fails in a way that nobody expects.
        spawn = bass.builtin("spawn", "[]", lambda: evaluator._driver.spawn(fail) and None)
        evaluator.scope.vars["spawn"] = spawn
        assert list(evaluator.evaluate("(spawn)")) == [None]
        evaluator._thread.join(WAIT)
        with pytest.raises(Gone) as raised:
            list(evaluator.evaluate("(+ 1 1)"))
    assert isinstance(raised.value.__cause__, Fault)


@pytest.mark.parametrize(
    ("lines", "made"),
    [
        (["1\n", "2\n"], ["1\n", "2\n"]),
        (["(+ 1\n", "2)\n", "3"], ["(+ 1\n2)\n", "3"]),
        (["\n", '"a\n', 'b"\n'], ['"a\nb"\n']),
        (["; only\n", "x"], ["; only\n", "x"]),
        (["(]\n", "1\n"], ["(]\n", "1\n"]),
        (["(never\n", "closed"], ["(never\nclosed"]),
    ],
)
def test_lines_are_joined_to_entries(lines: list[str], made: list[str]) -> None:
    assert list(entries(lines)) == made


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("(map-", "map-pairs"),
        ("(str:jo", "join"),
        ("$own", "own-name"),
        ("(.str", ".streams"),
        ("(box:inner:x", "x1"),
    ],
)
def test_a_word_is_completed_to_a_name_in_scope(text: str, first: str) -> None:
    session = bass.immediate_session(_Quiet())
    scope = session.scope(bass.DirPath("."))
    program = "(def own-name 1) (def str (load (.strings))) (def box {:inner {:x1 1}})"
    bass.run_now(session.evaluate(program, "x", bass.DirPath("."), scope=scope))
    assert next(entry.name for _, entry in completions(scope, text, len(text))) == first


@pytest.mark.parametrize("text", ['"ma', "; ma", "(map :ke", "(nothing:", "1"])
def test_nothing_is_completed_where_no_name_can_stand(text: str) -> None:
    scope = bass.immediate_session(_Quiet()).scope(bass.DirPath("."))
    assert list(completions(scope, text, len(text))) == []


class _Quiet(bass.Host):
    def log(self, message: str, fields: object) -> None:
        raise AssertionError(message)

    def write_error(self, text: str) -> None:
        raise AssertionError(text)
