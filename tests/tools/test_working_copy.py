"""The commit that a trial makes of a working tree: what it has, what it lacks, and what can't be tried at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.tools.working_copy import TrialError, WorkingCopy
from bassloop.tools.working_copy import git as ask
from tests.repositories import git

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


async def test_a_repository_with_other_object_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet", "--object-format=sha256")
    (path / ".bassloop.toml").write_text(CHECKS[".bassloop.toml"])
    with pytest.raises(TrialError, match="has SHA-256 object names, which neither GitHub nor"):
        await WorkingCopy.open(path, tmp_path / "copy")
