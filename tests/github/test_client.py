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

from .world import git, make_repository, world

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_file_is_read_at_a_commit(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", project_bass="old", bass__init_bass="; hello\n")
    before = git(repository, "rev-parse", "HEAD")
    (repository / "project_bass").write_bytes(b"new\xff")
    git(repository, "commit", "--all", "--quiet", "--message", "second")
    async with world(repository) as its:
        assert await its.repo.file("project_bass", before) == b"old"
        assert await its.repo.file("project_bass", its.head) == b"new\xff"
        assert await its.repo.file("/bass/init_bass", "main") == b"; hello\n"


async def test_what_is_no_file_is_none(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", bass__init="x", list="[1, 2]")
    async with world(repository) as its:
        for path in ("nothing", "bass", "bass/nothing", "list/more", "../r/list", ".git/config"):
            assert await its.repo.file(path, its.head) is None
        assert await its.repo.file("list", its.head) == b"[1, 2]"
        assert await its.repo.file("list", "no-such-branch") is None


async def test_a_name_may_have_any_character(tmp_path: Path) -> None:
    names = ["with space", "sharp#?&%41.bass", "ünïcode", "a+b", "'quotes\""]
    repository = make_repository(tmp_path / "r", **{name: name for name in names})
    async with world(repository) as its:
        for name in names:
            assert await its.repo.file(name, its.head) == name.encode()
        entries = await its.repo.directory("", its.head)
        assert entries is not None
        assert sorted(entry.name for entry in entries) == sorted(names)


async def test_a_link_within_the_repository_is_what_it_points_to(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", real="content")
    os.symlink("real", repository / "link")
    os.symlink("/etc/passwd", repository / "outside")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "links")
    async with world(repository) as its:
        assert await its.repo.file("link", its.head) == b"content"
        assert await its.repo.file("outside", its.head) == b"/etc/passwd"


async def test_a_folder_lists_its_names_with_their_kinds(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", bass__a="1", bass__sub__b="22", top="333")
    async with world(repository) as its:
        entries = await its.repo.directory("bass", its.head)
        assert entries is not None
        assert {(each.name, each.type, each.size) for each in entries} == {
            ("a", "file", 1),
            ("sub", "dir", 0),
        }
        assert await its.repo.directory("top", its.head) is None
        assert await its.repo.directory("nothing", its.head) is None


async def test_a_file_over_the_limit_is_an_error_and_not_memory(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", big=b"x" * 3_000_000)
    async with world(repository) as its:
        assert len(await its.repo.file("big", its.head) or b"") == 3_000_000
        its.github.max_file = 1_000_000
        repo = its.github.repository(its.standin.installation_id, "octocat", "hello")
        with pytest.raises(GitHubError, match="longer than 1,000,000 bytes"):
            await repo.file("big", its.head)


async def test_a_file_asked_for_again_costs_nothing_of_the_rate_limit(repository: Path) -> None:
    async with world(repository) as its:
        for _ in range(3):
            assert await its.repo.file("project.bass", its.head) == b"(def x 1)\n"
        assert [status for _, _, status in its.asked("/contents/")] == [200, 304, 304]


async def test_the_default_branchs_head_and_the_repository_are_told(repository: Path) -> None:
    async with world(repository, private=True) as its:
        assert await its.repo.head_of() == its.head
        info = await its.repo.info()
        assert (info.full_name, info.private, info.default_branch) == (
            "octocat/hello",
            True,
            "main",
        )


async def test_open_pull_requests_tell_whose_head_a_commit_is(repository: Path) -> None:
    async with world(repository) as its:
        assert await its.repo.open_pull_requests(its.head) == []
        its.standin.add_user("stranger")
        await its.standin.payload("pull_request", fork="stranger", number=7)
        [pull] = await its.repo.open_pull_requests(its.head)
        assert (pull.number, pull.fork) == (7, True)
        assert pull.author is not None
        assert pull.author.login == "stranger"
        assert await its.repo.open_pull_requests("0" * 40) == []


async def test_a_persons_permission_is_told(repository: Path) -> None:
    async with world(repository, private=True) as its:
        its.standin.add_user("friend", permission="write")
        its.standin.add_user("stranger", permission="none")
        asked = ("octocat", "friend", "stranger", "nobody")
        told = [await its.repo.permission(login) for login in asked]
        assert told == ["admin", "write", "none", "none"]


async def test_a_wrong_key_is_an_error_that_names_its_settings(repository: Path) -> None:
    async with world(repository, key=app_key()) as its:
        with pytest.raises(Unauthorized, match=r"GITHUB_APP_ID .* private key"):
            await its.repo.file("project.bass", its.head)


async def test_what_is_no_key_is_an_error_that_names_its_setting(repository: Path) -> None:
    async with world(repository) as its:
        config = GitHubConfig(its.standin.url, 1, "-----BEGIN NONSENSE-----")
        async with open_github(config) as github:
            with pytest.raises(Unauthorized, match="GITHUB_APP_PRIVATE_KEY"):
                await github.repository(1, "octocat", "hello").file("project.bass", its.head)


async def test_without_an_app_what_needs_one_says_so(repository: Path) -> None:
    async with world(repository) as its, open_github(GitHubConfig(its.standin.url)) as github:
        with pytest.raises(Unauthorized, match="GITHUB_APP_ID"):
            await github.repository(1, "octocat", "hello").file("project.bass", its.head)
        assert await github.keys.keys("octocat") == ["ssh-ed25519 AAAA"]


async def test_a_missing_permission_is_named(repository: Path) -> None:
    granted = {"contents": "read", "metadata": "read", "checks": "read"}
    async with world(repository, permissions=granted) as its:
        with pytest.raises(Forbidden, match="checks=write"):
            await its.repo.create_check_run(its.draft())


async def test_an_app_that_is_not_installed_there_is_told_so(repository: Path) -> None:
    async with world(repository) as its:
        repo = its.github.repository(99, "octocat", "hello")
        with pytest.raises(NotFound, match="installed"):
            await repo.create_check_run(its.draft())


async def test_a_head_that_github_has_not_is_refused(repository: Path) -> None:
    async with world(repository) as its:
        with pytest.raises(Refused, match="No commit found"):
            await its.repo.create_check_run(its.draft(head_sha="f" * 40))


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_an_error_of_the_server_is_tried_again(repository: Path, status: int) -> None:
    async with world(repository) as its:
        its.standin.faults.add(Fault("GET", ".*/contents/.*", status=status, times=2))
        assert await its.repo.file("project.bass", its.head) == b"(def x 1)\n"


async def test_an_error_that_stays_is_said_after_the_last_try(repository: Path) -> None:
    async with world(repository) as its:
        fault = its.standin.faults.add(Fault("GET", ".*/pulls", status=502, times=100))
        with pytest.raises(GitHubError, match="502 to GET /repos/octocat/hello/pulls") as caught:
            await its.repo.open_pull_requests(its.head)
        assert caught.value.status == 502
        assert fault.happened == its.github.api.retries.attempts


async def test_garbage_and_a_cut_answer_are_tried_again(repository: Path) -> None:
    async with world(repository) as its:
        its.standin.faults.add(garbage(".*/pulls"))
        its.standin.faults.add(Fault(path=".*/pulls", status=None, cut=True))
        assert await its.repo.open_pull_requests(its.head) == []
        assert len(its.asked("/pulls")) == 3


async def test_an_answer_that_does_not_come_is_given_up_and_asked_for_again(
    repository: Path,
) -> None:
    async with world(repository) as its:
        its.standin.faults.add(Fault(path=".*/pulls", status=None, delay=20))
        assert await its.repo.open_pull_requests(its.head) == []


async def test_a_token_that_github_no_longer_takes_is_replaced(repository: Path) -> None:
    async with world(repository) as its:
        await its.repo.file("project.bass", its.head)
        its.standin.tokens.clear()
        await its.repo.create_check_run(its.draft())
        assert len(its.standin.check_runs) == 1


async def test_a_token_for_a_checkout_reads_one_repository_and_is_revoked(repository: Path) -> None:
    async with world(repository, private=True) as its:
        app = its.github.app
        assert app is not None
        async with app.checkout_token(1, its.standin.repository_id) as token:
            granted = its.standin.tokens[token.value].permissions
            assert granted == {"contents": "read", "metadata": "read"}
            assert token.value not in repr(token)
        assert token.value not in its.standin.tokens
        # GitHub counts the end of the token for the installation.
        assert its.github.api.budgets()["installation 1"].spent.total() == 5
        with pytest.raises(Refused, match="does not exist"):
            async with app.checkout_token(1, 999):
                pytest.fail("no token is given for another repository")
