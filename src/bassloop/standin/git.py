"""Read a local repository with git. It's never written to.

The most frequent calls, for a commit, and for a folder or file in one, are answered by two `git cat-file` processes
that keep running. A new process for each call would take longer than everything else together.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from subprocess import PIPE
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import open_flat_nursery, shielded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SAFE = ("-c", "safe.directory=*")
OWN_GROUP = 0
"""The process group of each git: a new one, since Ctrl-C in a terminal would end it before those that wait for it."""

MAX_BLOB = 100 << 20
END_SECONDS = 5.0
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+@-]{0,254}\Z")
_KINDS = {
    "100644": "file",
    "100755": "file",
    "040000": "dir",
    "120000": "symlink",
    "160000": "submodule",
}


class GitFailed(Exception):
    """git failed; the message is its own."""


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """An entry of a folder. `kind` is ``file``, ``dir``, ``symlink`` or ``submodule``."""

    kind: str
    sha: str
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit. Times are in git's format, ISO 8601."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: tuple[str, str, str]
    committer: tuple[str, str, str]
    message: str


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which git uses no other repository, and doesn't prompt, fetch or lock."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    return {**inherited, **quiet, "LC_ALL": "C", **more}


@dataclass(eq=False)
class GitRepository:
    """A repository on disk. All methods raise GitFailed."""

    path: Path
    _names: _CatFile = field(init=False, repr=False)
    _contents: _CatFile = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._names = _CatFile(self.path, "--batch-check")
        self._contents = _CatFile(self.path, "--batch")

    async def aclose(self) -> None:
        """End the running processes, even if this is cancelled."""
        await self._names.aclose()
        await self._contents.aclose()

    async def run(self, *args: str, stdin: bytes = b"") -> bytes:
        """Run a git command and return its output."""
        command = ["git", *SAFE, "-C", str(self.path), *args]
        try:
            done = await trio.run_process(
                command,
                stdin=stdin,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=environment(),
                process_group=OWN_GROUP,
            )
        except FileNotFoundError as error:
            raise GitFailed("git is not installed, or not on the PATH") from error
        if done.returncode:
            raise GitFailed(done.stderr.decode(errors="replace").strip() or f"git {args[0]} failed")
        return done.stdout

    async def commit(self, ref: str) -> str | None:
        """Return the commit that a name refers to, or None if it refers to none, or is an expression."""
        plain = ref.removesuffix("^1")
        if not _REF.match(plain) or ".." in plain or "@{" in plain:
            return None
        found = (await self._names.ask(f"{ref}^{{commit}}"))[0].split(" ")
        return found[0] if len(found) == 3 and found[1] == "commit" else None

    async def branch(self) -> str | None:
        """Return the branch that is checked out, or None."""
        try:
            return (
                (await self.run("symbolic-ref", "--short", "HEAD")).decode(errors="replace").strip()
            )
        except GitFailed:
            return None

    async def parent(self, commit: str) -> str | None:
        """Return a commit's first parent, or None for the first commit."""
        return await self.commit(f"{commit}^1")

    async def show(self, commit: str) -> Commit:
        """Return a commit."""
        fields = "%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B"
        output = await self.run(
            "show", "--no-patch", "--no-show-signature", f"--format={fields}", commit
        )
        parts = output.decode(errors="replace").rstrip("\n").split("\0")
        sha, tree, parents, *people, message = parts
        author, committer = tuple(people[:3]), tuple(people[3:6])
        return Commit(sha, tree, tuple(parents.split()), author, committer, message)  # type: ignore[arg-type]

    async def entry(self, commit: str, path: str) -> TreeEntry | None:
        """Return the entry at a path, or None. The root folder is at "".

        A symbolic link within the repository is followed.
        """
        path = path.strip("/")
        if not path:
            return TreeEntry("dir", f"{commit}^{{tree}}", 0, "")
        if "\n" in path or "\0" in path:
            return None
        name = path.rpartition("/")[2]
        found = (await self._names.ask(f"{commit}:{path}"))[0].rsplit(" ", 2)
        if len(found) == 3 and found[1] in ("blob", "tree") and found[2].isdigit():
            kind = "file" if found[1] == "blob" else "dir"
            return TreeEntry(kind, found[0], int(found[2]) if kind == "file" else 0, name)
        # Broken links, links that lead outside, and submodules are found only in their folder.
        folder = path.rpartition("/")[0]
        listed = await self._tree(f"{commit}:{folder}")
        return next((entry for entry in listed if entry.name == name), None)

    async def read(self, entry: TreeEntry) -> bytes:
        """Return the bytes of a file or link."""
        if entry.size > MAX_BLOB:
            raise GitFailed(f"{entry.name} is longer than {MAX_BLOB:,} bytes")
        header, content = await self._contents.ask(entry.sha)
        if content is None:
            raise GitFailed(f"{entry.name}: {header}")
        return content

    async def folder(self, entry: TreeEntry) -> list[TreeEntry]:
        """Return the entries of a folder."""
        return await self._tree(entry.sha)

    async def files(self, commit: str) -> list[tuple[str, TreeEntry]]:
        """Return all files of a commit, with their paths."""
        listed = (await self.run("ls-tree", "-r", "-z", "-l", commit)).decode(
            errors="surrogateescape"
        )
        return [_entry(line) for line in listed.split("\0") if line]

    async def _tree(self, name: str) -> list[TreeEntry]:
        """Return the entries of a tree; none if the name refers to something else."""
        header, content = await self._contents.ask(name)
        sha, _, kind = header.partition(" ")
        if content is None or not kind.startswith("tree "):
            return []
        entries = list(_entries(content, len(sha) // 2))
        files = [entry for entry in entries if entry.kind in ("file", "symlink")]
        headers = await self._names.ask_all([entry.sha for entry in files])
        sizes = {line.split(" ")[0]: line.rpartition(" ")[2] for line in headers}
        return [replace(entry, size=int(sizes.get(entry.sha, 0))) for entry in entries]


def _entries(content: bytes, sha_bytes: int) -> Iterator[TreeEntry]:
    """Parse a tree in git's storage format, which doesn't contain sizes."""
    start = 0
    while start < len(content):
        end = content.index(0, start)
        mode, _, name = content[start:end].decode(errors="surrogateescape").partition(" ")
        start = end + 1 + sha_bytes
        sha = content[end + 1 : start].hex()
        yield TreeEntry(_KINDS[mode.zfill(6)], sha, 0, name)


def _entry(line: str) -> tuple[str, TreeEntry]:
    """Parse a line of ``git ls-tree -l`` into its path and entry."""
    attributes, _, path = line.partition("\t")
    mode, _, sha, size = attributes.split()
    length = int(size) if size.isdigit() else 0
    return path, TreeEntry(_KINDS[mode], sha, length, path.rpartition("/")[2])


@dataclass(eq=False)
class _CatFile:
    """A `git cat-file` process, started on first use, and again after a failure."""

    path: Path
    mode: str
    _process: trio.Process | None = None
    _buffer: bytearray = field(default_factory=bytearray)
    _lock: trio.Lock = field(default_factory=trio.Lock)

    async def ask(self, name: str) -> tuple[str, bytes | None]:
        """Return the header for an object, and the object if it's printed, too.

        If this is cancelled, the process is ended, since its output would be mistaken for the next one's.
        """
        async with self._lock:
            try:
                return await self._ask(name)
            except BaseException:
                await self._end()
                raise

    async def ask_all(self, names: Sequence[str]) -> list[str]:
        """Return the headers for the ids of objects, all requested at once."""
        if not names:
            return []
        async with self._lock:
            try:
                process = await self._started()
                async with open_flat_nursery() as nursery:
                    # Answers are read concurrently, because either pipe may be too small for all of them.
                    nursery.start_soon(self._write, process, "\n".join(names))
                    return [(await self._line()).decode() for _ in names]
            except BaseException:
                await self._end()
                raise

    async def aclose(self) -> None:
        with shielded(END_SECONDS):
            async with self._lock:
                await self._end()

    async def _ask(self, name: str) -> tuple[str, bytes | None]:
        await self._write(await self._started(), name)
        header = (await self._line()).decode(errors="replace")
        words = header.split(" ")
        if self.mode == "--batch-check":
            if words[0] in ("symlink", "dangling", "loop", "notdir") and words[1].isdigit():
                await self._take(int(words[1]) + 1)
            return header, None
        if len(words) != 3 or not words[2].isdigit():
            return header, None
        content = await self._take(int(words[2]) + 1)
        return header, content[:-1]

    async def _started(self) -> trio.Process:
        if self._process is None:
            command = ["git", *SAFE, "-C", str(self.path), "cat-file", self.mode]
            follow = ["--follow-symlinks"] if self.mode == "--batch-check" else []
            try:
                self._process = await trio.lowlevel.open_process(
                    [*command, *follow],
                    stdin=PIPE,
                    stdout=PIPE,
                    env=environment(),
                    process_group=OWN_GROUP,
                )
            except FileNotFoundError as error:
                raise GitFailed("git is not installed, or not on the PATH") from error
        return self._process

    async def _write(self, process: trio.Process, names: str) -> None:
        assert process.stdin is not None
        try:
            await process.stdin.send_all(names.encode(errors="surrogateescape") + b"\n")
        except trio.BrokenResourceError as error:
            raise GitFailed("git cat-file ended") from error

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            await self._more()
        return (await self._take(end + 1))[:-1]

    async def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            await self._more()
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken

    async def _more(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        data = await self._process.stdout.receive_some()
        if not data:
            raise GitFailed("git cat-file ended")
        self._buffer += data

    async def _end(self) -> None:
        process, self._process = self._process, None
        self._buffer.clear()
        if process is not None:
            with shielded(END_SECONDS):
                process.kill()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        await pipe.aclose()
                await process.wait()
