"""The gateway's tasks: one that accepts connections, one for each connection, and one for each session."""

from __future__ import annotations

import base64
import random
import secrets
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import asyncssh
import structlog
import trio

from bassloop.addresses import is_in
from bassloop.bridge import call_asyncio
from bassloop.bridge.metering import TimeBudget
from bassloop.concurrency import TTLCache, open_flat_nursery, shielded
from bassloop.gateway import gateway_settings
from bassloop.gateway.admission import (
    MAX_REMEMBERED,
    Admission,
    BadHeader,
    HeaderReader,
    NotAdmitted,
)
from bassloop.gateway.authentication import Authentication, KeySource, is_still_valid
from bassloop.gateway.gateway_settings import fingerprint, known_hosts_line
from bassloop.gateway.runner_connection import (
    SERVICE,
    CommandError,
    RequestedForward,
    RunnerConnection,
    RunnerSession,
    parse,
)
from bassloop.runtimes import Pool, Runtime
from bassloop.store import RuntimeRecord

if TYPE_CHECKING:
    from bassloop.gateway.gateway_settings import GatewaySettings

log = structlog.get_logger(__name__)

LOGIN_CPU_SECONDS, LOGIN_CPU_RATE = 3.0, 0.4
"""The budget of processor time for the messages of all connections of a login: the seconds that can be used at once,
and those that are refilled per second (see `bassloop.bridge.metering`). The time limit for signing in is
`GatewaySettings.auth_seconds`."""
BUDGET_SECONDS = 3_600.0

AWAY_SECONDS = 2
LOGINS_A_SECOND = 20
SPREAD_SECONDS = 30.0
"""When the loop ends, runners are asked to reconnect after a moment, and a few at a time."""

SHADOWED = (
    "not registered: of several runtimes on one connection this client only ever serves the first; "
    "start another bass --runner for this one"
)


