"""The client, over real HTTP, on good days and on bad ones."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.github import (
    CheckRunDraft,
    GitHub,
    GitHubConfig,
    GitHubError,
    GitHubRepository,
    open_github,
)
from bassloop.standin import Fault, StandIn, lost_answer, secondary_limit, serve_standin
from bassloop.trial import app_key
from tests.loop.conftest import commit, git

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

APP = app_key()


@asynccontextmanager
async def github(tmp_path: Path) -> AsyncGenerator[tuple[StandIn, GitHub, GitHubRepository]]:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "project.bass").write_text("(def x 1)\n")
    (repository / "bass").mkdir()
    (repository / "bass" / "init.bass").write_text("; hello\n")
    git(repository, "init", "--quiet", "--initial-branch=main")
    commit(repository)
    standin = StandIn(
        repository_path=repository,
        owner="octocat",
        name="hello",
        login="octocat",
        keys=[f"ssh-ed25519 KEY{number}" for number in range(120)],
        app_key=APP.public,
        webhook_secret="s",
    )
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            url: str = await nursery.start(serve_standin, standin)
            config = GitHubConfig(url, standin.app_id, APP.private)
            async with open_github(config) as client:
                repo = client.repository(standin.installation_id, "octocat", "hello")
                yield standin, client, repo
            nursery.cancel_scope.cancel()


async def head(standin: StandIn) -> str:
    found = await standin.git.commit("HEAD")
    assert found is not None
    return found


def draft(sha: str, **more: str) -> CheckRunDraft:
    fields = {
        "name": "test",
        "external_id": "r1",
        "details_url": "http://127.0.0.1/runs/r1",
        **more,
    }
    return CheckRunDraft(head_sha=sha, status="in_progress", title="t", summary="s", **fields)  # type: ignore[arg-type]


async def test_a_file_is_read_at_a_commit_and_what_is_not_there_is_none(tmp_path: Path) -> None:
    async with github(tmp_path) as (standin, _, repo):
        sha = await head(standin)
        assert await repo.file("project.bass", sha) == b"(def x 1)\n"
        assert await repo.file("nothing.bass", sha) is None
        entries = await repo.directory("bass", sha)
        assert entries is not None
        assert [entry.name for entry in entries] == ["init.bass"]


async def test_a_users_keys_come_from_every_page_and_are_asked_for_once(tmp_path: Path) -> None:
    async with github(tmp_path) as (standin, client, _):
        assert len(await client.keys.keys("octocat")) == 120
        asked = len(standin.requests)
        user = await client.keys.user("OctoCat")
        assert user is not None
        assert user.id == standin.user.id
        assert len(standin.requests) == asked
        assert await client.keys.user("nobody") is None
        assert await client.keys.user("not/a/login") is None


async def test_a_check_run_is_made_and_concluded(tmp_path: Path) -> None:
    async with github(tmp_path) as (standin, _, repo):
        made = await repo.create_check_run(draft(await head(standin)))
        await repo.update_check_run(
            made.id, status="completed", conclusion="success", title="done", summary="fine"
        )
        [run] = standin.check_runs
        assert (run["status"], run["conclusion"]) == ("completed", "success")
        assert run["output"]["title"] == "done"


async def test_a_check_run_whose_answer_was_lost_is_not_made_twice(tmp_path: Path) -> None:
    async with github(tmp_path) as (standin, _, repo):
        standin.faults.add(lost_answer(r"/repos/.*/check-runs"))
        made = await repo.create_check_run(draft(await head(standin)))
        assert [run["id"] for run in standin.check_runs] == [made.id]


async def test_a_rate_limit_is_waited_for(tmp_path: Path) -> None:
    async with github(tmp_path) as (standin, _, repo):
        standin.faults.add(secondary_limit(r"/repos/.*/contents/.*", seconds=1))
        began = trio.current_time()
        assert await repo.file("project.bass", await head(standin)) is not None
        assert trio.current_time() - began >= 1


async def test_an_error_of_the_server_is_tried_again(tmp_path: Path) -> None:
    async with github(tmp_path) as (standin, _, repo):
        standin.faults.add(Fault("GET", r"/repos/.*/contents/.*", status=502))
        assert await repo.file("project.bass", await head(standin)) is not None


async def test_what_github_refuses_is_said_with_the_mend(tmp_path: Path) -> None:
    async with github(tmp_path) as (_, _, repo):
        with pytest.raises(GitHubError, match="422"):
            await repo.create_check_run(draft("f" * 40))


async def test_a_wrong_key_is_said_to_be_one(tmp_path: Path) -> None:
    async with github(tmp_path) as (standin, client, _):
        config = GitHubConfig(standin.url, standin.app_id, app_key().private)
        async with open_github(config) as other:
            repo = other.repository(standin.installation_id, "octocat", "hello")
            with pytest.raises(GitHubError, match="GITHUB_APP"):
                await repo.file("project.bass", await head(standin))
        assert client.app is not None
