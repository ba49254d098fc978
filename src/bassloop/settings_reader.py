"""Reads the daemon's settings: from the command line, the environment, a file of `NAME=value` lines, and credentials.

Earlier sources win. Credentials are files in `CREDENTIALS_DIRECTORY`, named like their settings, as systemd's
`LoadCredential` provides them. An empty value counts as unset. Names that look like misspelt settings are errors.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from dotenv import dotenv_values
from pydantic import ValidationError

from bassloop.settings import APP, Settings, SettingsError, read_text_file, written_default

if TYPE_CHECKING:
    from collections.abc import Mapping

RETIRED = frozenset({"GITHUB_APP_SLUG", "HOOK_LIVE", "HOOK_STEPS"})
"""Settings of earlier versions, which are ignored."""

FOREIGN = frozenset({"SSH_CONNECTION", "LOGLEVEL", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"})
"""Environment variables of other programs that look like misspelt settings."""

OWN_VARIABLES = frozenset({"BASSLOOP_SETTINGS", "BASSLOOP_SESSIONS"})

NAMES = frozenset(name.upper() for name in Settings.model_fields)


def settings_path() -> Path:
    """Return the settings file: the one that `BASSLOOP_SETTINGS` names, or the default one.

    A user without a home, as with systemd's `DynamicUser=`, has no default file; an empty one is used instead.
    """
    if (named := os.environ.get("BASSLOOP_SETTINGS")) is not None:
        return Path(named)
    try:
        return Path(platformdirs.user_config_dir(APP)) / "settings.env"
    except RuntimeError:
        return Path(os.devnull)


def load_settings(**overrides: Any) -> Settings:
    """Return the settings from all sources.

    Args:
        overrides: values from the command line, which win over everything else; None counts as unset.

    Raises SettingsError for values that can't be used, and for names that look like misspelt settings.
    """
    sources = (
        _from_credentials(os.environ.get("CREDENTIALS_DIRECTORY")),
        _from_file(settings_path()),
        _from_environment(os.environ),
    )
    values: dict[str, Any] = {}
    for source in sources:
        values.update({name.lower(): value for name, value in source.items() if value})
    values.update({name: value for name, value in overrides.items() if value is not None})
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(map(_explained, error.errors()))) from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    unknown = []
    for name in environment:
        if name.upper() in NAMES | RETIRED | FOREIGN | OWN_VARIABLES:
            continue
        similar = get_close_matches(name.upper(), NAMES | OWN_VARIABLES, n=1, cutoff=0.9)
        if similar:
            unknown.append(f"the environment has {name}; did you mean {similar[0]}?")
    if unknown:
        raise SettingsError("\n".join(unknown))
    return {name.upper(): value for name, value in environment.items() if name.upper() in NAMES}


def _from_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        found = dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"can't read {path}: {error}") from error
    unknown = sorted(name for name in found if name.upper() not in NAMES | RETIRED)
    if unknown:
        raise SettingsError("\n".join(unknown_setting(name, str(path)) for name in unknown))
    return {name.upper(): value or "" for name, value in found.items() if name.upper() in NAMES}


def _from_credentials(directory: str | None) -> dict[str, str]:
    if directory is None:
        return {}
    found = {}
    for name in sorted(NAMES):
        path = Path(directory) / name
        if path.is_file():
            found[name] = read_text_file(path, name).strip()
    return found


def unknown_setting(name: str, where: str) -> str:
    """Return the message for a name that no setting has, with a suggestion if one is similar."""
    similar = get_close_matches(name.upper(), NAMES, n=1)
    hint = f"; did you mean {similar[0]}?" if similar else ""
    return f"{where}: there is no setting {name}{hint}"


def _explained(problem: Mapping[str, Any]) -> str:
    """Return a line with the setting, its value, what is allowed, and an example."""
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    field = str(problem["loc"][0])
    name = ".".join((field.upper(), *map(str, problem["loc"][1:])))
    if field not in Settings.model_fields:
        return unknown_setting(name, "settings")
    info = Settings.model_fields[field]
    secret = "Secret" in str(info.annotation)
    value = "" if secret or len(problem["loc"]) > 1 else f"{str(problem['input'])[:60]!r} "
    message = _MESSAGES.get(problem["type"], problem["msg"]).format(**problem.get("ctx", {}))
    message = message.removeprefix("Value error, ")
    if message.startswith("'"):  # contains the value, or the part of it that is wrong
        value = ""
    example = info.examples[0] if info.examples else written_default(field)
    hint = f"; for example {example}" if example and "such as" not in message and not secret else ""
    return f"{name}: {value}{message}{hint}"


_MESSAGES = {
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be {ge:g} or greater",
    "literal_error": "must be {expected}",
    "extra_forbidden": "is not known; seconds and bytes are",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "finite_number": "must be a finite number",
}
