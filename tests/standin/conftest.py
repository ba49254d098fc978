"""Fixtures: a stand-in served over a small repository, and a plain HTTP client."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
import trio

from bassloop.standin import StandIn, serve_standin
from tests.github.world import KEY, git, make_repository, standin_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two commits and a branch, which nothing writes to."""
    path = make_repository(tmp_path_factory.mktemp("standin") / "hello", a="one", sub__b="two")
    (path / "a").write_text("three")
    git(path, "commit", "--all", "--quiet", "--message", "second\n\nand why")
    git(path, "branch", "feature/x", "HEAD~1")
    return path


def statement(**claims: Any) -> str:
    """The App's JWT."""
    now = int(time.time())
    said = {"iat": now - 60, "exp": now + 500, "iss": "1", **claims}
    return jwt.encode(said, KEY.private, algorithm="RS256")


@dataclass
class Served:
    """A running stand-in, and a client of it."""

    standin: StandIn
    client: httpx.AsyncClient
    head: str

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask as the installation."""
        if not self.standin.tokens:
            self.standin.new_token()
        headers = {"Authorization": f"token {next(iter(self.standin.tokens))}"}
        options["headers"] = {**headers, **options.get("headers", {})}
        return await self.client.request(method, path, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.ask("GET", f"/repos/octocat/hello{path}", **options)

    async def as_app(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask as the App."""
        headers = {"Authorization": f"Bearer {statement()}"}
        return await self.client.request(method, path, headers=headers, **options)

    async def create(self, **fields: Any) -> httpx.Response:
        data = {"name": "test", "head_sha": self.head, **fields}
        return await self.ask("POST", "/repos/octocat/hello/check-runs", json=data)


@asynccontextmanager
async def open_standin(repository: Path, **options: Any) -> AsyncGenerator[Served]:
    standin = standin_of(repository, **options)
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            url: str = await nursery.start(serve_standin, standin)
            async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
                yield Served(standin, client, git(repository, "rev-parse", "HEAD"))
            nursery.cancel_scope.cancel()
