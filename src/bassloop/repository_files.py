"""The files of a repository that the loop and its tools read, and how to find them from any of its folders."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CONFIG_FILE = ".bassloop.toml"
"""The checks that the repository declares, and its policy."""

PROJECT = "project.bass"
"""The module with the repository's hook."""

SCRIPT = "bass/github-hook"
"""A script that is the hook, if there is no module."""

SCRIPTS = (PROJECT, SCRIPT)

MISSING_HOOK = (
    "add (defn github-hook [event client]"
    " (let [*loop* client] (github:check-hook event git:checkout checks))),"
    " which starts what (defn checks [src] …) returns,"
    " and (use (.git (linux/alpine/git)) (.github)) at the top"
)
"""What to do if a module has no hook."""

CHECKS = (CONFIG_FILE, *SCRIPTS)
"""The files that declare a repository's checks."""

OTHER_FORMATS = frozenset({".toml", ".json", ".yml", ".yaml", ".md", ".txt"})
"""Suffixes of files that are no scripts, although they may be given for one."""

_MOST_SIMILAR = 0.8


def has_checks(folder: Path) -> bool:
    """Return whether a folder has a file that may declare checks."""
    return any((folder / name).is_file() for name in CHECKS)


def find_script(folder: Path) -> str | None:
    """Return the name of the Bass file that is a folder's hook, or None if it has none."""
    return next((name for name in SCRIPTS if (folder / name).is_file()), None)


def repository_top(path: Path) -> Path | None:
    """Return the top folder of the repository around an absolute path, or None."""
    return next((each for each in (path, *path.parents) if (each / ".git").exists()), None)


def is_git_folder(path: Path) -> bool:
    """Return whether a folder is a bare repository, or the `.git` of one, or inside it."""
    for each in (path, *path.parents):
        if (each / ".git").exists():
            return False  # a worktree may be inside a bare repository
        if (each / "HEAD").is_file() and (each / "objects").is_dir() and (each / "refs").is_dir():
            return True
    return False


def find_checks_folder(path: Path) -> Path | None:
    """Return PATH if it has checks, or the repository around it; None if neither has any.

    A folder that isn't in a repository is returned unchanged.
    """
    path = path.resolve()
    if has_checks(path):
        return path
    top = repository_top(path)
    return path if top is None else top if has_checks(top) else None


def explain_missing_checks(folder: Path) -> str | None:
    """Return why the file with a folder's checks isn't found, or None if there is no such file."""
    file = folder / CONFIG_FILE
    if file.is_dir():
        return f"{CONFIG_FILE} is a folder, and must be a file"
    if file.is_symlink() and not file.exists():
        return f"{CONFIG_FILE} is a link to {file.readlink()}, which doesn't exist"
    for inner in (folder, folder / ".github"):
        names = [each.name for each in inner.iterdir() if each.is_file()] if inner.is_dir() else []
        here = inner == folder
        similar = [
            name
            for name in get_close_matches(CONFIG_FILE, names, n=1, cutoff=_MOST_SIMILAR)
            if not (here and name == CONFIG_FILE)
        ]
        if similar:
            found = inner.relative_to(folder) / similar[0]
            return (
                f"{found} isn't read: checks are in {CONFIG_FILE}, in the repository's top folder"
            )
    return None
