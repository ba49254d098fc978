"""Resolve the paths in a log to the repository's, for annotations and links. Pure.

A command sees the checkout wherever its container has it, and tests name files relative to where they run. If
the repository's paths are known, a path is the one that it shares its end with; if not, only relative paths
that stay inside are taken, as they are.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.parse import quote

from bassloop.github import Annotation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from bassloop.failures import Location, LogAnnotation

MAX_ANNOTATIONS = 100
"""For one check run; GitHub takes 50 in a request."""

_LIBRARIES = (
    "/usr/",
    "/lib/",
    "/lib64/",
    "/opt/",
    "/nix/",
    "/site-packages/",
    "/dist-packages/",
    "/node_modules/",
    "/.cargo/registry/",
    "/rustc/",
    "/go/pkg/mod/",
)


def annotate(
    found: Sequence[LogAnnotation], paths: RepositoryPaths, limit: int = MAX_ANNOTATIONS
) -> list[Annotation]:
    """Return GitHub's annotations for a log's, in order, each once; failures first if there are too many."""
    placed: dict[Annotation, None] = {}
    for each in found:
        resolved = _resolve_first(paths, each.locations)
        if resolved is not None:
            path, location = resolved
            placed.setdefault(
                Annotation(
                    path=path,
                    line=location.line,
                    message=each.message,
                    level=each.level,
                    title=each.title,
                    column=location.column,
                )
            )
    annotations = list(placed)
    if len(annotations) > limit:
        order = {"failure": 0, "warning": 1}
        by_level = sorted(annotations, key=lambda annotation: order.get(annotation.level, 2))
        chosen = set(by_level[:limit])
        annotations = [annotation for annotation in annotations if annotation in chosen]
    return annotations


def source_urls(
    paths: RepositoryPaths, base: str, locations: Iterable[Location]
) -> dict[Location, str]:
    """Return the addresses of those locations that are in the repository.

    Args:
        base: the address of the repository's files at the commit.
    """
    files = RepositoryFiles(paths, base)
    found = {location: files.url(location.path, location.line) for location in locations}
    return {location: url for location, url in found.items() if url is not None}


def files_url(web_url: str, repository: str, sha: str) -> str:
    """Return the address of a repository's files at a commit, on GitHub's web host."""
    return f"{web_url.rstrip('/')}/{quote(repository)}/blob/{quote(sha)}"


def _resolve_first(
    paths: RepositoryPaths, locations: Iterable[Location]
) -> tuple[str, Location] | None:
    for location in locations:
        path = paths.resolve(location.path)
        if path is not None:
            return path, location
    return None


class RepositoryFiles:
    """The addresses of a repository's files at a commit.

    Args:
        base: the address that their paths follow.
    """

    def __init__(self, paths: RepositoryPaths, base: str) -> None:
        self._paths = paths
        self._base = base

    def url(self, path: str, line: int) -> str | None:
        """Return the address of a line of the file that a log means, or None if there is none."""
        known = self._paths.resolve(path)
        return None if known is None else f"{self._base}/{quote(known)}#L{line}"


class RepositoryPaths:
    """The repository's paths, for others to be resolved to.

    Args:
        known: the repository's files at a commit; None if they are not known.
    """

    def __init__(self, known: Collection[str] | None) -> None:
        self._known = None if known is None else frozenset(known)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in self._known or ():
            self._by_name[posixpath.basename(path)].append(path)

    def resolve(self, path: str) -> str | None:
        """Return the repository's path that is meant, or None if there is none or it is ambiguous."""
        slashed = path.replace("\\", "/")
        if any(part in f"/{slashed}" for part in _LIBRARIES):
            return None
        clean = posixpath.normpath(slashed)
        if self._known is None:
            inside = not clean.startswith(("/", "../", "~")) and clean not in (".", "..")
            return clean if inside else None
        while clean.startswith("../"):
            clean = clean[3:]
        if clean in self._known:
            return clean
        return self._only_ending_in(clean) or self._longest_end(clean)

    def _longest_end(self, path: str) -> str | None:
        """Return the longest end of a path that is a path of the repository."""
        assert self._known is not None
        rest = path.lstrip("/")
        while rest:
            if rest in self._known:
                return rest
            rest = rest.partition("/")[2]
        return None

    def _only_ending_in(self, path: str) -> str | None:
        """Return the only path that ends in this one: tests name files relative to their own directory."""
        if path.startswith("/"):
            return None
        ending = f"/{path}"
        found = [
            own for own in self._by_name.get(posixpath.basename(path), ()) if own.endswith(ending)
        ]
        return found[0] if len(found) == 1 else None
