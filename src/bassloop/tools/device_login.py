"""Sign in to a loop from a terminal: GitHub's device flow, and the file that stores sessions."""

from __future__ import annotations

import json
import math
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import platformdirs
import trio

from bassloop.addresses import trusted_certificates
from bassloop.private_files import write_private_file

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

APP = "bass-loop"
MAX_INTERVAL = 60.0
"""The maximum time in seconds between two requests to the loop."""

TEMPORARY_STATUSES = frozenset({429, 502, 503, 504})
"""Status codes of temporary errors of the loop, GitHub or a proxy."""


class SignInError(Exception):
    """Signing in or out failed; the message gives the reason."""


class _TryAgain(SignInError):
    """The loop didn't answer, or answered with a temporary error."""


# --- sessions, by the site that they are for ---


def sessions_file() -> Path:
    """Return the file that `BASSLOOP_SESSIONS` names, or the one in the user's state directory."""
    default = Path(platformdirs.user_state_dir(APP)) / "sessions.json"
    return Path(os.environ.get("BASSLOOP_SESSIONS", default))


def site_of(url: str) -> str:
    """Return the scheme, host and port of an address. Raises ValueError if it isn't one."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no address such as https://loop.example.com")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    port = parts.port or default
    return f"{parts.scheme}://{host}" + ("" if port == default else f":{port}")


def session_headers(url: str) -> list[tuple[str, str]]:
    """Return the headers that identify the user to a loop; none if the user hasn't signed in there.

    They are valid only for the scheme, host and port of the sign-in. Raises SignInError.
    """
    session = _read().get(site_of(url))
    token = session.get("token") if isinstance(session, dict) else None
    return [("Authorization", f"Bearer {token}")] if isinstance(token, str) else []


def known_sites() -> list[str]:
    """Return the loops where the user has signed in. Raises SignInError."""
    return list(_read())


def store_session(url: str, login: str, token: str, expires_at: str) -> None:
    """Store a session. Raises SignInError."""
    session = {"login": login, "token": token, "expires_at": expires_at}
    _write({**_read(), site_of(url): session})


def drop_session(url: str) -> None:
    """Delete a session. Raises SignInError."""
    _write({site: session for site, session in _read().items() if site != site_of(url)})


def _read() -> dict[str, Any]:
    try:
        found = json.loads(sessions_file().read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SignInError(f"can't read {sessions_file()}: {error.strerror}") from error
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write(sessions: dict[str, Any]) -> None:
    path = sessions_file()
    try:
        write_private_file(path, json.dumps(sessions, indent=1).encode())
    except OSError as error:
        raise SignInError(f"can't write {path}: {error.strerror}") from error


# --- the device flow ---


async def sign_in(
    site: str,
    show_code: Callable[[str, str], None],
    transport: httpx.AsyncBaseTransport | None = None,
) -> dict[str, Any]:
    """Have the user sign in with a browser, store the session, and return it.

    After that, the loop is polled until the code expires, less and less often while it doesn't answer.

    Args:
        show_code: called with the page where the user enters a code, and the code.
        transport: replaces the network in tests.

    Raises SignInError if the loop refuses, can't be reached, or the code expires.
    """
    async with _client(site, transport) as client:
        device = await _post(client, "/sign-in/device", {})
        try:
            body = {"device": str(device["device"])}
            page, code = str(device["verification_uri"]), str(device["user_code"])
            interval, seconds = _seconds(device["interval"]), _seconds(device["expires_in"])
        except (KeyError, TypeError, ValueError) as error:
            raise _not_a_loop(site) from error
        show_code(page, code)
        last_error: _TryAgain | None = None
        # The protocol only allows polling, at the interval that the loop sets (RFC 8628).
        with trio.move_on_after(seconds):
            while True:
                await trio.sleep(interval)
                try:
                    session = await _post(client, "/sign-in/device/token", body)
                except _TryAgain as error:
                    last_error = error
                    interval = min(2 * interval, MAX_INTERVAL)
                    continue
                last_error = None
                try:
                    if "token" in session:
                        given = (session["login"], session["token"], session["expires_at"])
                        store_session(site, *map(str, given))
                        return session
                    interval = min(max(interval, _seconds(session["interval"])), MAX_INTERVAL)
                except (KeyError, TypeError, ValueError) as error:
                    raise _not_a_loop(site) from error
    why = "" if last_error is None else f" ({last_error})"
    raise SignInError(f"the code has expired{why}; start again") from last_error


async def sign_out(site: str) -> bool | None:
    """Delete the session here and end it at the loop.

    Return None if there was no session, otherwise whether the loop has ended it. Raises SignInError.
    """
    headers = session_headers(site)
    drop_session(site)
    if not headers:
        return None
    async with _client(site) as client:
        try:
            answer = await client.post("/sign-out", headers=headers)
        except httpx.HTTPError:
            return False
    return answer.status_code in (303, 401)


async def _post(client: httpx.AsyncClient, path: str, body: dict[str, str]) -> dict[str, Any]:
    """Return the loop's answer.

    Raises SignInError, with the loop's message if there is one, and _TryAgain for a temporary error.
    """
    try:
        answer = await client.post(path, json=body)
        content = answer.json()
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise _TryAgain(f"{client.base_url} can't be reached: {reason}") from error
    except ValueError:
        content = None
    if answer.status_code in TEMPORARY_STATUSES:
        message = content.get("error") if isinstance(content, dict) else None
        raise _TryAgain(f"{client.base_url}: {message or answer.reason_phrase}")
    if not isinstance(content, dict):
        raise _not_a_loop(str(client.base_url))
    if answer.status_code >= 300:
        raise SignInError(f"{client.base_url}: {content.get('error', answer.reason_phrase)}")
    return content


def _not_a_loop(site: str) -> SignInError:
    return SignInError(f"{site} isn't a loop, or a proxy is in the way")


def _seconds(value: Any) -> float:
    """Return a duration from an answer. Raises TypeError or ValueError."""
    seconds = float(value)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{value!r} is no duration")
    return seconds


@asynccontextmanager
async def _client(
    site: str, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncGenerator[httpx.AsyncClient]:
    headers = {"Accept": "application/json"}
    async with httpx.AsyncClient(
        base_url=site,
        timeout=30,
        headers=headers,
        transport=transport,
        trust_env=False,
        verify=trusted_certificates(site),
    ) as client:
        yield client
