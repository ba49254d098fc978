"""A runner's user unit beside the daemon's, and an upgrade of both, under a systemd that was booted for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
import pytest

from bassloop import __version__
from bassloop.tools.setup.systemd import RUNNER, ServeFacts, serve_unit
from bassloop.tools.trial import app_key
from tests.repositories import commit, git

from .booted import CREDENTIALS, Machine, boot, changed, open_up, until, until_restarted

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.booted, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[3]
INSTALLED = Path("/opt/bassloop")
PROGRAM = INSTALLED / "bin" / "bassloop"
SECRET = "the webhook's secret"
OLD = "0.0.1"
LOGIN, USER = "octocat", 4242
MOST_PUSHES = 40
"""How many commits are pushed while the daemon restarts, however long that takes: the stand-in has 100."""
HOME, RUNTIME_FOLDER = Path("/home", LOGIN), Path("/run/user", str(USER))
SETTINGS = """
LISTEN=127.0.0.1:8000
SSH_ADDR=127.0.0.1:6455
GITHUB_APP_ID=1
DRAIN_SECONDS=30
"""
USER_MANAGER = f"""
[Service]
User={LOGIN}
Type=notify
RuntimeDirectory={RUNTIME_FOLDER.relative_to("/run")}
Environment=XDG_RUNTIME_DIR={RUNTIME_FOLDER}
ExecStart=/lib/systemd/systemd --user
Delegate=yes
KillMode=mixed
"""
HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "sleep 1") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:after))
"""


@dataclass
class GitHub:
    """A stand-in that runs in the machine; see `booted_github.py`."""

    process: subprocess.Popen[str]
    url: str

    def ask(self, request: str) -> object:
        """Make a request, and return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(request, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def push(self) -> None:
        """Push a commit that the loop has to accept."""
        assert self.ask("push") == 202


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    folder = tmp_path / "machine"
    folder.mkdir()
    with boot(folder) as machine:
        yield machine


@pytest.fixture
def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture
def github(machine: Machine, tmp_path: Path, key: asyncssh.SSHKey) -> Iterator[GitHub]:
    repository = tmp_path / "machine" / "hello"
    repository.mkdir()
    (repository / "project.bass").write_text(HOOK)
    git(repository, "init", "--quiet", "--initial-branch=main")
    commit(repository)
    app = app_key()
    machine.write(CREDENTIALS / "GITHUB_APP_PRIVATE_KEY", app.private)
    machine.write(CREDENTIALS / "GITHUB_APP_WEBHOOK_SECRET", SECRET)
    script = str(Path(__file__).with_name("booted_github.py"))
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    public = key.export_public_key().decode().strip()
    command = machine.command(
        *("env", f"PYTHONPATH={path}", sys.executable, script, "/run/booted/hello"),
        *("http://127.0.0.1:8000", SECRET, app.public, public),
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            assert process.stdout is not None
            yield GitHub(process, process.stdout.readline().strip())
        finally:
            process.kill()


def wheel(folder: Path, version: str) -> Path:
    """Build a wheel of this source with another version."""
    folder.mkdir(parents=True)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in (("pyproject.toml", "version"), ("src/bassloop/__init__.py", "__version__")):
        before = (folder / path).read_text()
        told = changed(before, (f'\n{text} = "{__version__}"', f'\n{text} = "{version}"'))
        (folder / path).write_text(told)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    [built] = (folder / "dist").iterdir()
    return built


def install(machine: Machine, built: Path) -> None:
    """Install a wheel as `pipx install --force` does, or for the first time."""
    pip = (str(INSTALLED / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-index")
    machine.run(*pip, "--no-deps", "--force-reinstall", f"/run/booted/{built.name}")


def make_environment(machine: Machine) -> None:
    """Make a virtual environment that has what this one has, but for the loop itself."""
    machine.run(sys.executable, "-m", "venv", str(INSTALLED))
    libraries = "\n".join(path for path in sys.path if path.endswith("site-packages"))
    [packages] = machine.run("sh", "-c", f"ls -d {INSTALLED}/lib/python*/site-packages").split()
    machine.write(Path(packages, "libraries.pth"), libraries, 0o644)


def as_user(*command: str) -> tuple[str, ...]:
    """Return a command of the user, as one who is logged in has it."""
    user = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    return (*user, "env", f"HOME={HOME}", f"XDG_RUNTIME_DIR={RUNTIME_FOLDER}", *command)


def user_systemctl(machine: Machine, *words: str) -> str:
    return machine.run(*as_user("systemctl", "--user", *words))


def start_daemon(machine: Machine, github: GitHub) -> str:
    """Install the daemon's unit, start it, and return its host's key."""
    machine.write(CREDENTIALS.parent / "settings.env", f"{SETTINGS}GITHUB_API_URL={github.url}\n")
    names = ("GITHUB_APP_PRIVATE_KEY", "GITHUB_APP_WEBHOOK_SECRET")
    facts = ServeFacts(
        (str(PROGRAM), "serve"), credentials=tuple((name, CREDENTIALS / name) for name in names)
    )
    # Only the interpreter may be in somebody's home here.
    unit = changed(serve_unit(facts), ("ProtectHome=yes", "ProtectHome=read-only"))
    machine.write(Path("/etc/systemd/system/bass-loop.service"), unit, 0o644)
    machine.run("systemctl", "daemon-reload")
    with machine.following() as said:
        machine.run("systemctl", "start", "bass-loop")
        return str(json.loads(until(said, '"event": "ready"'))["host_key"])


def start_runner(machine: Machine, key: asyncssh.SSHKey, host_key: str) -> None:
    """Install a runner's unit as its user does."""
    machine.run("useradd", "--create-home", f"--uid={USER}", LOGIN)
    machine.write(Path("/etc/systemd/system/user-manager.service"), USER_MANAGER, 0o644)
    machine.write(HOME / ".ssh" / "id_ed25519", key.export_private_key().decode())
    machine.write(HOME / ".ssh" / "known_hosts", f"{host_key}\n")
    overrides = HOME / ".config" / "systemd" / "user" / f"{RUNNER}.service.d" / "sooner.conf"
    machine.write(overrides, "[Service]\nWatchdogSec=20\n", 0o644)
    machine.run("chown", "-R", f"{USER}:{USER}", str(HOME))
    machine.run("systemctl", "start", "user-manager")
    options = ("--driver", "host", "--unsandboxed", "--allow-foreign", "--images", "ignore")
    words = ("service", "install", "runner", f"{LOGIN}@127.0.0.1:6455", *options)
    assert "is installed and started" in machine.run(*as_user(str(PROGRAM), *words))


