"""Artifacts of other checks: taken in before a run, found by its command, and part of its cache key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bassloop.runner.call_context import CallContext, GivenArtifact
from bassloop.runner.errors import DriverError
from bassloop.runner.host.host_driver import HostDriver
from bassloop.runner.service import MAX_RUNS, ReceivedArtifacts
from bassloop.wire import bass_pb2 as pb

from .test_host_driver import Bench, sh, text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

LOOP = CallContext("octocat/hello")


async def pieces(data: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(data), 3):
        yield data[start : start + 3]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_received_artifacts_are_available_to_their_run(tmp_path: Path) -> None:
    received = ReceivedArtifacts(tmp_path)
    await received.receive("r", "build/a", sha(b"content"), pieces(b"content"))
    [given] = received.of_run("r", json.dumps([["build/a", sha(b"content")]]))
    assert given.file.read_bytes() == b"content"
    for run, listed in (
        ("other", [["build/a", sha(b"content")]]),
        ("r", [["build/b", sha(b"content")]]),
        ("r", [["build/a", sha(b"another")]]),
    ):
        with pytest.raises(DriverError, match="has not come"):
            received.of_run(run, json.dumps(listed))
    for nonsense in ("", "{", "1", "[1]", "[[1]]"):
        with pytest.raises(DriverError):
            received.of_run("r", nonsense)
    await received.drop("r")
    assert list(tmp_path.iterdir()) == []


async def test_an_artifact_that_comes_again_replaces_the_first(tmp_path: Path) -> None:
    received = ReceivedArtifacts(tmp_path)
    for content in (b"one", b"two"):
        await received.receive("r", "a", sha(content), pieces(content))
    [given] = received.of_run("r", json.dumps([["a", sha(b"two")]]))
    assert list(tmp_path.iterdir()) == [given.file]


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "", "a//b", "a\\b", "x" * 501, "a\0"])
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(DriverError, match="can't be given"):
        await ReceivedArtifacts(tmp_path).receive("r", name, sha(b""), pieces(b""))


async def test_an_artifact_with_a_wrong_digest_leaves_nothing(tmp_path: Path) -> None:
    received = ReceivedArtifacts(tmp_path)
    with pytest.raises(DriverError, match="isn't what the loop says"):
        await received.receive("r", "a", sha(b"right"), pieces(b"wrong"))
    assert list(tmp_path.iterdir()) == []
    for number in range(MAX_RUNS + 1):
        await received.receive(f"r{number}", "a", sha(b"x"), pieces(b"x"))
    assert len(list(tmp_path.iterdir())) == MAX_RUNS


async def test_artifacts_that_do_not_come_drop_none_of_other_runs(tmp_path: Path) -> None:
    received = ReceivedArtifacts(tmp_path)
    await received.receive("r", "a", sha(b"x"), pieces(b"x"))
    for number in range(MAX_RUNS):
        with pytest.raises(DriverError, match="isn't what the loop says"):
            await received.receive(f"r{number}", "a", sha(b"right"), pieces(b"wrong"))
    assert received.of_run("r", json.dumps([["a", sha(b"x")]]))


async def test_an_artifact_that_comes_after_its_run_was_dropped_is_dropped_next_time(
    tmp_path: Path,
) -> None:
    received = ReceivedArtifacts(tmp_path)

    async def late() -> AsyncGenerator[bytes]:
        await received.drop("r")
        yield b"late"

    await received.receive("r", "a", sha(b"x"), pieces(b"x"))
    await received.receive("r", "b", sha(b"late"), late())
    await received.drop("r")
    assert list(tmp_path.iterdir()) == []


def using(script: str) -> pb.Thunk:
    value = pb.Value(array=pb.Array(values=[text("build")]))
    return sh(script, labels=[pb.Binding(symbol="uses", value=value)])


async def test_given_artifacts_are_part_of_a_commands_key_but_not_of_its_output(
    tmp_path: Path,
) -> None:
    contexts = []
    for number, data in enumerate((b"one", b"two")):
        file = tmp_path / str(number)
        file.write_bytes(data)
        given = (GivenArtifact("build (3.12)/dist/a", sha(data), file),)
        contexts.append(replace(LOOP, given=given))
    thunk = using("cat 'artifacts/build (3.12)/dist/a' > copy")
    async with HostDriver.open(tmp_path / "state") as driver:
        bench = Bench(driver)
        for context, content in zip(contexts, ("one", "two"), strict=True):
            output = await bench.run(thunk, context)
            assert (output.files / "copy").read_text() == content
            assert [each.name for each in output.files.iterdir()] == ["copy"]
        plain = sh("ls")
        await bench.run(plain, contexts[0])
        assert not (await bench.run(plain, contexts[1])).files.joinpath("artifacts").exists()
        with pytest.raises(DriverError, match="exit status"):
            await bench.run(thunk, LOOP)
