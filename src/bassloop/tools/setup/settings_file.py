"""Writes secrets to the settings file, so that none is lost, exposed, or half written.

The new file is made beside the old one, readable only by its owner, parsed with the daemon's parser, and only then
renamed over the old one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dotenv

from bassloop.private_files import write_private_file

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

PRIVATE = 0o600


class SettingsFileError(Exception):
    """The settings file can't be used. The message names it and the fix."""


def assigned(path: Path, names: Collection[str]) -> list[str]:
    """Return those of the settings that the file gives a value; none if there is no file."""
    if not path.exists():
        return []
    try:
        values = dotenv.dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsFileError(f"can't read {path}: {error}") from error
    return [name for name in names if values.get(name)]


def try_to_write(path: Path) -> None:
    """Raise SettingsFileError if the file can't be written, before anything depends on it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        message = f"can't write {path}: {error.strerror} (BASSLOOP_SETTINGS names another file)"
        raise SettingsFileError(message) from error


def write(path: Path, values: Mapping[str, str]) -> Path | None:
    """Set these values in the file; everything else in it stays as it is.

    Returns the path of a copy of the old file if it had another value for one of them. Raises SettingsFileError, and
    then the file is as it was.
    """
    replaced = assigned(path, values)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".settings-") as folder:
            made = Path(folder) / path.name
            made.touch(mode=PRIVATE)
            if path.exists():
                made.write_bytes(path.read_bytes())
            for name, value in values.items():
                dotenv.set_key(made, name, value)
            read = dotenv.dotenv_values(made)
            broken = [name for name, value in values.items() if read.get(name) != value]
            if broken:
                raise SettingsFileError(f"{', '.join(broken)} can't be written to {path}")
            backup = _copy(path) if replaced else None
            write_private_file(path, made.read_bytes())
            return backup
    except OSError as error:
        raise SettingsFileError(f"can't write {path}: {error}") from error


def rescue(values: Mapping[str, str]) -> Path:
    """Write values that can't be had again to a new private file in the temporary directory."""
    descriptor, name = tempfile.mkstemp(prefix="bassloop-app-", suffix=".env")
    os.close(descriptor)
    for setting, value in values.items():
        dotenv.set_key(name, setting, value)
    return Path(name)


def _copy(path: Path) -> Path:
    backup = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    shutil.copyfile(path, backup)
    backup.chmod(PRIVATE)
    return backup
