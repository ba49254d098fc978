"""The trial behind `bassloop try`: a daemon, a stand-in for github.com, a runner, and one event.

Nothing in between is faked: the webhook is signed and posted, the runner dials in over SSH with a key that the
stand-in lists for its user, and the check runs are those that the stand-in received over HTTP.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import secrets
import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bassloop.bridge import open_bridge
from bassloop.concurrency import shielded
from bassloop.daemon.serve import Daemon, serve
from bassloop.github.manifest import CALLBACK_PATH
from bassloop.runner import RunnerEvent, RunnerOptions, run_runner
from bassloop.settings import Settings
from bassloop.standin import StandIn, serve_standin

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

REMOVE_SECONDS = 10.0
GIT_PLACES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"}
HOOKS = ("project.bass", "bass/github-hook")


class TrialError(Exception):
    """The repository can't be tried; the message names the reason and the fix."""


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """The options of a trial.

    Args:
        path: a folder in a local Git repository, or any folder with a hook, which is then made a repository.
        event: the event to deliver for HEAD.
        committed: try HEAD, and not the working tree as it is.
        payload: a file with a payload for that event, instead of one made for HEAD.
        runner: connect a runner of the sender's.
        private: make the repository private, so that its runs are seen by who has signed in; the stand-in
            lets you sign in as anybody.
        settings: more of the daemon's settings.
    """

    path: Path
    event: str = "check_suite"
    committed: bool = False
    payload: Path | None = None
    runner: bool = True
    private: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Trial:
    """A trial whose event was delivered.

    Args:
        guid: the delivery's id.
        copied: a repository was made of the folder's files.
        dirty: the working tree has changes that are not committed.
        folder: everything that the trial keeps; the runner's outputs are in `runner`.
        runner: cancel it to disconnect the runner.
    """

    daemon: Daemon
    standin: StandIn
    guid: str
    head: str
    copied: bool
    dirty: bool
    folder: Path
    runner: trio.CancelScope


@asynccontextmanager
async def open_trial(
    options: TrialOptions, on_runner: Callable[[RunnerEvent], None] = lambda event: None
) -> AsyncGenerator[Trial]:
    """Start everything and deliver the event; on exit, drain the daemon and remove its data.

    Raises TrialError for a folder that can't be tried, and whatever keeps the daemon from starting.
    """
    async with open_bridge(), temporary_folder() as folder:
        repository, copied = await _repository(options.path, folder)
        dirty = not copied and bool(await _git(repository, "status", "--porcelain"))
        name = _slug((options.path if copied else repository).resolve().name)
        if dirty and not options.committed:
            repository = await _commit_working_tree(repository, folder / "repository")
        head = await _git(repository, "rev-parse", "--verify", "HEAD^{commit}")
        login, secret = _login(), secrets.token_hex(16)
        runner_key = asyncssh.generate_private_key("ssh-ed25519")
        app = await trio.to_thread.run_sync(app_key)
        standin = StandIn(
            repository_path=repository,
            owner=login,
            name=name,
            login=login,
            keys=[runner_key.export_public_key().decode().strip()],
            app_key=app.public,
            webhook_secret=secret,
            private=options.private,
        )
        async with trio.open_nursery() as nursery:
            api_url: str = await nursery.start(serve_standin, standin)
            stop = trio.Event()
            settings = Settings(
                listen="127.0.0.1:0",
                ssh_addr="127.0.0.1:0",
                data_dir=folder / "loop",
                github_api_url=api_url,
                github_app_id=standin.app_id,
                github_app_private_key=app.private,
                github_app_webhook_secret=secret,
                github_app_client_id=standin.client_id,
                github_app_client_secret=standin.sign_ins.client_secret,
                operators=str(standin.user.id),
                runner_wait=0,
                drain_seconds=5,
                **dict(options.settings),
            )
            async with trio.open_nursery() as daemon_nursery:
                daemon: Daemon = await daemon_nursery.start(_serve, settings, stop)
                standin.sign_ins.callback_urls.append(daemon.url + CALLBACK_PATH)
                async with trio.open_nursery() as runner:
                    if options.runner:
                        dial = _runner_options(daemon, login, runner_key, folder)
                        await runner.start(run_runner, dial, on_runner)
                        await daemon.pool.wait_for(standin.user.id, None, timeout=10)
                    guid = await _deliver(options, standin, daemon)
                    yield Trial(
                        daemon, standin, guid, head, copied, dirty, folder, runner.cancel_scope
                    )
                    runner.cancel_scope.cancel()
                stop.set()
            nursery.cancel_scope.cancel()


async def _serve(
    settings: Settings, stop: trio.Event, task_status: trio.TaskStatus[Daemon]
) -> None:
    await serve(settings, stop=stop, task_status=task_status)


def _runner_options(
    daemon: Daemon, login: str, key: asyncssh.SSHKey, folder: Path
) -> RunnerOptions:
    identity, known_hosts = folder / "id_ed25519", folder / "known_hosts"
    identity.touch(mode=0o600)
    identity.write_bytes(key.export_private_key())
    known_hosts.write_text(daemon.ssh.known_hosts_line + "\n")
    return RunnerOptions(
        login=login,
        host=daemon.ssh.host,
        port=daemon.ssh.port,
        identities=(identity,),
        known_hosts=known_hosts,
        state_dir=folder / "runner",
        use_agent=False,
        sandbox=False,
        default_identities=False,
    )


