"""The stand-in's state: a repository, its owner, an App, and the check runs that were made."""

from __future__ import annotations

import itertools
import json
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bassloop.github import User, sign
from bassloop.standin.git import GitRepository


class StandInError(Exception):
    """The stand-in can't do what was asked of it; the message says what."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a delivery: its id, and what the loop answered."""

    guid: str
    status: int
    message: str


@dataclass(eq=False)
class StandIn:
    """A stand-in for github.com with one user, one repository of theirs, and one App installed on it.

    Args:
        keys: the user's public SSH keys, as lines of an authorized_keys file.
        app_key: the App's *public* key, PEM; requests must be signed with its private half.
        permissions: what the App was granted; GitHub refuses what needs more.
    """

    repository_path: Path
    owner: str
    name: str
    login: str
    keys: Sequence[str]
    app_key: str
    webhook_secret: str
    private: bool = False
    app_id: int = 1
    installation_id: int = 1
    permissions: Mapping[str, str] = field(
        default_factory=lambda: {
            "checks": "write",
            "contents": "read",
            "metadata": "read",
            "pull_requests": "read",
        }
    )
    url: str = ""
    check_runs: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    tokens: dict[str, float] = field(default_factory=dict)
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1001))

    @property
    def git(self) -> GitRepository:
        """The repository behind it."""
        return GitRepository(self.repository_path)

    @property
    def user(self) -> User:
        """Its one user."""
        return User(101, "U_101", self.login)

    @property
    def full_name(self) -> str:
        """OWNER/NAME."""
        return f"{self.owner}/{self.name}"

    def new_token(self) -> tuple[str, float]:
        """An installation's token, and when it expires."""
        token, expires = "ghs_" + secrets.token_urlsafe(32), time.time() + 3600
        self.tokens[token] = expires
        return token, expires

    async def payload(self, event: str) -> dict[str, Any]:
        """A payload for HEAD. Raises StandInError for an event that it can't make one for."""
        from bassloop.standin import payloads

        return await payloads.make(self, event)

    async def deliver(self, loop_url: str, event: str, payload: Mapping[str, Any]) -> Delivered:
        """Sign a payload and post it, as GitHub does. Raises StandInError when nobody answers."""
        body, guid = json.dumps(payload).encode(), str(uuid.uuid4())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/standin",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": guid,
            "X-Hub-Signature-256": sign(self.webhook_secret.encode(), body),
        }
        address = f"{loop_url}/integrations/github/events"
        try:
            async with httpx.AsyncClient(timeout=10.0) as client:
                answer = await client.post(address, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise StandInError(f"the loop at {loop_url} did not answer: {error!r}") from error
        return Delivered(guid, answer.status_code, answer.text[:500])
