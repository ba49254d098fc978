"""Sending a command's test reports when it ends, including malicious ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.runner.call_context import CallContext
from bassloop.runner.engine import sent_files
from bassloop.runner.errors import DriverError
from bassloop.runner.host.host_driver import HostDriver
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.conventions import REPORT_PREFIX

from .test_host_driver import LOCAL, Bench, sh, text

if TYPE_CHECKING:
    from pathlib import Path

LOOP = CallContext("octocat/hello")


def with_reports(script: str, *patterns: str) -> pb.Thunk:
    values = pb.Array(values=[text(pattern) for pattern in patterns])
    return sh(script, labels=[pb.Binding(symbol="reports", value=pb.Value(array=values))])


async def sent(tmp_path: Path, thunk: pb.Thunk, context: CallContext = LOOP) -> dict[str, str]:
    """The reports that are sent, or why one is not, by their paths."""
    found: dict[str, str] = {}
    async with HostDriver.open(tmp_path / "state") as driver:
        bench = Bench(driver)
        try:
            await bench.run(thunk, context)
        except DriverError as error:
            assert str(error).startswith("exit status 1")  # noqa: PT017
        for update in bench.updates:
            for log in update.logs:
                if log.vertex.startswith(REPORT_PREFIX):
                    path = log.vertex.removeprefix(REPORT_PREFIX)
                    found[path] = found.get(path, "") + log.data.decode()
            for vertex in update.vertexes:
                if vertex.id.startswith(REPORT_PREFIX):
                    assert vertex.internal
                    if vertex.HasField("error"):
                        found[vertex.id.removeprefix(REPORT_PREFIX)] = f"({vertex.error})"
    return found


@pytest.mark.parametrize("status", [0, 1])
async def test_reports_are_sent_whether_the_command_fails_or_not(
    tmp_path: Path, status: int
) -> None:
    script = f"mkdir -p a/b; echo 1 > j.xml; echo 2 > a/b/k.xml; echo 3 > a/x.txt; exit {status}"
    assert await sent(tmp_path, with_reports(script, "**/*.xml")) == {
        "j.xml": "1\n",
        "a/b/k.xml": "2\n",
    }
    assert await sent(tmp_path / "2", with_reports(script, "./j.xml", "none")) == {"j.xml": "1\n"}
    assert await sent(tmp_path / "3", with_reports(script, "*"), LOCAL) == {}


async def test_a_command_without_a_report_is_noted(tmp_path: Path) -> None:
    assert await sent(tmp_path, with_reports("true", "j.xml", "*.tap")) == {
        "?": "(there is nothing at j.xml, *.tap)"
    }


async def test_a_label_may_be_a_single_path(tmp_path: Path) -> None:
    value = pb.Value(file_path=pb.FilePath(path="j.xml"))
    thunk = sh("echo 1 > j.xml", labels=[pb.Binding(symbol="reports", value=value)])
    assert await sent(tmp_path, thunk) == {"j.xml": "1\n"}


async def test_nothing_but_files_of_the_work_directory_is_sent(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key.xml").write_text("secret")
    script = (
        f"ln -s {outside}/key.xml link.xml; ln -s {outside} folder; mkfifo pipe.xml; "
        "mkdir dir.xml; echo fine > fine.xml"
    )
    assert await sent(tmp_path, with_reports(script, "**")) == {"fine.xml": "fine\n"}


async def test_sizes_and_numbers_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sent_files, "MAX_REPORT", 5)
    monkeypatch.setattr(sent_files, "MAX_REPORTS_SIZE", 9)
    monkeypatch.setattr(sent_files, "MAX_REPORTS", 4)
    script = "for n in 2 3 4 5; do echo 1234 > $n; done; echo 12345 > 1"
    assert await sent(tmp_path, with_reports(script, "*")) == {
        "?": "(5 files match, and only the first 4 are sent)",
        "1": "(it has 6 bytes, and 5 may be sent)",
        "2": "1234\n",
        "3": "(it has 5 bytes, and 4 may be sent)",
        "4": "(it has 5 bytes, and 4 may be sent)",
    }


async def test_an_invalid_pattern_is_only_reported(tmp_path: Path) -> None:
    [(path, why)] = (await sent(tmp_path, with_reports("true", "x" * 2_000))).items()
    assert path == "?"
    assert "too long" in why
