"""One SSH connection of a runner: asyncssh's callbacks, and its sessions and forwards.

The callbacks run on the asyncio side. They only decide and store state; the connection's Trio task, in
`bassloop.gateway.ssh_server`, does the work.
"""

from __future__ import annotations

import argparse
import posixpath
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import asyncssh
import trio
from asyncssh.constants import DISC_NO_MORE_AUTH_METHODS_AVAILABLE, EXTENDED_DATA_STDERR

from bassloop.bridge import call_trio
from bassloop.bridge.grpc import Opener, SessionFactory, owned_opener
from bassloop.bridge.library_internals import refuse_environment
from bassloop.bridge.metering import MeteredReader
from bassloop.runtimes import Platform

if TYPE_CHECKING:
    from bassloop.gateway.authentication import Authentication, Identity
    from bassloop.gateway.gateway_settings import GatewaySettings


COMMANDS = ("forward",)
USAGE = "usage: forward [--os OS] [--arch ARCH] [--priority N]"
WORD = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
MOST = 1_000_000
LONGEST = 4_096

SERVICE = "runtime"
LONGEST_PATH = 256


class CommandError(Exception):
    """A command that can't be run. The runner gets the message, and the exit status 2."""


@dataclass(frozen=True, slots=True)
class ForwardCommand:
    """`forward`: offer the runtime behind the forwarded socket."""

    platform: Platform
    priority: int


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}\n{USAGE}")


def _word(value: str) -> str:
    if not WORD.fullmatch(value):
        raise argparse.ArgumentTypeError(f"{value[:40]!r} is not the name of a platform")
    return value


def _priority(value: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,7}", value) or abs(int(value)) > MOST:
        raise argparse.ArgumentTypeError(f"{value[:40]!r} is no number from -{MOST} to {MOST}")
    return int(value)


def parse(command: str) -> ForwardCommand:
    """Parse a session's command line. Raises CommandError."""
    if len(command) > LONGEST:
        raise CommandError(f"a command has {LONGEST} characters at most")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CommandError(f"the command's quotes don't match: {error}") from error
    if not words or words[0] not in COMMANDS:
        problem = f"unknown command: {words[0][:40]!r}" if words else "a command is needed"
        raise CommandError(f"{problem}\nknown commands: {', '.join(COMMANDS)}\n{USAGE}")
    parser = _Parser(prog=words[0], add_help=False, allow_abbrev=False)
    parser.add_argument("--os", type=_word, default="linux")
    parser.add_argument("--arch", type=_word, default="amd64")
    parser.add_argument("--priority", "-p", type=_priority, default=0)
    given = parser.parse_args(words[1:])
    return ForwardCommand(Platform(given.os, given.arch), given.priority)


class RequestedForward(asyncssh.SSHListener):
    """A forward that a client requested. It's only recorded: nothing listens."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.sessions: list[RunnerSession] = []
        """The sessions that have claimed it, and end with it."""
        self.cancelled = False

    @property
    def claimed(self) -> bool:
        return not all(session.closed.is_set() for session in self.sessions)

    def close(self) -> None:
        self.cancelled = True
        for session in self.sessions:
            session.closed.set()

    async def wait_closed(self) -> None:
        """Return at once, since nothing is open."""


class RunnerSession(asyncssh.SSHServerSession[bytes]):
    """One session, which runs a command, without a shell or terminal."""

    def __init__(self, connection: RunnerConnection) -> None:
        self.command = ""
        self.closed = trio.Event()
        self._connection = connection
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan
        refuse_environment(chan)

    def exec_requested(self, command: str) -> bool:
        self.command = command
        return True

    def shell_requested(self) -> bool:
        return True  # the answer lists the known commands

    def pty_requested(self, *terminal: object) -> bool:
        return False

    def session_started(self) -> None:
        try:
            self._connection.session_sender.send_nowait(self)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self.end(1)

    def eof_received(self) -> bool:
        return True  # keep the session open for `ssh … </dev/null`

    def signal_received(self, signal: str) -> None:
        self.closed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        self._connection.sessions.discard(self)

    def say(self, text: str, *, error: bool = False) -> None:
        """Write a line to the client, if it's still connected."""
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(f"{text}\n".encode(), EXTENDED_DATA_STDERR if error else None)

    def end(self, status: int) -> None:
        """End the session with this exit status."""
        if self._channel is not None and not self._channel.is_closing():
            self._channel.exit(status)


