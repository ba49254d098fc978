"""The repository as the stand-in shows it: files, commits, clones. Nothing is written to it."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.standin import StandInError, serve_standin
from bassloop.standin.git import GitRepository
from tests.github.world import git, make_repository, standin_of
from tests.standin.conftest import open_standin

if TYPE_CHECKING:
    from pathlib import Path

    from tests.standin.conftest import Served


async def test_a_file_is_returned_with_its_metadata_or_raw(repository: Path) -> None:
    async with open_standin(repository) as served:
        told = (await served.get("/contents/sub/b")).json()
        assert (told["type"], told["size"], told["path"]) == ("file", 3, "sub/b")
        assert base64.b64decode(told["content"]) == b"two"
        assert told["sha"] == git(repository, "rev-parse", "HEAD:sub/b")
        raw = {"Accept": "application/vnd.github.raw+json"}
        assert (await served.get("/contents/a", headers=raw)).content == b"three"
        assert (await served.get("/contents/a?ref=feature/x", headers=raw)).content == b"one"


async def test_a_ref_is_treated_as_a_name_and_never_as_an_expression(repository: Path) -> None:
    async with open_standin(repository) as served:
        for ref in ("main", "refs/heads/main", "HEAD", served.head, served.head[:10], "feature/x"):
            assert (await served.get("/contents/a", params={"ref": ref})).status_code == 200
        for ref in (":/second", "HEAD@{1}", "--all", "main..feature/x", "f" * 40, "a b", "HEAD^2"):
            answer = await served.get("/contents/a", params={"ref": ref})
            assert (answer.status_code, ref) == (404, ref)


async def test_a_large_file_is_only_returned_raw(tmp_path: Path) -> None:
    path = make_repository(tmp_path / "r", large=b"\0" * ((1 << 20) + 1))
    async with open_standin(path) as served:
        told = (await served.get("/contents/large")).json()
        assert (told["encoding"], told["content"]) == ("none", "")
        raw = {"Accept": "application/vnd.github.raw+json"}
        assert len((await served.get("/contents/large", headers=raw)).content) == (1 << 20) + 1


async def test_links_and_submodules_are_listed_as_such(tmp_path: Path) -> None:
    path = make_repository(tmp_path / "r", real="x")
    os.symlink("real", path / "link")
    os.symlink("../outside", path / "away")
    git(path, "add", "--all")
    commit = git(path, "rev-parse", "HEAD")
    git(path, "update-index", "--add", "--cacheinfo", f"160000,{commit},module")
    git(path, "commit", "--quiet", "--message", "links")
    async with open_standin(path) as served:
        listed = (await served.get("/contents/")).json()
        assert {each["name"]: each["type"] for each in listed} == {
            "away": "symlink",
            "link": "symlink",
            "module": "submodule",
            "real": "file",
        }
        away = (await served.get("/contents/away")).json()
        assert (away["type"], away["target"]) == ("symlink", "../outside")
        assert (await served.get("/contents/link")).json()["type"] == "file"
        assert (await served.get("/contents/module")).json()["type"] == "submodule"
        assert (await served.get("/contents/module/x")).status_code == 404


async def test_a_commit_is_described(repository: Path) -> None:
    async with open_standin(repository) as served:
        told = (await served.get("/commits/main")).json()
        assert told["sha"] == served.head
        assert told["commit"]["message"].strip() == "second\n\nand why"
        assert told["commit"]["author"]["email"] == "test@example.invalid"
        assert [each["sha"] for each in told["parents"]] == [git(repository, "rev-parse", "HEAD~1")]
        sha = await served.get("/commits/HEAD", headers={"Accept": "application/vnd.github.sha"})
        assert sha.text == served.head
        assert (await served.get("/commits/nothing")).status_code == 422


async def test_commits_made_while_the_stand_in_runs_are_served(tmp_path: Path) -> None:
    path = make_repository(tmp_path / "r", a="old")
    raw = {"Accept": "application/vnd.github.raw+json"}
    async with open_standin(path) as served:
        assert (await served.get("/contents/a", headers=raw)).content == b"old"
        (path / "a").write_text("new")
        git(path, "commit", "--all", "--quiet", "--message", "new")
        assert (await served.get("/contents/a", headers=raw)).content == b"new"


async def clone(served: Served, target: Path, *args: str, url: str = "") -> int:
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "no_proxy": "127.0.0.1"}
    where = url or f"{served.standin.url}/octocat/hello.git"
    command = ["git", "clone", "--quiet", *args, where, str(target)]
    done = await trio.run_process(command, check=False, env=env, stderr=subprocess.DEVNULL)
    return done.returncode


@pytest.mark.parametrize("version", ["0", "2"])
@pytest.mark.parametrize("depth", [(), ("--depth=1",)])
async def test_the_repository_can_be_cloned(
    repository: Path, tmp_path: Path, version: str, depth: tuple[str, ...]
) -> None:
    async with open_standin(repository) as served:
        protocol = ("-c", f"protocol.version={version}")
        assert await clone(served, tmp_path / "clone", *protocol, *depth) == 0
        assert (tmp_path / "clone" / "a").read_text() == "three"
        assert git(tmp_path / "clone", "rev-parse", "HEAD") == served.head


async def test_any_commit_can_be_fetched_even_if_no_branch_has_it(tmp_path: Path) -> None:
    path = make_repository(tmp_path / "r", a="one")
    git(path, "commit", "--quiet", "--allow-empty", "--message", "lost")
    lost = git(path, "rev-parse", "HEAD")
    git(path, "reset", "--quiet", "--hard", "HEAD~1")
    async with open_standin(path) as served:
        git(tmp_path, "init", "--quiet", "there")
        url = f"{served.standin.url}/octocat/hello.git"
        for version in ("0", "2"):
            command = ["git", "-c", f"protocol.version={version}", "-C", str(tmp_path / "there")]
            await trio.run_process([*command, "fetch", "--quiet", "--depth=1", url, lost])
        assert git(tmp_path / "there", "rev-parse", "FETCH_HEAD") == lost


async def test_a_fork_is_cloned_like_the_repository_once_it_has_a_pull_request(
    repository: Path, tmp_path: Path
) -> None:
    async with open_standin(repository) as served:
        served.standin.add_user("stranger")
        fork = f"{served.standin.url}/stranger/hello.git"
        assert await clone(served, tmp_path / "before", url=fork) != 0
        payload = await served.standin.payload("pull_request", fork="stranger")
        assert payload["pull_request"]["head"]["repo"]["clone_url"] == fork
        assert await clone(served, tmp_path / "after", url=fork) == 0


async def test_a_private_repository_can_only_be_cloned_with_a_token(
    repository: Path, tmp_path: Path
) -> None:
    async with open_standin(repository, private=True) as served:
        assert await clone(served, tmp_path / "without") != 0
        token, _ = served.standin.new_token({"contents": "read"})
        host = served.standin.url.removeprefix("http://")
        url = f"http://x-access-token:{token}@{host}/octocat/hello.git"
        assert await clone(served, tmp_path / "with", url=url) == 0
        wrong = url.replace(token, "ghs_wrong")
        assert await clone(served, tmp_path / "wrong", url=wrong) != 0


async def test_pushes_are_refused(repository: Path) -> None:
    async with open_standin(repository) as served:
        refs = await served.client.get("/octocat/hello.git/info/refs?service=git-receive-pack")
        assert refs.status_code == 403
        assert (await served.client.post("/octocat/hello.git/git-receive-pack")).status_code == 403


async def test_the_repository_is_never_written_to(tmp_path: Path) -> None:
    path = make_repository(tmp_path / "r", a="one")
    before = _everything(path)
    async with open_standin(path) as served:
        await served.get("/contents/a")
        await served.get("/contents/")
        await served.standin.payload("check_suite")
        await served.create()
        assert await clone(served, tmp_path / "clone") == 0
    assert _everything(path) == before


def _everything(path: Path) -> dict[str, tuple[int, int]]:
    facts = ((each, each.stat()) for each in sorted(path.rglob("*")))
    return {str(each): (stat.st_mtime_ns, stat.st_size) for each, stat in facts}


async def test_a_worktree_is_served_like_any_repository(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "--quiet", str(repository), str(copy))
    git(copy, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "side"))
    async with open_standin(tmp_path / "side") as served:
        assert (await served.get("/contents/a")).status_code == 200
        assert (await served.standin.payload("check_suite"))["check_suite"]["head_branch"] == "side"
        assert await clone(served, tmp_path / "clone") == 0


async def test_a_bare_repository_and_a_detached_head_are_served(
    repository: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), str(bare))
    git(bare, "update-ref", "--no-deref", "HEAD", git(bare, "rev-parse", "main"))
    async with open_standin(bare) as served:
        assert (await served.get("/contents/a")).status_code == 200
        assert (await served.standin.payload("check_suite"))["check_suite"]["head_branch"] == "main"


async def test_a_folder_that_is_not_a_repository_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StandInError, match="not a git repository"):
        await serve_standin(standin_of(tmp_path))


async def test_a_cancelled_call_does_not_affect_the_next_one(
    repository: Path,
) -> None:
    async with open_standin(repository) as served:
        reader = served.standin.git
        one, other = await reader.entry(served.head, "a"), await reader.entry(served.head, "sub/b")
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


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
import trio
from bassloop.standin.git import GitRepository

async def main():
    signal.signal(signal.SIGINT, lambda number, frame: None)
    repository = GitRepository(Path(sys.argv[1]))
    head = await repository.commit("HEAD")
    os.killpg(0, signal.SIGINT)
    for _ in range(100):
        assert await repository.commit("HEAD") == head
    await repository.aclose()

trio.run(main)
"""


def test_an_interrupt_from_the_terminal_does_not_end_git(repository: Path) -> None:
    """The terminal sends it to the whole group of processes. A trial first ends what waits for git."""
    words = [sys.executable, "-c", INTERRUPTED, str(repository)]
    done = subprocess.run(words, start_new_session=True, capture_output=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, b"")


async def test_an_error_of_git_is_an_answer(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_standin(repository) as served:
        monkeypatch.setenv("PATH", "")
        answer = await served.get(f"/git/trees/{served.head}")
    message = "git is not installed, or not on the PATH"
    assert (answer.status_code, answer.json()["message"]) == (500, message)


async def test_a_branch_may_have_a_name_that_is_not_utf_8(repository: Path) -> None:
    git(repository, "symbolic-ref", "HEAD", os.fsdecode(b"refs/heads/b\xff"))
    assert await GitRepository(repository).branch() == "b�"
