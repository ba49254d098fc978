"""Storing the artifacts of a run, including those of misbehaving runners."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from bassloop.checks.file_collectors import (
    ENTRIES_AT_ONCE,
    ArtifactCollector,
    ArtifactQuotas,
)
from bassloop.checks.live_runs import LiveRuns
from bassloop.checks.quotas import QuotaLimits, Quotas
from bassloop.checks.recorder import Recorder, recording
from bassloop.trust.statement import CallDigests
from bassloop.wire import progrock_pb2 as progrock
from bassloop.wire.conventions import ARTIFACT_PREFIX, MAX_ARTIFACTS

from .test_recorder import open_store_with_run, update

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from bassloop.store import Store

LIMITS = ArtifactQuotas(one=1_000, run=2_500, repository=3_000)


@asynccontextmanager
async def collecting(
    folder: Path, limits: ArtifactQuotas = LIMITS, quotas: Quotas | None = None
) -> AsyncGenerator[tuple[Store, Recorder, CallDigests]]:
    async with open_store_with_run(folder) as store:
        run = await store.runs.get("r")
        assert run is not None
        collector = ArtifactCollector(store, run, limits, quotas or Quotas())
        async with recording(store, LiveRuns(), "r", None, collector) as recorder:
            yield store, recorder, CallDigests()


def begun(path: str, *data: bytes) -> progrock.StatusUpdate:
    vertex = progrock.Vertex(id=f"{ARTIFACT_PREFIX}{path}", name="artifact")
    vertex.started.FromSeconds(1)
    return update(vertex, logs=[(vertex.id, each) for each in data])


def ended(path: str, error: str | None = None) -> progrock.StatusUpdate:
    vertex = progrock.Vertex(id=f"{ARTIFACT_PREFIX}{path}", name="artifact")
    vertex.completed.FromSeconds(2)
    if error is not None:
        vertex.error = error
    return update(vertex)


async def stored_artifacts(store: Store) -> dict[str, str]:
    return {each.path: each.sha256 for each in await store.artifacts.of_run("r")}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_complete_artifacts_are_stored_and_have_the_signed_digests(tmp_path: Path) -> None:
    async with collecting(tmp_path) as (store, recorder, digests):
        updates = (
            begun("dist/a", b"one", b"two"),
            begun("b"),
            ended("dist/a"),
            ended("b"),
            begun("dist/a", b"three"),  # the first one counts
            ended("dist/a"),
            begun("broken", b"x"),
            ended("broken", "it can't be read"),
            begun("half", b"x"),
        )
        for each in updates:
            await recorder.record(each)
            digests.note(each)
        assert await stored_artifacts(store) == {"b": sha(b""), "dist/a": sha(b"onetwo")}
        assert dict(digests.artifacts.listed()) == await stored_artifacts(store)
        assert recorder.steps() == []
        assert digests.log.hexdigest() == CallDigests().log.hexdigest()
        await recorder.settle()
        assert [step.name for step in recorder.steps()] == [
            "[loop] the artifact broken is not kept: it can't be read"
        ]
    names = {path.name for path in (tmp_path / "blobs" / "artifacts" / "r").iterdir()}
    assert names == {sha(b""), sha(b"onetwo")}


async def test_each_bound_is_enforced_and_reported(tmp_path: Path) -> None:
    async with collecting(tmp_path) as (store, recorder, _):
        for path, size in (("a", 1_000), ("b", 1_001), ("c", 900), ("d", 900)):
            await recorder.record(begun(path, b"x" * size))
            await recorder.record(ended(path))
        assert list(await stored_artifacts(store)) == ["a"]
        assert recorder.artifacts is not None
        assert {
            path: why.rpartition("(")[2] for path, why in recorder.artifacts.problems.items()
        } == {
            "b": "ARTIFACT_LIMIT)",
            "c": "RUN_ARTIFACTS)",
            "d": "RUN_ARTIFACTS)",
        }


async def test_a_repository_has_a_bound_of_its_own_and_others_keep_their_artifacts(
    tmp_path: Path,
) -> None:
    limits = replace(LIMITS, repository=1_500)
    async with collecting(tmp_path, limits) as (store, recorder, _):
        for path in ("a", "b"):
            await recorder.record(begun(path, path.encode() * 1_000))
            await recorder.record(ended(path))
        assert await stored_artifacts(store) == {"a": sha(b"a" * 1_000)}
        assert recorder.artifacts is not None
        assert "REPOSITORY_ARTIFACTS" in recorder.artifacts.problems["b"]
    assert len(list((tmp_path / "blobs" / "artifacts" / "r").iterdir())) == 1


async def test_nothing_is_cached_on_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    quotas = Quotas(QuotaLimits(free_space=100), lambda: 150)
    async with collecting(tmp_path, LIMITS, quotas) as (store, recorder, _):
        await recorder.record(begun("a", b"x" * 100))
        await recorder.record(ended("a"))
        assert await stored_artifacts(store) == {}
        assert recorder.artifacts is not None
        assert "FREE_SPACE" in recorder.artifacts.problems["a"]


async def test_no_path_leads_out_of_the_folder_of_artifacts(tmp_path: Path) -> None:
    hostile = (
        "../a",
        "/etc/passwd",
        "a/../b",
        "a//b",
        "./a",
        "a\\b",
        "a\0b",
        "",
        "x" * 201,
        "\u202ea",
    )
    async with collecting(tmp_path) as (store, recorder, digests):
        for path in hostile:
            for each in (begun(path, b"x"), ended(path)):
                await recorder.record(each)
                digests.note(each)
        assert await stored_artifacts(store) == {}
        assert digests.artifacts.listed() == ()
        assert recorder.artifacts is not None
        assert len(recorder.artifacts.problems) == len(hostile)


async def test_loop_and_runner_bound_the_number_of_artifacts_in_the_same_way(
    tmp_path: Path,
) -> None:
    async with collecting(tmp_path) as (store, recorder, digests):
        for number in range(3 * MAX_ARTIFACTS):
            for each in (begun(f"{number:03}"), ended(f"{number:03}")):
                await recorder.record(each)
                digests.note(each)
        assert len(await stored_artifacts(store)) == MAX_ARTIFACTS
        assert await stored_artifacts(store) == dict(digests.artifacts.listed())


async def test_others_run_between_the_parts_of_very_many_artifacts(tmp_path: Path) -> None:
    batches, turns = 5, 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    parts = update(logs=[(f"{ARTIFACT_PREFIX}a", b"x")] * ENTRIES_AT_ONCE * batches)
    async with collecting(tmp_path) as (_, recorder, _), trio.open_nursery() as nursery:
        assert recorder.artifacts is not None
        nursery.start_soon(take_turns)
        await recorder.artifacts.take(parts)
        nursery.cancel_scope.cancel()
    assert turns >= batches
