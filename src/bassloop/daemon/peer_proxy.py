"""A proxy that forwards requests for a run's pages to the node that records the run.

Only that node has the live end of the log. So other nodes forward requests to it: for pages, ranges of logs,
downloads, and the websocket. Cookies are forwarded, and the recording node decides what the visitor may see, as for
its own visitors. A header, signed with the nodes' shared secret, has the visitor's address and scheme.

If that node can't be reached, or has lost its lease, the page shows what is stored, and names the node that wrote the
log. A websocket is closed once another node has to answer it; the page then reconnects.
"""

from __future__ import annotations

import re
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import structlog
import trio
from itsdangerous import BadSignature, URLSafeSerializer
from trio_websocket import ConnectionClosed

from bassloop.concurrency import open_flat_nursery
from bassloop.store import StoreError
from bassloop.web.pages.run_page import RECORDER_LOST
from bassloop.websocket_client import CONNECTION_ERRORS, open_websocket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from trio_websocket import WebSocketConnection

    from bassloop.store.nodes import Nodes, Peer
    from bassloop.web.service_endpoints import ASGI

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 60.0
"""How long a peer may take until the first part of its answer, and between two parts, in seconds."""

RECHECK_SECONDS = 5.0
"""How often to check whether another node has to answer a websocket, in seconds."""

CLOCKS_APART = 60.0
"""The maximum age of a signed header, and difference of the nodes' clocks, in seconds."""

MAX_MESSAGE = 64 << 20
SERVICE_RESTART = 1012
"""The close code after which a page reconnects."""

HEADER = "bassloop-peer"

_RUN = re.compile(r"/runs/(?!live(?:/|\Z))([A-Za-z0-9_-]{1,64})(/.*)?\Z")

_NOT_FORWARDED = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-for",
        "x-forwarded-proto",
        HEADER,
    }
)
"""Request headers that aren't forwarded: hop-by-hop ones, and those that a peer doesn't trust."""

