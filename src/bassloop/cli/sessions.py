"""Where a terminal keeps that it is signed in, by loop: a file for its owner alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import platformdirs

from bassloop.private_files import write_private_file

APP = "bass-loop"


def sessions_file() -> Path:
    """The file: the one that `BASSLOOP_SESSIONS` names, else the one in the user's state directory."""
    usual = Path(platformdirs.user_state_dir(APP)) / "sessions.json"
    return Path(os.environ.get("BASSLOOP_SESSIONS", usual))


def site_of(url: str) -> str:
    """The loop that an address is of: scheme, host and port. Raises ValueError for no address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no address like https://loop.example.com")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    port = parts.port or usual
    return f"{parts.scheme}://{host}" + ("" if port == usual else f":{port}")


def session_headers(url: str) -> list[tuple[str, str]]:
    """What to send with a request to a loop, so that it knows who asks; nothing for one where nobody
    signed in. Never for another scheme, host or port than that of the sign-in."""
    known = _read().get(site_of(url))
    token = known.get("token") if isinstance(known, dict) else None
    return [("Authorization", f"Bearer {token}")] if isinstance(token, str) else []


def known_sites() -> list[str]:
    """The loops where somebody is signed in."""
    return list(_read())


def keep_session(url: str, login: str, token: str, expires_at: str) -> None:
    """Keep a session. Raises ClickException when it can't be kept."""
    kept = {"login": login, "token": token, "expires_at": expires_at}
    _write({**_read(), site_of(url): kept})


def drop_session(url: str) -> None:
    """Forget a session."""
    _write({site: kept for site, kept in _read().items() if site != site_of(url)})


def _read() -> dict[str, Any]:
    try:
        found = json.loads(sessions_file().read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise click.ClickException(f"can't read {sessions_file()}: {error.strerror}") from error
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write(sessions: dict[str, Any]) -> None:
    path = sessions_file()
    try:
        write_private_file(path, json.dumps(sessions, indent=1).encode())
    except OSError as error:
        raise click.ClickException(f"can't write {path}: {error.strerror}") from error
