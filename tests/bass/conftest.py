"""Evaluating Bass in tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bassloop import bass

Evaluate = Callable[..., Awaitable[bass.Value]]


class FakeHost(bass.Host):
    """A host that notes what it is asked for; thunks named `false` fail."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ran: list[str] = []
        self.said: list[str] = []
        self.output = b""

    def directory(self) -> bass.FSPath:
        """The files, as a script's `*dir*`."""
        return bass.repository_dir(bass.MemoryFiles(self.files, "repository"))

    async def run(self, thunk: bass.Thunk) -> None:
        self.ran.append(thunk.cmdline())
        if thunk.cmdline() == "false":
            raise bass.BassError("exit status 1")

    @asynccontextmanager
    async def read(self, thunk: bass.Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
        self.ran.append(thunk.cmdline())

        async def pieces() -> AsyncGenerator[bytes]:
            yield self.output

        yield pieces()

    async def resolve(self, ref: bass.ImageRef) -> bass.Thunk:
        return bass.Thunk(image=ref)

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        self.said.append(" ".join([message, *(f"{k}={v}" for k, v in fields.items())]))

    def write_error(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def evaluate(host: FakeHost) -> Evaluate:
    """Evaluates a program in a session of its own, and returns what it binds to `result`."""

    async def evaluate(program: str, **budget: Any) -> bass.Value:
        async with bass.open_session(
            host, budget=bass.Budget(setting="HOOK_{}", **budget)
        ) as session:
            program = f"(def result (do {program}))"
            scope = await session.load(program, "program", host.directory())
            await session.wait()
            return scope.get("result")

    return evaluate