@contextmanager
def following_runner(machine: Machine) -> Iterator[Iterator[str]]:
    """Give what is said of, or by, the runner's unit from now on."""
    unit = f"{RUNNER}.service"
    with machine.following(f"USER_UNIT={unit}", "+", f"_SYSTEMD_USER_UNIT={unit}") as said:
        yield said


def test_runner_and_daemon_come_back_and_are_upgraded_without_losing_anything(
    machine: Machine, github: GitHub, key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    open_up(machine)
    make_environment(machine)
    wheels = [wheel(tmp_path / version, version) for version in (OLD, __version__)]
    for each in wheels:
        shutil.copy(each, tmp_path / "machine")
    install(machine, wheels[0])
    host_key = start_daemon(machine, github)
    registered = '"event": "runtime registered"'
    with machine.following() as daemon, following_runner(machine) as runner:
        start_runner(machine, key, host_key)
        until(daemon, registered)
        github.push()
        assert github.ask("checks") == {"success": 1}

        user_systemctl(machine, "kill", "-s", "KILL", "--kill-who=main", RUNNER)
        until(daemon, registered)
        until_restarted(runner, f"{RUNNER}.service")

        user_systemctl(machine, "kill", "-s", "STOP", "--kill-who=main", RUNNER)
        until(runner, "Watchdog timeout")
        until(daemon, registered)

        github.push()
        assert github.ask("checks") == {"success": 2}

        for kill in ("restart", "kill -s KILL --kill-whom=main"):
            machine.run("systemctl", *kill.split(), "bass-loop")
            until(daemon, '"event": "ready"')
            ready_at = time.monotonic()
            until(daemon, registered)
            print(f"after {kill}: registered {time.monotonic() - ready_at:.1f} s after ready")
            github.push()
        assert github.ask("checks") == {"success": 4}

        # An upgrade with checks under way, and pushes before, meanwhile and after.
        assert OLD in machine.run(str(PROGRAM), "--version")
        github.push()
        install(machine, wheels[1])
        github.push()
        restart = machine.command("systemctl", "restart", "bass-loop")
        pushed = 7
        with subprocess.Popen(restart) as restarting:
            while restarting.poll() is None and pushed < MOST_PUSHES:
                github.ask("push")  # what nobody answers is fetched later
                pushed += 1
                with suppress(subprocess.TimeoutExpired):
                    restarting.wait(0.3)
        github.push()
        until(daemon, registered)
        assert github.ask("checks") == {"success": pushed}
        assert __version__ in machine.run(str(PROGRAM), "--version")
        user_systemctl(machine, "restart", RUNNER)
        until(daemon, registered)
        user_systemctl(machine, "stop", RUNNER)
        shown = user_systemctl(machine, "show", RUNNER, "-p", "Result", "-p", "ExecMainStatus")
        assert set(shown.split()) == {"Result=success", "ExecMainStatus=0"}
        assert re.search("all is well", machine.run(*in_daemons_data("check")))


def in_daemons_data(*words: str) -> tuple[str, ...]:
    return ("env", "DATA_DIR=/var/lib/private/bass-loop", str(PROGRAM), *words)
