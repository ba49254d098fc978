"""`bassloop try`: which checks it runs, with what, again when files change, and how it ends."""

from __future__ import annotations

import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bassloop.tools.trial_guard import RUNNER_STATE, clean_up, temporary_folder
from tests.commands import Finished, run_command
from tests.forked_programs import running_bassloop
from tests.repositories import git

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.forked_programs import Forked
    from tests.repositories import MakeRepository

pytestmark = pytest.mark.usefixtures("shared_fork_servers")

SECONDS = 200.0
CHECKS = """
[checks.first]
run = "echo one"

[checks.second]
image = "nobody/has-this:1"
run = "cat said"
needs = ["first"]
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tmp").mkdir()
    places = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp")}
    return {**os.environ, **places, "PYTHONPATH": os.pathsep.join(sys.path)}


def tried(environment: dict[str, str], *arguments: str | Path) -> Finished:
    return run_command("try", "--engine", "host", *arguments, env=environment)


def test_checks_are_listed_and_run_by_name(
    make_repository: MakeRepository, environment: dict[str, str]
) -> None:
    path = make_repository(**{".bassloop.toml": CHECKS, "said": "committed\n", "sub/x": ""})
    listed = tried(environment, path / "sub", "--list")
    assert (listed.returncode, listed.stdout.split()) == (0, ["first", "second"])
    wrong = tried(environment, path, "--check", "secnd")
    assert wrong.returncode == 2
    assert "There is no check 'secnd'. Did you mean second?" in wrong.stderr
    (path / ".bassloop.toml").write_text('[checks.m]\nmatrix.v = [1, 2]\nrun = "echo ${v}"\n')
    whole = tried(environment, path, "--check", "m")
    assert "There is no check 'm'. Did you mean 'm (1)' or 'm (2)'?" in whole.stderr
    (path / ".bassloop.toml").write_text(CHECKS)
    one = tried(environment, path, "--check", "second")
    assert one.returncode == 0, one.stdout
    assert "second │ committed" in one.stdout
    assert "first │" not in one.stdout


def test_the_list_is_for_the_branch_that_is_checked_out(
    make_repository: MakeRepository, environment: dict[str, str]
) -> None:
    path = make_repository(
        **{
            ".bassloop.toml": '[checks.always]\nrun = "true"\n'
            '[checks.deploy]\nrun = "echo deploying"\nwhen = { branches = ["main"] }\n'
            '[checks.review]\nrun = "true"\nwhen = { events = ["pull_request"] }\n'
        }
    )
    listed = tried(environment, path, "--list")
    assert listed.stdout.split() == ["always", "deploy"]
    assert "other events or branches start review; --check NAME runs one here" in listed.stderr
    git(path, "checkout", "--quiet", "-b", "topic")
    assert tried(environment, path, "--list").stdout.split() == ["always"]
    listed = tried(environment, path, "--list", "--event", "pull_request")
    assert listed.stdout.split() == ["always", "deploy", "review"]
    one = tried(environment, path, "--check", "deploy")
    assert one.returncode == 0, one.stdout
    assert "deploy │ deploying" in one.stdout


def test_an_image_that_was_not_used_is_reported_with_the_result(
    make_repository: MakeRepository, environment: dict[str, str]
) -> None:
    path = make_repository(**{".bassloop.toml": CHECKS, "said": "committed\n"})
    done = tried(environment, path)
    assert done.returncode == 0, done.stdout
    assert "commands run as you, on this machine itself" in done.stdout
    assert "nobody/has-this:1" in done.stdout
    assert done.stdout.splitlines()[-1] == "passed, without 1 image"
    marked = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("!")]
    assert len(marked) == 1, "only checks that passed as declared have a tick in the table"
    done = tried(environment, path, "--strict")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "not passed: without 1 image (--strict)"
    done = tried(environment, path, "--strict", "--check", "first")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "passed")


def test_artifacts_of_a_trial_are_stored_in_the_given_folder(
    make_repository: MakeRepository, environment: dict[str, str], tmp_path: Path
) -> None:
    declared = '[checks.a]\nrun = "mkdir out; echo built > out/a"\nartifacts = ["out/a", "none"]\n'
    path = make_repository(**{".bassloop.toml": declared})
    done = tried(environment, path, "--artifacts", tmp_path / "kept")
    assert (tmp_path / "kept/a/out/a").read_text() == "built\n"
    assert f"artifacts of a: out/a (6 bytes)\nkept: {tmp_path}/kept/a/out/a\n" in done.stdout
    assert "a │ [loop] artifacts are missing: there is nothing at none\n" in done.stdout
    assert done.stdout.splitlines()[-1] == "passed, without 1 report or artifact"
    done = tried(environment, path, "--strict")
    assert "--artifacts FOLDER keeps them" in done.stdout
    assert done.stdout.splitlines()[-1] == "not passed: without 1 report or artifact (--strict)"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--check", "first", "--event", "push"], "--check has an event of its own"),
        (["--watch", "--committed"], "--watch tries the working tree"),
        (["--list", "--event", "push"], "can't tell what push starts; `bassloop lint` says"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    environment: dict[str, str], tmp_path: Path, options: list[str], why: str
) -> None:
    (tmp_path / ".bassloop.toml").write_text(CHECKS)
    done = tried(environment, tmp_path, *options)
    assert done.returncode == 2
    assert why in done.stderr


class Trying:
    """A `bassloop try` that runs, and its lines."""

    def __init__(self, process: Forked, printed: Iterable[str]) -> None:
        self.process = process
        self._printed = printed
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._printed:
            self._lines.put(line.rstrip("\n"))

    def until(self, text: str) -> list[str]:
        """Return the lines up to the first one with a text."""
        lines = [self._lines.get(timeout=SECONDS)]
        while text not in lines[-1]:
            lines.append(self._lines.get(timeout=SECONDS))
        return lines


@contextmanager
def trying(environment: dict[str, str], *arguments: str | Path) -> Iterator[Trying]:
    words = ("try", "--engine", "host", *map(str, arguments))
    with running_bassloop(
        *words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as (process, printed):
        yield Trying(process, printed)


def test_watch_tries_again_when_files_change(
    make_repository: MakeRepository, environment: dict[str, str]
) -> None:
    path = make_repository(
        **{".bassloop.toml": CHECKS, "said": "committed\n", ".gitignore": "*.log\n"}
    )
    with trying(environment, path, "--watch") as trial:
        assert "second │ committed" in trial.until("waiting for changes")
        (path / "ignored.log").write_text("noise\n")
        (path / "said").write_text("changed\n")
        again = trial.until("waiting for changes")
        assert "second │ changed" in again
        assert "changed: said" in again
        trial.process.send_signal(signal.SIGINT)
        assert trial.process.wait_blocking(SECONDS) == 0


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_nothing_remains_of_a_trial_however_it_ends(
    make_repository: MakeRepository,
    environment: dict[str, str],
    tmp_path: Path,
    number: signal.Signals,
    status: int,
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    run = f"exec 3>{fifo}; echo up >&3; sleep 600"
    path = make_repository(**{".bassloop.toml": f'[checks.long]\nrun = "{run}"\n'})
    with trying(environment, path) as trial, fifo.open() as command_side:
        assert command_side.readline() == "up\n"
        [guard] = _guards(tmp_path / "tmp")
        trial.process.send_signal(number)
        assert trial.process.wait_blocking(SECONDS) == status
        assert command_side.read() == ""  # the command has ended
        select.select([guard], [], [], SECONDS)
        os.close(guard)
        assert not list((tmp_path / "tmp").glob("bassloop-try-*"))


def _guards(folder: Path) -> list[int]:
    """Return handles of the processes that look after trials in a folder, which is their TMPDIR."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            variables = (path / "environ").read_bytes().split(b"\0")
            is_guard = b"bassloop-guard" in words or b"bassloop.tools.trial_guard" in words
            if is_guard and f"TMPDIR={folder}".encode() in variables:
                found.append(os.pidfd_open(int(path.name)))
    return found


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # for a guard that outlives the trial
async def test_files_that_take_long_to_remove_do_not_delay_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    """They are left to the guard. Checks may have cached tens of thousands of files."""
    ended = threading.Event()
    removed = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: removed.append(ended.wait(SECONDS)))
    with ExitStack() as stack:
        stack.callback(ended.set)
        async with temporary_folder() as folder:
            (folder / "package").touch()
            [guard] = _guards(tmp_path)
        stack.callback(os.close, guard)
        assert removed == []
        signal.pidfd_send_signal(guard, signal.SIGKILL)  # so it doesn't outlive the test


