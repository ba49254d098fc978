"""`bassloop run`: a script with its main, and thunks on this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Command

IMAGE = '(def image {:platform {:os "linux"} :repository "base"})\n'


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "script.bass"


def test_main_gets_the_arguments_and_emits_json(bassloop: Command, script: Path) -> None:
    script.write_text("(defn main args (emit args *stdout*) (emit {:n (length args)} *stdout*))")
    done = bassloop("run", "script.bass", "a", "-b", "--c")
    assert done.stdout == '["a","-b","--c"]\n{"n":3}\n'
    assert done.returncode == 0


def test_standard_input_is_a_stream_of_json(bassloop: Command, script: Path) -> None:
    script.write_text("(defn main [] (each *stdin* (fn [x] (emit (* x x) *stdout*))))")
    assert bassloop("run", "script.bass", stdin="1 2\n3").stdout == "1\n4\n9\n"


def test_inputs_are_passed_as_a_scope_with_paths(
    bassloop: Command, script: Path, tmp_path: Path
) -> None:
    (tmp_path / "data.txt").write_text("content")
    script.write_text(
        "(defn main [] (let [{:name n :file f} (next *stdin*)] "
        "(emit [n (next (read f :raw))] *stdout*)))"
    )
    done = bassloop("run", "-i", "name=x", "-i", "file=./data.txt", "script.bass")
    assert done.stdout == '["x","content"]\n'
    assert "must be NAME=VALUE" in bassloop("run", "-i", "nothing", "script.bass").stderr


def test_environment_variables_are_set(
    bassloop: Command, script: Path, environment: dict[str, str]
) -> None:
    environment["GREETING"] = "hello"
    script.write_text("(defn main [] (emit *env*:GREETING *stdout*))")
    assert bassloop("run", "script.bass").stdout == '"hello"\n'


def test_a_thunk_runs_on_this_machine_and_its_log_is_shown(bassloop: Command, script: Path) -> None:
    script.write_text(
        IMAGE + "(defn main [] (run (from image ($ sh -c 'echo out; echo err >&2'))))"
    )
    script.write_text(script.read_text().replace("'", '"'))
    done = bassloop("run", "--unsandboxed", "script.bass")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "   out\n" in done.stderr
    assert "   err\n" in done.stderr


def test_thunks_can_be_read_and_chained_and_their_files_written(
    bassloop: Command, script: Path, tmp_path: Path
) -> None:
    script.write_text(
        IMAGE
        + """
        (defn main []
          (let [made (from image ($ sh -c "echo 42 > answer.txt"))]
            (emit (next (read made/answer.txt :json)) *stdout*)
            (emit (next (read (from image ($ echo "[1, 2]")) :json)) *stdout*)
            (write made/answer.txt *dir*/out/copied.txt)))
        """
    )
    done = bassloop("run", "--unsandboxed", "script.bass")
    assert done.stdout == "42\n[1,2]\n", done.stderr
    assert (tmp_path / "out" / "copied.txt").read_text() == "42\n"


def test_a_failed_thunk_is_an_error_of_the_script(bassloop: Command, script: Path) -> None:
    script.write_text(IMAGE + '(defn main [] (run (from image ($ sh -c "exit 3"))))')
    done = bassloop("run", "--unsandboxed", "script.bass")
    assert done.returncode == 1
    assert "exit status 3" in done.stderr
    assert "script.bass:2" in done.stderr
    assert "Traceback" not in done.stderr


def test_started_thunks_are_waited_for(bassloop: Command, script: Path) -> None:
    script.write_text(
        IMAGE
        + """
        (defn main []
          (start (from image ($ sleep "0.2")) (fn [err] (emit :first *stdout*)))
          (start (from image ($ false)) (fn [err] (emit (null? err) *stdout*))))
        """
    )
    done = bassloop("run", "--unsandboxed", "script.bass")
    assert sorted(done.stdout.splitlines()) == ['"first"', "false"], done.stderr


@pytest.mark.parametrize(
    "main",
    ["(run (from image ($ sleep 1000)))", "(do (defn f [] (f)) (f))"],
    ids=["waits", "turns"],
)
def test_an_interrupt_ends_the_command(
    script: Path, tmp_path: Path, environment: dict[str, str], main: str
) -> None:
    script.write_text(IMAGE + f'(defn main [] (log "begun") {main})')
    with subprocess.Popen(
        [sys.executable, "-m", "bassloop", "run", "--unsandboxed", "script.bass"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "begun\n"
            if "sleep" in main:
                assert any("sleep" in line for line in iter(process.stderr.readline, ""))
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=240)[1]
        finally:
            process.kill()
    assert process.returncode == 130
    assert rest.endswith("interrupted\n")
    assert "Traceback" not in rest
