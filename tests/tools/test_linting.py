"""`lint`, `init` and `eject`: from a project without checks to checks that are understood."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bassloop.cli import cli
from bassloop.project import read_checks, write_bass
from bassloop.tools.expected_checks import find_expected_checks
from bassloop.tools.linting import lint_bass
from bassloop.tools.sample_events import MERGE_QUEUE, PULL_REQUEST, PUSH

if TYPE_CHECKING:
    from pathlib import Path

HOOK = """
(use (.git (linux/alpine/git)) (.github))
(defn checks [src] {:test (from (linux/alpine) (cd src ($ make test)))})
(defn github-hook [event client]
  (let [*loop* client]
    (github:check-hook event git:checkout checks)))
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("($ mkdir .venv)", ['1:10: warning: .venv is the command venv; for the text write ".venv"']),
        ("($ echo a,b)", ["1:10: warning: a comma is white space: quote the whole word to keep it"]),
        ("($ echo 007)", ['1:9: warning: 007 is a number, and passed as 7; for the text write "007"']),
        (
            "($ echo a:b)",
            ['1:9: warning: a:b is looked up, as a member; for the text write "a:b"', "1:9: error: unbound symbol: a"],
        ),
        ("($ echo null)", ['1:9: warning: null is a value of the language; for the text write "null"']),
        ("($ echo 1.5)", ['1:9: error: not a number: 1.5 (a word that begins with a digit needs quotes: "1.5")']),
        ('($ mkdir ".venv" ./a/.b 12 -x --y=z "a,b" ./x.y .. .)', []),
        ("(list .venv 007)", []),
        ("(nothing)", ["1:2: error: unbound symbol: nothing"]),
        ("(def a", ["1:1: error: unexpected end: ( is never closed"]),
    ],
)  # fmt: skip
def test_misleading_code_is_reported_with_its_location(text: str, found: list[str]) -> None:
    told = [str(message).removeprefix("x.bass:") for message in lint_bass(text, "x.bass")]
    assert sorted(told) == sorted(found)


@given(st.text(max_size=80))
def test_no_text_raises_an_error(text: str) -> None:
    for message in lint_bass(text, "x") + lint_bass(f"($ {text})", "x"):
        assert message.line >= 1
        assert message.column >= 1


async def test_the_checks_of_an_event_are_found_without_running_anything(tmp_path: Path) -> None:
    (tmp_path / "project.bass").write_text(HOOK)
    declared = write_bass(read_checks(b'[checks]\nlint = "ruff check ."\n'))
    for event in (PUSH, PULL_REQUEST):
        assert (await find_expected_checks(tmp_path, event, declared=declared)).names == [
            "lint",
            "test",
        ]
    assert (await find_expected_checks(tmp_path, MERGE_QUEUE, declared=declared)).names == ["lint"]


async def test_the_error_of_a_hook_is_reported(tmp_path: Path) -> None:
    (tmp_path / "project.bass").write_text("(defn github-hook [event client] (run ($ x)))")
    expected = await find_expected_checks(tmp_path, PUSH)
    assert expected.names == []
    assert expected.error


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, list(words))
    return done.exit_code, done.output


def test_a_project_gets_its_first_checks(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "go.mod").write_text("module x\n")
    (tmp_path / "sub").mkdir()
    status, output = run("init", str(tmp_path / "sub"))
    assert status == 0
    assert "test: go test ./...  (for go.mod)" in output
    status, output = run("lint", str(tmp_path))
    assert (status, output.splitlines()[0]) == (0, "a push to main starts test, vet")
    status, output = run("init", str(tmp_path))
    assert status == 1
    assert "has checks already" in output


def test_init_keeps_the_policy_in_the_file(tmp_path: Path) -> None:
    (tmp_path / ".bassloop.toml").write_text('hold = "nobody"\n')
    assert "found no project that init knows" in run("init", str(tmp_path))[1]
    assert (
        (tmp_path / ".bassloop.toml")
        .read_text()
        .startswith('hold = "nobody"\n\n# What Bass Loop checks')
    )
    assert "a push to main starts hello" in run("lint", str(tmp_path))[1]


def test_init_can_show_its_file_without_writing_it(tmp_path: Path) -> None:
    (tmp_path / "Cargo.toml").write_text("")
    status, output = run("init", "--print", str(tmp_path))
    assert status == 0
    assert "[checks.clippy]" in output
    assert not (tmp_path / ".bassloop.toml").exists()


async def test_ejected_code_starts_the_same_checks(tmp_path: Path) -> None:
    toml = '[checks.a]\nrun = "x"\nwhen.branches = ["main"]\n[checks.b]\nrun = "y"\nneeds = ["a"]\n'
    (tmp_path / ".bassloop.toml").write_text(toml)
    declared = write_bass(read_checks(toml.encode()))
    before = await find_expected_checks(tmp_path, PUSH, declared=declared)
    status, output = await trio.to_thread.run_sync(run, "eject", str(tmp_path))
    assert status == 0
    (tmp_path / ".bassloop.toml").unlink()
    (tmp_path / "project.bass").write_text(output)
    assert await find_expected_checks(tmp_path, PUSH) == before
    assert before.names == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "bassloop init writes one"),
        ("hold = 'nobody'", "declares no checks"),
        ("[checks.a]\nimage = 'x'", ".bassloop.toml:1: checks.a.run: a check needs run"),
    ],
)
def test_files_that_can_not_be_ejected_are_reported(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / ".bassloop.toml").write_text(content)
    status, output = run("eject", str(tmp_path))
    assert status == 1
    assert message in output


