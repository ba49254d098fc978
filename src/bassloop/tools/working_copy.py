"""Prepare a repository for a trial: the HEAD or the working tree of a local one, or a plain folder with checks."""

from __future__ import annotations

import os
import re
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.repository_files import CONFIG_FILE, has_checks, repository_top
from bassloop.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

GIT_PLACES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"}


LARGE_FILE = 100 << 20
"""The size in bytes of the largest file that GitHub accepts."""

NAMED_FILES = 3
_NEW = ("--quiet", "--object-format=sha1")
"""Options for a new repository, whatever the user's default is."""

_IN_LFS, _NOT_IN_LFS = ":(attr:filter=lfs)", ":(exclude,attr:filter=lfs)"

_SETTINGS = re.compile(
    r"core\.(?:attributesfile|autocrlf|eol|excludesfile|filemode|ignorecase|precomposeunicode|symlinks)|filter\..*"
)
"""The settings of a repository that decide which of its files Git takes, and with which content."""

_PARTIAL = r"^remote\..*\.promisor$"
"""The setting of a partial clone, from whose remote Git fetches further objects when it needs them."""

_CHANGED_SUBMODULE = re.compile("S.(M.|.U)")


class TrialError(Exception):
    """The repository can't be tried; the message has the reason and the fix."""


