"""The daemon on this machine: its address, its answers, its store, and replays of its deliveries."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import platformdirs
import trio

from bassloop.addresses import parse_address, reached
from bassloop.github import sign
from bassloop.private_files import write_private_file
from bassloop.store import find_blobs, find_database, is_served, open_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from bassloop.settings import Settings
    from bassloop.store import Delivery, Store


ANSWER_SECONDS = 10.0

APP = "bass-loop"
LOCATION_SETTINGS = ("data_dir", "sqlite_path", "blobs_bucket", "blobs_url")
"""The settings that determine where a daemon's data is."""

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0


class DaemonError(Exception):
    """The daemon or its data can't be reached; the message has the fix."""


def daemon_address(settings: Settings) -> str:
    """Return the daemon's address. With TLS, that's its external one, because its certificate has that name."""
    if settings.tls_cert_path and settings.external_url:
        return settings.external_url
    return _local_address(settings)


def _local_address(settings: Settings) -> str:
    try:
        found = json.loads(settings.address_file.read_bytes())["local_url"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if isinstance(found, str):
        return found
    scheme = "https" if settings.tls_cert_path else "http"
    return f"{scheme}://{reached(*parse_address(settings.listen))}"


def answers(settings: Settings) -> bool:
    """Return whether the daemon answers."""
    return _get(settings, "/up") is not None


def readiness(settings: Settings) -> dict[str, Any] | None:
    """Return the daemon's report about its parts, or None if it doesn't answer."""
    answer = _get(settings, "/ready")
    try:
        parts = json.loads(answer) if answer is not None else None
    except ValueError:
        return None
    return parts if isinstance(parts, dict) else None


def _get(settings: Settings, path: str) -> bytes | None:
    address = _local_address(settings)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if address.startswith("https:"):
        # The certificate has the external name. A connection from this machine to itself can't be intercepted.
        unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        handlers.append(urllib.request.HTTPSHandler(context=unverified))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(address + path, timeout=ANSWER_SECONDS) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        return error.read()  # a daemon that isn't ready answers 503, with the reason
    except OSError:
        return None


def _folder() -> Path | None:
    """Return the folder of the files; None for a user without a home, such as one of systemd's `DynamicUser=`."""
    try:
        return Path(platformdirs.user_state_dir(APP)) / "daemons"
    except RuntimeError:
        return None


@contextmanager
def registered(settings: Settings) -> Iterator[None]:
    """Record a daemon's settings so that commands find it. If the file can't be written, they don't.

    Nothing is recorded with DATABASE_URL, since it contains a password.
    """
    folder = _folder()
    if settings.database_url is not None or folder is None:
        yield
        return
    path = folder / f"{os.getpid()}.json"
    locations = {
        name: value for name in LOCATION_SETTINGS if (value := getattr(settings, name)) is not None
    }
    locations = {"data_dir": settings.data_dir, **locations}
    content = {
        name: str(value.resolve()) if isinstance(value, Path) else value
        for name, value in locations.items()
    }
    with suppress(OSError):
        write_private_file(path, json.dumps(content).encode())
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def running_daemons() -> list[dict[str, str]]:
    """Return the settings that say where the data is, for each daemon that runs on this machine."""
    found: list[dict[str, str]] = []
    folder = _folder()
    if folder is None:
        return found
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_bytes())
            locations = {name: str(content[name]) for name in LOCATION_SETTINGS if name in content}
            database = Path(locations.get("sqlite_path") or f"{locations['data_dir']}/loop.db")
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if database.is_file() and is_served(database):
            found.append(locations)
        else:
            with suppress(OSError):
                path.unlink()
    return found


async def use_store(settings: Settings, use: Callable[[Store], Awaitable[T]]) -> T:
    """Call `use` with the daemon's store, and return its result.

    Raises DaemonError if there is no database, and StoreError.
    """
    check_database(settings)
    blobs = await trio.to_thread.run_sync(partial(find_blobs, settings, probe=False))
    async with open_store(settings.database, blobs, owner=False) as store:
        return await use(store)


def check_database(settings: Settings) -> None:
    """Raise DaemonError if there is no database, and StoreError if it can't be accessed."""
    database = find_database(settings.database)
    if not database.exists():
        where = (
            "name it with DATABASE_URL" if settings.database_url else "say where with --data-dir"
        )
        raise DaemonError(
            f"there is no database {database}, so no loop has run here: `bassloop serve` starts one. "
            f"If its data is elsewhere, {where}"
        )


def redeliver(settings: Settings, delivery: Delivery, body: bytes, url: str | None = None) -> str:
    """Post a delivery to the daemon, and return its answer.

    Args:
        body: its payload.
        url: the daemon's address, if it differs from the settings.

    Raises DaemonError if the daemon refuses the delivery, or doesn't answer.
    """
    secret = settings.webhook_secret()
    if secret is None:
        raise DaemonError("GITHUB_APP_WEBHOOK_SECRET is not set, but the daemon needs it")
    where = (url or daemon_address(settings)).rstrip("/")
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": delivery.event,
        "X-GitHub-Delivery": delivery.guid,
        "X-Hub-Signature-256": sign(secret, body),
    }
    try:
        with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            answer = client.post(
                f"{where}/integrations/github/events", content=body, headers=headers
            )
    except httpx.HTTPError as error:
        raise DaemonError(
            f"the daemon at {where} did not answer: {error} (--url says where it listens)"
        ) from error
    if answer.status_code != 202:
        raise DaemonError(
            f"the daemon at {where} refused the delivery: {answer.status_code} {answer.text}"
        )
    return answer.text
