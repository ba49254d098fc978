"""Mistakes that people make in their first hour: each gets a message with its location, or with the valid values."""

from __future__ import annotations

import errno
import io
import os
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bassloop.cli import cli, prepare_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOML = ".bassloop.toml"
BASS = "project.bass"
CHECK = '[checks.a]\nrun = "x"\n'
HOOK = """(use (.git (linux/alpine/git)) (.github))
(defn checks [src]
  {:t (cd src COMMAND)})
(defn github-hook [event client]
  (let [*loop* client]
    (github:check-hook event git:checkout checks)))
"""

IN_TOML = [
    ('[checks.a]\nimage = "x"\n', ":1: checks.a.run: a check needs run"),
    ('[check.a]\nrun = "x"\n', ":1: check: there is no such setting (did you mean checks?)"),
    ('fallbak = ["b"]\n', ":1: fallbak: there is no such setting (did you mean fallback?)"),
    (CHECK + 'immage = "y"\n', ":3: checks.a.immage: there is no such key (did you mean image?)"),
    (CHECK + "stages = []\n", ":3: checks.a.stages: there is no such key; there are artifacts, caches, env"),
    (CHECK + 'image = "p:${pyton}"\nmatrix = { python = ["3"] }\n', ":3: checks.a.image: the matrix has no 'pyton'"),
    ("[checks.a]\nrun = 3\n", ":2: checks.a.run: it must be a line for the shell in quotes, or a list"),
    ("[checks.a]\nrun = []\n", ":2: checks.a.run: it must be a line for the shell in quotes, or a list"),
    ('[checks.a\nrun = "x"\n', ":1:10: this is not TOML"),
    (
        "[checks.a]\nrun = make test\n",
        ':2:7: this is not TOML: Invalid value; text needs quotes: run = "make test"',
    ),
    (CHECK + CHECK, ":3:10: this is not TOML: Cannot declare"),
    (CHECK + 'needs = ["b"]\n', ":3: checks.a.needs: there is no check 'b'; there are a"),
    (CHECK + 'needs = "a"\n', ":3: checks.a.needs: it must be a list"),
    (CHECK + 'needs = ["a"]\n', ":3: checks.a.needs: these checks need each other: a → a"),
    (CHECK + 'timeout = "soon"\n', ":3: checks.a.timeout: 'soon' is not a duration, such as 30s"),
    (CHECK + "timeout = -1\n", ":3: checks.a.timeout: -1 must be greater than 0"),
    (CHECK + 'when = { events = ["psuh"] }\n', "when.events.0: 'psuh' must be 'push', 'pull_request'"),
    (CHECK + 'matrix = { py = "3.11" }\n', ":3: checks.a.matrix.py: it must be a list"),
    (CHECK + 'image = "py thon"\n', "'py thon' is not an image, such as \"python:3.13-slim\""),
    ('[checks."a/b"]\nrun = "x"\n', "'a/b' is not a name: 1 to 100 printable characters, without slashes"),
    (CHECK + "env = { N = 1 }\n", ":3: checks.a.env.N: it must be a text, in quotes"),
    (CHECK + "env = []\n", ":3: checks.a.env: it must be a table"),
    (CHECK + 'secrets = "TOKEN"\n', ":3: checks.a.secrets: it must be a list"),
    (CHECK + 'services = { db = { image = "p", run = "p" } }\n', "db.port: a service needs port, as in port = 5432"),
    (CHECK + 'services = { db = { image = "p", run = "p", port = "5432" } }\n', "port: it must be a whole number"),
    (CHECK + "workdir = 3\n", ":3: checks.a.workdir: it must be a text"),
    (CHECK + "when = 3\n", ":3: checks.a.when: it must be a table"),
    (CHECK + 'services = { db = { image = "p", run = "p", port = 70000 } }\n', "port: 70000 must be 65535 or less"),
    (CHECK + 'runners = "mine"\n', ":3: checks.a.runners: 'mine' must be 'sender', 'trusted' or 'both'"),
    (CHECK + "matrix = { py = [] }\n", ":3: checks.a.matrix.py: it must not be empty"),
    (CHECK + 'services = { db = { run = "p", port = 1 } }\n', "db.image: a service needs image, as in image ="),
    (CHECK + 'image = ""\n', ":3: checks.a.image: '' is not an image"),
    (CHECK + 'env = { "A B" = "x" }\n', "'A B' is not an environment variable's name"),
    (CHECK + 'hold = "everybody"\n', ":3: checks.a.hold: there is no such key"),
    ('hold = "everybody"\n' + CHECK, ":1: hold: "),
    ("checks = 3\n", ":1: checks: it must be a table"),
    ('[checks.a]\ncommands = ["x"]\n', ":2: checks.a.commands: there is no such key (did you mean run?)"),
    ('[checks.a]\nsteps = [{ run = "x" }]\n', ":2: checks.a.steps: there is no such key (did you mean run?)"),
    (CHECK + "timeout-minutes = 3\n", "checks.a.timeout-minutes: there is no such key (did you mean timeout?)"),
    (CHECK + 'working-directory = "a"\n', "there is no such key (did you mean workdir?)"),
    ('[checks.a]\nRUN = "x"\n', ":2: checks.a.RUN: there is no such key (did you mean run?)"),
    ('[checks.a]\nrun = "x\n', ":2:9: this is not TOML: Illegal character '\\n'; the text needs a quote at its end"),
    ("[checks.a]\nrun = “x”\n", "“ is not a quote in TOML, but \" and ' are"),
    ("[checks.a]\nrun = [make, test]\n", 'text needs quotes, as in "make"'),
    (CHECK + "needs = [lint]\n", 'text needs quotes, as in "lint"'),
    ("[checks]\na = { run = make }\n", 'text needs quotes, as in "make"'),
    ('[checks.unit tests]\nrun = "x"\n', 'a name with spaces needs quotes: [checks."unit tests"]'),
    ('[checks.café]\nrun = "x"\n', 'a name with such characters needs quotes: [checks."café"]'),
    ('[checks.py@3.1] # y\nrun = "x"\n', 'a name with such characters needs quotes: [checks."py@3.1"]'),
    ('[checks]\ncafé = "x"\n', 'a name with such characters needs quotes: "café" = …'),
    ('[checks]\nélan = "x"\n', 'a name with such characters needs quotes: "élan" = …'),
    ('[checks.a]\nenv = { A = "x", }\n', "a table in braces has no comma at its end"),
    ("checks:\n  a:\n    run: x\n", "a table begins with its name in brackets, such as [checks.test]"),
    ('[checks.py3.11]\nrun = "x"\n', 'a name with a dot needs quotes: [checks."py3.11"]'),
    ('[[checks]]\nname = "a"\n', "a check is a table with its name in single brackets, such as [checks.test]"),
    ('[checks.a]\nrun = [{ cmd = "x" }]\n', ":2: checks.a.run: it must be a line for the shell in quotes, or a list"),
    ("[checks]\na = true\n", ":2: checks.a: it must be a table, a command in quotes, or a time limit in seconds"),
    ('[checks.a]\nrun = ""\n', ":2: checks.a.run: the command must not be empty"),
    ('[checks.a]\nrun = ["x", "  "]\n', ":2: checks.a.run.1: the command must not be empty"),
    (CHECK + 'image = "Python:3.13"\n', "is not an image, such as \"python:3.13-slim\"; write it in small letters"),
    (CHECK + 'image = "docker://python:3.13"\n', "; write its name without a scheme"),
    (CHECK + 'image = "python:"\n', "'python:' is not an image"),
    (CHECK + 'image = "python:${{ matrix.p }}"\n', "'python:${{ matrix.p }}' is not an image"),
    (CHECK + 'caches = { pip = "~/.cache" }\n', "caches.pip: no shell expands '~/.cache': write the whole path"),
    (CHECK + 'caches = { pip = "/c/${v}" }\n', ":3: checks.a.caches: the matrix has no 'v'; there is none"),
    (CHECK + 'artifacts = "../dist"\n', "'../dist' must be a path in the repository, such as \"dist\""),
    (CHECK + 'reports = "/tmp/junit.xml"\n', "'/tmp/junit.xml' must be a path in the repository"),
    (CHECK + 'workdir = "/src"\n', ":3: checks.a.workdir: '/src' must be a path in the repository"),
    (CHECK + 'services = { db = { image = "p", port = 1 } }\n', 'run, as in run = "docker-entrypoint.sh'),
    (CHECK + 'needs = ["b (1)"]\n[checks.b]\nrun = "x"\n', "write 'b', which means all combinations of its matrix"),
    (CHECK + 'workdir = "no/such"\n', ":3: warning: checks.a.workdir: there is no folder no/such in the repository"),
    (CHECK + 'image = "ubuntu-latest"\n', "warning: checks.a.image: ubuntu-latest is the name of a machine of GitHub"),
    ('[checks.a]\nrun = ["cd sub", "make"]\n', ":2: warning: checks.a.run: 'cd sub' has no effect on the next command"),
    ('[checks.a]\nrun = ["export A=1", "make"]\n', "warning: checks.a.run: 'export A=1' has no effect on the next"),
    (
        '[checks.a]\nrun = ["pytest", "-q", "t"]\n',
        "warning: checks.a.run: '-q' is a command of its own; for one command write run = \"pytest -q t\"",
    ),
    (
        '[checks.a]\nmatrix = { v = ["1"] }\nrun = "tox -e ${{ matrix.v }}"\n',
        ":3: warning: checks.a.run: ${{ matrix.v }} is an expression of GitHub Actions, which nothing replaces here: "
        "write ${v}",
    ),
    (
        '[checks.a]\nenv = { T = "${{ secrets.T }}" }\nrun = "x"\n',
        'warning: checks.a.env: ${{ secrets.T }} is an expression of GitHub Actions, which nothing replaces here: '
        'write secrets = ["T"]',
    ),
    (
        '[checks.a]\nmatrix = { django = ["5"] }\nrun = "pip install django==${djang}"\n',
        ":2: warning: checks.a.matrix: django is not used (did you mean it by ${djang}?)",
    ),
    (CHECK + 'runs-on = "ubuntu-latest"\n', ":3: checks.a.runs-on: there is no such key: a check runs on the machine"),
    (CHECK + 'if = "always()"\n', "no such key: when = { events = […], branches = […] } says when a check runs"),
    (CHECK + 'shell = "bash"\n', 'for another shell write run = [["bash", "-c", "…"]]'),
    (CHECK + "continue-on-error = true\n", "no such key: a command that may fail ends with || true"),
    (CHECK + 'with = { a = "b" }\n', "no such key: an action of GitHub Actions is written as commands in run"),
    (CHECK + 'permissions = "read"\n', "what it needs is named in secrets = [\"NAME\"]"),
    (CHECK + "concurrency = 1\n", "no such key: with supersede = true, above all tables, a push cancels"),
    (CHECK + 'branches = ["main"]\n', 'no such key: write when = { branches = ["main"] }'),
    (CHECK + 'events = ["push"]\n', 'no such key: write when = { events = ["push"] }'),
    (CHECK + 'depends = ["a"]\n', "there is no such key (did you mean needs?)"),
    (CHECK + 'uses = "actions/checkout@v4"\n', "an action of GitHub Actions is written as commands in run"),
    (CHECK + 'when = "push"\n', 'checks.a.when: it must be a table, as in { events = ["push"] }'),
    (
        CHECK + 'matrix = { v = ["1"], include = [{ v = "2" }] }\n',
        ":3: checks.a.matrix.include: a matrix has no include, only lists of values: write other combinations as "
        "checks of their own\n1 error",
    ),
    ('[jobs.a]\nrun = "x"\n', "jobs: there is no such setting: a check is a table of its own, such as [checks.test]"),
    ('name = "CI"\n' + CHECK, ":1: name: there is no such setting: each check has its name in its table's header"),
    ('on = ["push"]\n' + CHECK, 'on: there is no such setting: a check says it, with when = { events = ["push"] }'),
    ('image = "x"\n' + CHECK, ":1: image: there is no such setting: image belongs to a check, below a line such as"),
    ('runs-on = "x"\n' + CHECK, ":1: runs-on: there is no such setting: a check runs on the machine of"),
    ('hold = "all"\n' + CHECK, ":1: hold: 'all' must be 'nobody', 'first-timers' or 'outsiders'"),
    ('fallback = "bob"\n' + CHECK, ':1: fallback: it must be a list, as in ["…"]'),
    (CHECK + "timeout = 10m\n", '; text needs quotes: timeout = "10m"'),
    ('[checks.a]\nrun = "x" // why\n', "; a comment begins with #"),
    ('[checks.a]\nrun = "x";\n', "; a line has no ; at its end"),
    ('[checks.a]\nrun = "x",\n', "; a line has no , at its end"),
    ('[checks.a]\nrun = ["x" "y"]\n', "Unclosed array; a list has commas between its values"),
    ('[checks.a]\nrun = "echo \\d"\n', "; write \\\\ for a backslash, or use single quotes, in which it stands for"),
    ("[checks.a]\nrun = 'it's'\n", "; a text that contains ' needs double quotes around it"),
    ('[checks.a]\nrun = "say "it""\n', '; a text that contains " needs single quotes around it'),
    ('[checks.a]\nrun = """\nx\n', "Unterminated string (at end of document); a text of several lines ends with three"),
    ('[checks.a]\nimage "x"\n', '; a line is written as key = "value"'),
    ("[checks.a]\n  - run: x\n", '; a table begins with its name in brackets, such as [checks.test], and a line is'),
    ('{"checks": {}}\n', "; a check is a table, such as [checks.test], with a line for each key"),
    (CHECK + 'run = "y"\n', ":3:10: this is not TOML: Cannot overwrite a value; the key is there twice"),
    ("(use (.github))\n", ":1:1: this is not TOML: Invalid statement; checks in Bass are in project.bass"),
]  # fmt: skip

