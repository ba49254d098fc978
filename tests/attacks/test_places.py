"""A repository that starts more checks than may run at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.bridge.grpc import open_grpc_server
from bassloop.wire.runtime_grpc import RuntimeBase
from tests.until import until

from .conftest import STUCK_SECONDS
from .runners import CHECKS, HOOK, registered

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.attacks

PLACES = CHECKS // 2
SETTINGS = {"REPOSITORY_RUNS": str(PLACES)}


class Busy(RuntimeBase):
    """Never answers a call, and counts those that it gets at the same time."""

    def __init__(self) -> None:
        self.calls = 0

    async def Run(self, stream) -> None:  # type: ignore[no-untyped-def]
        self.calls += 1
        try:
            await stream.recv_message()
            await asyncio.Event().wait()
        finally:
            self.calls -= 1

    Read = Export = ExportPath = Publish = Resolve = Run


async def test_a_repository_holds_no_more_places_than_it_may_have(target: Target) -> None:
    runner = Busy()

    def waiting() -> list[dict[str, Any]]:
        reason = "are running (REPOSITORY_RUNS)"
        runs = target.world.standin.check_runs
        return [each for each in runs if reason in str(each["output"])]

    async with open_grpc_server([runner]) as new_session, registered(target, new_session):
        async with target.used_by_others("more checks than places"):
            await target.push(HOOK)
            with trio.fail_after(STUCK_SECONDS):
                await until(lambda: len(waiting()) == CHECKS - PLACES and runner.calls == PLACES)
            await target.other_is_concluded("more checks than places")
        assert runner.calls == PLACES
