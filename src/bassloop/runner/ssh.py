"""The runner's SSH connection to a loop: one attempt, from dialling to its end."""

from __future__ import annotations

import platform
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncssh
import trio

from bassloop.bridge import call_asyncio
from bassloop.runner import ssh_keys
from bassloop.runner.known_hosts import HostKey, KnownHost, KnownHosts, Verdict, place
from bassloop.runner.options import RunnerError, RunnerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from bassloop.bridge.grpc import SessionFactory

FORWARD = "/runtime"
KEEPALIVE_SECONDS = 30.0
KEEPALIVE_COUNT = 2
"""A loop that does not answer so many questions is gone, after 90 s in all."""
LOGIN_SECONDS = 30.0
MAX_LINE = 2_000


class DialError(Exception):
    """A connection could not be made, or was refused; the message says why, and what mends it."""


class UnknownHost(DialError):
    """Nothing is known of the host's key."""

    def __init__(self, key: HostKey, path: object) -> None:
        super().__init__(
            f"the host key of {key.where} is not known ({key.fingerprint}). Compare it with what the "
            f"loop shows at /ssh; if it is right, add this line to {path}:\n{key.line}"
        )
        self.key = key


@dataclass(frozen=True, slots=True)
class Dialler:
    """Makes connections to the loop that the options name."""

    options: RunnerOptions
    session: SessionFactory
    """Makes the session of a channel that the loop opens (`bassloop.bridge.grpc`)."""
    warn: Callable[[str], None] = lambda text: None

    @asynccontextmanager
    async def dial(self) -> AsyncGenerator[Connection]:
        """A connection that is logged in; closed on the way out.

        Raises DialError, UnknownHost, and RunnerError for what no new attempt mends.
        """
        connection: asyncssh.SSHClientConnection | None = None
        client = _Client(await self._known())
        try:
            with trio.fail_after(LOGIN_SECONDS):
                connection = await self._log_in(client)
        except (OSError, asyncssh.Error, trio.TooSlowError) as error:
            raise self._explained(error, client) from error
        try:
            yield Connection(self.options, connection, self.session)
        except (OSError, asyncssh.Error) as error:
            raise self._explained(error, client) from error
        finally:
            connection.close()
            with trio.move_on_after(3, shield=True):
                await call_asyncio(connection.wait_closed)

    async def _known(self) -> KnownHost:
        path = self.options.hosts_file
        try:
            return await trio.to_thread.run_sync(
                KnownHosts(path).find, self.options.host, self.options.port
            )
        except (OSError, ValueError) as error:
            raise RunnerError(f"the file of known hosts {path} can't be read: {error}") from error

    async def _log_in(self, client: _Client) -> asyncssh.SSHClientConnection:
        files, _ = await trio.to_thread.run_sync(ssh_keys.load, self.options)
        for text in files.left_out:
            self.warn(text)
        agent, pairs = await self._agent()
        try:
            if not files.pairs and not pairs:
                raise RunnerError(
                    "there is no SSH key to log in with: make one with ssh-keygen, and add it on GitHub"
                )
            named = len(self.options.identities)
            made: asyncssh.SSHClientConnection = await call_asyncio(
                asyncssh.connect,
                self.options.host,
                self.options.port,
                username=self.options.login,
                client_factory=lambda: client,
                client_keys=[*files.pairs[:named], *pairs, *files.pairs[named:]],
                agent_path=None,
                known_hosts=lambda host, addr, port: client.known.found,
                password_auth=False,
                kbdint_auth=False,
                config=None,
                client_version="bassloop",
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=KEEPALIVE_COUNT,
            )
            return made
        finally:
            if agent is not None:
                agent.close()

    async def _agent(self) -> tuple[asyncssh.SSHAgentClient | None, list[Any]]:
        path = ssh_keys.agent_path(self.options)
        if path is None:
            return None, []
        try:
            return await call_asyncio(ssh_keys.from_agent, path)
        except (OSError, ValueError, asyncssh.Error) as error:
            self.warn(f"the SSH agent at {path} can't be asked for keys: {error}")
            return None, []

    def _explained(self, error: Exception, client: _Client) -> DialError:
        """Why a connection could not be made, and what mends it."""
        where = place(self.options.host, self.options.port)
        match error:
            case asyncssh.HostKeyNotVerifiable() if client.shown is not None:
                key = HostKey.of(self.options.host, self.options.port, client.shown)
                if client.known.judge(client.shown) is Verdict.UNKNOWN:
                    return UnknownHost(key, self.options.hosts_file)
                return DialError(
                    f"THE HOST KEY OF {where} HAS CHANGED, so this may be another host in its place. "
                    f"It shows {key.fingerprint}; if the loop was given a new key, remove its old "
                    f"line from {self.options.hosts_file} (ssh-keygen -R '{where}')"
                )
            case asyncssh.PermissionDenied():
                login = self.options.login
                return DialError(
                    f"the loop takes none of these keys for {login}: is one of them at "
                    f"https://github.com/{login}.keys?"
                )
            case asyncssh.KeyExchangeFailed():
                return DialError(
                    f"{where} agrees on no way to talk, or shows another kind of host key than the one "
                    f"in {self.options.hosts_file}: {error.reason}"
                )
            case trio.TooSlowError():
                return DialError(f"{where} does not answer within {LOGIN_SECONDS:.0f} s")
            case ConnectionRefusedError():
                return DialError(f"nothing listens at {where}")
            case asyncssh.Error():
                return DialError(f"the connection to {where} was lost: {error.reason}")
            case OSError():
                return DialError(f"{where} can't be reached: {error.strerror or error}")
        return DialError(f"{where}: {error or type(error).__name__}")


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection that is logged in."""

    options: RunnerOptions
    ssh: asyncssh.SSHClientConnection
    session: SessionFactory

    async def serve(self, on_line: Callable[[str], None]) -> None:
        """Register and serve until the loop ends it. What the loop says is given to `on_line`.

        The first line is the loop's word that the runtime is registered. Raises DialError when the
        loop refuses, and what asyncssh does when the connection is lost.
        """
        os_name, arch = this_platform()
        await call_asyncio(self.ssh.create_unix_server, self.session, FORWARD, encoding=None)
        command = f"forward --os {os_name} --arch {arch} --priority {self.options.priority}"
        process: asyncssh.SSHClientProcess[str] = await call_asyncio(
            self.ssh.create_process, command, stderr=asyncssh.STDOUT, errors="replace"
        )
        said: list[str] = []
        while line := (await call_asyncio(process.stdout.readline))[:MAX_LINE].strip():
            said = [*said[-4:], line]
            on_line(line)
        await call_asyncio(process.wait_closed)
        if process.exit_status:
            raise DialError(f"the loop refused this runner: {' '.join(said) or 'without a word'}")


class _Client(asyncssh.SSHClient):
    """Remembers the key that the host has shown, if it is not among the known ones."""

    def __init__(self, known: KnownHost) -> None:
        self.known = known
        self.shown: asyncssh.SSHKey | None = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        self.shown = key
        return False


def this_platform() -> tuple[str, str]:
    """This machine's operating system and architecture, in Go's words."""
    machine = platform.machine().lower()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return platform.system().lower(), arch
