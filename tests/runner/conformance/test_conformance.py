"""The same thunks on all drivers, over gRPC, with the same results; or why not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bassloop.runner.engine import step_progress
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.runtime_grpc import RuntimeBase

from ..containers.conftest import BASE, engine, forget_state, registry  # noqa: F401  (fixtures)
from ..made import sh
from .asking import Asked
from .cases import CASES
from .drivers import DRIVERS, open_runtime

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.runner.container.container_engine import ContainerEngine


async def differences(driver: str, asked: Asked) -> dict[str, str]:
    """Return the answers that differ from the expected ones, by case."""
    found = {}
    for case in CASES:
        said = await case.ask(asked)
        if driver in case.instead:
            if not re.search(case.instead[driver][0], said):
                found[str(case)] = said
        elif said != case.expected:
            found[str(case)] = said
    return found


async def test_the_host_runs_thunks_as_specified(tmp_path: Path) -> None:
    async with open_runtime("host", tmp_path) as runtime:
        assert await differences("host", Asked(runtime, BASE)) == {}


@pytest.mark.containers
async def test_a_sandbox_runs_thunks_as_specified(tmp_path: Path) -> None:
    async with open_runtime("sandboxed", tmp_path) as runtime:
        assert await differences("sandboxed", Asked(runtime, BASE)) == {}


@pytest.mark.containers
async def test_containers_run_thunks_as_specified(
    tmp_path: Path,
    engine: ContainerEngine,  # noqa: F811
    registry: str,  # noqa: F811
) -> None:
    allowed = (f"{registry}/team",)
    async with open_runtime("container", tmp_path, publish_to=allowed) as runtime:
        assert await differences("container", Asked(runtime, BASE, registry)) == {}
    await forget_state(engine, tmp_path / "container", registry)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner that waits for the end of a line however long its writer pauses, as it may on a busy machine."""
    monkeypatch.setattr(step_progress, "HOLD_SECONDS", 600)


async def numbers_of_two_streams(driver: str, folder: Path) -> list[int]:
    """The numbers in the log of a command that prints them on both streams at the same time."""
    async with open_runtime(driver, folder) as runtime:
        thunk = sh("seq 100001 120000 & seq 200001 220000 >&2; wait", image=BASE)
        updates = await Asked(runtime, BASE).progress(thunk)
    log = b"".join(each.data for update in updates for each in update.logs)
    return sorted(map(int, log.split()))


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "driver", ["host", pytest.param("sandboxed", marks=pytest.mark.containers)]
)
async def test_lines_of_two_streams_stay_whole(driver: str, tmp_path: Path) -> None:
    numbers = await numbers_of_two_streams(driver, tmp_path)
    assert numbers == [*range(100_001, 120_001), *range(200_001, 220_001)]


@pytest.mark.containers
@pytest.mark.usefixtures("patient")
async def test_lines_of_two_streams_of_a_container_stay_whole(
    tmp_path: Path,
    engine: ContainerEngine,  # noqa: F811
) -> None:
    numbers = await numbers_of_two_streams("container", tmp_path)
    assert numbers == [*range(100_001, 120_001), *range(200_001, 220_001)]
    await forget_state(engine, tmp_path / "container")


def test_every_field_of_a_thunk_and_every_method_has_a_case() -> None:
    tried = {word.strip() for case in CASES for word in case.of.split(",")}
    tried |= {word for case in CASES for word in case.what.replace(",", " ").split()}
    fields = {each.name for each in pb.Thunk.DESCRIPTOR.fields}
    methods = {name for name in vars(RuntimeBase) if name[0].isupper()}
    assert fields | methods <= tried
    assert {name for case in CASES for name in case.instead} <= set(DRIVERS)
