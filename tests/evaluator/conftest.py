"""Hooks that are evaluated in processes of their own, for tests."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.evaluator import HostRefusal
from bassloop.evaluator.evaluators import Evaluators
from bassloop.evaluator.hook_process import EvaluatorLimits
from bassloop.evaluator.messages import Evaluate, PayloadEdit
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

GUARD = 200.0
"""How long a test may hang, in seconds. What it waits for takes milliseconds, on a machine that isn't busy."""

SHA = "0123456789" * 4
THUNK = '(with-image ($ echo hi) {:repository "alpine" :tag "1" :platform {:os "linux"}})'


@dataclass
class FakeHost:
    """A host that notes what it is asked for. What has no answer here is refused."""

    files: dict[str, bytes] = field(default_factory=dict)
    output: list[bytes] = field(default_factory=list)
    going: trio.Event = field(default_factory=trio.Event)
    asked: trio.Event = field(default_factory=trio.Event)
    logged: list[str] = field(default_factory=list)
    ran: list[bytes] = field(default_factory=list)
    checks: list[tuple[bytes, str, str]] = field(default_factory=list)
    awaited: list[str] = field(default_factory=list)
    event: bytes = b"{}"

    async def payload(self) -> bytes:
        return self.event

    async def read_file(self, path: str) -> bytes:
        self.asked.set()
        if path not in self.files:
            raise HostRefusal(f"there is no file {path}")
        return self.files[path]

    async def list_directory(self, path: str) -> Sequence[tuple[str, bool]]:
        return [(name, False) for name in sorted(self.files)]

    async def run(self, thunk: bytes) -> None:
        self.ran.append(thunk)
        self.asked.set()
        await self.going.wait()

    @asynccontextmanager
    async def read(self, thunk: bytes) -> AsyncGenerator[AsyncIterator[bytes]]:
        self.ran.append(thunk)

        async def pieces() -> AsyncGenerator[bytes]:
            for piece in self.output:
                if piece == b"lost":
                    raise HostRefusal("the runner was lost")
                yield piece

        yield pieces()

    def export(self, thunk: bytes) -> object:
        raise AssertionError("not used here")

    export_path = export

    async def resolve(self, reference: bytes) -> bytes:
        raise HostRefusal("there is no runner")

    async def start_check(
        self, thunk: bytes, name: str, sha: str, after: Sequence[str], limit: float | None
    ) -> Callable[[], Awaitable[None]]:
        if sha != SHA:
            raise HostRefusal(f"{sha} is no head")
        self.checks.append((thunk, name, sha))
        self.asked.set()

        async def wait() -> None:
            self.awaited.append(name)
            await self.going.wait()
            if name == "broken":
                raise HostRefusal("the check failed")

        return wait

    def log(self, message: str, fields: str) -> None:
        self.logged.append(f"{message} {fields}".rstrip())


def hook(body: str, *, before: str = "", **changes: object) -> Evaluate:
    """A request to evaluate a hook with a body, in which `event` and `client` are bound."""
    wanted = {
        "path": "project.bass",
        "source": f"{before}\n(defn github-hook [event client] {body})",
        "module": True,
        "tree": "octocat/hello",
        "event": "push",
        "edit": PayloadEdit.NONE,
        "output": 10_000,
    }
    return Evaluate(**{**wanted, **changes})  # type: ignore[arg-type]


@dataclass
class Evaluating:
    """Evaluators that run."""

    evaluators: Evaluators
    host: FakeHost
    others: frozenset[int]
    """Processes that were there before, such as fork servers that tests share."""

    async def evaluate(
        self, body: str, *, key: object = 1, payload: bytes = b"{}", **more: object
    ) -> None:
        """Evaluate a hook; raises as `Evaluators.evaluate` does."""
        self.host.event = payload
        await self.evaluators.evaluate(hook(body, **more), self.host, key)  # type: ignore[arg-type]

    async def until_waiting(self, name: str) -> None:
        """Wait until a hook has nothing left to do but to wait for its check of this name."""
        await until(lambda: name in self.host.awaited)
        await until(lambda: not self.evaluators.statistics()["evaluating"])

    async def spares(self) -> set[int]:
        """Wait until there are two spares, and return their ids."""
        # Earlier, the fork server has short-lived processes that probe its confinement.
        await until(lambda: self.evaluators.statistics()["spares"] == 2)
        with trio.fail_after(GUARD):
            while len(found := {each for each in self.processes() if not descendants(each)}) < 2:
                await trio.sleep(0.01)  # nothing tells when a process is there
        return found

    def processes(self) -> list[int]:
        """The ids of the processes of these evaluators, zombies included."""
        return descendants(without=self.others)


def descendants(pid: int | str = "self", without: frozenset[int] = frozenset()) -> list[int]:
    """The ids of all processes that descend from one, but for some and their descendants."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            found += [int(child) for child in children if int(child) not in without]
    return found + [each for child in found for each in descendants(child)]


@asynccontextmanager
async def evaluating(**limits: object) -> AsyncGenerator[Evaluating]:
    """Evaluators that run while the context lasts, without spares unless some are wanted.

    On a busy machine, processes of such low priority take many times longer: no limit is near, unless it's given.
    """
    evaluators = Evaluators(EvaluatorLimits(**{"spares": 0, "cpu_seconds": 100, **limits}))  # type: ignore[arg-type]
    others = frozenset(descendants())
    with trio.fail_after(GUARD):
        async with trio.open_nursery() as nursery:
            await nursery.start(evaluators.run)
            yield Evaluating(evaluators, FakeHost(), others)
            nursery.cancel_scope.cancel()


@pytest.fixture
async def small() -> AsyncGenerator[Evaluating]:
    """Evaluators with little memory, and few slots."""
    async with evaluating(memory=96 << 20, at_once=4) as made:
        yield made


@pytest.fixture
async def hasty() -> AsyncGenerator[Evaluating]:
    """Evaluators with so little time that an endless hook soon reaches its limit."""
    async with evaluating(cpu_seconds=1) as made:
        yield made
