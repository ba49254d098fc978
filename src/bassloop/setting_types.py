"""The types of settings: how to parse each, and what is allowed."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from bassloop.addresses import parse_address
from bassloop.units import parse_duration, parse_size

_PERSON = re.compile(r"@?[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("must be an address like https://loop.example.com")
    return value.rstrip("/")


def _address(value: str) -> str:
    parse_address(value)
    return value


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return tuple(ip_network(part) for part in value.replace(",", " ").split())
    except ValueError as error:
        raise ValueError(
            f"{error}; must be addresses and networks, such as 10.0.0.0/8 192.0.2.1"
        ) from error


def _people(value: str) -> str:
    for name in filter(None, (each.strip() for each in value.split(","))):
        if not _PERSON.fullmatch(name):
            raise ValueError(
                f"{name[:60]!r} is neither a GitHub id nor a login; "
                "must be ids or logins, separated by commas, such as 583231, octocat"
            )
    return value


def read_duration(value: object) -> object:
    """Return a text's duration in seconds, and other values unchanged."""
    return parse_duration(value) if isinstance(value, str) else value


def read_size(value: object) -> object:
    """Return a text's size in bytes, and other values unchanged."""
    return parse_size(value) if isinstance(value, str) else value


def _json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"must be JSON: {error}") from error


BaseURL = Annotated[str, AfterValidator(_base_url)]
Address = Annotated[str, AfterValidator(_address)]
Network = IPv4Network | IPv6Network
Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]
Seconds = Annotated[float, BeforeValidator(read_duration), Field(gt=0, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, BeforeValidator(read_duration), Field(ge=0, allow_inf_nan=False)]
"""Seconds; 0 switches the feature off."""
Bytes = Annotated[int, BeforeValidator(read_size), Field(gt=0)]
SizeOrNone = Annotated[int, BeforeValidator(read_size), Field(ge=0)]
Count = Annotated[int, Field(gt=0)]


People = Annotated[str, AfterValidator(_people)]


class KeepBounds(BaseModel):
    """A repository's retention: seconds to keep its runs, and bytes of logs. None is the default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: Seconds | None = None
    bytes: Bytes | None = None


Repositories = Annotated[dict[str, KeepBounds], BeforeValidator(_json)]
