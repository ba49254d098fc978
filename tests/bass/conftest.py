"""Evaluating Bass in tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bassloop import bass

Evaluate = Callable[..., Awaitable[bass.Value]]


class FakeHost:
    """A host that notes what it is asked for; thunks named `false` fail."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ran: list[str] = []
        self.said: list[str] = []
        self.output = b""

    async def read_file(self, tree: Any, path: str) -> bytes | None:
        return self.files.get(path)

    async def list_files(self, tree: Any, path: str) -> dict[str, bytes] | None:
        start = f"{path}/" if path else ""
        found = {
            name[len(start) :]: data for name, data in self.files.items() if name.startswith(start)
        }
        return found or None

    async def run(self, thunk: bass.Thunk) -> None:
        self.ran.append(thunk.cmdline())
        if thunk.cmdline() == "false":
            raise bass.BassError("exit status 1")

    async def read(self, thunk: bass.Thunk) -> bytes:
        self.ran.append(thunk.cmdline())
        return self.output

    async def resolve(self, ref: bass.ImageRef) -> bass.Thunk:
        return bass.Thunk(image=ref)

    def log(self, message: str, fields: dict[str, bass.Value]) -> None:
        self.said.append(" ".join([message, *(f"{k}={bass.show(v)}" for k, v in fields.items())]))


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def evaluate(host: FakeHost) -> Evaluate:
    """Evaluates a program in a session of its own, and returns what it binds to `result`."""

    async def evaluate(program: str, **budget: Any) -> bass.Value:
        async with bass.open_session(host, budget=bass.Budget(**budget)) as session:
            here = bass.RepositoryPath("repository", bass.DirPath("."))
            scope = await session.load(f"(def result (do {program}))", "program", here)
            await session.wait()
            return scope.get("result")

    return evaluate
