"""The runner's SSH connection to a loop: one attempt, from dialling in to its end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncssh
import trio

from bassloop.bridge import call_asyncio
from bassloop.concurrency import shielded
from bassloop.runner import ssh_keys
from bassloop.runner.errors import RunnerError
from bassloop.runner.options import RunnerOptions, this_platform
from bassloop.runner.signing import ConnectionSigner
from bassloop.runner.ssh_keys import HostKey, KnownHost, KnownHosts, Verdict, host_pattern

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from bassloop.bridge.grpc import SessionFactory

FORWARD = "/runtime"
KEEPALIVE_SECONDS = 30.0
KEEPALIVE_COUNT = 2
"""Unanswered questions after which a loop counts as gone, so after 90 s in all."""
LOGIN_SECONDS = 30.0
CLOSE_SECONDS = 3.0
MAX_LINE = 2_000


class DialError(Exception):
    """A connection could not be made, or was refused; the message says why, and the fix."""


class UnknownHost(DialError):
    """Nothing is known of the host's key."""

    def __init__(self, key: HostKey, path: object) -> None:
        super().__init__(
            f"the host key of {key.where} is not known ({key.fingerprint}). Compare it with what the "
            f"loop shows at /ssh; if it is right, add this line to {path}:\n{key.line}"
        )
        self.key = key


def _no_key(skipped: Sequence[str]) -> str:
    if skipped:
        return f"there is no SSH key to log in with: {'; '.join(skipped)}"
    return "there is no SSH key to log in with: make one with ssh-keygen, and add it on GitHub"


@dataclass(frozen=True, slots=True)
class Dialler:
    """Makes connections to the loop that the options name.

    Args:
        session: makes the session of a channel that the loop opens (`bassloop.bridge.grpc`).
        signer: is given the key that the loop accepted.
        warn: called with what the owner should know.
    """

    options: RunnerOptions
    session: SessionFactory
    signer: ConnectionSigner = field(default_factory=ConnectionSigner)
    warn: Callable[[str], None] = lambda text: None

    @asynccontextmanager
    async def dial(self) -> AsyncGenerator[LoopConnection]:
        """Give a connection that is logged in, and close it on exit.

        Raises DialError, UnknownHost, and RunnerError if another attempt would be useless.
        """
        client = _Client(await self._known_host())
        try:
            with trio.fail_after(LOGIN_SECONDS):
                connection = await self._log_in(client)
        except (OSError, asyncssh.Error, trio.TooSlowError) as error:
            raise self._explain(error, client) from error
        try:
            yield LoopConnection(self.options, connection, self.session)
        except (OSError, asyncssh.Error, asyncssh.ChannelListenError) as error:
            raise self._explain(error, client) from error
        finally:
            connection.close()
            with shielded(CLOSE_SECONDS):
                await call_asyncio(connection.wait_closed)

    async def _known_host(self) -> KnownHost:
        path = self.options.hosts_file
        try:
            return await trio.to_thread.run_sync(
                KnownHosts(path).find, self.options.host, self.options.port
            )
        except (OSError, ValueError) as error:
            raise RunnerError(f"the file of known hosts {path} can't be read: {error}") from error

    async def _log_in(self, client: _Client) -> asyncssh.SSHClientConnection:
        loaded = await trio.to_thread.run_sync(ssh_keys.load, self.options)
        for text in loaded.skipped:
            self.warn(text)
        agent, agent_keys = await self._ask_agent()
        try:
            if not loaded.keys and not agent_keys:
                raise RunnerError(_no_key(loaded.skipped))
            given = len(self.options.identities)
            client.offer([*loaded.keys[:given], *agent_keys, *loaded.keys[given:]])
            connection: asyncssh.SSHClientConnection = await call_asyncio(
                asyncssh.connect,
                self.options.host,
                self.options.port,
                username=self.options.login,
                client_factory=lambda: client,
                client_keys=None,
                agent_path=None,
                known_hosts=lambda host, addr, port: client.known.matches,
                password_auth=False,
                kbdint_auth=False,
                config=None,
                client_version="bassloop",
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=KEEPALIVE_COUNT,
            )
            self.signer.key = client.offered
            self.signer.agent = ssh_keys.agent_path(self.options)
            if (why := self.signer.problem) is not None:
                self.warn(why)
            return connection
        finally:
            if agent is not None:
                agent.close()

    async def _ask_agent(self) -> tuple[asyncssh.SSHAgentClient | None, list[Any]]:
        path = ssh_keys.agent_path(self.options)
        if path is None:
            return None, []
        try:
            return await call_asyncio(ssh_keys.load_from_agent, path)
        except (OSError, ValueError, asyncssh.Error) as error:
            self.warn(f"the SSH agent at {path} can't be asked for keys: {error}")
            return None, []

    def _explain(self, error: Exception, client: _Client) -> DialError:
        """Return the error that says why a connection could not be made, and the fix."""
        where = host_pattern(self.options.host, self.options.port)
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
                    f"the loop accepts none of these keys for {login}: is one of them at "
                    f"https://github.com/{login}.keys?"
                )
            case asyncssh.KeyExchangeFailed():
                return DialError(
                    f"{where} supports none of this runner's algorithms, or shows another kind of host "
                    f"key than the one in {self.options.hosts_file}: {error.reason}"
                )
            case trio.TooSlowError():
                return DialError(f"{where} does not answer within {LOGIN_SECONDS:.0f} s")
            case asyncssh.ChannelListenError():
                return DialError(f"{where} ended the connection before it took this runner")
            case ConnectionRefusedError():
                return DialError(f"nothing listens at {where}")
            case asyncssh.Error():
                return DialError(f"the connection to {where} was lost: {error.reason}")
            case OSError():
                return DialError(f"{where} can't be reached: {error.strerror or error}")
        return DialError(f"{where}: {error or type(error).__name__}")