KILLED = """
import os, signal, sys
import trio
from bassloop.tools import trial_guard
from pathlib import Path

async def main():
    async with trial_guard.temporary_folder() as folder:
        (folder / "file").touch()
        print(folder, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

mkdir = Path.mkdir

def kill(self, *args, **options):
    if sys.argv[1] == "after":
        mkdir(self, *args, **options)
    if self.name.startswith("bassloop-try-"):
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] != "in":
    Path.mkdir = kill
trio.run(main)
"""


@pytest.mark.parametrize("when", ["before", "after", "in"])
def test_no_folder_remains_of_a_trial_that_was_killed_while_it_made_it(
    tmp_path: Path, environment: dict[str, str], when: str
) -> None:
    folder = tmp_path / "tmp"
    words = [sys.executable, "-c", KILLED, when]
    done = subprocess.run(words, env=environment, capture_output=True, timeout=SECONDS)
    assert done.returncode == -signal.SIGKILL, done.stderr
    for guard in _guards(folder):
        select.select([guard], [], [], SECONDS)
        os.close(guard)
    assert not list(folder.glob("bassloop-try-*"))


async def test_a_killed_trial_without_a_runner_is_cleaned_up(tmp_path: Path) -> None:
    folder = tmp_path / "bassloop-try-x"
    (folder / RUNNER_STATE / "making").mkdir(parents=True)
    await clean_up(folder)
    assert not folder.exists()


