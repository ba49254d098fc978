"""Small Git repositories with a hook, for tests of the loop. `make_repository` is a fixture of all tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = """
(use (.git (linux/alpine/git)) (.github))

(defn on [src thunk] (from (linux/alpine) (cd src thunk)))

(defn checks [src]
  {CHECKS})

(defn github-hook [event client]
  (let [*loop* client]
    (github:check-hook event git:checkout checks)))
"""

MakeRepository = Callable[..., Path]

COMMIT = ("--quiet", "--allow-empty", "--message", "work")
"""Options of `git commit`."""


@pytest.fixture
def make_repository(tmp_path: Path) -> MakeRepository:
    """Makes a committed Git repository of files; `checks` is the inside of the checks' scope."""

    def make(checks: str | None = None, **files: str) -> Path:
        path = tmp_path / "repository"
        path.mkdir()
        if checks is not None:
            files["project.bass"] = PROJECT.replace("CHECKS", checks)
        for name, content in files.items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        git(path, "init", "--quiet", "--initial-branch=main", "--template=")
        git(path, "add", "--all")
        git(path, "commit", *COMMIT)
        return path

    return make


def git(path: Path, *args: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    command = ["git", "-C", str(path), *who, *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(path: Path) -> str:
    git(path, "add", "--all")
    git(path, "commit", *COMMIT)
    return git(path, "rev-parse", "HEAD")


def commits(path: Path, count: int) -> list[str]:
    """Make so many commits on top of the first, each a head that a push may have."""
    who = "committer test <test@example.invalid> 0 +0000\ndata 0\n"
    first = git(path, "rev-parse", "HEAD")
    files = "M 100644 inline {}\ndata {}\n{}\n"
    stream = "".join(
        f"commit refs/heads/many\nmark :{number}\n{who}"
        + (f"from {first}\n" if number == 1 else "")
        + files.format("number", len(str(number)), number)
        for number in range(1, count + 1)
    )
    command = ["git", "-C", str(path), "fast-import", "--quiet"]
    subprocess.run(command, input=stream.encode(), check=True)
    return git(path, "rev-list", "many", f"--max-count={count}").split()
