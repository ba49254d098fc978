"""Artifacts of one check that another one uses, on any runner. Trusted runs use only artifacts of trusted runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bassloop.checks.given_artifacts import NotGiven, gather, give, listed
from bassloop.checks.loop_state import CheckHandle
from bassloop.runtimes import Platform, RunFailed, Runtime
from bassloop.store import ArtifactWriter, Retention, StoreFull
from tests.checks.test_statements import KEY, list_keys, signing_runner
from tests.checks.test_trusted import open_loop_with_policy, output_text, trusted_runner
from tests.checks.test_user_actions import press
from tests.web.site import open_site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository
    from tests.small_loop import SmallLoop

HOOK = """
(def image {:repository "alpine" :platform {:os "linux"}})

(defn github-hook [event client]
  (client:start-check
    (with-label (with-image ($ sh -c "make") image) :artifacts ["*"])
    "build" event:payload:check_suite:head_sha)
  (client:start-check
    (with-label (with-image ($ sh -c "deploy") image) :uses ["build"])
    "it" event:payload:check_suite:head_sha))
"""
FILES = {"dist/a.whl": b"a wheel"}


async def checked(loop: SmallLoop, guid: str = "g") -> dict[str, Any]:
    await loop.deliver(await loop.standin.payload("check_suite"), guid)
    await loop.inbox.finished(guid)
    return loop.check_run()


async def test_a_check_is_given_the_artifacts_of_another_one(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, "", HOOK) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop, leaves=FILES) as runner:
            check = await checked(loop)
        assert check["conclusion"] == "success", output_text(check)
        assert runner.given == {check["external_id"]: {"build/dist/a.whl": b"a wheel"}}
        told = next(each for each in runner.told if each["bassloop-run"] == check["external_id"])
        [[name, _]] = json.loads(told["bassloop-given"])
        assert name == "build/dist/a.whl"
        build = loop.check_run("build")
        assert f"http://loop/runs/{build['external_id']}/artifacts/dist/a.whl" in output_text(build)
        record = await loop.store.statements.get(check["external_id"])
        assert record is not None
        assert record.problem is None


async def test_a_check_without_artifacts_can_not_be_used(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, "", HOOK) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop) as runner:
            check = await checked(loop)
        assert check["conclusion"] == "action_required"
        assert (
            "it uses the artifacts of build: it has left none; do the commands of build write the files"
        ) in output_text(check)
        assert len(runner.told) == 1


async def test_a_check_is_given_all_artifacts_of_another_or_none(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    """It might deploy that, and be green."""
    async with open_loop_with_policy(make_repository, tmp_path, "", HOOK) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop, leaves={**FILES, "dist/../b": b"b"}) as runner:
            check = await checked(loop)
        build = loop.check_run("build")
        assert build["conclusion"] == "success"
        why = "the artifact dist/../b is not kept: its path is not a relative one within a folder"
        assert why in output_text(build)
        assert check["conclusion"] == "action_required"
        assert f"it uses the artifacts of build: {why}; run build again" in output_text(check)
        assert len(runner.told) == 1


async def test_a_full_disk_is_reported_without_naming_a_folder_of_the_loop(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write(self: ArtifactWriter, data: bytes) -> None:
        raise StoreFull(f"{tmp_path}: [Errno 28] No space left on device")

    monkeypatch.setattr(ArtifactWriter, "write", write)
    async with open_loop_with_policy(make_repository, tmp_path, "", HOOK) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop, leaves=FILES):
            check = await checked(loop)
        build = loop.check_run("build")
        assert "the artifact dist/a.whl is not kept: the loop's disk is full" in output_text(build)
        assert str(tmp_path) not in output_text(build) + output_text(check)
        assert check["conclusion"] == "action_required"


async def test_expired_artifacts_and_those_of_contributors_are_not_used(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run("r", state="succeeded")
        run = await site.store.runs.get("r")
        assert run is not None
        sources = {"build": CheckHandle(run)}
        await site.keep("r", "dist/a", b"x", expires_at=200.0)
        [file] = await gather(site.store, sources, None)
        assert file.name == "build/dist/a"
        assert await gather(site.store, sources, ["Octocat"]) == [file]
        with pytest.raises(NotGiven, match="no trusted runner has made"):
            await gather(site.store, sources, ["alice"])
        await site.store.prune(Retention(), now=4e9)
        with pytest.raises(NotGiven, match="of build: dist/a has expired; run build again"):
            await gather(site.store, sources, None)


async def test_artifacts_whose_list_does_not_fit_in_a_header_are_not_used(tmp_path: Path) -> None:
    """The runner would close its connection, and all its runs would be interrupted."""
    async with open_site(tmp_path) as site:
        sources = {}
        for check in "abc":
            await site.run(check, state="succeeded")
            run = await site.store.runs.get(check)
            assert run is not None
            sources[check * 150] = CheckHandle(run)
            for number in range(33):
                await site.keep(check, "é" * 90 + str(number), b"x")
        with pytest.raises(NotGiven, match="their names are too long together: let the checks"):
            await gather(site.store, sources, None)
        del sources["c" * 150]
        given = await gather(site.store, sources, None)
        assert len(listed(given)) < 64_000


BOTH = '[trust]\nrunners = ["alice"]\n[trust.checks]\nit = "both"\n'
TRUSTED = '[trust]\nrunners = ["alice"]\n[trust.checks]\nit = "trusted"\n'
SPOT = '[trust]\nrunners = ["alice"]\nspot_check = 1.0\n'
NAMED = '[trust]\nrunners = ["alice"]\n'


@pytest.mark.parametrize("policy", [BOTH, TRUSTED, SPOT], ids=["both", "trusted", "spot check"])
async def test_a_trusted_runner_is_given_nothing_that_a_contributor_has_made(
    make_repository: MakeRepository, tmp_path: Path, policy: str
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, policy, HOOK) as loop,
        signing_runner(loop, leaves={"dist/a.whl": b"poison"}) as sender,
        trusted_runner(loop, leaves=FILES) as trusted,
    ):
        loop.standin.add_user("octocat", [_line(sender)], permission="admin")
        check = await checked(loop)
        assert check["conclusion"] == "success", output_text(check)
        given = [data for files in trusted.given.values() for data in files.values()]
        assert given == [b"a wheel"]
        assert all(b"poison" in files.values() for files in sender.given.values())
        assert loop.check_run("build (trusted)")["conclusion"] == "success"


async def test_a_verification_uses_artifacts_made_by_a_trusted_runner_too(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, NAMED, HOOK) as loop,
        signing_runner(loop, leaves={"dist/a.whl": b"poison"}) as sender,
        trusted_runner(loop, leaves=FILES) as trusted,
    ):
        loop.standin.add_user("octocat", [_line(sender)], permission="admin")
        await checked(loop)
        await press(loop, "verify", "pressed", name="it", sender="alice")
        assert "verified by alice" in output_text(loop.check_run())
        assert [list(files.values()) for files in trusted.given.values()] == [[b"a wheel"]]


async def test_a_check_that_uses_itself_is_refused(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    hook = HOOK.replace(':uses ["build"]', ':uses ["it"]')
    async with (
        open_loop_with_policy(make_repository, tmp_path, "", hook) as loop,
        signing_runner(loop),
    ):
        await loop.deliver(await loop.standin.payload("check_suite"), "g")
        await loop.inbox.finished("g")
        assert "uses artifacts of its own" in output_text(loop.check_run("project.bass"))


def _line(runtime: Any) -> str:
    return str(runtime.by.export_public_key().decode().strip())


async def test_limitations_of_other_runners_with_artifacts_are_reported(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, "", HOOK) as loop,
        loop.runner() as runner,
    ):
        runner.kind = "go"
        check = await checked(loop)
        assert loop.check_run("build")["conclusion"] == "success"
        assert "No artifacts are kept of this run" in output_text(loop.check_run("build"))
        assert (check["conclusion"], len(runner.told)) == ("action_required", 1)


@pytest.mark.parametrize(
    ("kind", "why"),
    [("go", "only `bassloop runner` can"), ("bassloop", "can't be given: dist/a has expired")],
)
async def test_missing_artifacts_fail_the_check_with_a_reason(
    tmp_path: Path, kind: str, why: str
) -> None:
    async with open_site(tmp_path) as site:
        await site.run("r", state="succeeded")
        run = await site.store.runs.get("r")
        assert run is not None
        await site.keep("r", "dist/a", b"x", expires_at=200.0)
        files = await gather(site.store, {"build": CheckHandle(run)}, None)
        await site.store.prune(Retention(), now=4e9)
        with pytest.raises(RunFailed, match=why):
            await give(site.store, make_runtime(kind), {}, files)


def make_runtime(kind: str) -> Runtime:
    async def unreachable(_: object) -> Any:
        raise ConnectionError

    return Runtime("r", 1, "ada", Platform("linux", "amd64"), 0, 0.0, unreachable, kind=kind)
