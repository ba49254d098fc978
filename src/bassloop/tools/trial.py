"""The trial behind `bassloop try`: a daemon, a stand-in for github.com, a runner, and one event.

Nothing in between is faked: the webhook is signed and posted, the runner connects over SSH with a key that the stand-in
lists for its user, and the check runs are those that the stand-in received over HTTP.
"""

from __future__ import annotations

import getpass
import json
import re
import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import asyncssh
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bassloop.bridge import open_bridge
from bassloop.concurrency import outlasting_scope
from bassloop.daemon.serve import Daemon, serve
from bassloop.github.app_registration import CALLBACK_PATH
from bassloop.runner import DriverChosen, EngineTried, RunnerEvent, RunnerOptions, run_runner
from bassloop.settings import Settings
from bassloop.standin import StandIn, serve_standin
from bassloop.tools.trial_guard import (
    ENGINE_FILE,
    RUNNER_STATE,
    open_trial_database,
    remove_own_images,
    temporary_folder,
)
from bassloop.tools.working_copy import TrialError, WorkingCopy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from pathlib import Path

    from bassloop.runner.options import DriverName
    from bassloop.store import Store

STANDIN_SECONDS = 30.0
"""How long the stand-in is served at most after a trial was cancelled, in seconds."""

RUNNER_SECONDS = 60.0
"""How long a runner may take to find an engine and register, in seconds."""

FREE_SPACE = 8 << 20
"""The disk space that the logs of a trial leave free, in bytes. A daemon leaves more, to accept deliveries."""

EngineName = Literal["auto", "podman", "docker", "sandbox", "host"]
"""How commands are run: in containers of an engine, contained with this machine's programs, or just with these."""


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """The options of a trial.

    Args:
        path: a folder in a local Git repository, or any folder with a hook, which is then copied into a repository.
        event: the event to deliver for HEAD.
        committed: try HEAD instead of the working tree.
        watched: make it possible to try changed files later, see :meth:`Trial.again`.
        checks: the names of the checks to run; empty for all that the event starts.
        engine: how commands are run.
        payload: a file with a payload for that event, instead of one made for HEAD.
        runner: connect a runner of the sender's.
        private: make the repository private, so that its runs are seen by who has signed in; the stand-in
            lets you sign in as anybody.
        nodes: how many daemons share a PostgreSQL database; one daemon has SQLite.
        secrets: values of secrets that its runner has besides stored ones, by name.
        settings: more of the daemon's settings.
    """

    path: Path
    event: str = "check_suite"
    committed: bool = False
    watched: bool = False
    checks: tuple[str, ...] = ()
    engine: EngineName = "host"
    payload: Path | None = None
    runner: bool = True
    private: bool = False
    nodes: int = 1
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(eq=False)
class Trial:
    """A trial whose event was delivered.

    Args:
        daemon: the one that the runner connects to.
        nodes: all daemons, that one first. If there is a runner, the last one receives the webhook.
        guids: the ids of the deliveries: one, or one for each requested check.
        copy: the copy of the repository that is tried.
        driver: how the runner runs commands; None without a runner.
        folder: all files of the trial; the runner's outputs are in `runner`.
        runner: cancel it to disconnect the runner.
    """

    options: TrialOptions
    daemon: Daemon
    standin: StandIn
    copy: WorkingCopy
    driver: DriverChosen | None
    folder: Path
    runner: trio.CancelScope
    nodes: Sequence[Daemon] = ()
    guids: tuple[str, ...] = ()

    @property
    def guid(self) -> str:
        """The id of the last delivery."""
        return self.guids[-1]

    @property
    def head(self) -> str:
        """The commit that is tried."""
        return self.copy.head

    async def deliver(self) -> None:
        """Deliver the event. Raises TrialError if the daemon refuses it."""
        self.guids = tuple([await self._deliver(payload) for payload in await self._payloads()])

    async def again(self) -> bool:
        """Deliver the event for the files as they are now, unless nothing has changed. Raises TrialError."""
        if not await self.copy.update():
            return False
        await self.deliver()
        return True

    async def _payloads(self) -> list[tuple[str, dict[str, Any]]]:
        if self.options.checks:
            return [
                ("check_run", await self.standin.payload("check_run", name=name))
                for name in self.options.checks
            ]
        event = self.options.event
        if self.options.payload is not None:
            return [(event, _payload(self.options.payload))]
        return [(event, await self.standin.payload(event))]

    async def _deliver(self, event: tuple[str, dict[str, Any]]) -> str:
        taking = self.nodes[-1] if self.options.runner else self.daemon
        delivered = await self.standin.deliver(taking.local_url, *event)
        if delivered.status != 202:
            raise TrialError(
                f"the loop refused the delivery: {delivered.status} {delivered.message}"
            )
        return delivered.guid


