"""The commit that a trial makes of a working tree: what it has, what it lacks, and what can't be tried at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bassloop.tools import working_copy
from bassloop.tools.working_copy import TrialError, WorkingCopy
from bassloop.tools.working_copy import git as ask
from tests.repositories import commit, git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

CHECKS = {".bassloop.toml": '[checks.a]\nrun = "x"\n'}


async def files(copy: WorkingCopy) -> list[str]:
    return (await ask(copy.path, "ls-tree", "-r", "--name-only", copy.head)).splitlines()


async def test_repositories_inside_a_repository_are_left_out_and_named(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**CHECKS)
    git(path, "worktree", "add", "--quiet", "--detach", "sub/[tree]")
    git(path, "init", "--quiet", "unborn")
    (path / "unborn/file").touch()
    (path / "sub/new").touch()
    copy = await WorkingCopy.open(path, tmp_path / "copy")
    assert await files(copy) == [".bassloop.toml", "sub/new"]
    assert sorted(copy.untried) == [
        "sub/[tree] is a repository of its own, and not a submodule",
        "unborn is a repository of its own, and not a submodule",
    ]


async def test_changes_in_a_submodule_are_reported(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    module = make_repository(file="1").rename(tmp_path / "module")
    path = make_repository(**CHECKS)
    allowed = ("-c", "protocol.file.allow=always")
    git(path, *allowed, "submodule", "--quiet", "add", str(module), "a module")
    copy = await WorkingCopy.open(path, tmp_path / "added")
    assert (await files(copy), copy.untried) == ([".bassloop.toml", ".gitmodules", "a module"], ())
    git(path, "commit", "--quiet", "--message", "with a submodule")
    (path / "new").touch()
    copy = await WorkingCopy.open(path, tmp_path / "first")
    assert (await files(copy), copy.untried) == (
        [".bassloop.toml", ".gitmodules", "a module", "new"],
        (),
    )
    (path / "a module/new").touch()
    copy = await WorkingCopy.open(path, tmp_path / "second")
    assert copy.untried == ("the submodule a module has changes: commit and push them there",)


async def test_what_the_repository_alone_ignores_is_left_out(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**CHECKS)
    (path / ".git/info").mkdir(exist_ok=True)
    (path / ".git/info/exclude").write_text("private\n")
    for name in ("private", "new"):
        (path / name).touch()
    assert await files(await WorkingCopy.open(path, tmp_path / "copy")) == [".bassloop.toml", "new"]


async def content(copy: WorkingCopy, name: str) -> str:
    return await ask(copy.path, "cat-file", "blob", f"{copy.head}:{name}")


async def test_the_repository_s_own_settings_decide_what_is_tried(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**CHECKS, **{".gitattributes": "*.up filter=up\n"})
    excluded = tmp_path / "excluded"
    excluded.write_text("private\n")
    for setting, value in {
        "core.autocrlf": "true",
        "core.safecrlf": "true",
        "core.excludesFile": str(excluded),
        "filter.up.clean": "tr a-z A-Z",
    }.items():
        git(path, "config", setting, value)
    (path / "private").touch()
    (path / "lines").write_bytes(b"1\r\n2\r\n")
    (path / "mixed").write_bytes(b"1\r\n2\n")
    (path / "word.up").write_text("word")
    copy = await WorkingCopy.open(path, tmp_path / "copy")
    assert await files(copy) == [".bassloop.toml", ".gitattributes", "lines", "mixed", "word.up"]
    assert [await content(copy, name) for name in ("lines", "mixed", "word.up")] == [
        "1\n2",
        "1\n2",
        "WORD",
    ]


async def test_files_that_a_sparse_checkout_lacks_are_tried(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**CHECKS, **{"in/1": "", "out/1": "", "out/2": ""})
    git(path, "sparse-checkout", "set", "in")
    (path / "in/2").touch()
    copy = await WorkingCopy.open(path, tmp_path / "copy")
    assert await files(copy) == [".bassloop.toml", "in/1", "in/2", "out/1", "out/2"]


async def test_what_was_added_though_git_ignores_it_is_tried(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**CHECKS, **{".gitignore": "*.log"})
    git(path, "config", "core.splitIndex", "true")
    for name in ("added.log", "other.log"):
        (path / name).touch()
    git(path, "add", "--force", "added.log")
    copy = await WorkingCopy.open(path, tmp_path / "copy")
    assert await files(copy) == [".bassloop.toml", ".gitignore", "added.log"]


async def test_new_files_are_tried_though_git_status_hides_them(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**CHECKS)
    git(path, "config", "status.showUntrackedFiles", "no")
    (path / "new").touch()
    copy = await WorkingCopy.open(path, tmp_path / "copy")
    assert await files(copy) == [".bassloop.toml", "new"]


async def test_executable_files_are_those_that_git_takes_for_executable(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**CHECKS, **{"run.sh": "", "new.sh": ""})
    (path / "new.sh").chmod(0o755)
    copy = await WorkingCopy.open(path, tmp_path / "copy")
    assert await copy.executables() == {".bassloop.toml": False, "new.sh": True, "run.sh": False}
    git(path, "config", "core.fileMode", "false")
    (path / "new").touch()
    (path / "run.sh").chmod(0o755)
    copy = await WorkingCopy.open(path, tmp_path / "other")
    assert (await copy.executables())["run.sh"] is False


async def test_an_edit_at_the_time_of_the_index_is_tried(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**CHECKS, file="1")
    for name in ("file", ".git/index"):
        os.utime(path / name, (1e9, 1e9))
    git(path, "add", "--all")
    (path / "file").write_text("2")
    for name in ("file", ".git/index"):
        os.utime(path / name, (1e9, 1e9))
    (path / "new").touch()
    copy = await WorkingCopy.open(path, tmp_path / "copy")
    assert await content(copy, "file") == "2"


async def test_a_partial_clone_is_tried_without_its_history(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    origin = make_repository(**CHECKS, file="1", **{"out/file": ""})
    git(origin, "config", "uploadpack.allowFilter", "true")
    (origin / "file").write_text("2")
    commit(origin)
    path = tmp_path / "partial"
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", origin.as_uri(), str(path))
    history = "the history before HEAD, of which this partial clone lacks files"
    copy = await WorkingCopy.open(path, tmp_path / "clean")
    git(tmp_path, "clone", "--quiet", (tmp_path / "clean").as_uri(), "checkout")
    assert (copy.head, copy.untried) == (git(path, "rev-parse", "HEAD"), (history,))
    (path / "new").touch()
    copy = await WorkingCopy.open(path, tmp_path / "dirty")
    assert await files(copy) == [".bassloop.toml", "file", "new", "out/file"]
    copy = await WorkingCopy.open(path, tmp_path / "committed", committed=True)
    assert copy.head == git(path, "rev-parse", "HEAD")


async def test_a_partial_clone_that_lacks_files_of_its_head_is_refused(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    origin = make_repository(**CHECKS, **{"out/file": "1"})
    git(origin, "config", "uploadpack.allowFilter", "true")
    options = ("--quiet", "--filter=blob:none", "--sparse")
    git(tmp_path, "clone", *options, origin.as_uri(), "partial")
    with pytest.raises(TrialError, match=r"lacks 1 of HEAD's files .*sparse-checkout disable"):
        await WorkingCopy.open(tmp_path / "partial", tmp_path / "copy")


async def test_large_files_are_named_before_they_are_tried(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working_copy, "LARGE_FILE", 1 << 10)
    attributes = {".gitattributes": "*.bin filter=lfs -text\n"}
    path = make_repository(**CHECKS, **attributes, **{".gitignore": "ignored\n", "changed": ""})
    for name, size in {"ignored": 3_000, "in.bin": 3_000, "changed": 2_000, "new": 9_000}.items():
        (path / name).write_bytes(bytes(size))
    warnings: list[str] = []
    await WorkingCopy.open(path, tmp_path / "copy", on_warning=warnings.append)
    assert len(warnings) == 1
    assert (
        "new (9.0 KB), changed (2.0 KB). Trying them takes time; to leave them out" in warnings[0]
    )
    await WorkingCopy.open(path, tmp_path / "head", committed=True, on_warning=warnings.append)
    assert len(warnings) == 1


async def test_files_in_lfs_are_reported(make_repository: MakeRepository, tmp_path: Path) -> None:
    attributes = {".gitattributes": "*.bin filter=lfs -text\n"}
    path = make_repository(**CHECKS, **attributes, **{"a.bin": "pointer", "b.bin": "pointer"})
    copy = await WorkingCopy.open(path, tmp_path / "copy")
    assert copy.untried == (
        "the contents of a.bin and 1 more are in Git LFS, of which a trial has the pointers",
    )


async def test_a_repository_with_other_object_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet", "--object-format=sha256")
    (path / ".bassloop.toml").write_text(CHECKS[".bassloop.toml"])
    with pytest.raises(TrialError, match="has SHA-256 object names, which neither GitHub nor"):
        await WorkingCopy.open(path, tmp_path / "copy")


async def test_the_user_s_hooks_do_not_run_for_the_commit_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = tmp_path / "hooks/commit-msg"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.hooksPath")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(hook.parent))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/.bassloop.toml").write_text(CHECKS[".bassloop.toml"])
    copy = await WorkingCopy.open(tmp_path / "folder", tmp_path / "copy")
    assert await files(copy) == [".bassloop.toml"]


@pytest.mark.parametrize("in_git", [True, False])
async def test_the_copy_has_the_format_that_github_has(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_git: bool
) -> None:
    path = tmp_path / "folder"
    if in_git:
        path = make_repository(**CHECKS)
    else:
        path.mkdir()
    (path / ".bassloop.toml").write_text('[checks.b]\nrun = "x"\n')
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
    copy = await WorkingCopy.open(path, tmp_path / "copy")
    assert (len(copy.head), await files(copy)) == (40, [".bassloop.toml"])
