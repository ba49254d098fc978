"""The address and the scheme of a client behind trusted proxies.

A proxy appends the client's address to `X-Forwarded-For`, and anybody may have written what comes before it. So the
list is read from its end, as long as trusted proxies wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from bassloop.addresses import is_in, parse_ip

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from bassloop.setting_types import Network

    ASGI = Callable[[Any, Any, Any], Awaitable[None]]

SECURE = {"http": "https", "ws": "wss"}
PLAIN = {"https": "http", "wss": "ws"}


@dataclass(frozen=True, eq=False)
class Proxies:
    """An application behind proxies, which sees the client's address and scheme."""

    app: ASGI
    trusted: Sequence[Network]

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request. Its log lines have the client's address."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        seen = self._seen(scope)
        with structlog.contextvars.bound_contextvars(client=(seen.get("client") or ["unknown"])[0]):
            await self.app(seen, receive, send)

    def _seen(self, scope: dict[str, Any]) -> dict[str, Any]:
        client = scope.get("client")
        if not client or not is_in(client[0], self.trusted):
            return scope
        addresses = _values(scope["headers"], b"x-forwarded-for")
        seen = dict(scope)
        for address in reversed(addresses):
            if parse_ip(address) is None:
                break
            seen["client"] = (address, 0)
            if not is_in(address, self.trusted):
                break
        schemes = _values(scope["headers"], b"x-forwarded-proto")
        if schemes[-1:] == ["https"]:
            seen["scheme"] = SECURE.get(scope["scheme"], scope["scheme"])
        elif schemes[-1:] == ["http"]:
            seen["scheme"] = PLAIN.get(scope["scheme"], scope["scheme"])
        return seen


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """Return the values of all headers with a name, in order."""
    lines = [value.decode("latin-1") for key, value in headers if key.lower() == name]
    return [part.strip() for part in ",".join(lines).split(",") if part.strip()]
