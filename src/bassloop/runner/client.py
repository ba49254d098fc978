"""The runner's end of the SSH connection: it dials in, registers, and dials in again for ever."""

from __future__ import annotations

import os
import platform
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import trio

from bassloop.bridge import call_asyncio
from bassloop.runner.events import Connecting, Disconnected, Registered, RunnerEvent, Said
from bassloop.runner.options import RunnerError, RunnerOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bridge.h2 import SessionFactory

FORWARD = "/runtime"
KEEPALIVE_SECONDS = 30.0
KEEPALIVE_COUNT = 3
LOGIN_SECONDS = 30.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
SETTLED_SECONDS = 30.0
KEY_NAMES = ("id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa")


class Refused(Exception):
    """The loop, or what stands in its place, was not to be served; the message says why."""


def this_platform() -> tuple[str, str]:
    """This machine's operating system and architecture, in Go's words."""
    machine = platform.machine().lower()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return platform.system().lower(), arch


@dataclass(eq=False)
class Client:
    """Keeps one runtime registered with one loop.

    Args:
        session: makes the session of a channel that the loop opens (`bassloop.bridge.h2`).
    """

    options: RunnerOptions
    session: SessionFactory
    on_event: Callable[[RunnerEvent], None]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, serve, and when the connection is gone connect again, until cancelled.

        Started once it is registered for the first time. Raises RunnerError for what no new attempt
        would mend: a key or a file of known hosts that can't be read.
        """
        keys = await trio.to_thread.run_sync(self._keys)
        started = _Once(task_status)
        pause = FIRST_PAUSE
        while True:
            began = trio.current_time()
            reason = await self._once(keys, started)
            if trio.current_time() - began > SETTLED_SECONDS:
                pause = FIRST_PAUSE
            wait = pause * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
            self.on_event(Disconnected(reason, wait))
            await trio.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _once(self, keys: list[Any], started: _Once) -> str:
        """One connection, from dialling to its end. Returns why it ended."""
        address = f"{self.options.login}@{self.options.host}:{self.options.port}"
        self.on_event(Connecting(address))
        try:
            with trio.fail_after(LOGIN_SECONDS):
                connection = await self._connect(keys)
        except (OSError, asyncssh.Error, trio.TooSlowError) as error:
            return self._explained(error)
        try:
            return await self._serve(connection, address, started)
        except (OSError, asyncssh.Error, Refused) as error:
            return self._explained(error)
        finally:
            connection.close()
            with trio.move_on_after(3, shield=True):
                await call_asyncio(connection.wait_closed)

    async def _connect(self, keys: list[Any]) -> asyncssh.SSHClientConnection:
        agent = os.environ.get("SSH_AUTH_SOCK") if self.options.use_agent else None
        connection: asyncssh.SSHClientConnection = await call_asyncio(
            asyncssh.connect,
            self.options.host,
            self.options.port,
            username=self.options.login,
            client_keys=keys or None,
            agent_path=agent,
            known_hosts=str(self.options.hosts_file) if self.options.hosts_file.exists() else b"",
            password_auth=False,
            kbdint_auth=False,
            config=None,
            client_version="bassloop",
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=KEEPALIVE_COUNT,
        )
        return connection

    async def _serve(
        self, connection: asyncssh.SSHClientConnection, address: str, started: _Once
    ) -> str:
        os_name, arch = this_platform()
        await call_asyncio(connection.create_unix_server, self.session, FORWARD, encoding=None)
        command = f"forward --os {os_name} --arch {arch} --priority {self.options.priority}"
        process: asyncssh.SSHClientProcess[str] = await call_asyncio(
            connection.create_process, command, stderr=asyncssh.STDOUT
        )
        # The loop's first line is its word that the runtime is registered.
        if line := await call_asyncio(process.stdout.readline):
            self.on_event(Registered(address, f"{os_name}/{arch}"))
            started()
        while line:
            self.on_event(Said(line.strip()[:500]))
            line = await call_asyncio(process.stdout.readline)
        await call_asyncio(process.wait_closed)
        if process.exit_status:
            raise Refused(f"the loop refused this runner (exit status {process.exit_status})")
        return "the loop closed the connection"

    def _keys(self) -> list[Any]:
        paths = list(self.options.identities)
        if self.options.default_identities:
            folder = Path.home() / ".ssh"
            paths += [folder / name for name in KEY_NAMES if (folder / name).is_file()]
        keys = []
        for path in paths:
            try:
                keys.append(asyncssh.read_private_key(str(path)))
            except asyncssh.KeyEncryptionError as error:
                if path in self.options.identities:
                    raise RunnerError(
                        f"the key {path} has a passphrase: add it to your agent (ssh-add)"
                    ) from error
            except (OSError, asyncssh.KeyImportError) as error:
                if path in self.options.identities:
                    raise RunnerError(f"the key {path} can't be used: {error}") from error
        has_agent = self.options.use_agent and os.environ.get("SSH_AUTH_SOCK")
        if not keys and not has_agent:
            raise RunnerError(
                "there is no SSH key to log in with: make one with ssh-keygen, and add it on GitHub"
            )
        return keys

    def _explained(self, error: Exception) -> str:
        """Why a connection could not be made, and what mends it."""
        host, port, login = self.options.host, self.options.port, self.options.login
        where = host if port == 22 else f"[{host}]:{port}"
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            return (
                f"the host key of {where} is not in {self.options.hosts_file}, or has changed: compare "
                f"with the line that the loop shows at /ssh, and add that"
            )
        if isinstance(error, asyncssh.PermissionDenied):
            return f"the loop does not take any of these keys for {login}: is one listed at GitHub for that login?"
        if isinstance(error, trio.TooSlowError):
            return f"{where} does not answer"
        if isinstance(error, ConnectionRefusedError):
            return f"nothing listens at {where}"
        return str(error) or type(error).__name__


class _Once:
    """Says that a task has started, the first time that it is called."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status: trio.TaskStatus[None] | None = task_status

    def __call__(self) -> None:
        if self._task_status is not None:
            self._task_status.started()
            self._task_status = None
