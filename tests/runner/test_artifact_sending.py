"""Sending a command's artifacts at the end of the run, including malicious ones."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bassloop.runner.call_context import ArtifactLimits, CallContext
from bassloop.runner.engine import sent_files
from bassloop.runner.errors import DriverError
from bassloop.runner.host.host_driver import HostDriver
from bassloop.trust.statement import ArtifactDigests
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.conventions import ARTIFACT_PREFIX

from .test_host_driver import Bench, sh, text

if TYPE_CHECKING:
    from pathlib import Path

LOOP = CallContext("octocat/hello", artifact_limits=ArtifactLimits(1_000_000, 2_000_000))


def with_artifacts(script: str, *patterns: str) -> pb.Thunk:
    values = pb.Array(values=[text(pattern) for pattern in patterns])
    return sh(script, labels=[pb.Binding(symbol="artifacts", value=pb.Value(array=values))])


async def sent(
    folder: Path, thunk: pb.Thunk, context: CallContext = LOOP, times: int = 1
) -> dict[str, bytes]:
    """The artifacts that are sent the last time, or why one is not, by their paths."""
    found: dict[str, bytes] = {}
    async with HostDriver.open(folder) as driver:
        for _ in range(times):
            bench = Bench(driver)
            try:
                output = await bench.run(thunk, context)
                await driver.send_artifacts(thunk, output, context, bench.send)
            except DriverError as error:
                assert str(error).startswith("exit status 1")  # noqa: PT017
        digests = ArtifactDigests()
        for update in bench.updates:
            digests.note(update)
            for log in update.logs:
                if log.vertex.startswith(ARTIFACT_PREFIX):
                    path = log.vertex.removeprefix(ARTIFACT_PREFIX)
                    found[path] = found.get(path, b"") + log.data
            for vertex in update.vertexes:
                if vertex.id.startswith(ARTIFACT_PREFIX):
                    assert vertex.internal
                    path = vertex.id.removeprefix(ARTIFACT_PREFIX)
                    found.setdefault(path, b"")
                    if vertex.HasField("error"):
                        found[path] = f"({vertex.error})".encode()
        complete = [path for path in found if not found[path].startswith(b"(")]
        assert [path for path, _ in digests.listed()] == sorted(complete)
    return found


@pytest.mark.parametrize(("status", "times"), [(0, 1), (0, 2), (1, 1)])
async def test_artifacts_are_sent_whether_the_command_fails_succeeds_or_was_cached(
    tmp_path: Path, status: int, times: int
) -> None:
    script = f"mkdir -p a/b; echo 1 > j.whl; echo 2 > a/b/k.whl; : > e.whl; exit {status}"
    assert await sent(tmp_path, with_artifacts(script, "**/*.whl"), times=times) == {
        "j.whl": b"1\n",
        "a/b/k.whl": b"2\n",
        "e.whl": b"",
    }


async def test_a_folder_is_sent_as_one_archive(tmp_path: Path) -> None:
    script = "mkdir -p site/a; echo 1 > site/a/x; ln -s /etc/passwd site/link"
    [(path, data)] = (await sent(tmp_path, with_artifacts(script, "site/"))).items()
    assert path == "site.tar"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [each.name for each in tar] == ["a", "link", "a/x"]


async def test_a_loop_that_accepts_no_artifacts_gets_none(tmp_path: Path) -> None:
    thunk = with_artifacts("echo 1 > x; exit 1", "x")
    assert await sent(tmp_path, thunk, replace(LOOP, artifact_limits=None)) == {}


async def test_nothing_but_files_of_the_work_directory_is_sent(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key").write_text("secret")
    script = f"ln -s {outside}/key link; ln -s {outside} folder; mkfifo pipe; echo fine > fine"
    assert await sent(tmp_path / "1", with_artifacts(script, "**")) == {"fine": b"fine\n"}
    for pattern in ("folder/", "folder/key", "../outside/", "/etc/"):
        found = await sent(tmp_path / "2", with_artifacts(script, pattern))
        assert list(found) == ["?"], pattern


async def test_limits_on_sizes_numbers_and_paths_are_enforced_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sent_files, "MAX_ARTIFACTS", 4)
    script = "for n in 2 3 4 5; do echo 1234 > $n; done; echo 12345 > 1"
    small = replace(LOOP, artifact_limits=ArtifactLimits(5, 9))
    found = await sent(tmp_path / "1", with_artifacts(script, "*"), small)
    assert found.pop("2") == b"1234\n"
    assert {path: why.split(b"(")[-1] for path, why in found.items()} == {
        "1": b"ARTIFACT_LIMIT))",
        "3": b"RUN_ARTIFACTS))",
        "4": b"RUN_ARTIFACTS))",
        "?": found["?"].split(b"(")[-1],
    }
    assert b"5 files match, but at most 4 are stored" in found["?"]
    script = "touch 'a\\b' \"$(printf 'x\\033y')\"; touch $(printf '%0201d' 0)"
    found = await sent(tmp_path / "2", with_artifacts(script, "*"))
    assert all(why.startswith(b"(its path has") for why in found.values())
    assert len(found) == 3


async def test_missing_artifacts_are_reported(tmp_path: Path) -> None:
    assert await sent(tmp_path, with_artifacts("true", "dist/*.whl", "site/")) == {
        "?": b"(there is nothing at dist/*.whl, site/)"
    }
