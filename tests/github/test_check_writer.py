"""Check runs are created once, changed in order, and have no doubled annotations, despite any errors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.github import Action, Annotation, CheckOutput, GitHubError
from bassloop.standin import Fault, garbage, lost_answer, secondary_limit

from .world import IMPATIENT, World, open_world

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CREATE = r"/repos/[^/]+/[^/]+/check-runs"
UPDATE = CREATE + r"/\d+"


async def conclude(
    world: World,
    number: int,
    *,
    text: str | None = None,
    annotations: Sequence[Annotation] = (),
    completed_at: float | None = None,
) -> None:
    output = CheckOutput("Done", "It ran.", text, tuple(annotations))
    await world.repo.update_check_run(
        number, output, status="completed", conclusion="success", completed_at=completed_at
    )


async def test_a_check_run_is_created_and_concluded(repository: Path) -> None:
    async with open_world(repository) as world:
        cancel = Action("Cancel", "Stop this check", "cancel")
        made = await world.repo.create_check_run(world.draft(actions=(cancel,), started_at=0.0))
        await conclude(world, made.id, text="the log", completed_at=61.0)
        [run] = world.standin.check_runs
        assert (run["status"], run["conclusion"]) == ("completed", "success")
        assert run["started_at"] == "1970-01-01T00:00:00Z"
        assert run["completed_at"] == "1970-01-01T00:01:01Z"
        shown = {name: run["output"][name] for name in ("title", "summary", "text")}
        assert shown == {"title": "Done", "summary": "It ran.", "text": "the log"}
        assert made.app_id == world.standin.app_id


@pytest.mark.parametrize(
    "fault",
    [
        lost_answer(CREATE, method="POST"),
        Fault("POST", CREATE, status=502, after=True),
        Fault("POST", CREATE, status=500, times=2),
        Fault("POST", CREATE, status=200, body=b"<html>", after=True),
        garbage(CREATE, method="POST"),
        secondary_limit(CREATE, method="POST", seconds=0),
    ],
    ids=["lost", "502 after", "500 before", "garbage after", "garbage before", "limit"],
)
async def test_a_failed_creation_results_in_one_check_run(repository: Path, fault: Fault) -> None:
    async with open_world(repository) as world:
        world.standin.faults.add(fault)
        made = await world.repo.create_check_run(world.draft())
        assert fault.happened
        assert [run["id"] for run in world.standin.check_runs] == [made.id]


async def test_a_cancelled_creation_results_in_one_check_run(
    repository: Path,
) -> None:
    async with open_world(repository, retries=IMPATIENT) as world:
        fault = Fault("POST", CREATE, status=None, delay=1_000, after=True)
        world.standin.faults.add(fault)
        made = await world.repo.create_check_run(world.draft())
        assert fault.happened
        assert [run["id"] for run in world.standin.check_runs] == [made.id]


async def test_a_check_run_is_not_mistaken_for_that_of_another_run(repository: Path) -> None:
    async with open_world(repository) as world:
        first = await world.repo.create_check_run(world.draft(external_id="run-1"))
        world.standin.faults.add(Fault("POST", CREATE, status=502))
        second = await world.repo.create_check_run(world.draft(external_id="run-2"))
        assert second.id != first.id
        found = await world.repo.find_check_run(world.head, "test", "run-1")
        assert found is not None
        assert found.id == first.id
        assert await world.repo.find_check_run(world.head, "test", "run-3") is None


async def test_a_check_run_on_a_later_page_is_found(repository: Path) -> None:
    async with open_world(repository) as world:
        for number in range(103):
            await world.repo.create_check_run(world.draft(external_id=f"run-{number}"))
        found = await world.repo.find_check_run(world.head, "test", "run-0")
        assert found is not None
        assert len(await world.repo.check_runs(world.head, name="test")) == 103
        assert await world.repo.check_runs(world.head, name="other") == []


async def test_waiting_changes_are_merged_into_one(repository: Path) -> None:
    async with open_world(repository) as world:
        made = await world.repo.create_check_run(world.draft())
        world.standin.requests.clear()
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(_say, world, made.id, f"{number} of 20")
                await trio.lowlevel.checkpoint()
            nursery.start_soon(conclude, world, made.id)
        assert len(world.asked("/check-runs/")) <= 3
        [run] = world.standin.check_runs
        assert (run["conclusion"], run["output"]["title"]) == ("success", "Done")
        assert world.github.check_writer.waiting == 0


async def _say(world: World, number: int, title: str) -> None:
    await world.repo.update_check_run(number, CheckOutput(title, "s"), status="in_progress")


async def test_a_change_survives_the_cancellation_of_the_one_before_it(repository: Path) -> None:
    async with open_world(repository) as world:
        made = await world.repo.create_check_run(world.draft())
        world.standin.faults.add(Fault("PATCH", UPDATE, status=None, delay=0.3))
        async with trio.open_nursery() as nursery:
            cancelled = trio.CancelScope()

            async def first() -> None:
                with cancelled:
                    await _say(world, made.id, "half way")

            nursery.start_soon(first)
            await trio.sleep(0.1)
            nursery.start_soon(conclude, world, made.id)
            await trio.lowlevel.checkpoint()
            cancelled.cancel()
        assert world.standin.check_runs[0]["conclusion"] == "success"


async def test_a_failed_change_raises_its_error_in_its_caller(repository: Path) -> None:
    async with open_world(repository) as world:
        made = await world.repo.create_check_run(world.draft())
        world.standin.faults.add(Fault("PATCH", UPDATE, status=422, times=1))
        with pytest.raises(GitHubError, match="422"):
            await _say(world, made.id, "half way")
        await conclude(world, made.id)
        assert world.standin.check_runs[0]["conclusion"] == "success"


def notes(count: int) -> list[Annotation]:
    return [Annotation(f"src/{n}.py", n + 1, f"error {n}") for n in range(count)]


async def test_annotations_are_sent_fifty_at_a_time_in_order(repository: Path) -> None:
    async with open_world(repository) as world:
        made = await world.repo.create_check_run(world.draft())
        await conclude(world, made.id, annotations=notes(120))
        sent = world.standin.annotations[made.id]
        assert [note["message"] for note in sent] == [f"error {n}" for n in range(120)]
        assert world.standin.check_runs[0]["conclusion"] == "success"
        patches = [call for call in world.asked("/check-runs/") if call[0] == "PATCH"]
        assert len(patches) == 3


async def test_a_check_run_is_created_with_all_its_annotations(repository: Path) -> None:
    async with open_world(repository) as world:
        output = CheckOutput("Done", "It ran.", annotations=tuple(notes(70)))
        draft = replace(world.draft(status="completed", conclusion="failure"), output=output)
        made = await world.repo.create_check_run(draft)
        sent = world.standin.annotations[made.id]
        assert [note["message"] for note in sent] == [f"error {n}" for n in range(70)]
        assert world.standin.check_runs[0]["conclusion"] == "failure"


@pytest.mark.parametrize("skip", [0, 1, 2])
@pytest.mark.parametrize("after", [True, False])
async def test_annotations_are_not_duplicated_by_a_retry(
    repository: Path, skip: int, after: bool
) -> None:
    async with open_world(repository) as world:
        made = await world.repo.create_check_run(world.draft())
        world.standin.faults.add(Fault("PATCH", UPDATE, status=502, skip=skip, after=after))
        await conclude(world, made.id, annotations=notes(120))
        sent = world.standin.annotations[made.id]
        assert [note["message"] for note in sent] == [f"error {n}" for n in range(120)]


async def test_annotations_that_are_sent_again_after_a_crash_are_not_duplicated(
    repository: Path,
) -> None:
    async with open_world(repository) as world:
        made = await world.repo.create_check_run(world.draft())
        for _ in range(2):
            await conclude(world, made.id, annotations=notes(70))
        assert len(world.standin.annotations[made.id]) == 70


async def test_an_annotation_that_github_refuses_does_not_keep_a_check_run_open(
    repository: Path,
) -> None:
    async with open_world(repository) as world:
        made = await world.repo.create_check_run(world.draft())
        long = Annotation("a.py", 0, "é" * 100_000, title="t" * 1000, end_line=-4)
        nowhere = Annotation("", 1, "in no file")
        await conclude(world, made.id, annotations=[nowhere, long])
        [sent] = world.standin.annotations[made.id]
        assert len(sent["message"].encode()) <= 64 << 10
        assert (sent["start_line"], sent["end_line"]) == (1, 1)