@dataclass(frozen=True, slots=True)
class LoopConnection:
    """A connection that is logged in."""

    options: RunnerOptions
    ssh: asyncssh.SSHClientConnection
    session: SessionFactory

    async def serve(self, on_line: Callable[[str], None]) -> None:
        """Register, and serve until the loop ends the connection.

        Raises DialError if the loop refuses, and asyncssh's errors if the connection is lost.

        Args:
            on_line: called with each line that the loop sends; the first one says that the runtime is
                registered.
        """
        os_name, arch = this_platform()
        await call_asyncio(self.ssh.create_unix_server, self.session, FORWARD, encoding=None)
        command = f"forward --os {os_name} --arch {arch} --priority {self.options.priority}"
        process: asyncssh.SSHClientProcess[str] = await call_asyncio(
            self.ssh.create_process, command, stderr=asyncssh.STDOUT, errors="replace"
        )
        last: list[str] = []
        while line := (await call_asyncio(process.stdout.readline))[:MAX_LINE].strip():
            last = [*last[-4:], line]
            on_line(line)
        await call_asyncio(process.wait_closed)
        if process.exit_status:
            raise DialError(f"the loop refused this runner: {' '.join(last) or 'without a word'}")


class _Client(asyncssh.SSHClient):
    """Notes the key that the host has shown, if it is not a known one, and the key that was offered last."""

    def __init__(self, known: KnownHost) -> None:
        self.known = known
        self.shown: asyncssh.SSHKey | None = None
        self.offered: Any = None
        self._keys: Iterator[Any] = iter(())

    def offer(self, keys: Sequence[Any]) -> None:
        """Offer these keys, one after the other."""
        self._keys = iter(asyncssh.load_keypairs(list(keys)))

    def public_key_auth_requested(self) -> Any:
        self.offered = next(self._keys, None)
        return None if self.offered is None else [self.offered]

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        self.shown = key
        return False
