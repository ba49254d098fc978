"""The repository as the stand-in shows it: files, commits, clones. Nothing is written to it."""

from __future__ import annotations

import base64
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.standin import StandInError, serve_standin
from tests.github.world import git, make_repository, standin_of
from tests.standin.conftest import served

if TYPE_CHECKING:
    from pathlib import Path

    from tests.standin.conftest import Served


async def test_a_file_comes_with_its_facts_or_raw(repository: Path) -> None:
    async with served(repository) as its:
        told = (await its.get("/contents/sub/b")).json()
        assert (told["type"], told["size"], told["path"]) == ("file", 3, "sub/b")
        assert base64.b64decode(told["content"]) == b"two"
        assert told["sha"] == git(repository, "rev-parse", "HEAD:sub/b")
        raw = {"Accept": "application/vnd.github.raw+json"}
        assert (await its.get("/contents/a", headers=raw)).content == b"three"
        assert (await its.get("/contents/a?ref=feature/x", headers=raw)).content == b"one"


async def test_a_ref_is_a_name_and_never_an_expression(repository: Path) -> None:
    async with served(repository) as its:
        for ref in ("main", "refs/heads/main", "HEAD", its.head, its.head[:10], "feature/x"):
            assert (await its.get("/contents/a", params={"ref": ref})).status_code == 200
        for ref in (":/second", "HEAD@{1}", "--all", "main..feature/x", "f" * 40, "a b", "HEAD^2"):
            answer = await its.get("/contents/a", params={"ref": ref})
            assert (answer.status_code, ref) == (404, ref)


async def test_a_large_file_comes_raw_only(tmp_path: Path) -> None:
    path = make_repository(tmp_path / "r", large=b"\0" * ((1 << 20) + 1))
    async with served(path) as its:
        told = (await its.get("/contents/large")).json()
        assert (told["encoding"], told["content"]) == ("none", "")
        raw = {"Accept": "application/vnd.github.raw+json"}
        assert len((await its.get("/contents/large", headers=raw)).content) == (1 << 20) + 1


async def test_links_and_submodules_are_listed_as_such(tmp_path: Path) -> None:
    path = make_repository(tmp_path / "r", real="x")
    os.symlink("real", path / "link")
    os.symlink("../outside", path / "away")
    git(path, "add", "--all")
    commit = git(path, "rev-parse", "HEAD")
    git(path, "update-index", "--add", "--cacheinfo", f"160000,{commit},module")
    git(path, "commit", "--quiet", "--message", "links")
    async with served(path) as its:
        listed = (await its.get("/contents/")).json()
        assert {each["name"]: each["type"] for each in listed} == {
            "away": "symlink",
            "link": "symlink",
            "module": "submodule",
            "real": "file",
        }
        away = (await its.get("/contents/away")).json()
        assert (away["type"], away["target"]) == ("symlink", "../outside")
        assert (await its.get("/contents/link")).json()["type"] == "file"
        assert (await its.get("/contents/module")).json()["type"] == "submodule"
        assert (await its.get("/contents/module/x")).status_code == 404


async def test_a_commit_is_told(repository: Path) -> None:
    async with served(repository) as its:
        told = (await its.get("/commits/main")).json()
        assert told["sha"] == its.head
        assert told["commit"]["message"].strip() == "second\n\nand why"
        assert told["commit"]["author"]["email"] == "test@example.invalid"
        assert [each["sha"] for each in told["parents"]] == [git(repository, "rev-parse", "HEAD~1")]
        sha = await its.get("/commits/HEAD", headers={"Accept": "application/vnd.github.sha"})
        assert sha.text == its.head
        assert (await its.get("/commits/nothing")).status_code == 422


async def test_what_is_committed_while_it_is_served_is_there(tmp_path: Path) -> None:
    path = make_repository(tmp_path / "r", a="old")
    raw = {"Accept": "application/vnd.github.raw+json"}
    async with served(path) as its:
        assert (await its.get("/contents/a", headers=raw)).content == b"old"
        (path / "a").write_text("new")
        git(path, "commit", "--all", "--quiet", "--message", "new")
        assert (await its.get("/contents/a", headers=raw)).content == b"new"


async def clone(its: Served, target: Path, *args: str, url: str = "") -> int:
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "no_proxy": "127.0.0.1"}
    where = url or f"{its.standin.url}/octocat/hello.git"
    command = ["git", "clone", "--quiet", *args, where, str(target)]
    done = await trio.run_process(command, check=False, env=env, stderr=subprocess.DEVNULL)
    return done.returncode