@dataclass(eq=False)
class WorkingCopy:
    """A copy of a folder for a trial. Create it with :meth:`open`.

    Args:
        source: the repository or folder that is tried; it is only read.
        path: the repository that the stand-in serves: `source` itself, or one that was made from it.
        copied: `path` was made from a folder's files.
        dirty: `source` has uncommitted changes.
        committed: try the source's HEAD, though `path` was made from it.
        head: the commit that is tried.
        changed: the files that the last update has changed; empty for the first.
        untried: sentences about parts of the working tree that a commit can't have, so they aren't tried.
    """

    source: Path
    path: Path
    copied: bool
    dirty: bool
    committed: bool = False
    head: str = ""
    changed: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()

    @classmethod
    async def open(
        cls,
        path: Path,
        folder: Path,
        *,
        committed: bool = False,
        watched: bool = False,
        on_warning: Callable[[str], None] = lambda warning: None,
    ) -> WorkingCopy:
        """Find the repository that contains a path, or make one from the folder. Raises TrialError.

        Args:
            folder: where to make a repository, if necessary.
            committed: try HEAD instead of the working tree.
            watched: always make a repository, so it can be updated.
            on_warning: called with what the person should know before it takes long.
        """
        path = path.resolve()
        partial = False
        if not path.is_dir():
            raise TrialError(f"{path} is not a folder")
        top = os.fsdecode(await _git_output(path, "rev-parse", "--show-toplevel", check=False))
        if not top:
            await _require_usable(path)
        if top and (Path(top) == path or not has_checks(path)):
            source = Path(top)
            if await git(source, "rev-parse", "--show-object-format") != "sha1":
                raise TrialError(
                    f"{top} has SHA-256 object names, which neither GitHub nor Bass Loop supports: clone its files "
                    "into a repository made with `git init --object-format=sha1`"
                )
            partial = bool(await git(source, "config", "--get-regexp", _PARTIAL, check=False))
            unborn = not await git(path, "rev-parse", "--verify", "HEAD", check=False)
            if unborn and committed:
                raise TrialError(
                    f"{top} has no commit yet: commit something, or leave out --committed"
                )
            dirty = bool(await git(source, "status", "--porcelain", "--untracked-files=normal"))
            copy = cls(source, source, copied=False, dirty=dirty, committed=committed)
            if watched or unborn or partial or (dirty and not committed):
                copy.path = folder
                await copy._borrow(partial)
                if not committed and (warning := await _warn_of_large_files(source)):
                    on_warning(warning)
        elif has_checks(path):
            copy = cls(path, folder, copied=True, dirty=False)
            folder.mkdir()
            await git(folder, "init", *_NEW, "--initial-branch=main")
        else:
            raise TrialError(
                f"{path} isn't in a Git repository, and has no {CONFIG_FILE}: "
                "name a folder of your project, or write its first checks with `bassloop init`"
            )
        await copy.update()
        if not copy.copied:
            copy.untried += await _explain_lfs(copy.source)
        if partial:
            await copy._require_objects()
            copy.untried += ("the history before HEAD, of which this partial clone lacks files",)
        return copy

    async def update(self) -> bool:
        """Update the copy to the current files. Return whether they have changed. Raises TrialError."""
        before = self.head
        if self.copied:
            await trio.to_thread.run_sync(self._copy_files)
            await git(self.path, "add", "--all")
            if not before or await git(self.path, "status", "--porcelain"):
                message = f"{self.source.name}, as it is"
                await git(self.path, "commit", "--quiet", "--allow-empty", "--message", message)
        elif self.path != self.source:
            await self._commit_tree()
        self.head = await git(self.path, "rev-parse", "--verify", "HEAD^{commit}")
        if before and self.head != before:
            names = await git(self.path, "diff", "--name-only", "-z", before, self.head)
            self.changed = tuple(name for name in names.split("\0") if name)
        return self.head != before

    async def includes(self, name: str) -> bool:
        """Return whether the commit that is tried has a file."""
        return bool(await git(self.path, "ls-tree", "--name-only", self.head, "--", name))

    async def executables(self) -> dict[str, bool]:
        """Return whether each file is executable in the commit that is tried, by its path."""
        listing = await git(self.path, "ls-tree", "-r", "-z", self.head)
        entries = (entry.partition("\t") for entry in listing.split("\0") if entry)
        return {name: mode.startswith("100755") for mode, _, name in entries}

    def _copy_files(self) -> None:
        for each in self.path.iterdir():
            if each.is_dir() and not each.is_symlink() and each.name != ".git":
                shutil.rmtree(each)
            elif each.name != ".git":
                each.unlink()
        try:
            shutil.copytree(
                self.source, self.path, ignore=_left_out, symlinks=True, dirs_exist_ok=True
            )
        except shutil.Error as error:
            reason = error.args[0][0][2]
            raise TrialError(f"{self.source} can't be copied: {reason}") from error

    async def _borrow(self, partial: bool) -> None:
        """Make a repository that borrows the source's objects, and has its own index.

        Nothing of a partial clone can be served but HEAD, since it lacks older files, so the history ends there.
        """
        branch = await git(self.source, "branch", "--show-current") or "main"
        where = ("rev-parse", "--path-format=absolute", "--git-path", "objects")
        objects = await _git_output(self.source, *where)
        self.path.mkdir()
        await git(self.path, "init", *_NEW, f"--initial-branch={branch}")
        # All of it is read from this disk, so that compressing it would only take time.
        await git(self.path, "config", "core.compression", "0")
        (self.path / ".git/objects/info/alternates").write_bytes(_quoted(objects) + b"\n")
        shared = Path(os.fsdecode(objects)).parent
        for name in ("shallow", "info/exclude", "info/attributes"):
            if (shared / name).is_file():
                shutil.copyfile(shared / name, self.path / ".git" / name)
        if partial:
            base = await git(self.source, "rev-parse", "--verify", "HEAD^{commit}", check=False)
            (self.path / ".git/shallow").write_text(base and f"{base}\n")

    async def _require_objects(self) -> None:
        """Raise TrialError if a partial clone lacks files of the commit that is tried."""
        listing = ("rev-list", "--objects", "--missing=print", "--no-object-names", "HEAD")
        objects = (await git(self.path, *listing)).split("\n")
        if lacking := sum(each.startswith("?") for each in objects):
            raise TrialError(
                f"{self.source} is a partial clone, which lacks {lacking} of HEAD's files or folders: fetch them with "
                "`git sparse-checkout disable`, or try a whole clone"
            )

    async def _commit_tree(self) -> None:
        """Commit the working tree of the source, on top of its HEAD if it has one, without what Git ignores there."""
        base = await git(self.source, "rev-parse", "--verify", "HEAD^{commit}", check=False)
        elsewhere = {"GIT_DIR": str(self.path / ".git"), "GIT_WORK_TREE": str(self.source)}
        if self.committed:
            await git(self.path, "update-ref", "HEAD", base)
            return
        elsewhere |= await _settings(self.source)
        await self._copy_index(elsewhere)
        nested = await self._nested_repositories()
        left_out = [f":(exclude,literal){name}" for name in nested]
        await git(self.source, "add", "--all", "--", ".", *left_out, env=elsewhere)
        self.untried = (
            *(f"{name} is a repository of its own, and not a submodule" for name in nested),
            *(
                f"the submodule {name} has changes: commit and push them there"
                for name in await _changed_submodules(self.source)
            ),
        )
        tree = await git(self.source, "write-tree", env=elsewhere)
        if self.head and tree == await git(self.path, "rev-parse", "HEAD^{tree}"):
            return
        if base and tree == await git(self.source, "rev-parse", "HEAD^{tree}"):
            await git(self.path, "update-ref", "HEAD", base)
            return
        words = ["commit-tree", tree, "-m", "The working tree as it is"]
        words += ["-p", base] if base else []
        commit = await git(self.source, *words, env=elsewhere)
        await git(self.path, "update-ref", "HEAD", commit)

    async def _copy_index(self, elsewhere: Mapping[str, str]) -> None:
        """Copy the source's index, which has files that Git ignores, and those that a sparse checkout lacks."""
        where = ("rev-parse", "--path-format=absolute", "--git-path", "index")
        index = Path(os.fsdecode(await _git_output(self.source, *where)))
        try:
            # A split index has most of its entries in another file. Git compares the index's own time with those of
            # files, to find the ones that have changed since.
            for file in (*index.parent.glob("sharedindex.*"), index):
                await trio.to_thread.run_sync(shutil.copy2, file, self.path / ".git" / file.name)
        except FileNotFoundError:
            await git(self.source, "read-tree", "--empty", env=elsewhere)  # nothing was added yet

    async def _nested_repositories(self) -> list[str]:
        """Return the folders with repositories that the source doesn't track, such as worktrees inside it.

        Git would commit each as a submodule that nobody can clone.
        """
        listing = ("ls-files", "--others", "--exclude-standard", "-z")
        untracked = os.fsdecode(await _git_output(self.source, *listing)).split("\0")
        return [name[:-1] for name in untracked if name.endswith("/")]


