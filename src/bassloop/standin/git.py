"""A local repository, read through git, and never written to."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import trio


class GitFailed(Exception):  # noqa: N818
    """git refused; the message is git's own."""


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One name in a folder. `kind` is ``file``, ``dir``, ``symlink`` or ``submodule``."""

    kind: str
    sha: str
    size: int
    name: str


_KINDS = {"100644": "file", "100755": "file", "040000": "dir", "120000": "symlink", "160000": "submodule"}


@dataclass(frozen=True, slots=True)
class GitRepository:
    """A repository on disk. Operations raise GitFailed."""

    path: Path

    async def run(self, *args: str, stdin: bytes = b"") -> bytes:
        """What a git command prints."""
        command = ["git", "-c", "safe.directory=*", "-C", str(self.path), *args]
        try:
            done = await trio.run_process(
                command, stdin=stdin, capture_stdout=True, stderr=subprocess.PIPE, check=False
            )
        except FileNotFoundError as error:
            raise GitFailed("git is not installed, or not on the PATH") from error
        if done.returncode:
            raise GitFailed(done.stderr.decode(errors="replace").strip() or f"git {args[0]} failed")
        return done.stdout

    async def commit(self, ref: str) -> str | None:
        """The commit that a name stands for; None when it stands for none."""
        if ref.startswith("-"):
            return None
        try:
            found = await self.run("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        except GitFailed:
            return None
        return found.decode().strip()

    async def branch(self) -> str:
        """The branch that is checked out; ``main`` when none is."""
        try:
            return (await self.run("symbolic-ref", "--short", "HEAD")).decode().strip()
        except GitFailed:
            return "main"

    async def parent(self, commit: str) -> str | None:
        """A commit's first parent; None for the first commit."""
        return await self.commit(f"{commit}^1")

    async def read(self, commit: str, path: str) -> bytes | None:
        """A file's bytes; None when there is none."""
        entry = await self.entry(commit, path)
        if entry is None or entry.kind not in ("file", "symlink"):
            return None
        return await self.run("cat-file", "blob", entry.sha)

    async def entry(self, commit: str, path: str) -> TreeEntry | None:
        """What is at a path; None when there is nothing. The repository's own folder is at ""."""
        path = path.strip("/")
        if not path:
            return TreeEntry("dir", commit, 0, "")
        found = await self._tree(commit, path)
        return next((entry for entry in found if entry.name == path.rsplit("/", 1)[-1]), None)

    async def folder(self, commit: str, path: str) -> list[TreeEntry]:
        """What is in a folder."""
        path = path.strip("/")
        return await self._tree(f"{commit}:{path}" if path else commit)

    async def _tree(self, tree: str, *paths: str) -> list[TreeEntry]:
        # Paths are taken as they are: no pathspec of git's has a meaning.
        args = ("--literal-pathspecs", "ls-tree", "-z", "-l", tree, "--", *paths)
        entries = []
        for record in (await self.run(*args)).decode(errors="surrogateescape").split("\0"):
            if record:
                about, _, name = record.partition("\t")
                mode, _, sha, size = about.split()
                length = int(size) if size.isdigit() else 0
                entries.append(TreeEntry(_KINDS[mode], sha, length, name.rsplit("/", 1)[-1]))
        return entries