IN_BASS = [
    ("(def x (+ 1 2)\n", ":1:1: error: unexpected end: ( is never closed"),
    ("(def x 1))\n", ":1:10: error: unmatched )"),
    ("(defn f [x) x]\n", ":1:11: error: unmatched ): [ of line 1 needs ]"),
    ('(def x "abc)\n', ":1:8: error: unexpected end: the string is never closed"),
    (HOOK.replace("src COMMAND", "srcs ($ make)"), ":3:11: error: unbound symbol: srcs (did you mean src?)"),
    ("(dfn f [x] x)\n", ":1:2: error: unbound symbol: dfn (did you mean defn or fn?)"),
    ("(def x 1.5)\n", 'not a number: 1.5 (a word that begins with a digit needs quotes: "1.5")'),
    (HOOK.replace("COMMAND", "($ mkdir .venv)"), 'warning: .venv is the command venv; for the text write ".venv"'),
    (HOOK.replace("COMMAND", "($ pip install a,b)"), "warning: a comma is white space: quote the whole word"),
    (HOOK.replace("COMMAND", "($ head -n 010)"), 'warning: 010 is a number, and passed as 8; for the text write "010"'),
    (HOOK.replace("COMMAND", "($ true)"), "warning: true is a value of the language"),
    (HOOK.replace("COMMAND", "($ docker run a:b)"), 'a:b is looked up, as a member; for the text write "a:b"'),
    ("(defn f [x] x)\n(f 1 2)\n", "project.bass:2:1: error: the hook fails: the function takes 1 argument"),
    ('(use (.strings))\n(strings:jion "" [])\n', ".strings does not bind jion (did you mean join?)"),
    ("(use (.gihub))\n", "there is no standard module .gihub (did you mean github?)"),
    ("(def x {:a})\n", "project.bass:1:8: error: the hook fails: bad syntax: {…} has no value for :a"),
    ("(def x 1)\n", "project.bass: error: the hook fails: project.bass does not bind github-hook; add (defn"),
    ("(defn checks [src] {})\n", "(github:check-hook event git:checkout checks))), which starts what (defn checks"),
]  # fmt: skip

