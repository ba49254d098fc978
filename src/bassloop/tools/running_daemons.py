"""The user's daemons that run, so that commands find one whose data isn't in the default place.

Each daemon that `serve` runs has a file in the user's state directory that says where its data is. A file of a daemon
that was killed is ignored, and removed when it is found.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from bassloop.private_files import write_private_file
from bassloop.store import is_served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.settings import Settings

APP = "bass-loop"
PLACES = ("data_dir", "sqlite_path", "blobs_bucket", "blobs_url")
"""The settings that say where a daemon's data is."""


def _folder() -> Path | None:
    """Return the folder of the files; None for a user without a home, as under `DynamicUser=` of systemd."""
    try:
        return Path(platformdirs.user_state_dir(APP)) / "daemons"
    except RuntimeError:
        return None


@contextmanager
def registered(settings: Settings) -> Iterator[None]:
    """Let commands find a daemon with these settings. Where that can't be written, they don't.

    Nor do they find one with DATABASE_URL, since that has a password in it.
    """
    folder = _folder()
    if settings.database_url is not None or folder is None:
        yield
        return
    path = folder / f"{os.getpid()}.json"
    places = {name: value for name in PLACES if (value := getattr(settings, name)) is not None}
    places = {"data_dir": settings.data_dir, **places}
    content = {
        name: str(value.resolve()) if isinstance(value, Path) else value
        for name, value in places.items()
    }
    with suppress(OSError):
        write_private_file(path, json.dumps(content).encode())
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def running_places() -> list[dict[str, str]]:
    """Return where the data of each running daemon is, as settings."""
    found: list[dict[str, str]] = []
    folder = _folder()
    if folder is None:
        return found
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_bytes())
            places = {name: str(content[name]) for name in PLACES if name in content}
            database = Path(places.get("sqlite_path") or f"{places['data_dir']}/loop.db")
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if database.is_file() and is_served(database):
            found.append(places)
        else:
            with suppress(OSError):
                path.unlink()
    return found