@pytest.mark.parametrize("version", ["0", "2"])
@pytest.mark.parametrize("depth", [(), ("--depth=1",)])
async def test_it_can_be_cloned(
    repository: Path, tmp_path: Path, version: str, depth: tuple[str, ...]
) -> None:
    async with served(repository) as its:
        protocol = ("-c", f"protocol.version={version}")
        assert await clone(its, tmp_path / "clone", *protocol, *depth) == 0
        assert (tmp_path / "clone" / "a").read_text() == "three"
        assert git(tmp_path / "clone", "rev-parse", "HEAD") == its.head


async def test_any_commit_can_be_fetched_also_one_that_no_branch_has(tmp_path: Path) -> None:
    path = make_repository(tmp_path / "r", a="one")
    git(path, "commit", "--quiet", "--allow-empty", "--message", "lost")
    lost = git(path, "rev-parse", "HEAD")
    git(path, "reset", "--quiet", "--hard", "HEAD~1")
    async with served(path) as its:
        git(tmp_path, "init", "--quiet", "there")
        url = f"{its.standin.url}/octocat/hello.git"
        for version in ("0", "2"):
            command = ["git", "-c", f"protocol.version={version}", "-C", str(tmp_path / "there")]
            await trio.run_process([*command, "fetch", "--quiet", "--depth=1", url, lost])
        assert git(tmp_path / "there", "rev-parse", "FETCH_HEAD") == lost


async def test_a_fork_is_cloned_like_the_repository_once_it_has_a_pull_request(
    repository: Path, tmp_path: Path
) -> None:
    async with served(repository) as its:
        its.standin.add_user("stranger")
        fork = f"{its.standin.url}/stranger/hello.git"
        assert await clone(its, tmp_path / "before", url=fork) != 0
        payload = await its.standin.payload("pull_request", fork="stranger")
        assert payload["pull_request"]["head"]["repo"]["clone_url"] == fork
        assert await clone(its, tmp_path / "after", url=fork) == 0


async def test_a_private_one_is_cloned_with_a_token_only(repository: Path, tmp_path: Path) -> None:
    async with served(repository, private=True) as its:
        assert await clone(its, tmp_path / "without") != 0
        token, _ = its.standin.new_token({"contents": "read"})
        host = its.standin.url.removeprefix("http://")
        url = f"http://x-access-token:{token}@{host}/octocat/hello.git"
        assert await clone(its, tmp_path / "with", url=url) == 0
        wrong = url.replace(token, "ghs_wrong")
        assert await clone(its, tmp_path / "wrong", url=wrong) != 0


async def test_nothing_is_pushed_to_it(repository: Path) -> None:
    async with served(repository) as its:
        refs = await its.client.get("/octocat/hello.git/info/refs?service=git-receive-pack")
        assert refs.status_code == 403
        assert (await its.client.post("/octocat/hello.git/git-receive-pack")).status_code == 403


async def test_nothing_is_written_to_it(tmp_path: Path) -> None:
    path = make_repository(tmp_path / "r", a="one")
    before = _everything(path)
    async with served(path) as its:
        await its.get("/contents/a")
        await its.get("/contents/")
        await its.standin.payload("check_suite")
        await its.create()
        assert await clone(its, tmp_path / "clone") == 0
    assert _everything(path) == before


def _everything(path: Path) -> dict[str, tuple[int, int]]:
    facts = ((each, each.stat()) for each in sorted(path.rglob("*")))
    return {str(each): (stat.st_mtime_ns, stat.st_size) for each, stat in facts}


async def test_a_worktree_is_served_like_a_repository(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "--quiet", str(repository), str(copy))
    git(copy, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "side"))
    async with served(tmp_path / "side") as its:
        assert (await its.get("/contents/a")).status_code == 200
        assert (await its.standin.payload("check_suite"))["check_suite"]["head_branch"] == "side"
        assert await clone(its, tmp_path / "clone") == 0


async def test_a_bare_repository_and_a_detached_head_are_served(
    repository: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), str(bare))
    git(bare, "update-ref", "--no-deref", "HEAD", git(bare, "rev-parse", "main"))
    async with served(bare) as its:
        assert (await its.get("/contents/a")).status_code == 200
        assert (await its.standin.payload("check_suite"))["check_suite"]["head_branch"] == "main"


async def test_what_is_no_repository_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(StandInError, match="not a git repository"):
        await serve_standin(standin_of(tmp_path))


async def test_a_call_that_is_cancelled_in_the_middle_leaves_the_next_one_right(
    repository: Path,
) -> None:
    async with served(repository) as its:
        reader = its.standin.git
        one, other = await reader.entry(its.head, "a"), await reader.entry(its.head, "sub/b")
        assert one is not None
        assert other is not None
        await reader.read(one)
        for steps in range(8):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.read, one)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert await reader.read(other) == b"two"