class RunnerConnection(asyncssh.SSHServer):
    """The server side of one connection."""

    def __init__(self, authentication: Authentication, settings: GatewaySettings) -> None:
        self.identity: Identity | None = None
        self.login = ""
        self.ssh: asyncssh.SSHServerConnection | None = None
        self.reader: MeteredReader | None = None
        self.sessions: set[RunnerSession] = set()
        self.forwards: list[RequestedForward] = []
        self.lost = trio.Event()
        self.session_sender, self.session_receiver = trio.open_memory_channel[RunnerSession](
            settings.sessions_per_connection
        )
        self._authentication = authentication
        self._settings = settings

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.ssh = conn
        self.reader = MeteredReader(conn)

    def auth_completed(self) -> None:
        if self.reader is not None:
            self.reader.is_authenticated = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self.session_sender.close()

    def begin_auth(self, username: str) -> bool:
        self.login = username
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        if self._authentication.tried >= self._settings.keys_per_connection:
            raise asyncssh.DisconnectError(
                DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many keys were tried"
            )
        self.identity = await call_trio(self._authentication.check, username, key)
        return self.identity is not None

    def session_requested(self) -> RunnerSession | bool:
        if len(self.sessions) >= self._settings.sessions_per_connection:
            return False
        session = RunnerSession(self)
        self.sessions.add(session)
        return session

    def unix_server_requested(self, listen_path: str) -> RequestedForward | bool:
        self.forwards = [each for each in self.forwards if not each.cancelled]
        if len(self.forwards) >= self._settings.forwards_per_connection:
            return False
        if len(listen_path) > LONGEST_PATH:
            return False
        forward = RequestedForward(listen_path)
        self.forwards.append(forward)
        return forward

    def claim(self, session: RunnerSession) -> RequestedForward | None:
        """Return the forward to the session's runtime, or None.

        Each session gets the first one that no other session has claimed. Some clients request the same path several
        times, and let all sessions share the forward that they get.
        """
        offered = [
            each
            for each in self.forwards
            if posixpath.basename(each.path) == SERVICE and not each.cancelled
        ]
        free = [each for each in offered if not each.claimed]
        forward = free[0] if free else offered[-1] if offered else None
        if forward is not None:
            forward.sessions.append(session)
        return forward

    def is_shadowed(self, session: RunnerSession) -> bool:
        """Return whether another session claimed a forward of the same path first."""
        for forward in self.forwards:
            for other in forward.sessions:
                if other is session:
                    return False
                if not other.closed.is_set() and self._path_of(other) == self._path_of(session):
                    return True
        return False

    def _path_of(self, session: RunnerSession) -> str | None:
        return next((each.path for each in self.forwards if session in each.sessions), None)

    @property
    def kind(self) -> str:
        """The kind of runner, from the version that its client sends."""
        version = self.ssh.get_extra_info("client_version", "") if self.ssh else ""
        for sign, kind in (("bassloop", "bassloop"), ("OpenSSH", "openssh"), ("2.0-Go", "go")):
            if sign in version:
                return kind
        return "other"

    def opener(self, path: str, nursery: trio.Nursery) -> Opener:
        """Return an opener of channels to this forward, in tasks of the connection's nursery."""

        async def open_channel(session_factory: SessionFactory) -> object:
            if self.ssh is None or self.lost.is_set():
                raise asyncssh.ConnectionLost("the connection was lost")
            return await self.ssh.create_unix_connection(session_factory, path, encoding=None)

        return owned_opener(nursery, open_channel)