_NOT_RETURNED = frozenset({"connection", "keep-alive", "transfer-encoding", "date"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, eq=False)
class PeerSigner:
    """Signs a node's statements to another node about a visitor.

    Args:
        secret: the nodes' shared secret.
    """

    secret: bytes = field(repr=False)

    def sign(self, scope: dict[str, Any]) -> str:
        """Return the header for a forwarded request."""
        client = (scope.get("client") or [""])[0]
        return str(self._serializer.dumps([time.time(), _target(scope), client, scope["scheme"]]))

    def verified(self, scope: dict[str, Any]) -> dict[str, Any] | None:
        """Return the request as the visitor sent it to a peer, or None if it wasn't forwarded."""
        header = _header(scope, HEADER)
        if header is None:
            return None
        try:
            at, target, client, scheme = self._serializer.loads(header)
        except (BadSignature, ValueError):
            return None
        if target != _target(scope) or abs(time.time() - at) > CLOCKS_APART:
            return None
        return {**scope, "client": (client, 0), "scheme": scheme}

    @property
    def _serializer(self) -> URLSafeSerializer:
        return URLSafeSerializer(self.secret, salt="a request that a node forwards")


@dataclass(eq=False)
class PeerProxy:
    """The ASGI application of one of several nodes. Enter `opened` before it serves.

    Args:
        host: the `HOST` that certificates of nodes are for.
    """

    app: ASGI
    nodes: Nodes
    signer: PeerSigner
    host: str
    _client: httpx.AsyncClient = field(init=False)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[PeerProxy]:
        """Keep connections to other nodes while the context lasts."""
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, pool=None)
        # The other node closes connections that are idle for five seconds. A request at that moment would be lost.
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=20, keepalive_expiry=2.0
        )
        context = ssl.create_default_context()
        async with httpx.AsyncClient(
            verify=context, trust_env=False, timeout=timeout, limits=limits
        ) as self._client:
            yield self

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request, here or by forwarding it."""
        match = _RUN.match(scope.get("path", ""))
        if scope["type"] not in ("http", "websocket") or match is None:
            await self.app(scope, receive, send)
            return
        if (verified := self.signer.verified(scope)) is not None:
            await self.app(verified, receive, send)
            return
        run_id, rest = match.groups()
        if scope["type"] == "websocket":
            await self._serve_websocket(run_id, scope, receive, send)
        elif scope["method"] in ("GET", "HEAD"):
            find = self.nodes.node_of_runner if rest == "/output" else self.nodes.recorder_of
            await self._serve_page(partial(find, run_id), scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _serve_page(
        self,
        find: Callable[[], Awaitable[Peer | None]],
        scope: dict[str, Any],
        receive: Any,
        send: Any,
    ) -> None:
        peer = await self._other(find)
        if peer is None:
            await self.app(scope, receive, send)
            return
        receive = VisitorMessages(receive)
        if peer.is_alive and await self._forward_page(peer, scope, receive, send):
            return
        await self.app({**scope, RECORDER_LOST: peer.name}, receive.again, send)

    async def _other(self, find: Callable[[], Awaitable[Peer | None]]) -> Peer | None:
        """Return the peer that has to answer, or None if this node does."""
        try:
            peer = await find()
        except StoreError:
            return None  # the application says so
        return None if peer is None or peer.id == self.nodes.own_id else peer

    async def _forward_page(
        self, peer: Peer, scope: dict[str, Any], receive: VisitorMessages, send: Any
    ) -> bool:
        """Pass a peer's answer on. Return False if there is none, and nothing was sent."""
        has_begun = False
        async with open_flat_nursery() as nursery:
            nursery.start_soon(_cancel_when_left, receive, nursery.cancel_scope)
            try:
                # The target is sent as it came, since it's signed. httpx would normalize that of a URL.
                prefix = httpx.URL(peer.address).raw_path.rstrip(b"/")
                target = prefix + _target(scope).encode("latin-1")
                async with self._client.stream(
                    scope["method"],
                    peer.address,
                    headers=self._headers(scope),
                    extensions={"sni_hostname": self.host, "target": target},
                ) as answer:
                    has_begun = True
                    await send(_beginning(answer))
                    async for chunk in answer.aiter_raw():
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            except httpx.HTTPError as error:
                _log_lost(peer, error)
                if has_begun:
                    raise  # closes the connection, so that the visitor notices
            nursery.cancel_scope.cancel()
        return has_begun or receive.has_left

    async def _serve_websocket(
        self, run_id: str, scope: dict[str, Any], receive: Any, send: Any
    ) -> None:
        find = partial(self.nodes.recorder_of, run_id)
        peer = await self._other(find)
        receive = VisitorMessages(receive)
        if (
            peer is not None
            and peer.is_alive
            and await self._forward_websocket(peer, find, scope, receive, send)
        ):
            return
        has_moved = False
        async with open_flat_nursery() as nursery:

            async def watch() -> None:
                nonlocal has_moved
                while True:
                    await trio.sleep(RECHECK_SECONDS)
                    other = await self._other(find)
                    if other is not None and other.is_alive:
                        has_moved = True
                        nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await self.app(scope, receive.again, send)
            nursery.cancel_scope.cancel()
        if has_moved:
            await send({"type": "websocket.close", "code": SERVICE_RESTART})

    async def _forward_websocket(
        self,
        peer: Peer,
        find: Callable[[], Awaitable[Peer | None]],
        scope: dict[str, Any],
        receive: VisitorMessages,
        send: Any,
    ) -> bool:
        """Pass messages on; return False if the peer can't be reached, and nothing was sent."""
        await receive()
        has_begun = False
        code, reason = SERVICE_RESTART, ""
        try:
            async with open_websocket(
                "ws" + peer.address.removeprefix("http") + _target(scope),
                self._headers(scope),
                connect_seconds=CONNECT_SECONDS,
                max_message=MAX_MESSAGE,
                host=self.host if peer.address.startswith("https") else _header(scope, "host"),
            ) as socket:
                await send({"type": "websocket.accept"})
                has_begun = True
                async with open_flat_nursery() as nursery:
                    nursery.start_soon(self._cancel_when_moved, peer, find, nursery.cancel_scope)
                    nursery.start_soon(_pass_on, receive, socket, nursery.cancel_scope)
                    await _return(socket, send)
        except (ExceptionGroup, *CONNECTION_ERRORS) as several:
            error = _first(several)
            if not isinstance(error, CONNECTION_ERRORS):
                raise
            if isinstance(error, ConnectionClosed) and error.reason is not None:
                code, reason = error.reason.code, error.reason.reason or ""
            if code in (SERVICE_RESTART, 1005, 1006):
                _log_lost(peer, error)
                code = SERVICE_RESTART
        if has_begun and not receive.has_left:
            await send({"type": "websocket.close", "code": code, "reason": reason})
        return has_begun or receive.has_left

    async def _cancel_when_moved(
        self, peer: Peer, find: Callable[[], Awaitable[Peer | None]], scope: trio.CancelScope
    ) -> None:
        """Cancel a scope once a peer has lost its lease, or another node records the run."""
        while True:
            await trio.sleep(RECHECK_SECONDS)
            try:
                found = await find()
            except StoreError:
                continue
            if found is not None and (found.id != peer.id or not found.is_alive):
                scope.cancel()

    def _headers(self, scope: dict[str, Any]) -> list[tuple[bytes, bytes]]:
        headers = [
            (name, value)
            for name, value in scope["headers"]
            if not _is_between_programs(name.decode("latin-1").lower(), scope["type"])
        ]
        return [*headers, (HEADER.encode(), self.signer.sign(scope).encode())]