ON_THE_COMMAND_LINE = [
    ("lnt", "No such command 'lnt'. Did you mean lint?"),
    ("help try", "No such command 'help'. Did you mean bassloop --help?"),
    ("version", "Did you mean bassloop --version?"),
    ("test", "Did you mean bassloop try?"),
    ("start", "Did you mean bassloop serve?"),
    ("doctor", "Did you mean bassloop github doctor?"),
    ("runner https://me@loop.example.com", "it must be LOGIN@HOST or LOGIN@HOST:PORT"),
    ("github docter", "Did you mean doctor?"),
    ("service instal", "Did you mean install or uninstall?"),
    ("deliveries lst", "Did you mean list?"),
    ("try --evnt push", "'--event'"),
    ("try --event psuh", "'psuh' is not one of 'check_suite'"),
    ("try --engine lxc", "'lxc' is not one of 'auto', 'podman', 'docker', 'sandbox', 'host'"),
    ("try no-such-folder", "Directory 'no-such-folder' does not exist."),
    ("lint no-such-folder", "Path 'no-such-folder' does not exist."),
    ("fmt no-such-file", "no-such-file: No such file or directory"),
    ("doc mpa", "nothing is called mpa: did you mean max, map?"),
    ("logs", "RUN is missing: a run's id or the address of its page, or --last"),
    ("logs --last", "there is no log: run `bassloop try` first"),
    ("logs a/b", "'a/b' isn't the address of a run, such as https://"),
    ("logs http://loop:70000/runs/a", "Invalid value for RUN: Port out of range 0-65535"),
    ("logs a --url loop.example.com", "'loop.example.com' is no address such as https://"),
    ("artifacts a --url http://[", "Invalid value for --url: Invalid IPv6 URL"),
    ("eval -e \udcff", "error: unbound symbol"),
    ("status", "there is no database"),
    ("deliveries list", "so no loop has run here: `bassloop serve` starts one"),
    ("runner --jobs 2", "Name the loop's host, as in octocat@loop.example.com."),
    ("runner me@h/loop", "it must be LOGIN@HOST or LOGIN@HOST:PORT"),
    (
        "try --secret TOKEN=abc",
        "--secret TOKEN=…: give the name alone, since others can read command lines",
    ),
    ("try --list", "there are no checks in "),
    ("runner no/loop@", "it must be LOGIN@HOST or LOGIN@HOST:PORT"),
    ("runner h --memory lots", "'lots' is not a size, such as 500MB"),
    ("runner h --only everything", "--only everything: must be OWNER/REPO or OWNER/*"),
    ("prune --keep-bytes much", "'much' is not a size, such as 500MB"),
    ("restore no-such-backup", "is not a backup: it has no backup.json"),
    ("man burn", "there is no command bassloop burn"),
    ("completion tcsh", "'tcsh' is not one of 'bash', 'fish', 'zsh'"),
    ("backup", "Missing argument 'DIR'"),
]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_STATE_HOME", "XDG_DATA_HOME", "DATA_DIR", "BASSLOOP_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        *((TOML, text, message) for text, message in IN_TOML),
        *((BASS, text, message) for text, message in IN_BASS),
    ],
)
def test_a_mistake_in_a_file_is_found_before_anything_runs(
    tmp_path: Path, file: str, text: str, message: str
) -> None:
    (tmp_path / file).write_text(text)
    done = CliRunner().invoke(cli, ["lint"])
    assert message in done.output
    assert done.exit_code == (0 if "warning: " in message else 1)
    assert done.exception is None or isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[checks.a]\nrun = "x"\n'.encode("utf-16"), "this is UTF-16 text; save it as UTF-8"),
        (b"# caf\xe9\n[checks.a]\n", ":1: this is not UTF-8 text; save the file as UTF-8"),
        (b'[checks.a]\r\nrun = "x"\r\n', "a push to main starts a"),
        (b'\xef\xbb\xbf[checks.a]\nrun = "x"\n', "a push to main starts a"),
    ],
)
def test_a_file_is_utf_8_with_any_line_ends_and_another_encoding_is_named(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / TOML).write_bytes(content)
    assert message in CliRunner().invoke(cli, ["lint"]).output


