"""Log lines name their subject, so that all lines about a delivery are found by its id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from structlog.testing import LogCapture

from tests.loop.test_whole_path import check_run, tried

if TYPE_CHECKING:
    from tests.repositories import MakeRepository

OF_A_DELIVERY = ("delivery accepted", "delivery decided", "check run created", "run started")
OF_A_RUN = ("check run created", "run started", "run ended")
OF_A_RUNNER = ("run started", "runtime registered", "runtime removed")


async def test_lines_carry_the_ids_of_delivery_run_and_runner(
    make_repository: MakeRepository,
) -> None:
    before, capture = structlog.get_config(), LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    try:
        async with tried(make_repository(':ok (on src ($ sh -c "true"))')) as trial:
            guid, run = trial.guid, check_run(trial, "ok")["external_id"]
    finally:
        structlog.configure(**before)
    lines = {each["event"]: each for each in capture.entries}
    assert {lines[event]["delivery"] for event in OF_A_DELIVERY} == {guid}
    assert {lines[event]["run"] for event in OF_A_RUN} == {run}
    assert len({lines[event]["runtime"] for event in OF_A_RUNNER}) == 1
    assert lines["run started"]["runner"] == trial.standin.login
    assert lines["delivery accepted"]["client"] == "127.0.0.1"