class RuntimeStore(Protocol):
    """Stores which runtimes are connected; `remove_session` takes a record's `session`."""

    async def add(self, record: RuntimeRecord) -> Any: ...

    async def remove_session(self, session: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """The address that the gateway listens on, and its host key."""

    host: str
    port: int
    known_hosts_line: str
    fingerprint: str


async def serve_gateway(
    settings: GatewaySettings,
    keys: KeySource,
    pool: Pool,
    store: RuntimeStore,
    *,
    task_status: trio.TaskStatus[GatewayAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept runners until cancelled. Needs an open bridge.

    When cancelled, it sends a message to every session and closes the connections, within `closing_seconds`. Raises
    OSError if it can't listen.
    """
    gateway = _Gateway(settings, keys, pool, store)
    listeners = await trio.open_tcp_listeners(settings.port, host=settings.host or None)
    host, port = listeners[0].socket.getsockname()[:2]
    key = settings.host_key
    address = GatewayAddress(
        host=host,
        port=port,
        known_hosts_line=known_hosts_line(key, settings.name or host, port),
        fingerprint=fingerprint(key),
    )
    log.info("gateway listening", host=host, port=port, fingerprint=address.fingerprint)
    async with trio.open_nursery() as connections:
        task_status.started(address)
        await trio.serve_listeners(gateway.serve, listeners, handler_nursery=connections)


class _Gateway:
    def __init__(
        self, settings: GatewaySettings, keys: KeySource, pool: Pool, store: RuntimeStore
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._pool = pool
        self._store = store
        self._headers_awaited = 0
        self._budgets = TTLCache[int, TimeBudget](MAX_REMEMBERED, BUDGET_SECONDS)
        self._admission = Admission(
            connections=settings.connections,
            per_address=settings.connections_per_address,
            unauthenticated=settings.unauthenticated,
            unauthenticated_per_address=settings.unauthenticated_per_address,
            refusals_per_minute=settings.refusals_per_minute,
            clock=trio.current_time,
        )

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection. Its errors are logged, not raised."""
        try:
            peer = stream.socket.getpeername()[0]
            address = await self._client_address(stream, peer)
        except OSError:
            return
        except NotAdmitted as refused:
            log.warning("connection of a balancer refused", address=peer, reason=str(refused))
            return
        bound = {"address": address, "session": secrets.token_hex(8)}
        with structlog.contextvars.bound_contextvars(**bound):
            try:
                with self._admission.connection(address):
                    await self._serve_connection(stream, address, bound["session"])
            except NotAdmitted as refused:
                log.debug("connection refused", reason=str(refused))
            except Exception:  # a crash only ends this connection
                log.exception("connection crashed")

    async def _client_address(self, stream: trio.SocketStream, peer: str) -> str:
        """Return the client's address: the peer's, or the one that a load balancer sends in a header.

        Raises NotAdmitted and OSError.
        """
        if not is_in(peer, self._settings.proxies):
            return peer
        if self._headers_awaited >= self._settings.unauthenticated:
            raise NotAdmitted(f"{self._headers_awaited} connections have sent no header yet")
        self._headers_awaited += 1
        try:
            with trio.fail_after(self._settings.proxy_header_seconds):
                reader = HeaderReader()
                while reader.wanted:
                    data = await stream.receive_some(reader.wanted)
                    if not data:  # it was only a health check
                        raise ConnectionAbortedError
                    reader.feed(data)
        except BadHeader as error:
            raise NotAdmitted(str(error)) from error
        except trio.TooSlowError as error:
            raise NotAdmitted("it sent no header of the PROXY protocol in time") from error
        except trio.BrokenResourceError as error:
            raise ConnectionAbortedError from error
        finally:
            self._headers_awaited -= 1
        return peer if reader.source is None else str(reader.source)

    async def _serve_connection(self, stream: trio.SocketStream, address: str, name: str) -> None:
        authentication = Authentication(self._keys, refusal_seconds=self._settings.refusal_seconds)
        connection = RunnerConnection(authentication, self._settings)
        try:
            with self._admission.authenticating(address):
                await self._handshake(stream, connection)
                if connection.identity is None:
                    if not is_in(address, self._settings.proxies):
                        self._admission.refused(address)
                    return
            self._admission.authenticated(address)
            assert connection.reader is not None
            connection.reader.budget.shared = self._budget_of(connection.identity.id)
            with structlog.contextvars.bound_contextvars(login=connection.identity.login):
                log.info("runner connected", kind=connection.kind)
                await self._serve_sessions(connection, name)
        finally:
            await self._close_connection(connection)

    def _budget_of(self, user_id: int) -> TimeBudget:
        """Return the budget that all connections of a user share."""
        budget = self._budgets.get(user_id)
        if budget is None:
            budget = TimeBudget(LOGIN_CPU_SECONDS, LOGIN_CPU_RATE)
            self._budgets.store(user_id, budget)
        return budget

    async def _handshake(self, stream: trio.SocketStream, connection: RunnerConnection) -> None:
        """Exchange keys and authenticate; `identity` is None if that fails. Closes the stream."""
        settings = self._settings
        sock = socket.socket(fileno=stream.socket.detach())
        try:
            sock.setblocking(False)
            await call_asyncio(
                asyncssh.run_server,
                sock,
                server_factory=lambda: connection,
                server_host_keys=[settings.host_key],
                server_version="bassloop",
                login_timeout=settings.auth_seconds,
                keepalive_interval=settings.keepalive_seconds,
                keepalive_count_max=settings.keepalive_count,
                password_auth=False,
                kbdint_auth=False,
                host_based_auth=False,
                gss_host=None,
                allow_pty=False,
                agent_forwarding=False,
                x11_forwarding=False,
                encoding=None,
                **gateway_settings.options(),
            )
        except (asyncssh.Error, OSError) as error:
            connection.identity = None
            reason = (connection.reader and connection.reader.fault) or str(error)
            log.info("runner refused", login=connection.login[:100], reason=reason)
        finally:
            if connection.ssh is None:
                sock.close()

    async def _serve_sessions(self, connection: RunnerConnection, name: str) -> None:
        """Serve the connection's sessions until it's lost, or its key isn't valid any more."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._recheck_key, connection)
            number = 0
            async for session in connection.session_receiver:
                number += 1
                nursery.start_soon(
                    self._serve_session, connection, session, nursery, f"{name}-{number}"
                )
            nursery.cancel_scope.cancel()
        log.info("runner disconnected")

    async def _recheck_key(self, connection: RunnerConnection) -> None:
        """Close the connection once its login belongs to somebody else, or its key has been removed on GitHub.

        If the user was authenticated from a cache, they are checked as soon as GitHub answers.
        """
        assert connection.identity is not None
        first = True
        while True:
            try:
                renewed = await self._keys.confirmed(connection.identity.login)
                valid = (first and not renewed) or await is_still_valid(
                    self._keys, connection.identity
                )
            except Exception as error:  # noqa: BLE001  (runners stay connected if GitHub is down)
                log.warning("key not looked up again", error=str(error))
                valid = True
            if valid:
                first = False
                await trio.sleep(self._settings.recheck_seconds)
                continue
            log.warning("key withdrawn")
            for session in list(connection.sessions):
                session.say("this key is no longer listed for this login", error=True)
                session.end(1)
            connection.session_sender.close()
            return

    async def _serve_session(
        self, connection: RunnerConnection, session: RunnerSession, nursery: trio.Nursery, name: str
    ) -> None:
        try:
            status = await self._serve_runtime(connection, session, nursery, name)
        except CommandError as error:
            session.say(str(error), error=True)
            status = 2
        except trio.Cancelled:
            self._send_away(connection, session)
            raise
        except Exception:  # a crash only ends this session
            log.exception("session crashed", runtime=name)
            session.say("the loop could not register this runtime; see its log", error=True)
            status = 1
        session.end(status)

    def _send_away(self, connection: RunnerConnection, session: RunnerSession) -> None:
        """Tell a runner that the loop is going down, unless it has been told, or the connection was lost."""
        if not connection.lost.is_set():
            session.say(f"the loop is going down; connect again in {self._away_seconds()} s")
            session.end(0)

    def _away_seconds(self) -> int:
        """Return in how many seconds a runner should reconnect, so that they don't all do so at once."""
        spread = min(self._pool.statistics()["runtimes"] / LOGINS_A_SECOND, SPREAD_SECONDS)
        return round(AWAY_SECONDS + random.uniform(0, spread))  # noqa: S311  (not a secret)

    async def _serve_runtime(
        self, connection: RunnerConnection, session: RunnerSession, nursery: trio.Nursery, name: str
    ) -> int:
        """Register a runtime until its session ends. Return the exit status."""
        command = parse(session.command)
        if self._pool.is_dismissing:
            session.say(self._dismissal_message())
            return 0
        forward = connection.claim(session)
        if forward is None:
            raise CommandError(
                f"no socket is forwarded to /{SERVICE}; "
                f"with OpenSSH, add: -R /{SERVICE}:/path/of/the/runner.sock"
            )
        if connection.kind == "go" and connection.is_shadowed(session):
            session.say(SHADOWED)
            await session.closed.wait()
            return 0
        assert connection.identity is not None
        identity = connection.identity
        runtime = Runtime(
            id=name,
            user_id=identity.id,
            login=identity.login,
            platform=command.platform,
            priority=command.priority,
            connected_at=time.time(),
            open_channel=connection.opener(forward.path, nursery),
            kind=connection.kind,
            key=base64.b64decode(identity.key),
            limits=self._settings.limits,
            answer_within=self._settings.answer_within,
        )
        try:
            await self._store.add(_record(runtime, forward))
            async with self._pool.registered(runtime), open_flat_nursery() as until:
                log.info("runtime registered", **_facts(runtime))
                session.say(_welcome(runtime))
                until.start_soon(self._dismiss_when_idle, runtime, session)
                try:
                    await session.closed.wait()
                except trio.Cancelled:
                    # While all are still registered, and so are counted.
                    self._send_away(connection, session)
                    raise
                until.cancel_scope.cancel()
        finally:
            log.info("runtime removed", runtime=name)
            with shielded(self._settings.closing_seconds):
                await self._store.remove_session(name)
        return 0

    async def _dismiss_when_idle(self, runtime: Runtime, session: RunnerSession) -> None:
        """End the session of a runtime that's idle while this node drains."""
        await self._pool.dismissal(runtime)
        log.info("runtime dismissed", runtime=runtime.id)
        session.say(self._dismissal_message())
        session.closed.set()

    def _dismissal_message(self) -> str:
        return f"this node drains, others go on; connect again in {self._away_seconds()} s"

    async def _close_connection(self, connection: RunnerConnection) -> None:
        """Close the connection and wait for its end. If that takes too long, abort it."""
        ssh = connection.ssh
        if ssh is None:
            return
        with shielded(self._settings.closing_seconds) as closing:
            ssh.close()
            await call_asyncio(ssh.wait_closed)
        if closing.cancelled_caught:
            with shielded(1):
                ssh.abort()
                await call_asyncio(ssh.wait_closed)


def _record(runtime: Runtime, forward: RequestedForward) -> RuntimeRecord:
    return RuntimeRecord(
        id=runtime.id,
        user_id=runtime.user_id,
        login=runtime.login,
        os=runtime.platform.os,
        arch=runtime.platform.arch,
        priority=runtime.priority,
        connected_at=runtime.connected_at,
        address=f"ssh:{runtime.id}{forward.path}",
        session=runtime.id,
        kind=runtime.kind,
    )


def _facts(runtime: Runtime) -> dict[str, Any]:
    return {
        "runtime": runtime.id,
        "platform": str(runtime.platform),
        "priority": runtime.priority,
        "kind": runtime.kind,
    }


def _welcome(runtime: Runtime) -> str:
    lines = [
        f"registered {runtime.platform} for {runtime.login}, priority {runtime.priority}, "
        f"as {runtime.id}"
    ]
    lines += [f"note: {caveat}" for caveat in runtime.caveats]
    return "\n".join(lines)