@pytest.mark.parametrize(("line", "message"), ON_THE_COMMAND_LINE)
def test_a_mistake_on_the_command_line_is_answered_with_what_is_allowed(
    line: str, message: str
) -> None:
    done = CliRunner().invoke(cli, line.split())
    assert done.output.startswith("bassloop: ") or line.startswith("eval")
    assert message in done.output
    assert done.exit_code in ((5,) if line == "logs --last" else (1, 2))
    assert isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), f"{TOML} is a folder, and must be a file"),
        (lambda path: path.write_bytes(b"# caf\xe9\n"), f"{TOML}:1: this is not UTF-8 text"),
    ],
)
def test_init_does_not_add_to_a_file_that_it_can_t_read(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / TOML)
    done = CliRunner().invoke(cli, ["init"])
    assert message in done.output
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)


@pytest.mark.parametrize("words", ["eval", "run"])
def test_a_file_that_is_no_script_is_refused(tmp_path: Path, words: str) -> None:
    (tmp_path / TOML).write_text(CHECK)
    done = CliRunner().invoke(cli, [words, TOML])
    assert done.output == f"error: {TOML} isn't a Bass script\n"
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), f"{TOML} is a folder, and must be a file"),
        (lambda path: path.symlink_to("nowhere"), f"{TOML} is a link to nowhere, which doesn't"),
        (lambda path: path.touch(), "there are no checks in"),
        (lambda path: path.write_text("# none\n"), "there are no checks in"),
    ],
)
def test_a_list_of_no_checks_is_explained(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / TOML)
    done = CliRunner().invoke(cli, ["try", "--list"])
    assert done.output.startswith("bassloop: ")
    assert message in done.output
    assert done.exit_code == 1