class VisitorMessages:
    """The messages of a visitor's request. The first one can be received again by another application.

    Others that were read while asking a peer aren't kept: a GET may have a body of any length.
    """

    def __init__(self, receive: Any) -> None:
        self._receive = receive
        self._first: dict[str, Any] | None = None
        self.has_left = False

    async def __call__(self) -> dict[str, Any]:
        message: dict[str, Any] = await self._receive()
        if self._first is None:
            self._first = message
        self.has_left = self.has_left or message["type"].endswith(".disconnect")
        return message

    async def again(self) -> dict[str, Any]:
        """Return the first message again, as that of a request without a body, and then new ones."""
        message, self._first = self._first, None
        if message is None:
            message = await self._receive()
        elif message["type"] == "http.request":
            message = {**message, "body": b"", "more_body": False}
        return message


def _is_between_programs(name: str, kind: str) -> bool:
    if kind == "websocket" and (name == "host" or name.startswith("sec-websocket-")):
        return True  # the client makes its own
    return name in _NOT_FORWARDED


def _target(scope: dict[str, Any]) -> str:
    """Return the path and the query of a request."""
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").partition("?")[0]
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{path}?{query}" if query else str(path)


def _header(scope: dict[str, Any], wanted: str) -> str | None:
    found: Iterable[bytes] = (
        value for name, value in scope["headers"] if name.lower() == wanted.encode()
    )
    for value in found:
        return value.decode("latin-1")
    return None


def _beginning(answer: httpx.Response) -> dict[str, Any]:
    headers = [
        (name.lower(), value)
        for name, value in answer.headers.raw
        if name.decode("latin-1").lower() not in _NOT_RETURNED
    ]
    return {"type": "http.response.start", "status": answer.status_code, "headers": headers}


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _log_lost(peer: Peer, error: BaseException) -> None:
    log.warning("another node can't be asked", node=peer.name, address=peer.address, why=str(error))


async def _cancel_when_left(receive: VisitorMessages, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _pass_on(
    receive: VisitorMessages, socket: WebSocketConnection, scope: trio.CancelScope
) -> None:
    """Pass a visitor's messages on to the peer, until they leave."""
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        await socket.send_message(message["bytes"] if text is None else text)
    scope.cancel()


async def _return(socket: WebSocketConnection, send: Any) -> None:
    """Pass a peer's messages on to the visitor. Raises ConnectionClosed at their end."""
    while True:
        message = await socket.get_message()
        kind = "text" if isinstance(message, str) else "bytes"
        await send({"type": "websocket.send", kind: message})