async def _deliver(options: TrialOptions, standin: StandIn, daemon: Daemon) -> str:
    """Deliver the event, and return the delivery's id once the daemon has accepted it."""
    if options.payload is None:
        payload = await standin.payload(options.event)
    else:
        payload = _payload(options.payload)
    delivered = await standin.deliver(daemon.local_url, options.event, payload)
    if delivered.status != 202:
        raise TrialError(f"the loop refused the delivery: {delivered.status} {delivered.message}")
    return delivered.guid


def _payload(path: Path) -> dict[str, Any]:
    try:
        payload = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrialError(f"{path} can't be used as a payload: {error}") from error
    if not isinstance(payload, dict):
        raise TrialError(f"{path} can't be used as a payload: it is not a JSON object")
    return payload


async def _repository(path: Path, folder: Path) -> tuple[Path, bool]:
    """Return the repository to try, and whether it was made of the folder's files."""
    path = path.resolve()
    if not path.is_dir():
        raise TrialError(f"{path} is not a folder")
    top = await _git(path, "rev-parse", "--show-toplevel", check=False)
    if (top and not _has_hook(path)) or Path(top) == path:
        if not await _git(path, "rev-parse", "--verify", "HEAD", check=False):
            raise TrialError(f"{top} has no commit yet; commit something and try again")
        return Path(top), False
    if not _has_hook(path):
        raise TrialError(
            f"{path} is no Git repository, and has neither {HOOKS[0]} nor {HOOKS[1]}; "
            "name a repository, or a folder with a hook"
        )
    copy = folder / "repository"
    ignored = shutil.ignore_patterns(".git", "__pycache__")
    await trio.to_thread.run_sync(
        lambda: shutil.copytree(path, copy, ignore=ignored, symlinks=True)
    )
    await _git(copy, "init", "--quiet", "--initial-branch=main")
    await _git(copy, "add", "--all")
    await _git(copy, "commit", "--quiet", "--message", f"{path.name}, as it is")
    return copy, True


def _has_hook(path: Path) -> bool:
    return any((path / hook).is_file() for hook in HOOKS)


async def _commit_working_tree(repository: Path, copy: Path) -> Path:
    """Make a repository whose HEAD is the working tree of another one, on top of that one's HEAD.

    The other one is only read: the copy borrows its objects, and has an index of its own. What Git ignores
    there is left out.
    """
    head = await _git(repository, "rev-parse", "--verify", "HEAD^{commit}")
    branch = await _git(repository, "branch", "--show-current") or "main"
    objects = await _git(repository, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    copy.mkdir()
    await _git(copy, "init", "--quiet", f"--initial-branch={branch}")
    (copy / ".git/objects/info/alternates").write_text(f"{objects}\n")
    shallow = Path(objects).parent / "shallow"
    if shallow.is_file():
        shutil.copyfile(shallow, copy / ".git/shallow")
    elsewhere = {"GIT_DIR": str(copy / ".git"), "GIT_WORK_TREE": str(repository)}
    await _git(repository, "read-tree", head, env=elsewhere)
    await _git(repository, "add", "--all", env=elsewhere)
    tree = await _git(repository, "write-tree", env=elsewhere)
    message = ("-m", "The working tree as it is")
    commit = await _git(repository, "commit-tree", tree, "-p", head, *message, env=elsewhere)
    await _git(copy, "update-ref", f"refs/heads/{branch}", commit)
    return copy


async def _git(
    path: Path, *args: str, check: bool = True, env: Mapping[str, str] | None = None
) -> str:
    """Return what git prints, without the last newline; nothing if it fails and `check` is off."""
    who = ["-c", "user.name=bassloop try", "-c", "user.email=try@bassloop.invalid"]
    command = ["git", "-C", str(path), *who, "-c", "commit.gpgsign=false", *args]
    environment = {name: value for name, value in os.environ.items() if name not in GIT_PLACES}
    try:
        done = await trio.run_process(
            command,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**environment, **(env or {})},
        )
    except FileNotFoundError as error:
        raise TrialError("git is not installed, or not on the PATH") from error
    if done.returncode == 0:
        return done.stdout.decode(errors="replace").rstrip("\n")
    if check:
        raise TrialError(f"git {args[0]}: {done.stderr.decode(errors='replace').strip()}")
    return ""


@asynccontextmanager
async def temporary_folder() -> AsyncGenerator[Path]:
    """A private folder that is gone afterwards, also when cancelled."""
    folder = Path(await trio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="bassloop-try-")))
    try:
        yield folder
    finally:
        with shielded(REMOVE_SECONDS):
            await trio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))


@dataclass(frozen=True, slots=True)
class AppKey:
    private: str
    public: str


def app_key() -> AppKey:
    """A new key for an App, as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return AppKey(private.decode(), public.decode())


def _login() -> str:
    """The user's name here, as GitHub would allow it as a login."""
    try:
        return _slug(getpass.getuser())
    except (KeyError, OSError):
        return "you"


def _slug(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-")[:39] or "you"
