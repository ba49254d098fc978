"""Tells which checks an event would start, by evaluating the hook without running anything."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bassloop import bass
from bassloop.bass.session import Session
from bassloop.wire import bass_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bassloop.bass.session import SessionDriver

CHECKS_FILE = ".bassloop.toml"
PROJECT = "project.bass"
SCRIPT = "bass/github-hook"

_SHA = "5" * 40

EVENTS: Mapping[str, Mapping[str, Any]] = {
    "a push to main": {
        "event": "check_suite",
        "payload": {
            "action": "requested",
            "repository": {
                "clone_url": "https://github.example/owner/name",
                "default_branch": "main",
            },
            "check_suite": {"head_sha": _SHA, "head_branch": "main", "pull_requests": []},
        },
    },
    "a pull request for main": {
        "event": "pull_request",
        "payload": {
            "action": "opened",
            "number": 1,
            "repository": {
                "clone_url": "https://github.example/owner/name",
                "default_branch": "main",
            },
            "pull_request": {
                "number": 1,
                "head": {
                    "sha": _SHA,
                    "ref": "topic",
                    "repo": {"clone_url": "https://github.example/fork/name"},
                },
                "base": {"ref": "main", "repo": {"clone_url": "https://github.example/owner/name"}},
            },
        },
    },
    "a merge queue": {
        "event": "merge_group",
        "payload": {
            "action": "checks_requested",
            "repository": {
                "clone_url": "https://github.example/owner/name",
                "default_branch": "main",
            },
            "merge_group": {"head_sha": _SHA, "base_ref": "refs/heads/main"},
        },
    },
}
"""A sample of each event that hooks are usually for."""


def pushed_to(branch: str, sample: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a sample of an event, with the branch that was pushed if it is about a push."""
    payload = sample["payload"]
    if "check_suite" not in payload:
        return sample
    suite = {**payload["check_suite"], "head_branch": branch}
    return {**sample, "payload": {**payload, "check_suite": suite}}


@dataclass(frozen=True, slots=True)
class Outlook:
    """The checks that an event would start.

    Args:
        checks: the names, in order.
        error: why that can't be told, or what the hook fails with.
        place: where in which file it fails, as far as that is known.
    """

    checks: list[str]
    error: str | None = None
    place: str | None = None

    @property
    def fails(self) -> bool:
        """True if the hook itself fails, and doesn't just need something run to go on."""
        return self.error is not None and not self.error.startswith(bass.UNAVAILABLE)


async def foresee(
    root: Path,
    event: Mapping[str, Any],
    driver: SessionDriver | None = None,
    *,
    declared: str | None = None,
) -> Outlook:
    """Evaluate a folder's hook for an event, without running anything.

    Args:
        driver: runs what the hook starts; None to run it under Trio.
        declared: the Bass that its `.bassloop.toml` means, if that declares checks.
    """
    names: list[str] = []
    try:
        if declared is not None:
            names += await _started(declared, CHECKS_FILE, root, event, driver)
        if (root / PROJECT).is_file():
            names += await _started((root / PROJECT).read_text(), PROJECT, root, event, driver)
        elif (root / SCRIPT).is_file():
            names += await _started((root / SCRIPT).read_text(), SCRIPT, root, event, driver)
    except bass.BassError as error:
        return Outlook(names, error.message, _place(error))
    return Outlook(names)


async def foresee_all(
    root: Path, driver: SessionDriver | None = None, *, declared: str | None = None
) -> dict[str, Outlook]:
    """Evaluate a folder's hook for a sample of each event; see :func:`foresee`."""
    return {
        name: await foresee(root, sample, driver, declared=declared)
        for name, sample in EVENTS.items()
    }


def _place(error: bass.BassError) -> str | None:
    """Return the place of the innermost form that isn't the library's, in a file that somebody wrote."""
    for place in error.trace:
        if place is not None and place.source.name in (PROJECT, SCRIPT):
            return f"{place.source.name}:{place.line}:{place.column + 1}"
    return None


async def _started(
    source: str, name: str, root: Path, event: Mapping[str, Any], driver: SessionDriver | None
) -> list[str]:
    names: list[str] = []

    def start(thunk: bass.Value, check: bass.Value, sha: bass.Value, *_: bass.Value) -> bass.Value:
        names.append(str(check))
        return bass.builtin("wait", "[]", lambda: None)

    client = bass.scope(
        {
            "start-check": bass.builtin("start-check", "[thunk name sha]", start),
            "start-check-with": bass.builtin("start-check-with", "[thunk name sha options]", start),
        }
    )
    folder = name.rpartition("/")[0] or "."
    host = SilentHost()
    opened = bass.open_session(host) if driver is None else nullcontext(Session(host, driver))
    async with opened as session:
        directory = bass.repository_dir(_Tree(root), bass.DirPath(folder))
        value = bass.from_python(event)
        if name == SCRIPT:
            await session.run_script(
                source, name, directory=directory, stdin=[value], bindings={"*loop*": client}
            )
        else:
            module = await session.load(source, name, directory)
            await session.call(bass.binding(module, "github-hook", name), value, client)
        await session.wait()
    return names


class _Tree:
    """The files of a folder, as a repository's."""

    name = "repository"

    def __init__(self, root: Path) -> None:
        self._root = root

    async def read_file(self, path: str) -> bytes:
        """Return a file's content."""
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise bass.BassError(f"there is no file ./{path}: {error.strerror}") from error

    async def list_dir(self, path: str) -> list[bass.DirEntry]:
        """Return a folder's members."""
        try:
            return [
                bass.DirEntry(each.name, is_dir=each.is_dir())
                for each in (self._root / path).iterdir()
            ]
        except OSError as error:
            raise bass.BassError(f"there is no folder ./{path}: {error.strerror}") from error


class SilentHost(bass.Host):
    """Resolves every image to itself, and runs nothing."""

    async def resolve(self, ref: bass.ImageRef) -> bass.Thunk:
        """Return the image as it is named."""
        image = bass_pb2.ThunkImage(ref=bass.encode_ref(ref))
        return bass.decode_thunk(bass_pb2.Thunk(image=image))

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        """Say nothing."""

    def write_error(self, text: str) -> None:
        """Say nothing."""
