"""The client over real HTTP: files, check runs, pull requests, people."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bassloop.github import (
    Forbidden,
    GitHubConfig,
    GitHubError,
    NotFound,
    Refused,
    Unauthorized,
    open_github,
)
from bassloop.standin import Fault, garbage
from bassloop.tools.trial import app_key

from .world import IMPATIENT, git, make_repository, open_world

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_file_is_read_at_a_commit(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", project_bass="old", bass__init_bass="; hello\n")
    before = git(repository, "rev-parse", "HEAD")
    (repository / "project_bass").write_bytes(b"new\xff")
    git(repository, "commit", "--all", "--quiet", "--message", "second")
    async with open_world(repository) as world:
        assert await world.repo.file("project_bass", before) == b"old"
        assert await world.repo.file("project_bass", world.head) == b"new\xff"
        assert await world.repo.file("/bass/init_bass", "main") == b"; hello\n"


async def test_a_path_that_is_not_a_file_returns_none(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", bass__init="x", list="[1, 2]")
    async with open_world(repository) as world:
        for path in ("nothing", "bass", "bass/nothing", "list/more", "../r/list", ".git/config"):
            assert await world.repo.file(path, world.head) is None
        assert await world.repo.file("list", world.head) == b"[1, 2]"
        assert await world.repo.file("list", "no-such-branch") is None


async def test_a_name_may_have_any_character(tmp_path: Path) -> None:
    names = ["with space", "sharp#?&%41.bass", "ünïcode", "a+b", "'quotes\""]
    repository = make_repository(tmp_path / "r", **{name: name for name in names})
    async with open_world(repository) as world:
        for name in names:
            assert await world.repo.file(name, world.head) == name.encode()
        entries = await world.repo.directory("", world.head)
        assert entries is not None
        assert sorted(entry.name for entry in entries) == sorted(names)


async def test_a_link_within_the_repository_is_followed(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", real="content")
    os.symlink("real", repository / "link")
    os.symlink("/etc/passwd", repository / "outside")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "links")
    async with open_world(repository) as world:
        assert await world.repo.file("link", world.head) == b"content"
        assert await world.repo.file("outside", world.head) == b"/etc/passwd"


async def test_a_folder_is_listed_with_names_and_kinds(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", bass__a="1", bass__sub__b="22", top="333")
    async with open_world(repository) as world:
        entries = await world.repo.directory("bass", world.head)
        assert entries is not None
        assert {(each.name, each.type, each.size) for each in entries} == {
            ("a", "file", 1),
            ("sub", "dir", 0),
        }
        assert await world.repo.directory("top", world.head) is None
        assert await world.repo.directory("nothing", world.head) is None


async def test_a_file_over_the_limit_is_an_error_and_is_not_kept_in_memory(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", big=b"x" * 3_000_000)
    async with open_world(repository) as world:
        assert len(await world.repo.file("big", world.head) or b"") == 3_000_000
        world.github.max_file = 1_000_000
        repo = world.github.repository(world.standin.installation_id, "octocat", "hello")
        with pytest.raises(GitHubError, match="longer than 1,000,000 bytes"):
            await repo.file("big", world.head)


async def test_requesting_a_file_again_does_not_count_towards_the_rate_limit(
    repository: Path,
) -> None:
    async with open_world(repository) as world:
        for _ in range(3):
            assert await world.repo.file("project.bass", world.head) == b"(def x 1)\n"
        assert [status for _, _, status in world.asked("/contents/")] == [200, 304, 304]


async def test_the_default_branchs_head_and_the_repository_are_returned(repository: Path) -> None:
    async with open_world(repository, private=True) as world:
        assert await world.repo.head_of() == world.head
        info = await world.repo.info()
        assert (info.full_name, info.private, info.default_branch) == (
            "octocat/hello",
            True,
            "main",
        )


async def test_open_pull_requests_tell_the_author_of_a_commit(repository: Path) -> None:
    async with open_world(repository) as world:
        assert await world.repo.open_pull_requests(world.head) == []
        world.standin.add_user("stranger")
        await world.standin.payload("pull_request", fork="stranger", number=7)
        [pull] = await world.repo.open_pull_requests(world.head)
        assert (pull.number, pull.fork) == (7, True)
        assert pull.author is not None
        assert pull.author.login == "stranger"
        assert await world.repo.open_pull_requests("0" * 40) == []


async def test_a_persons_permission_is_returned(repository: Path) -> None:
    async with open_world(repository, private=True) as world:
        world.standin.add_user("friend", permission="write")
        world.standin.add_user("stranger", permission="none")
        asked = ("octocat", "friend", "stranger", "nobody")
        told = [await world.repo.permission(login) for login in asked]
        assert told == ["admin", "write", "none", "none"]


async def test_a_wrong_key_is_an_error_that_names_its_settings(repository: Path) -> None:
    async with open_world(repository, key=app_key()) as world:
        with pytest.raises(Unauthorized, match=r"GITHUB_APP_ID .* private key"):
            await world.repo.file("project.bass", world.head)


async def test_an_invalid_key_is_an_error_that_names_its_setting(repository: Path) -> None:
    async with open_world(repository) as world:
        config = GitHubConfig(world.standin.url, 1, "-----BEGIN NONSENSE-----")
        async with open_github(config) as github:
            with pytest.raises(Unauthorized, match="GITHUB_APP_PRIVATE_KEY"):
                await github.repository(1, "octocat", "hello").file("project.bass", world.head)


async def test_commands_that_need_an_app_report_that_there_is_none(repository: Path) -> None:
    async with (
        open_world(repository) as world,
        open_github(GitHubConfig(world.standin.url)) as github,
    ):
        with pytest.raises(Unauthorized, match="GITHUB_APP_ID"):
            await github.repository(1, "octocat", "hello").file("project.bass", world.head)
        assert await github.keys.keys("octocat") == ["ssh-ed25519 AAAA"]


async def test_a_missing_permission_is_named(repository: Path) -> None:
    granted = {"contents": "read", "metadata": "read", "checks": "read"}
    async with open_world(repository, permissions=granted) as world:
        with pytest.raises(Forbidden, match="checks=write"):
            await world.repo.create_check_run(world.draft())


async def test_an_app_that_is_not_installed_in_a_repository_is_reported(repository: Path) -> None:
    async with open_world(repository) as world:
        repo = world.github.repository(99, "octocat", "hello")
        with pytest.raises(NotFound, match="installed"):
            await repo.create_check_run(world.draft())


async def test_a_head_that_github_does_not_have_is_refused(repository: Path) -> None:
    async with open_world(repository) as world:
        with pytest.raises(Refused, match="No commit found"):
            await world.repo.create_check_run(world.draft(head_sha="f" * 40))


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_an_error_of_the_server_is_tried_again(repository: Path, status: int) -> None:
    async with open_world(repository) as world:
        world.standin.faults.add(Fault("GET", ".*/contents/.*", status=status, times=2))
        assert await world.repo.file("project.bass", world.head) == b"(def x 1)\n"


async def test_a_lasting_error_is_raised_after_the_last_attempt(repository: Path) -> None:
    async with open_world(repository) as world:
        fault = world.standin.faults.add(Fault("GET", ".*/pulls", status=502, times=100))
        with pytest.raises(GitHubError, match="502 to GET /repos/octocat/hello/pulls") as caught:
            await world.repo.open_pull_requests(world.head)
        assert caught.value.status == 502
        assert fault.happened == world.github.api.retries.attempts


async def test_a_request_is_repeated_after_garbage_or_a_truncated_response(
    repository: Path,
) -> None:
    async with open_world(repository) as world:
        world.standin.faults.add(garbage(".*/pulls"))
        world.standin.faults.add(Fault(path=".*/pulls", status=None, cut=True))
        assert await world.repo.open_pull_requests(world.head) == []
        assert len(world.asked("/pulls")) == 3


async def test_a_request_without_a_response_is_given_up_and_repeated(
    repository: Path,
) -> None:
    async with open_world(repository, retries=IMPATIENT) as world:
        world.standin.faults.add(Fault(path=".*/pulls", status=None, delay=1_000))
        assert await world.repo.open_pull_requests(world.head) == []


async def test_a_token_that_github_no_longer_accepts_is_replaced(repository: Path) -> None:
    async with open_world(repository) as world:
        await world.repo.file("project.bass", world.head)
        world.standin.tokens.clear()
        await world.repo.create_check_run(world.draft())
        assert len(world.standin.check_runs) == 1


async def test_a_token_for_a_checkout_reads_one_repository_and_is_revoked(repository: Path) -> None:
    async with open_world(repository, private=True) as world:
        app = world.github.app
        assert app is not None
        async with app.checkout_token(1, world.standin.repository_id) as token:
            granted = world.standin.tokens[token.value].permissions
            assert granted == {"contents": "read", "metadata": "read"}
            assert token.value not in repr(token)
        assert token.value not in world.standin.tokens
        # GitHub counts the end of the token for the installation.
        assert world.github.api.budgets()["installation 1"].spent.total() == 5
        with pytest.raises(Refused, match="does not exist"):
            async with app.checkout_token(1, 999):
                pytest.fail("no token is given for another repository")