@asynccontextmanager
async def open_trial(
    options: TrialOptions,
    on_runner: Callable[[RunnerEvent], None] = lambda event: None,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_warning: Callable[[str], None] = lambda warning: None,
) -> AsyncGenerator[Trial]:
    """Start everything and deliver the event; on exit, drain the daemon and remove its data.

    Call `on_runner` with each event of the runner, `on_stage` with each stage of the start, and `on_warning` with
    what may make it take long.

    Raises TrialError for a folder that can't be tried, and whatever keeps the daemon from starting.
    """
    async with open_bridge(), temporary_folder() as folder:
        on_stage("reading the repository")
        copy = await WorkingCopy.open(
            options.path,
            folder / "repository",
            committed=options.committed,
            watched=options.watched,
            on_warning=on_warning,
        )
        login, secret = _login(), secrets.token_hex(16)
        runner_key = asyncssh.generate_private_key("ssh-ed25519")
        app = await trio.to_thread.run_sync(app_key)
        standin = StandIn(
            repository_path=copy.path,
            owner=login,
            name=_slug(copy.source.name),
            login=login,
            keys=[runner_key.export_public_key().decode().strip()],
            app_key=app.public,
            webhook_secret=secret,
            private=options.private,
        )
        async with _open_standin(standin) as api_url:
            stop = trio.Event()
            settings = partial(
                Settings,
                listen="127.0.0.1:0",
                ssh_addr="127.0.0.1:0",
                github_api_url=api_url,
                github_app_id=standin.app_id,
                github_app_private_key=app.private,
                github_app_webhook_secret=secret,
                github_app_client_id=standin.client_id,
                github_app_client_secret=standin.sign_ins.client_secret,
                operators=str(standin.user.id),
                runner_wait=0,
                drain_seconds=5,
                free_space=FREE_SPACE,
                **dict(options.settings),
            )
            async with (
                _open_daemons(settings, options.nodes, folder, stop, on_stage) as nodes,
                trio.open_nursery() as runner,
            ):
                daemon = nodes[0]
                standin.sign_ins.callback_urls += [each.url + CALLBACK_PATH for each in nodes]
                scope = runner.cancel_scope
                trial = Trial(options, daemon, standin, copy, None, folder, scope, nodes)
                runner.start_soon(_end_when_full, daemon.store, folder)

                def on_event(event: RunnerEvent) -> None:
                    match event:
                        case DriverChosen():
                            trial.driver = event
                        case EngineTried():
                            on_stage(str(event))
                    on_runner(event)

                if options.runner:
                    on_stage("starting the runner")
                    runner_options = _runner_options(
                        options, daemon, login, runner_key, folder, urlsplit(api_url).netloc
                    )
                    await runner.start(run_runner, runner_options, on_event)
                    await daemon.pool.wait_for(standin.user.id, None, timeout=RUNNER_SECONDS)
                    _note_engine(trial)
                await trial.deliver()
                yield trial
                runner.cancel_scope.cancel()
        await remove_own_images(folder)


