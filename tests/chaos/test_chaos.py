"""Three nodes while everything that can fail does: nothing is lost, doubled, or left behind."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.loop.world import open_world
from tests.s3_server import IGNORES_DEPRECATION, SETTINGS, serve_bucket

from .trial import COMMAND, FAULTS, HOOK, Plan, open_chaos, play

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import PostgreSQLServer
    from tests.repositories import MakeRepository

    from .report import Report

pytestmark = [pytest.mark.chaos, IGNORES_DEPRECATION]

PUSHES = 200
"""The most pushes in a trial, however long."""


@pytest.fixture
def s3() -> Iterator[tuple[str, int]]:
    with serve_bucket() as address:
        yield address


def check(report: Report) -> None:
    """Check what must hold for any seed."""
    assert report.accepted
    assert (report.lost, report.handled_twice, report.started_twice) == (0, 0, 0)
    assert (report.doubled, report.spinning, report.crashes) == (0, 0, 0)
    assert (report.log_bytes_lost, report.unmarked) == (0, 0)
    assert report.seconds is not None


@pytest.mark.timeout(3600)
async def test_nothing_is_lost_duplicated_or_left_behind(
    make_repository: MakeRepository,
    postgresql: PostgreSQLServer,
    s3: tuple[str, int],
    tmp_path: Path,
) -> None:
    """CHAOS_SECONDS says how long, CHAOS_RATE how many pushes come in a second, and CHAOS_FAULTS what may go wrong."""
    seconds = float(os.environ.get("CHAOS_SECONDS", "60"))
    faults = tuple(os.environ.get("CHAOS_FAULTS", " ".join(FAULTS)).split())
    # Each node has its share of the calls that GitHub allows in a minute and in an hour.
    rate = min(float(os.environ.get("CHAOS_RATE", "1")), PUSHES / seconds)
    plan = Plan(seed=random.randrange(10**6), seconds=seconds, rate=rate, faults=faults)
    url = postgresql.create()
    there = conninfo_to_dict(url)
    folder = tmp_path / "world"
    hook = HOOK.replace("COMMAND", COMMAND.replace("FOLDER", str(folder / "written")))
    async with open_world(make_repository(**{"project.bass": hook}), folder, **SETTINGS) as world:
        socket = f"{there['host']}/.s.PGSQL.5432"
        around = open_chaos(plan, world, socket, str(there["dbname"]), s3, "s3://loop-data/chaos")
        async with around as chaos:
            report = await play(chaos)
    print(f"\n{plan}\n{report}")
    check(report)