async def _warn_of_large_files(source: Path) -> str | None:
    """Return that files which aren't committed are large, and how to leave them out; None if there are none."""
    listing = ("ls-files", "--others", "--modified", "--exclude-standard", "-z")
    found = os.fsdecode(await _git_output(source, *listing, "--", ".", _NOT_IN_LFS))
    sizes = await trio.to_thread.run_sync(_large_files, source, found.split("\0"))
    if not sizes:
        return None
    named = [f"{name} ({format_size(size)})" for name, size in sizes[:NAMED_FILES]]
    more = f" and {len(sizes) - len(named)} more" if len(sizes) > len(named) else ""
    limit = LARGE_FILE >> 20
    return (
        f"not committed, and larger than the {limit} MiB that GitHub accepts: {', '.join(named)}{more}. Trying them "
        "takes time; to leave them out, name them in .gitignore or .git/info/exclude"
    )


def _large_files(source: Path, names: Iterable[str]) -> list[tuple[str, int]]:
    """Return which files are larger than LARGE_FILE, with their sizes in bytes, the largest first."""
    sizes = {}
    for name in names:
        with suppress(OSError):
            found = (source / name).lstat()
            if stat.S_ISREG(found.st_mode) and found.st_size > LARGE_FILE:
                sizes[name] = found.st_size
    return sorted(sizes.items(), key=lambda each: -each[1])


