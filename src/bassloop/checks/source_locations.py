"""Which of a log's paths are the repository's: annotations for marks. Pure.

A command sees the checkout wherever its container has it, and tests name files from where they run.
With the repository's own paths known, a path is the one whose end it shares; without, only what is
relative and stays inside is taken as it is.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from typing import TYPE_CHECKING

from bassloop.github import Annotation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from bassloop.checks.annotations import Mark, Place

MAX_ANNOTATIONS = 100
"""Of one check run; GitHub takes 50 in a request."""

_NOT_OURS = (
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
    marks: Sequence[Mark], known: Collection[str] | None, limit: int = MAX_ANNOTATIONS
) -> list[Annotation]:
    """The annotations for marks, in order, each once, failures first when there are too many.

    Args:
        known: the paths of the repository's files at that commit; None when they are not known.
    """
    paths = _Paths(known)
    placed: dict[Annotation, None] = {}
    for mark in marks:
        found = _first(paths, mark.places)
        if found is not None:
            path, place = found
            placed.setdefault(
                Annotation(
                    path=path,
                    line=place.line,
                    message=mark.message,
                    level=mark.level,
                    title=mark.title,
                    column=place.column,
                )
            )
    noted = list(placed)
    if len(noted) > limit:
        order = {"failure": 0, "warning": 1}
        kept = sorted(noted, key=lambda note: order.get(note.level, 2))[:limit]
        chosen = set(kept)
        noted = [note for note in noted if note in chosen]
    return noted


def _first(paths: _Paths, places: Iterable[Place]) -> tuple[str, Place] | None:
    for place in places:
        path = paths.own(place.path)
        if path is not None:
            return path, place
    return None


class _Paths:
    """The repository's paths, to look others up in."""

    def __init__(self, known: Collection[str] | None) -> None:
        self._known = None if known is None else frozenset(known)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in self._known or ():
            self._by_name[posixpath.basename(path)].append(path)

    def own(self, path: str) -> str | None:
        """The repository's path that is meant; None when there is none, or no telling which."""
        slashed = path.replace("\\", "/")
        if any(part in f"/{slashed}" for part in _NOT_OURS):
            return None
        clean = posixpath.normpath(slashed)
        if self._known is None:
            inside = not clean.startswith(("/", "../", "~")) and clean not in (".", "..")
            return clean if inside else None
        while clean.startswith("../"):
            clean = clean[3:]
        if clean in self._known:
            return clean
        return self._only_one(clean) or self._longest_end(clean)

    def _longest_end(self, path: str) -> str | None:
        assert self._known is not None
        rest = path.lstrip("/")
        while rest:
            if rest in self._known:
                return rest
            rest = rest.partition("/")[2]
        return None

    def _only_one(self, path: str) -> str | None:
        """The one path that ends in this one, as tests name files from their own folder."""
        if path.startswith("/"):
            return None
        ending = f"/{path}"
        found = [
            own for own in self._by_name.get(posixpath.basename(path), ()) if own.endswith(ending)
        ]
        return found[0] if len(found) == 1 else None
