"""Artifacts that one check uses of another: finding them, and sending them to its runner before the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.checks.file_collectors import NOT_KEPT
from bassloop.runtimes import RunFailed
from bassloop.store import StoreError
from bassloop.wire.conventions import (
    GIVEN_METADATA,
    MAX_GIVEN,
    MAX_GIVEN_LIST,
    NAME_METADATA,
    SHA256_METADATA,
    given_name,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bassloop.checks.loop_state import CheckHandle
    from bassloop.runtimes import Runtime
    from bassloop.store import Artifact, Run, Store


LEFT_NONE = "it has left none"


class NotGiven(Exception):
    """The artifacts that a check uses aren't available. The message says why."""


@dataclass(frozen=True, slots=True)
class GivenFile:
    """An artifact, and the name under which a command finds it."""

    name: str
    artifact: Artifact


async def gather(
    store: Store, sources: Mapping[str, CheckHandle], trusted: Collection[str] | None
) -> list[GivenFile]:
    """Return the artifacts of checks that succeeded. Raises NotGiven.

    Args:
        sources: the checks by the names that a hook gave them.
        trusted: the logins whose runners must have made them; None for anybody's.
    """
    logins = None if trusted is None else {login.lower() for login in trusted}
    found: list[GivenFile] = []
    for check, handle in sources.items():
        maker = (handle.run.runner_login or "").lower()
        if logins is not None and maker not in logins:
            raise NotGiven(
                f"it uses the artifacts of {check}, which no trusted runner has made; run {check} again"
            )
        why = await missing_artifacts(store, handle.run)
        if why == LEFT_NONE:  # running it again would leave none, either
            raise NotGiven(
                f"it uses the artifacts of {check}: {why}; do the commands of {check} write the files that its "
                "`artifacts` name?"
            )
        if why is not None:
            raise NotGiven(f"it uses the artifacts of {check}: {why}; run {check} again")
        artifacts = await store.artifacts.of_run(handle.run.id)
        found += [GivenFile(given_name(check, each.path), each) for each in artifacts]
    excess = None
    if len(found) > MAX_GIVEN:
        excess = f"and {MAX_GIVEN} can be given at most"
    elif len(listed(found)) > MAX_GIVEN_LIST:
        excess = "and their names are too long together"
    if excess is not None:
        raise NotGiven(
            f"it uses {len(found)} artifacts, {excess}: let the checks keep folders, with a slash at the end, which "
            "are one archive each"
        )
    return found


def listed(files: Sequence[GivenFile]) -> str:
    """Return the list of artifacts for the metadata of the run's call."""
    return json.dumps([[file.name, file.artifact.sha256] for file in files])


async def missing_artifacts(store: Store, run: Run) -> str | None:
    """Return why a run's artifacts aren't complete, or None."""
    for step in await store.steps.of_run(run.id):
        path = step.digest.removeprefix(NOT_KEPT)
        if path not in (step.digest, "?"):  # a pattern that matches nothing is up to the check
            return step.name.removeprefix("[loop] ")
    artifacts = await store.artifacts.of_run(run.id)
    if gone := [each.path for each in artifacts if not each.kept]:
        return f"{gone[0]} has expired"
    return None if artifacts else LEFT_NONE


async def give(
    store: Store, runtime: Runtime, metadata: Mapping[str, str], files: Sequence[GivenFile]
) -> dict[str, str]:
    """Send artifacts to the runner of a run, and return the metadata for the run's call.

    Raises RunFailed and RuntimeLost.
    """
    if not files:
        return {}
    if runtime.kind != "bassloop":
        raise RunFailed(
            f"{runtime} can't be given the artifacts that this check uses: only `bassloop runner` can. Connect one, "
            "and run the check again"
        )
    for file in files:
        try:
            await _give_one(store, runtime, metadata, file)
        except (StoreError, OSError) as error:
            raise RunFailed(f"{file.name} can't be given: {error}; run the check again") from error
    return {GIVEN_METADATA: listed(files)}


async def _give_one(
    store: Store, runtime: Runtime, metadata: Mapping[str, str], file: GivenFile
) -> None:
    about = {NAME_METADATA: file.name, SHA256_METADATA: file.artifact.sha256}
    async with store.artifacts.reading(file.artifact) as chunks:

        async def next_chunk() -> bytes:
            return await anext(chunks, b"")

        await runtime.put_artifact(next_chunk, {**metadata, **about})
