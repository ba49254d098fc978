"""Which run of which loop is meant: an address of its page, or its id with the loop's address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from bassloop.settings import Settings

_PAGE = re.compile(r"(.*)/runs/([A-Za-z0-9_-]{1,64})(?:/vertexes/(\d{1,18})(?:/.*)?)?/?", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_PLACE = re.compile(r"v(\d{1,18})(?:-L\d+)?", re.ASCII)


class RunAddress(NamedTuple):
    """A run: `server` is where its loop is, without a slash at the end; `vertex` is the row of the
    vertex that the address leads to, if it leads to one."""

    server: str
    run: str
    vertex: str | None = None

    @property
    def page(self) -> str:
        return f"{self.server}/runs/{self.run}"

    @property
    def websocket(self) -> str:
        """The websocket's address: http becomes ws, https wss."""
        return f"ws{self.page.removeprefix('http')}/live"


def run_address(text: str, server: str) -> RunAddress:
    """What somebody means by `text`: a page's address, or an id of a run of `server`.

    Raises ValueError, whose message says what is expected.
    """
    if "/" not in text:
        if not _ID.fullmatch(text):
            raise ValueError(f"{text!r} is neither a run's id nor the address of its page")
        return RunAddress(server.rstrip("/"), text)
    parts = urlsplit(text)
    found = _PAGE.fullmatch(parts.path)
    if parts.scheme not in ("http", "https") or not parts.netloc or found is None:
        raise ValueError(f"{text!r} is no address of a run, like https://loop.example.com/runs/ID")
    place = _PLACE.match(parts.fragment)
    vertex = found[3] or (place[1] if place else None)
    return RunAddress(f"{parts.scheme}://{parts.netloc}{found[1]}", found[2], vertex)


def daemon_address(settings: Settings) -> str:
    """Where this machine's daemon is; with TLS under its public name, which the certificate is for."""
    from bassloop.settings import parse_address, reached

    if settings.tls_cert_path and settings.external_url:
        return settings.external_url
    scheme = "https" if settings.tls_cert_path else "http"
    return f"{scheme}://{reached(*parse_address(settings.listen))}"
