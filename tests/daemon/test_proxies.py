"""The client's address in a proxy's headers counts only as far as trusted proxies have added it."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from bassloop.daemon.http_server import Proxies

TRUSTED = tuple(map(ip_network, ("127.0.0.1", "10.0.0.0/8", "fd00::/8")))


async def client_and_scheme(
    client: str, *headers: tuple[str, str], scheme: str = "http", kind: str = "http"
) -> tuple[str, str]:
    """The client and the scheme that the application sees."""
    found: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope)

    given = [(name.encode(), value.encode()) for name, value in headers]
    scope = {"type": kind, "scheme": scheme, "client": (client, 1234), "headers": given}
    await Proxies(app, TRUSTED)(scope, None, None)
    return found[0]["client"][0], found[0]["scheme"]


@pytest.mark.parametrize(
    ("client", "forwarded", "who"),
    [
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "1.1.1.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("127.0.0.1", "10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9, <script>", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("203.0.113.7", "127.0.0.1", "203.0.113.7"),
        ("fd00::1", "203.0.113.9", "203.0.113.9"),
    ],
)
async def test_the_client_is_the_last_address_that_is_not_a_trusted_proxy(
    client: str, forwarded: str, who: str
) -> None:
    assert (await client_and_scheme(client, ("X-Forwarded-For", forwarded)))[0] == who


async def test_headers_of_the_same_name_are_read_as_one_list() -> None:
    headers = (("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9"))
    assert (await client_and_scheme("127.0.0.1", *headers))[0] == "203.0.113.9"


@pytest.mark.parametrize(
    ("client", "kind", "scheme", "said", "is_seen"),
    [
        ("127.0.0.1", "http", "http", "https", "https"),
        ("127.0.0.1", "websocket", "ws", "https", "wss"),
        ("127.0.0.1", "http", "https", "http", "http"),
        ("127.0.0.1", "http", "http", "gopher", "http"),
        ("203.0.113.7", "http", "http", "https", "http"),
    ],
)
async def test_a_trusted_proxy_reports_the_scheme_of_the_request(
    client: str, kind: str, scheme: str, said: str, is_seen: str
) -> None:
    found = await client_and_scheme(client, ("X-Forwarded-Proto", said), kind=kind, scheme=scheme)
    assert found[1] == is_seen