async def _explain_lfs(source: Path) -> tuple[str, ...]:
    """Return that the contents of files in Git LFS aren't tried, if there are any."""
    found = await git(source, "ls-files", "-z", _IN_LFS)
    names = [name for name in found.split("\0") if name]
    if not names:
        return ()
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (f"the contents of {names[0]}{more} are in Git LFS, of which a trial has the pointers",)


async def _settings(source: Path) -> dict[str, str]:
    """Return the environment with which Git in another repository has those of the source's settings that count."""
    listed = os.fsdecode(await _git_output(source, "config", "--list", "-z")).split("\0")
    pairs = [pair.partition("\n") for pair in listed if pair]
    settings = [(name, value if equals else "true") for name, equals, value in pairs]
    settings = [pair for pair in settings if _SETTINGS.fullmatch(pair[0])]
    # Mixed line breaks are a matter of the commit to come, and no process may watch a trial's folder.
    settings += [("core.safecrlf", "false"), ("core.fsmonitor", "false")]
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    found = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (name, value) in enumerate(settings, first):
        found |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return found


async def _changed_submodules(source: Path) -> list[str]:
    """Return the submodules with changes that aren't committed there."""
    options = ("--porcelain=v2", "-z", "--ignore-submodules=none", "--untracked-files=normal")
    status = await git(source, "status", *options)
    entries = (entry.split(" ", 8) for entry in status.split("\0"))
    return [
        entry[8]
        for entry in entries
        if len(entry) == 9 and entry[0] == "1" and _CHANGED_SUBMODULE.fullmatch(entry[2])
    ]


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Return which of a folder's entries aren't copied: Git's own, caches, and those that Git doesn't store either."""
    special = {name for name in names if _is_special(os.path.join(folder, name))}
    return special | {".git", "__pycache__"} & set(names)


def _is_special(path: str) -> bool:
    """Return whether a path is a named pipe, a socket or a device."""
    mode = os.lstat(path).st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


async def _require_usable(path: Path) -> None:
    """Raise TrialError if a path is in a repository after all, but Git can't use that as it is."""
    if await git(path, "rev-parse", "--git-dir", check=False):
        raise TrialError(
            f"{path} is in a repository, but has no files: name the folder of a clone, with its working tree"
        )
    found = repository_top(path)
    if found is not None:
        try:
            await git(found, "status", "--porcelain")
        except TrialError as error:
            raise TrialError(f"Git can't use the repository {found}: {error}") from error


async def git(
    path: Path,
    *args: str,
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> str:
    """Return git's output as text, without the last newline; an empty text if it fails and `check` is off."""
    return (await _git_output(path, *args, check=check, env=env)).decode(errors="replace")


def _quoted(path: bytes) -> bytes:
    """Return a path as a line of Git's, which is quoted as in C if it has line breaks."""
    if b"\n" not in path:
        return path
    escapes = ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"))
    for character, escape in escapes:
        path = path.replace(character, escape)
    return b'"' + path + b'"'


async def _git_output(
    path: Path,
    *args: str,
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> bytes:
    """Return what :func:`git` does, as bytes: paths needn't be UTF-8."""
    settings = {
        "user.name": "bassloop try",
        "user.email": "try@bassloop.invalid",
        "commit.gpgsign": "false",
        "core.hooksPath": os.devnull,  # the user's hooks are for the user's commits
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    # Without optional locks, `git status` doesn't write to the repository.
    command = ["git", "--no-optional-locks", "-C", str(path), *options, *args]
    environment = {name: value for name, value in os.environ.items() if name not in GIT_PLACES}
    try:
        done = await trio.run_process(
            command,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**environment, **(env or {})},
        )
    except FileNotFoundError as error:
        raise TrialError("git is not installed, or not on the PATH") from error
    if done.returncode == 0:
        return done.stdout.rstrip(b"\n")
    if check:
        raise TrialError(f"git {args[0]}: {done.stderr.decode(errors='replace').strip()}")
    return b""