@asynccontextmanager
async def _open_standin(standin: StandIn) -> AsyncGenerator[str]:
    """Serve the stand-in until the exit, also while a daemon that was cancelled reports how its checks ended."""
    async with outlasting_scope(STANDIN_SECONDS) as scope, trio.open_nursery() as nursery:

        async def serve_in_scope(task_status: trio.TaskStatus[str]) -> None:
            with scope:
                await serve_standin(standin, task_status=task_status)

        url: str = await nursery.start(serve_in_scope)
        try:
            yield url
        finally:
            scope.cancel()


@asynccontextmanager
async def _open_daemons(
    make_settings: Callable[..., Settings],
    count: int,
    folder: Path,
    stop: trio.Event,
    on_stage: Callable[[str], None],
) -> AsyncGenerator[list[Daemon]]:
    """Run a daemon, or several on one database; drain them on exit."""
    async with AsyncExitStack() as stack:
        shared: dict[str, object] = {}
        if count > 1:
            on_stage("starting PostgreSQL")
            shared = {
                "database_url": await stack.enter_async_context(open_trial_database(folder)),
                "session_secret": secrets.token_hex(32),
                "ssh_host_key_path": folder / "host_key",
                "blobs_bucket": str(folder / "blobs"),
            }
        nursery = await stack.enter_async_context(trio.open_nursery())
        nodes: list[Daemon] = []
        for number in range(1, count + 1):
            name = "loop" if count == 1 else f"node-{number}"
            on_stage("starting the daemon" if count == 1 else f"starting {name}")
            settings = make_settings(data_dir=folder / name, node_name=name, **shared)
            nodes.append(await nursery.start(partial(serve, settings, stop=stop)))
        yield nodes
        stop.set()


async def _end_when_full(store: Store, folder: Path) -> None:
    """Raise TrialError once the disk is full. A daemon would wait for room, but nobody watches a trial's disk."""
    await store.wait_until_full()
    raise TrialError(f"the disk of {folder.parent}, where a trial keeps its files, is full")


def _note_engine(trial: Trial) -> None:
    if trial.driver is not None and trial.driver.kind in ("podman", "docker"):
        (trial.folder / ENGINE_FILE).write_text(trial.driver.kind)


def _runner_options(
    options: TrialOptions,
    daemon: Daemon,
    login: str,
    key: asyncssh.SSHKey,
    folder: Path,
    reachable: str,
) -> RunnerOptions:
    identity, known_hosts = folder / "id_ed25519", folder / "known_hosts"
    identity.touch(mode=0o600)
    identity.write_bytes(key.export_private_key())
    known_hosts.write_text(daemon.ssh.known_hosts_line + "\n")
    driver: DriverName = "auto"
    engine: Literal["podman", "docker"] | None = None
    sandbox: bool | None = None
    match options.engine:
        case "podman" | "docker":
            driver, engine = "container", options.engine
        case "sandbox":
            driver, sandbox = "host", True
        case "host":
            driver, sandbox = "host", False
    return RunnerOptions(
        login=login,
        host=daemon.ssh.host,
        port=daemon.ssh.port,
        identities=(identity,),
        known_hosts=known_hosts,
        state_dir=folder / RUNNER_STATE,
        use_agent=False,
        driver=driver,
        engine=engine,
        sandbox=sandbox,
        reachable=reachable,
        images="ignore",
        own_programs=True,
        default_identities=False,
        given_secrets=options.secrets,
    )


def _payload(path: Path) -> dict[str, Any]:
    try:
        payload = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise TrialError(f"{path} can't be used as a payload: {error}") from error
    if not isinstance(payload, dict):
        raise TrialError(f"{path} can't be used as a payload: it is not a JSON object")
    return payload


@dataclass(frozen=True, slots=True)
class AppKey:
    private: str
    public: str


def app_key() -> AppKey:
    """Return a new key for an App, as PEM."""
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
    """The user's name on this machine, reduced to what GitHub allows in a login."""
    try:
        return _slug(getpass.getuser())
    except (KeyError, OSError):
        return "you"


def _slug(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-")[:39] or "you"
