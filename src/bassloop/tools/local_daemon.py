"""The daemon on this machine: its address, and what it answers.

The daemon writes its address to its data directory, so that commands find it whatever `serve` was given on its command
line. Where that file is missing, or of a daemon that was killed, the settings say where the daemon is.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from bassloop.setting_types import parse_address, reached

if TYPE_CHECKING:
    from bassloop.settings import Settings

ANSWER_SECONDS = 10.0


class DaemonError(Exception):
    """The daemon, or its data, can't be reached; the message says how to fix that."""


def daemon_address(settings: Settings) -> str:
    """Return the daemon's address: with TLS its external one, which is the name in its certificate."""
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
    """Return what the daemon says about its parts, or None if it doesn't answer."""
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
        # The certificate is for the external name; nobody can stand between this machine and itself.
        unverified = ssl._create_unverified_context()  # noqa: S323
        handlers.append(urllib.request.HTTPSHandler(context=unverified))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(address + path, timeout=ANSWER_SECONDS) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        return error.read()  # a daemon that isn't ready answers 503, with the reason
    except OSError:
        return None
