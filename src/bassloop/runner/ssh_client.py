"""The runner's SSH connection to a loop: one connection from start to end, and the keys for it.

The host's key is remembered; the owner's keys are for logging in.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import trio

from bassloop.bridge import call_asyncio
from bassloop.concurrency import shielded
from bassloop.private_files import make_private_folder
from bassloop.runner.errors import RunnerError
from bassloop.runner.options import RunnerOptions, this_platform
from bassloop.runner.signing import ConnectionSigner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from bassloop.bridge.grpc import SessionFactory


DEFAULT_NAMES = ("id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa")
MAX_FROM_AGENT = 16
"""How many keys one connection tries; a loop accepts a few more."""

FORWARD = "/runtime"
KEEPALIVE_SECONDS = 30.0
KEEPALIVE_COUNT = 2
"""After how many unanswered keepalives a loop counts as gone, which takes 90 s."""
LOGIN_SECONDS = 30.0
CLOSE_SECONDS = 3.0
MAX_LINE = 2_000


class Verdict(Enum):
    """The verdict about a host's key."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class HostKey:
    """A key that a host has presented.

    Args:
        where: the host, as in the file of known hosts.
        line: the line for that file.
        fingerprint: as `ssh-keygen -l` shows it.
    """

    where: str
    line: str
    fingerprint: str

    @classmethod
    def of(cls, host: str, port: int, key: asyncssh.SSHKey) -> HostKey:
        """Return the key that a host presents at a port."""
        where = host_pattern(host, port)
        public = " ".join(key.export_public_key().decode().split()[:2])
        return cls(where, f"{where} {public}", key.get_fingerprint())


@dataclass(frozen=True, slots=True)
class KnownHost:
    """The entries of known_hosts about one host.

    Args:
        matches: as asyncssh takes it.
    """

    matches: Any

    def judge(self, key: asyncssh.SSHKey) -> Verdict:
        """Return the verdict about a key that the host has presented."""
        trusted, authorities, revoked, *_ = self.matches
        if key in revoked:
            return Verdict.CHANGED
        if key in trusted:
            return Verdict.KNOWN
        return Verdict.CHANGED if trusted or authorities else Verdict.UNKNOWN


class KnownHosts:
    """A file of known hosts, which need not exist. It is read again for every connection."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, host: str, port: int) -> KnownHost:
        """Return the entries about a host at a port; its keys at other ports don't count.

        Raises OSError or ValueError if the file can't be read.
        """
        text = self.path.read_text() if self.path.exists() else ""
        return KnownHost(
            asyncssh.import_known_hosts(text).match(host_pattern(host, port), "", None)
        )

    def add(self, key: HostKey) -> None:
        """Remember a key. Raises OSError."""
        make_private_folder(self.path.parent)
        content = self.path.read_bytes() if self.path.exists() else b""
        start = "" if not content or content.endswith(b"\n") else "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, f"{start}{key.line}\n".encode())
        finally:
            os.close(file)


def host_pattern(host: str, port: int) -> str:
    """Return a host at a port in the notation of the file of known hosts."""
    return host if port == 22 else f"[{host}]:{port}"


@dataclass(frozen=True, slots=True)
class UserKeys:
    """Keys from files.

    Args:
        paths: the files that they were read from.
        skipped: for each file that can't be used, a sentence that says why.
    """

    keys: tuple[Any, ...]
    paths: tuple[Path, ...]
    skipped: tuple[str, ...]


def load(options: RunnerOptions) -> UserKeys:
    """Read the keys in files. Raises RunnerError if one that was given explicitly can't be used."""
    keys, paths, skipped = [], [], []
    for path in options.identities:
        try:
            keys.append(asyncssh.read_private_key(str(path)))
        except (OSError, ValueError) as error:
            raise RunnerError(f"the key {path} can't be used: {_reason(error)}") from error
        paths.append(path)
    if options.default_identities:
        folder = Path.home() / ".ssh"
        for path in (folder / name for name in DEFAULT_NAMES):
            try:
                if not path.is_file():
                    continue
                keys.append(asyncssh.read_private_key(str(path)))
                paths.append(path)
            except (OSError, ValueError) as error:
                skipped.append(f"{path} is not offered: {_reason(error)}")
    return UserKeys(tuple(keys), tuple(paths), tuple(skipped))


def _reason(error: Exception) -> str:
    # A wrong passphrase is a KeyEncryptionError; a missing one can be recognised only by the message.
    if isinstance(error, asyncssh.KeyEncryptionError) or "passphrase" in str(error).lower():
        return "it has a passphrase; add it to your agent with ssh-add"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def agent_path(options: RunnerOptions) -> str | None:
    """Return the agent's socket, if there is one and it may be used."""
    return os.environ.get("SSH_AUTH_SOCK") if options.use_agent else None


async def load_from_agent(path: str) -> tuple[asyncssh.SSHAgentClient, list[Any]]:
    """Return an agent and its keys. Close the agent after using them. Runs in asyncio.

    Raises OSError or ValueError if no agent listens there.
    """
    agent = await asyncssh.connect_agent(path)
    try:
        return agent, list(await agent.get_keys())[:MAX_FROM_AGENT]
    except BaseException:
        agent.close()
        raise


class DialError(Exception):
    """A connection failed or was refused. The message says why, and how to fix it."""


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
        signer: gets the key that the loop accepted.
        warn: called with warnings for the owner.
    """

    options: RunnerOptions
    session: SessionFactory
    signer: ConnectionSigner = field(default_factory=ConnectionSigner)
    warn: Callable[[str], None] = lambda text: None

    @asynccontextmanager
    async def dial(self) -> AsyncGenerator[LoopConnection]:
        """Provide a connection that is logged in, and close it on exit.

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
        loaded = await trio.to_thread.run_sync(load, self.options)
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
            self.signer.agent = agent_path(self.options)
            if (why := self.signer.problem) is not None:
                self.warn(why)
            return connection
        finally:
            if agent is not None:
                agent.close()

    async def _ask_agent(self) -> tuple[asyncssh.SSHAgentClient | None, list[Any]]:
        path = agent_path(self.options)
        if path is None:
            return None, []
        try:
            return await call_asyncio(load_from_agent, path)
        except (OSError, ValueError, asyncssh.Error) as error:
            self.warn(f"the SSH agent at {path} can't be asked for keys: {error}")
            return None, []

    def _explain(self, error: Exception, client: _Client) -> DialError:
        """Return the error that says why a connection failed, and how to fix it."""
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
        while text := await call_asyncio(process.stdout.readline):
            if line := text[:MAX_LINE].strip():
                last = [*last[-4:], line]
                on_line(line)
        await call_asyncio(process.wait_closed)
        if process.exit_status:
            raise DialError(f"the loop refused this runner: {' '.join(last) or 'without a word'}")


class _Client(asyncssh.SSHClient):
    """Notes the host's key, if it isn't known, and the key that was offered last."""

    def __init__(self, known: KnownHost) -> None:
        self.known = known
        self.shown: asyncssh.SSHKey | None = None
        self.offered: Any = None
        self._keys: Iterator[Any] = iter(())

    def offer(self, keys: Sequence[Any]) -> None:
        """Offer these keys one after the other."""
        self._keys = iter(asyncssh.load_keypairs(list(keys)))

    def public_key_auth_requested(self) -> Any:
        self.offered = next(self._keys, None)
        return None if self.offered is None else [self.offered]

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        self.shown = key
        return False
