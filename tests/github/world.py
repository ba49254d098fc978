"""A client and the stand-in that it asks, over real HTTP."""

from __future__ import annotations

import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from bassloop.github import (
    CheckOutput,
    CheckRunDraft,
    GitHub,
    GitHubConfig,
    RepositoryClient,
    RetryPolicy,
    open_github,
)
from bassloop.standin import StandIn, serve_standin
from tests.keys import APP

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from bassloop.tools.trial import AppKey

QUICK = RetryPolicy(attempts=3, first_delay=0.01, longest_delay=5)

IMPATIENT = RetryPolicy(attempts=20, first_delay=0.01, longest_delay=5, answer_seconds=2)
"""For answers that don't come. There are more attempts than a busy machine wastes on those that do."""

KEY = APP


def git(path: Path, *args: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    command = ["git", "-C", str(path), *who, "-c", "commit.gpgsign=false", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def make_repository(path: Path, **files: str | bytes) -> Path:
    """A repository with one commit on main. A name's `__` is a slash in the path."""
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch=main")
    for name, content in (files or {"project.bass": "(def x 1)\n"}).items():
        file = path / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message", "first")
    return path


def standin_of(repository: Path, **options: Any) -> StandIn:
    return StandIn(
        repository_path=repository,
        **{
            "app_key": KEY.public,
            "owner": "octocat",
            "name": "hello",
            "login": "octocat",
            "keys": ["ssh-ed25519 AAAA octocat@home"],
            "webhook_secret": "s3cret",
            **options,
        },
    )


@dataclass
class World:
    """Everything there is."""

    standin: StandIn
    github: GitHub
    repo: RepositoryClient
    head: str

    def draft(self, **more: Any) -> CheckRunDraft:
        fields: dict[str, Any] = {
            "name": "test",
            "head_sha": self.head,
            "external_id": "run-1",
            "details_url": "http://127.0.0.1/runs/1",
            "status": "in_progress",
        }
        shown: dict[str, Any] = {"title": "Running", "summary": "It runs."}
        for name in ("title", "summary", "text", "actions"):
            if name in more:
                shown[name] = more.pop(name)
        return CheckRunDraft(**{**fields, "output": CheckOutput(**shown), **more})

    def asked(self, part: str) -> list[tuple[str, str, int]]:
        """The calls whose path has a part in it."""
        return [call for call in self.standin.requests if part in call[1]]


@asynccontextmanager
async def open_world(
    repository: Path, *, retries: RetryPolicy = QUICK, key: AppKey = KEY, **options: Any
) -> AsyncGenerator[World]:
    """A stand-in over a repository, and a client of it."""
    standin = standin_of(repository, **options)
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            url: str = await nursery.start(serve_standin, standin)
            config = GitHubConfig(url, standin.app_id, key.private, retries=retries)
            async with open_github(config) as github:
                repo = github.repository(standin.installation_id, "octocat", "hello")
                yield World(standin, github, repo, git(repository, "rev-parse", "HEAD"))
            nursery.cancel_scope.cancel()