def test_init_leaves_out_folders_that_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "private":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return iterdir(path)

    (tmp_path / "private").mkdir()
    iterdir = pathlib.Path.iterdir
    monkeypatch.setattr(pathlib.Path, "iterdir", refuse)
    done = CliRunner().invoke(cli, ["init", "--print"])
    assert done.exit_code == 0, done.output
    assert "[checks." in done.output


@pytest.mark.parametrize("words", ["lint", "eject", "init --print", "try --list", "man try"])
def test_a_full_output_is_reported_by_each_command(tmp_path: Path, words: str) -> None:
    (tmp_path / TOML).write_text(CHECK)
    command = [sys.executable, "-m", "bassloop", *words.split()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=200,
            check=False,
            env=environment,
        )
    assert done.stderr == "bassloop: the output can't be written: the disk is full\n"
    assert done.returncode == 1


@pytest.mark.parametrize("words", ["eject", "try --list"])
def test_an_unreadable_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (tmp_path / TOML).write_text(CHECK)
    monkeypatch.setattr(pathlib.Path, "read_bytes", refuse)
    done = CliRunner().invoke(cli, words.split())
    assert done.output.startswith("bassloop: ")
    assert f"{TOML}: Permission denied. Change its permissions" in done.output
    assert done.exit_code == 1