@pytest.mark.parametrize("in_git", [True, False])
def test_files_that_were_never_committed_can_be_tried(
    environment: dict[str, str], tmp_path: Path, in_git: bool
) -> None:
    path = tmp_path / "new"
    path.mkdir()
    (path / ".bassloop.toml").write_text('[checks.first]\nrun = "cat said"\n')
    (path / "said").write_text("never committed\n")
    if in_git:
        git(path, "init", "--quiet")
    done = tried(environment, path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "first │ never committed" in done.stdout
    assert not in_git or git(path, "rev-list", "--all") == ""


def test_a_command_that_reached_no_host_makes_try_ask_whether_the_machine_is_online(
    make_repository: MakeRepository, environment: dict[str, str]
) -> None:
    run = (
        "echo 'npm error network request failed, reason: getaddrinfo ENOTFOUND registry' && exit 1"
    )
    checks = f'[checks.site]\nimage = "nobody/has-node:22"\nrun = "{run}"\n'
    done = tried(environment, make_repository(**{".bassloop.toml": checks}))
    assert done.returncode == 1
    assert "this machine's own programs, not the image nobody/has-node:22" in done.stdout
    assert "a command couldn't reach a host: is this machine online?" in done.stdout


@pytest.mark.parametrize("text", ["[" * 100_000, "[]"])
def test_a_file_that_is_no_payload_is_named(
    make_repository: MakeRepository, environment: dict[str, str], tmp_path: Path, text: str
) -> None:
    payload = tmp_path / "payload.json"
    payload.write_text(text)
    path = make_repository(**{".bassloop.toml": '[checks.a]\nrun = "true"\n'})
    options = ("--no-runner", "--event", "push", "--payload", str(payload))
    done = tried(environment, path, *options)
    assert done.returncode == 1
    assert f"{payload} can't be used as a payload" in done.stderr
    assert "Traceback" not in done.stderr