def test_lint_reports_the_mistakes_in_every_file(tmp_path: Path) -> None:
    (tmp_path / ".bassloop.toml").write_text("[checks.a]\nrun = 1\n")
    (tmp_path / "project.bass").write_text("(nothing)")
    status, output = run("lint", str(tmp_path))
    assert status == 1
    assert ".bassloop.toml:2: checks.a.run" in output
    assert "project.bass:1:2: error: unbound symbol: nothing" in output


def test_a_folder_without_checks_shows_how_to_begin(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    status, output = run("lint", str(tmp_path))
    assert status == 1
    assert output.startswith("there are no checks here; bassloop init proposes some\n")


def test_a_file_with_policy_alone_has_no_checks(tmp_path: Path) -> None:
    (tmp_path / ".bassloop.toml").write_text('hold = "nobody"\n[checks]\nsoak = 60\n')
    status, output = run("lint", str(tmp_path))
    assert status == 1
    assert output.startswith("there are no checks here; bassloop init proposes some\n")


def test_scripts_without_checks_are_linted_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "lib.bass").write_text("(def x 1)\n")
    assert run("lint", str(tmp_path))[0] == 0


@pytest.mark.parametrize(
    "name", [".bassloop.tml", "bassloop.toml", ".bassloop.yml", ".github/.bassloop.toml"]
)
def test_a_file_of_checks_with_another_name_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('[checks]\na = "make"\n')
    why = f"{name} isn't read: checks are in .bassloop.toml, in the repository's top folder"
    for command in ("lint", "try", "eject"):
        status, output = run(command, str(tmp_path))
        assert (status, why in output) == (1, True)


def test_a_file_of_checks_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    file = tmp_path / ".bassloop.toml"
    file.mkdir()
    assert ".bassloop.toml is a folder, and must be a file" in run("lint", str(tmp_path))[1]
    file.rmdir()
    file.symlink_to("nowhere")
    why = ".bassloop.toml is a link to nowhere, which doesn't exist"
    assert why in run("lint", str(tmp_path))[1]


def test_the_checks_of_a_repository_are_found_from_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".bassloop.toml").write_text('[checks]\na = "make"\n')
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert run("lint")[1].startswith("a push to main starts a\n")
    assert '"make"' in run("eject")[1]


def test_lint_accepts_the_file_itself(tmp_path: Path) -> None:
    file = tmp_path / ".bassloop.toml"
    file.write_text("[checks.a]\nrn = 'x'\n")
    status, output = run("lint", str(file))
    assert (status, "checks.a.rn: there is no such key (did you mean run?)" in output) == (1, True)


@pytest.mark.parametrize("command", ["lint", "fmt"])
def test_a_file_of_another_format_is_not_mistaken_for_bass(tmp_path: Path, command: str) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("[project]\nname='x'\n")
    status, output = run(command, str(file))
    assert (status, "Bass script" in output) == (2, True)
    assert file.read_text() == "[project]\nname='x'\n"


def test_a_hook_that_waits_is_linted(tmp_path: Path) -> None:
    (tmp_path / "project.bass").write_text(
        """(defn github-hook [event client]
          (let [thunk (from (linux/alpine) ($ make))
                ended (start thunk (fn [err] (client:start-check thunk "late" "abc")))]
            (ended)))"""
    )
    assert run("lint", str(tmp_path)) == (
        0,
        "a push to main starts late\na pull request for main starts late\na merge queue starts late\n",
    )


def test_linting_imports_no_trio_unless_a_hook_waits(tmp_path: Path) -> None:
    (tmp_path / "project.bass").write_text(HOOK)
    script = """
import sys
from bassloop.cli import cli
try:
    cli.main(["lint", sys.argv[1]], standalone_mode=False)
except SystemExit as end:
    sys.exit(end.code or "trio" in sys.modules)
"""
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, stdout=subprocess.DEVNULL
    )


def test_lint_imports_nothing_slow_that_it_does_not_need(tmp_path: Path) -> None:
    (tmp_path / ".bassloop.toml").write_text('[checks.a]\nrun = "make"\n')
    program = (
        "import atexit, sys\n"
        "heavy = ('rich', 'structlog', 'httpx', 'trio', 'asyncssh', 'yaml', 'bassloop.project.proposals')\n"
        "atexit.register(lambda: print([name for name in heavy if name in sys.modules]))\n"
        "from bassloop.cli import cli\n"
        f"cli(['lint', {str(tmp_path)!r}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("merge queue starts a\n[]\n"), done.stdout