def test_a_huge_file_is_refused_without_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (tmp_path / TOML).open("wb") as file:
        file.truncate(1 << 40)
    linted = CliRunner().invoke(cli, ["lint"])
    assert linted.exit_code == 1
    assert ".bassloop.toml: the file is longer than 64 KiB" in linted.output


@pytest.mark.parametrize(
    ("locale", "shown"),
    [
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "\N{SNOWMAN}"),
        ({"PYTHONIOENCODING": "ascii:strict"}, "\N{SNOWMAN}"),
        ({"PYTHONIOENCODING": "latin-1:strict"}, "\\u2603"),
    ],
)
def test_scripts_are_utf_8_in_any_locale(
    tmp_path: Path, locale: dict[str, str], shown: str
) -> None:
    (tmp_path / TOML).write_text('[checks."\N{SNOWMAN}"]\nrun = "x"\n', encoding="utf-8")
    hook = HOOK.replace("COMMAND", "($ x)")
    (tmp_path / BASS).write_text(f"; \N{SNOWMAN}\n{hook}", encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    done = subprocess.run(
        [sys.executable, "-m", "bassloop", "lint"],
        cwd=tmp_path,
        env={**inherited, "PYTHONPATH": os.pathsep.join(sys.path), **locale},
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"a push to main starts {shown}, t\n" in done.stdout.decode()


@pytest.mark.parametrize(
    ("encoding", "errors", "written"),
    [
        ("ascii", "strict", b"\xe2\x9c\x97 \\udce9"),
        ("ascii", "surrogateescape", b"\xe2\x9c\x97 \\udce9"),
        ("latin-1", "strict", b"\\u2717 \\udce9"),
        ("utf-8", "strict", b"\xe2\x9c\x97 \\udce9"),
        ("utf-8", "surrogateescape", b"\xe2\x9c\x97 \xe9"),
    ],
)
def test_what_an_encoding_lacks_is_escaped(encoding: str, errors: str, written: bytes) -> None:
    raw = io.BytesIO()
    output = io.TextIOWrapper(raw, encoding=encoding, errors=errors)
    prepare_output(output)
    output.write("\N{BALLOT X} \udce9")
    output.flush()
    assert raw.getvalue() == written


def test_the_checks_of_a_branch_whose_name_is_not_utf_8_are_listed(tmp_path: Path) -> None:
    (tmp_path / TOML).write_text(CHECK)
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", "symbolic-ref", "HEAD", os.fsdecode(b"refs/heads/b\xff")], check=True)
    assert CliRunner().invoke(cli, ["try", "--list"]).output == "a\n"
