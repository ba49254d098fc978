"""`bassloop eval`: values on standard output, errors on standard error."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Command


def test_the_last_value_is_printed(bassloop: Command, tmp_path: Path) -> None:
    (tmp_path / "script.bass").write_text("(def x 20)\n[x (+ x 1) :end]")
    assert bassloop("eval", "script.bass").stdout == "(20 21 end)\n"


def test_a_script_comes_from_standard_input_or_the_command_line(bassloop: Command) -> None:
    assert bassloop("eval", stdin="(* 6 7)").stdout == "42\n"
    assert bassloop("eval", "-", stdin="(* 6 7)").stdout == "42\n"
    assert bassloop("eval", "-e", "(* 6 7)").stdout == "42\n"


def test_a_value_is_printed_as_json_on_request(bassloop: Command) -> None:
    assert bassloop("eval", "--json", "-e", '{:a [1 null "x"]}').stdout == '{"a":[1,null,"x"]}\n'


def test_a_value_without_json_is_reported(bassloop: Command) -> None:
    done = bassloop("eval", "--json", "-e", "(fn [] 1)")
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_is_shown_with_its_location_and_calls(bassloop: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.bass").write_text("(defn f [x]\n  (+ x y))\n\n(* 2 (f 1))\n")
    done = bassloop("eval", "bad.bass")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: unbound symbol: y\n"
        " --> bad.bass:2:8\n"
        "  |\n"
        "2 |   (+ x y))\n"
        "  |        ^\n"
        "  called at bad.bass:4:6: (f 1)\n"
    )


def test_a_syntax_error_is_shown_with_its_location(bassloop: Command) -> None:
    done = bassloop("eval", "-e", "(+ 1\n   (2 3)")
    assert done.returncode == 1
    assert "never closed" in done.stderr
    assert "<expression>:1:1" in done.stderr


def test_a_missing_file_is_named(bassloop: Command) -> None:
    done = bassloop("eval", "nowhere.bass")
    assert done.returncode == 1
    assert "nowhere.bass cannot be read: No such file or directory" in done.stderr


def test_a_script_can_load_and_read_files_beside_it(bassloop: Command, tmp_path: Path) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "other.bass").write_text("(defn double [x] (* 2 x))")
    (folder / "data.json").write_text('{"n": 21}')
    (folder / "main.bass").write_text(
        "(use (*dir*/other.bass))\n"
        "(let [{:n n} (next (read *dir*/data.json :json))] (other:double n))"
    )
    assert bassloop("eval", "scripts/main.bass").stdout == "42\n"


def test_no_path_leads_out_of_its_folder(bassloop: Command, tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "secret").write_text("s")
    (tmp_path / "scripts" / "x.bass").write_text("(next (read *dir*/../secret :raw))")
    done = bassloop("eval", "scripts/x.bass")
    assert done.returncode == 1
    assert "leads out of" in done.stderr


def test_endless_files_are_refused(bassloop: Command) -> None:
    done = bassloop("eval", "-e", "(next (read *dir*/pipe :raw))")
    assert "pipe cannot be read" in done.stderr


def test_thunks_are_not_run(bassloop: Command) -> None:
    done = bassloop(
        "eval", "-e", '(run (with-image ($ true) {:platform {:os "linux"} :repository "x"}))'
    )
    assert done.returncode == 1
    assert "bassloop run" in done.stderr


def test_bass_thunks_are_evaluated_and_waited_for(bassloop: Command, tmp_path: Path) -> None:
    (tmp_path / "child.bass").write_text('(defn main [] (log "child"))')
    program = '(start (*dir*/child.bass) (fn [err] (log "over" :err err)))'
    done = bassloop("eval", "-e", program)
    assert done.returncode == 0
    assert done.stderr == "child\nover err=null\n"


def test_no_event_loop_is_imported_for_a_script_that_does_not_wait(
    environment: dict[str, str],
) -> None:
    program = (
        "import sys\n"
        "from bassloop.cli import cli\n"
        "cli(['eval', '-e', '(map (fn [x] (+ x 1)) [1 2])'], standalone_mode=False)\n"
        "assert not {'trio', 'asyncio', 'asyncssh'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(2 3)\n"
